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
use crate::spec::params::{Input, InputType, Op, Output};
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
    let drafts: Vec<Draft<'_>> = pipeline.nodes.iter().map(|node| resolver.draft(node)).collect();
    resolver.check_inputs(&drafts);
    let order = resolver.node_order(&drafts);
    // With a part of the file unreadable, what is left would only lead to complaints about what is missing.
    let whole = pipeline.unreadable.is_empty() && pipeline.unreadable_params.is_empty();
    if resolver.diagnostics.is_empty() && whole {
        for index in order {
            resolver.instantiate(&drafts[index]);
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
    let mut plan = Plan::new(pipeline.name.clone(), resolver.instances).ok_or_else(cycle)?;
    plan.params = pipeline.params.clone();
    plan.sweep = pipeline.axes.iter().map(|axis| (axis.name.clone(), axis.values.clone())).collect();
    Ok(plan)
}

/// A node, bound at every point of the axes that it uses itself.
struct Draft<'a> {
    node: &'a NodeSpec,
    /// The axes that it uses itself.
    own: Vec<&'a Axis>,
    /// By what an instance at that point would be called if no other axis reached it.
    bound: BTreeMap<String, Bound>,
}

impl Draft<'_> {
    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.bound.values().filter_map(|bound| bound.op.as_ref())
    }
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
    fn draft(&mut self, node: &'a NodeSpec) -> Draft<'a> {
        let first: Bindings =
            self.pipeline.axes.iter().map(|axis| (axis.name.clone(), axis.values[0].clone())).collect();
        let mut bindings = self.pipeline.bindings(&first);
        let one = bind(self.pipeline, node, &bindings);
        let own: Vec<&Axis> = self.pipeline.axes.iter().filter(|axis| one.used.contains(&axis.name)).collect();
        let mut bound = BTreeMap::new();
        if own.is_empty() || !self.few_enough(node, &own) {
            self.diagnostics.extend(one.diagnostics.iter().cloned());
            bound.insert(node.name.clone(), one);
            return Draft { node, own: Vec::new(), bound };
        }
        for point in points(&own) {
            let name = instance_name(&node.name, &own, &point);
            bindings.extend(point);
            let at = bind(self.pipeline, node, &bindings);
            self.diagnostics.extend(at.diagnostics.iter().cloned());
            bound.insert(name, at);
        }
        Draft { node, own, bound }
    }

    /// Says whether a node may have an instance at every point of these axes.
    fn few_enough(&mut self, node: &NodeSpec, axes: &[&Axis]) -> bool {
        let count = axes.iter().map(|axis| axis.values.len()).try_fold(1usize, usize::checked_mul);
        if count.is_some_and(|count| count.saturating_add(self.instances.len()) <= MAX_INSTANCES) {
            return true;
        }
        let message = format!("the sweep makes more than {MAX_INSTANCES} instances of `{}`", node.name);
        self.diagnostics.insert(Diagnostic::new(self.pipeline.node_span(node), message));
        false
    }

    fn check_inputs(&mut self, drafts: &[Draft<'_>]) {
        let by_name: HashMap<&str, &Draft<'_>> = drafts.iter().map(|draft| (draft.node.name.as_str(), draft)).collect();
        for draft in drafts {
            for input in draft.ops().flat_map(Op::inputs) {
                if let Err(diagnostic) = self.check_input(draft.node, &input, &by_name) {
                    self.diagnostics.insert(diagnostic);
                }
            }
        }
    }

    fn check_input(
        &self,
        node: &NodeSpec,
        input: &Input<'_>,
        by_name: &HashMap<&str, &Draft<'_>>,
    ) -> Result<(), Diagnostic> {
        if self.pipeline.unreadable.iter().any(|name| name == input.from.node()) {
            return Ok(());
        }
        let span = self.pipeline.field_span(node, &input.slot);
        let Some(from) = by_name.get(input.from.node()) else {
            let help = suggest::help(input.from.node(), self.pipeline.nodes.iter().map(|node| node.name.as_str()));
            let message = format!("unknown node `{}`", input.from.node());
            let label = format!("`{}` reads it", node.name);
            return Err(Diagnostic::new(span, message).label(label).maybe_help(help));
        };
        for bound in from.bound.values() {
            let Some(source) = &bound.op else { continue };
            // What could not be read there may be what gives the output.
            if bound.partial && !source.outputs().iter().any(|output| output.name == input.from.output()) {
                continue;
            }
            find_output(source, input, span.clone())?;
        }
        Ok(())
    }

    /// Returns the nodes in an order in which each comes after what it reads; a cycle is reported as its path.
    fn node_order(&mut self, drafts: &[Draft<'_>]) -> Vec<usize> {
        let index: HashMap<&str, usize> =
            self.pipeline.nodes.iter().enumerate().map(|(i, node)| (node.name.as_str(), i)).collect();
        let mut graph = DiGraphMap::<usize, ()>::new();
        for (to, draft) in drafts.iter().enumerate() {
            graph.add_node(to);
            for input in draft.ops().flat_map(Op::inputs) {
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
    fn instantiate(&mut self, draft: &Draft<'a>) {
        let node = draft.node;
        let inherited: BTreeSet<&str> = draft
            .ops()
            .flat_map(Op::inputs)
            .filter(|input| !input.gathers)
            .filter_map(|input| self.axes_of.get(input.from.node()))
            .flatten()
            .copied()
            .collect();
        let own = |axis: &Axis| draft.own.iter().any(|own| own.name == axis.name);
        let reaches = |axis: &&Axis| own(axis) || inherited.contains(axis.name.as_str());
        let reaching: Vec<&'a Axis> = self.pipeline.axes.iter().filter(reaches).collect();
        self.axes_of.insert(&node.name, reaching.iter().map(|axis| axis.name.as_str()).collect());
        if !self.few_enough(node, &reaching) {
            return;
        }
        for point in points(&reaching) {
            let Some(bound) = draft.bound.get(&instance_name(&node.name, &draft.own, &point)) else { continue };
            let Some(op) = bound.op.clone() else { continue };
            let slots = op.inputs().iter().map(|input| self.fill(node, input, &point)).collect();
            let id = InstanceId(self.instances.len());
            let name = instance_name(&node.name, &reaching, &point);
            let fields = bound.fields.clone();
            let (name_of_node, execution) = (node.name.clone(), node.execution);
            self.instances.push(Instance { name, node: name_of_node, op, fields, axes: point, slots, execution });
            self.by_node.entry(&node.name).or_default().push(id);
        }
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
    let names = || outputs.iter().map(|output| &*output.name).filter(|name| !name.is_empty());
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
    if output.kind != input.expects && input.expects != InputType::Any {
        let message = format!("`{}` is a {}, and a {} is needed here", input.from, output.kind, input.expects);
        return Err(Diagnostic::new(span, message));
    }
    Ok(output.clone())
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
