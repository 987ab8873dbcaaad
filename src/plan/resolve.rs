//! [`Pipeline`] to [`Plan`]: parameters filled in, names bound, nodes instantiated at every point of the sweep that
//! reaches them.
//!
//! An axis reaches a node when the node uses the parameter itself or reads something that the axis reaches. A slot that
//! gathers (a report's) ends an axis: it reads all instances that agree with its own point.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use serde_json::Value;

use super::graph::{Artifacts, Instance, InstanceId, Plan, Slot};
use crate::spec::bind::{Bound, bind};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::params::{Input, Op, Output};
use crate::spec::pipeline::{Axis, NodeSpec, Pipeline};
use crate::spec::substitute::Bindings;
use crate::spec::{suggest, sweep};

/// The most node instances that one pipeline may have.
pub const MAX_INSTANCES: usize = 1_000_000;

/// Returns the plan of a pipeline, or all that is wrong with it. A pipeline of which a part could not be read, which
/// `parse` has said, has an empty plan.
pub fn resolve(pipeline: &Pipeline) -> Result<Plan, Vec<Diagnostic>> {
    let mut resolver = Resolver {
        pipeline,
        diagnostics: BTreeSet::new(),
        by_node: HashMap::new(),
        axes_of: HashMap::new(),
        instances: Vec::new(),
    };
    let drafts: Vec<Bound> = pipeline.nodes.iter().map(|node| resolver.draft(node)).collect();
    for (node, draft) in pipeline.nodes.iter().zip(&drafts) {
        if let Some(op) = &draft.op {
            resolver.check_inputs(node, op, &drafts);
        }
    }
    let order = resolver.node_order(&drafts);
    // With a part of the file unreadable, what is left would only lead to complaints about what is missing.
    let whole = pipeline.unreadable.is_empty() && pipeline.unreadable_params.is_empty();
    if resolver.diagnostics.is_empty() && whole {
        for index in order {
            resolver.instantiate(&pipeline.nodes[index], &drafts[index]);
        }
        // Where instances are missing, an axis may only seem unused.
        if resolver.diagnostics.is_empty() {
            resolver.unused_axes();
        }
    }
    if !resolver.diagnostics.is_empty() {
        return Err(resolver.diagnostics.into_iter().collect());
    }
    let cycle = || vec![Diagnostic::new(0..0, "the nodes form a cycle")];
    Plan::new(pipeline.name.clone(), resolver.instances).ok_or_else(cycle)
}

struct Resolver<'a> {
    pipeline: &'a Pipeline,
    /// Sorted by place, each once, however many sweep points show it.
    diagnostics: BTreeSet<Diagnostic>,
    by_node: HashMap<&'a str, Vec<InstanceId>>,
    axes_of: HashMap<&'a str, BTreeSet<&'a str>>,
    instances: Vec<Instance>,
}

impl<'a> Resolver<'a> {
    /// Binds a node at the first point of the sweep, to learn its kind, its inputs and the parameters it uses.
    fn draft(&mut self, node: &'a NodeSpec) -> Bound {
        let first = self.pipeline.axes.iter().map(|axis| (axis.name.clone(), axis.values[0].clone())).collect();
        let bound = bind(self.pipeline, node, &self.pipeline.bindings(&first));
        self.diagnostics.extend(bound.diagnostics.iter().cloned());
        bound
    }

    fn check_inputs(&mut self, node: &NodeSpec, op: &Op, drafts: &[Bound]) {
        for input in op.inputs() {
            if self.pipeline.unreadable.iter().any(|name| name == input.from.node()) {
                continue;
            }
            let span = self.pipeline.field_span(node, &input.slot);
            let Some(from) = self.pipeline.nodes.iter().position(|other| other.name == input.from.node()) else {
                let names = self.pipeline.nodes.iter().map(|node| node.name.as_str());
                let help = suggest::help(input.from.node(), names);
                let message = format!("unknown node `{}`", input.from.node());
                let label = format!("`{}` reads it", node.name);
                self.diagnostics.insert(Diagnostic::new(span, message).label(label).maybe_help(help));
                continue;
            };
            let Some(source) = &drafts[from].op else { continue };
            // What could not be read there may be what gives the output.
            if drafts[from].partial && !source.outputs().iter().any(|output| output.name == input.from.output()) {
                continue;
            }
            if let Err(diagnostic) = find_output(source, &input, span) {
                self.diagnostics.insert(diagnostic);
            }
        }
    }

    /// Returns the nodes in an order in which each comes after what it reads; a cycle is reported as its path.
    fn node_order(&mut self, drafts: &[Bound]) -> Vec<usize> {
        let index: HashMap<&str, usize> =
            self.pipeline.nodes.iter().enumerate().map(|(i, node)| (node.name.as_str(), i)).collect();
        let mut graph = DiGraphMap::<usize, ()>::new();
        for (to, draft) in drafts.iter().enumerate() {
            graph.add_node(to);
            for input in draft.op.iter().flat_map(Op::inputs) {
                if let Some(from) = index.get(input.from.node()) {
                    graph.add_edge(to, *from, ());
                }
            }
        }
        // Components come out in reverse topological order of the edges, which point from reader to source.
        let components = tarjan_scc(&graph);
        for component in &components {
            let loops = component.len() > 1 || graph.contains_edge(component[0], component[0]);
            if loops {
                self.report_cycle(component, &graph);
            }
        }
        components.into_iter().flatten().collect()
    }

    fn report_cycle(&mut self, component: &[usize], graph: &DiGraphMap<usize, ()>) {
        let first = component.iter().copied().min().unwrap_or(0);
        let name = |index: usize| self.pipeline.nodes[index].name.as_str();
        let (mut path, mut at) = (vec![name(first)], first);
        for _ in component {
            let next = graph.neighbors(at).filter(|next| component.contains(next)).min().unwrap_or(first);
            path.push(name(next));
            at = next;
            if at == first || path[..path.len() - 1].contains(&name(next)) {
                break;
            }
        }
        let message = format!("the nodes read each other in a circle: {}", path.join(" <- "));
        let span = self.pipeline.node_span(&self.pipeline.nodes[first]);
        self.diagnostics.insert(Diagnostic::new(span, message).label("one of the circle"));
    }

    /// Makes the instances of one node, once for every point of the axes that reach it.
    fn instantiate(&mut self, node: &'a NodeSpec, draft: &Bound) {
        let Some(op) = &draft.op else { return };
        let mut axes: BTreeSet<&'a str> = BTreeSet::new();
        for axis in &self.pipeline.axes {
            let reached = |input: &Input<'_>| {
                !input.gathers
                    && self.axes_of.get(input.from.node()).is_some_and(|axes| axes.contains(axis.name.as_str()))
            };
            if draft.used.contains(&axis.name) || op.inputs().iter().any(reached) {
                axes.insert(&axis.name);
            }
        }
        let reaching: Vec<&Axis> = self.pipeline.axes.iter().filter(|axis| axes.contains(axis.name.as_str())).collect();
        let count = reaching.iter().map(|axis| axis.values.len()).try_fold(1usize, usize::checked_mul);
        if count.is_none_or(|count| count.saturating_add(self.instances.len()) > MAX_INSTANCES) {
            let message = format!("the sweep makes more than {MAX_INSTANCES} instances of `{}`", node.name);
            self.diagnostics.insert(Diagnostic::new(self.pipeline.node_span(node), message));
            return;
        }
        self.axes_of.insert(&node.name, axes);
        for point in points(&reaching) {
            self.instantiate_at(node, &point, &reaching);
        }
    }

    fn instantiate_at(&mut self, node: &'a NodeSpec, point: &Bindings, reaching: &[&Axis]) {
        // A parameter that does not reach the node is not used by it either: any value of it will do.
        let mut everywhere: Bindings =
            self.pipeline.axes.iter().map(|axis| (axis.name.clone(), axis.values[0].clone())).collect();
        everywhere.extend(point.clone());
        let bound = bind(self.pipeline, node, &self.pipeline.bindings(&everywhere));
        self.diagnostics.extend(bound.diagnostics);
        let Some(op) = bound.op else { return };
        let slots = op.inputs().iter().map(|input| self.fill(node, input, point)).collect();
        let id = InstanceId(self.instances.len());
        self.instances.push(Instance {
            name: instance_name(&node.name, reaching, point),
            node: node.name.clone(),
            fields: bound.fields,
            op,
            axes: point.clone(),
            slots,
        });
        self.by_node.entry(&node.name).or_default().push(id);
    }

    fn fill(&mut self, node: &NodeSpec, input: &Input<'_>, point: &Bindings) -> Slot {
        let agrees = |id: &&InstanceId| {
            let axes = &self.instances[id.index()].axes;
            axes.iter().all(|(name, value)| point.get(name).is_none_or(|own| own == value))
        };
        let candidates = self.by_node.get(input.from.node()).map_or(&[][..], Vec::as_slice);
        let mut artifacts = Vec::new();
        for id in candidates.iter().filter(agrees) {
            // The inputs of every point are checked, since a swept field may name a node or decide an output.
            match find_output(&self.instances[id.index()].op, input, self.pipeline.field_span(node, &input.slot)) {
                Ok(output) => artifacts.push(Artifacts { from: *id, output }),
                Err(diagnostic) => {
                    self.diagnostics.insert(diagnostic);
                }
            }
        }
        if artifacts.is_empty() {
            let span = self.pipeline.field_span(node, &input.slot);
            self.diagnostics.insert(Diagnostic::new(span, format!("nothing gives `{}` here", input.from)));
        }
        Slot { name: input.slot.clone(), artifacts, gathers: input.gathers, expects: input.expects }
    }

    fn unused_axes(&mut self) {
        for axis in &self.pipeline.axes {
            if !self.axes_of.values().any(|axes| axes.contains(axis.name.as_str())) {
                let message = format!("no node uses the swept parameter `{}`", axis.name);
                let help = format!("write `${{{}}}` where its value belongs", axis.name);
                self.diagnostics.insert(Diagnostic::new(self.pipeline.axis_span(&axis.name), message).help(help));
            }
        }
    }
}

/// Finds the output that an input names, and checks that it is what the input expects.
fn find_output(source: &Op, input: &Input<'_>, span: std::ops::Range<usize>) -> Result<Output, Diagnostic> {
    let outputs = source.outputs();
    let wanted = input.from.output();
    let names = || outputs.iter().map(|output| output.name).filter(|name| !name.is_empty());
    let Some(output) = outputs.iter().find(|output| output.name == wanted) else {
        let node = input.from.node();
        let listed: Vec<String> = names().map(|name| format!("`{node}.{name}`")).collect();
        let help = (!listed.is_empty()).then(|| format!("there is {}", listed.join(" and ")));
        let message = if wanted.is_empty() {
            format!("`{node}` has several outputs: say which one is meant")
        } else {
            format!("`{node}` has no output `{wanted}`")
        };
        return Err(Diagnostic::new(span, message).maybe_help(help));
    };
    if output.kind != input.expects {
        let message = format!("`{}` is a {}, and a {} is needed here", input.from, output.kind, input.expects);
        return Err(Diagnostic::new(span, message));
    }
    Ok(*output)
}

/// Returns every combination of the axes' values, the last axis moving fastest.
fn points(axes: &[&Axis]) -> Vec<Bindings> {
    let mut points = vec![Bindings::new()];
    for axis in axes {
        let extend = |point: &Bindings| {
            let with = |value: &Value| {
                let mut point = point.clone();
                point.insert(axis.name.clone(), value.clone());
                point
            };
            axis.values.iter().map(with).collect::<Vec<_>>()
        };
        points = points.iter().flat_map(extend).collect();
    }
    points
}

fn instance_name(node: &str, axes: &[&Axis], point: &BTreeMap<String, Value>) -> String {
    if axes.is_empty() {
        return node.to_owned();
    }
    let part = |axis: &&Axis| format!("{}={}", axis.name, point.get(&axis.name).map_or_else(String::new, sweep::show));
    format!("{node}[{}]", axes.iter().map(part).collect::<Vec<_>>().join(","))
}
