//! [`Pipeline`] to [`Plan`]: parameters filled in, names bound, nodes instantiated at every point of the sweep that
//! reaches them.
//!
//! An axis reaches a node when the node uses the parameter itself or reads something that the axis reaches. A slot that
//! gathers (a report's) ends an axis: it reads all instances that agree with its own point.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use petgraph::algo::kosaraju_scc;
use petgraph::graphmap::DiGraphMap;
use serde_json::Value;

use super::averages;
use super::graph::{Artifacts, Instance, InstanceId, Plan, Slot};
use super::outputs::{find_output, outputs_of};
use super::points::Space;
use crate::spec::bind::{Bound, bind};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::params::{Input, Kind, Op};
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
        space: Space::new(pipeline),
        diagnostics: BTreeSet::new(),
        by_node: HashMap::new(),
        axes_of: HashMap::new(),
        instances: Vec::new(),
    };
    let drafts: Vec<Draft<'_>> = pipeline.nodes.iter().map(|node| resolver.draft(node)).collect();
    resolver.check_secrets(&drafts);
    resolver.check_inputs(&drafts);
    let order = resolver.node_order(&drafts);
    // With a part of the file unreadable, what is left would only lead to complaints about what is missing.
    let whole = pipeline.unreadable.is_empty() && pipeline.unreadable_params.is_empty();
    if resolver.diagnostics.is_empty() && whole {
        let mut drafts: Vec<Option<Draft<'_>>> = drafts.into_iter().map(Some).collect();
        for draft in order.into_iter().filter_map(|index| drafts[index].take()) {
            resolver.instantiate(draft);
        }
        // Where instances are missing, an axis may only seem unused.
        if resolver.diagnostics.is_empty() {
            resolver.unused_axes();
            resolver.idle_excludes();
        }
    }
    if !resolver.diagnostics.is_empty() {
        return Err(resolver.diagnostics.into_iter().collect());
    }
    let cycle = || vec![Diagnostic::new(0..0, "the nodes form a cycle")];
    let mut plan = Plan::new(pipeline.name.clone(), resolver.instances).ok_or_else(cycle)?;
    plan.params = pipeline.params.clone();
    plan.sweep = pipeline.axes.iter().map(|axis| (axis.name.clone(), axis.values.clone())).collect();
    let wrong = averages::check(&plan, pipeline);
    if wrong.is_empty() { Ok(plan) } else { Err(wrong.into_iter().collect()) }
}

/// A node, bound at every point of the axes that it uses itself.
pub(super) struct Draft<'a> {
    pub(super) node: &'a NodeSpec,
    /// The axes that it uses itself.
    own: Vec<&'a Axis>,
    /// By what an instance at that point would be called if no other axis reached it.
    pub(super) bound: BTreeMap<String, Bound>,
}

impl Draft<'_> {
    pub(super) fn ops(&self) -> impl Iterator<Item = &Op> {
        self.bound.values().filter_map(|bound| bound.op.as_ref())
    }
}

pub(super) struct Resolver<'a> {
    pub(super) pipeline: &'a Pipeline,
    space: Space<'a>,
    /// Sorted by place, each once, however many sweep points show it.
    diagnostics: BTreeSet<Diagnostic>,
    by_node: HashMap<&'a str, Vec<InstanceId>>,
    pub(super) axes_of: HashMap<&'a str, BTreeSet<&'a str>>,
    pub(super) instances: Vec<Instance>,
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
        for point in self.space.points(&own) {
            let name = instance_name(&node.name, &own, &point);
            bindings.extend(point);
            let at = bind(self.pipeline, node, &bindings);
            self.diagnostics.extend(at.diagnostics.iter().cloned());
            bound.insert(name, at);
        }
        Draft { node, own, bound }
    }

    /// Says whether a node may have an instance at every point of these axes.
    fn few_enough(&mut self, node: &NodeSpec, axes: &[&'a Axis]) -> bool {
        let count = self.space.count(axes);
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
                if let Err(diagnostic) = self.check_input(draft, &input, &by_name) {
                    self.diagnostics.insert(diagnostic);
                }
            }
        }
    }

    fn check_input(
        &self,
        draft: &Draft<'_>,
        input: &Input<'_>,
        by_name: &HashMap<&str, &Draft<'_>>,
    ) -> Result<(), Diagnostic> {
        let node = draft.node;
        let name = node.whole_name(input.from.node());
        if self.pipeline.unreadable.contains(&name) {
            return Ok(());
        }
        let place = || self.pipeline.field_span(node, &input.slot);
        let Some(from) = by_name.get(name.as_str()) else {
            let known = self.pipeline.nodes.iter().filter_map(|other| other.name.strip_prefix(&node.prefix));
            let help = suggest::help(input.from.node(), known);
            let message = format!("unknown node `{}`", input.from.node());
            let label = format!("`{}` reads it", node.local_name());
            return Err(Diagnostic::new(place(), message).label(label).maybe_help(help));
        };
        if node.kind == Kind::Select {
            // A select reads all of what it selects from, whatever its outputs.
            return Ok(());
        }
        for (bound, outputs) in outputs_of(from, by_name) {
            // What could not be read there may be what gives the output.
            if bound.partial && !outputs.iter().any(|output| output.name == input.from.output()) {
                continue;
            }
            self.fits(node, from.node.kind, input, &find_output(&outputs, input, place)?)?;
        }
        Ok(())
    }

    /// Checks that no setting holds a variable that some program gets as a secret.
    fn check_secrets(&mut self, drafts: &[Draft<'_>]) {
        let mut secrets = BTreeMap::new();
        for draft in drafts {
            for op in draft.ops() {
                let names = match op {
                    Op::Command(params) => params.secrets.clone(),
                    Op::Generate(params) => {
                        params.endpoint.iter().filter_map(|endpoint| endpoint.key_env.clone()).collect()
                    }
                    _ => continue,
                };
                secrets.extend(names.into_iter().map(|name| (name, draft.node)));
            }
        }
        for used in drafts.iter().flat_map(|draft| draft.bound.values()).flat_map(|bound| &bound.variables) {
            if let Some(node) = secrets.get(&used.name) {
                let message =
                    format!("`{}` is a secret of `{}`, so it cannot stand in a setting", used.name, node.name);
                let help =
                    format!("list it under `secrets:` of the program that needs it, which then reads ${}", used.name);
                let help = if node.kind == Kind::Generate { "name it in `key_env` alone".to_owned() } else { help };
                self.diagnostics.insert(Diagnostic::new(used.place, message).help(help));
            }
        }
    }

    /// Returns the nodes in an order in which each comes after what it reads; a cycle is reported as its path.
    fn node_order(&mut self, drafts: &[Draft<'_>]) -> Vec<usize> {
        let index: HashMap<&str, usize> =
            self.pipeline.nodes.iter().enumerate().map(|(i, node)| (node.name.as_str(), i)).collect();
        let reads: Vec<Vec<usize>> = drafts
            .iter()
            .map(|draft| {
                let inputs = draft.ops().flat_map(Op::inputs);
                inputs
                    .filter_map(|input| index.get(draft.node.whole_name(input.from.node()).as_str()).copied())
                    .collect()
            })
            .collect();
        if let Some(order) = depth_first(&reads) {
            return order;
        }
        let mut graph = DiGraphMap::<usize, ()>::new();
        for (to, reads) in reads.iter().enumerate() {
            graph.add_node(to);
            for from in reads {
                graph.add_edge(to, *from, ());
            }
        }
        for component in kosaraju_scc(&graph) {
            if component.len() > 1 || graph.contains_edge(component[0], component[0]) {
                self.report_cycle(&component, &graph);
            }
        }
        Vec::new()
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
    fn instantiate(&mut self, mut draft: Draft<'a>) {
        let node = draft.node;
        let inherited: BTreeSet<&str> = draft
            .ops()
            .flat_map(Op::inputs)
            .filter(|input| !input.gathers)
            .filter_map(|input| self.axes_of.get(node.whole_name(input.from.node()).as_str()))
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
        if let Some(diagnostic) = self.check_select(&draft).err() {
            self.diagnostics.insert(diagnostic);
        }
        for point in self.space.points(&reaching) {
            let own_name = instance_name(&node.name, &draft.own, &point);
            // Where every point has a binding of its own, each is used once.
            let (op, fields, execution) = if draft.own.len() == reaching.len() {
                let Some(bound) = draft.bound.remove(&own_name) else { continue };
                (bound.op, bound.fields, bound.execution)
            } else {
                let Some(bound) = draft.bound.get(&own_name) else { continue };
                (bound.op.clone(), bound.fields.clone(), bound.execution)
            };
            let Some(op) = op else { continue };
            let slots = op.inputs().iter().map(|input| self.fill(node, input, &point)).collect();
            let id = InstanceId(self.instances.len());
            let name = instance_name(&node.name, &reaching, &point);
            let (name_of_node, base) = (node.name.clone(), node.base.clone());
            self.instances.push(Instance { name, node: name_of_node, base, op, fields, axes: point, slots, execution });
            self.by_node.entry(&node.name).or_default().push(id);
        }
    }

    fn fill(&mut self, node: &NodeSpec, input: &Input<'_>, point: &Bindings) -> Slot {
        let agrees = |id: &&InstanceId| {
            let axes = &self.instances[id.index()].axes;
            axes.iter().all(|(name, value)| point.get(name).is_none_or(|own| own == value))
        };
        let from = node.whole_name(input.from.node());
        let candidates = self.by_node.get(from.as_str()).map_or(&[][..], Vec::as_slice);
        let mut artifacts = Vec::new();
        for id in candidates.iter().filter(agrees) {
            // The inputs of every point are checked, since a swept field may name a node or decide an output.
            match self.output(node, *id, input) {
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

    fn idle_excludes(&mut self) {
        for exclude in self.space.idle() {
            let names: Vec<&str> = exclude.at.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!("`exclude` leaves out nothing: no node depends on `{}`", names.join("` and `"));
            self.diagnostics.insert(Diagnostic::new(exclude.place, message));
        }
    }

    fn unused_axes(&mut self) {
        for axis in &self.pipeline.axes {
            if !self.axes_of.values().any(|axes| axes.contains(axis.name.as_str())) {
                let message = format!("no node uses the swept parameter `{}`", axis.name);
                let help = format!("write `${{{}}}` where its value belongs", axis.name);
                self.diagnostics.insert(Diagnostic::new(axis.place, message).help(help));
            }
        }
    }
}

/// Returns all nodes, each after those that it reads and otherwise in their order; nothing if some form a circle. Without
/// recursion: a chain may be as long as a file can be.
fn depth_first(reads: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; reads.len()];
    let mut order = Vec::with_capacity(reads.len());
    let mut stack = Vec::new();
    for root in 0..reads.len() {
        if marks[root] != Mark::New {
            continue;
        }
        marks[root] = Mark::Open;
        stack.push((root, reads[root].iter()));
        while let Some((node, rest)) = stack.last_mut() {
            match rest.next() {
                None => {
                    marks[*node] = Mark::Done;
                    order.push(*node);
                    stack.pop();
                }
                Some(next) if marks[*next] == Mark::New => {
                    marks[*next] = Mark::Open;
                    stack.push((*next, reads[*next].iter()));
                }
                Some(next) if marks[*next] == Mark::Open => return None,
                Some(_) => {}
            }
        }
    }
    Some(order)
}

fn instance_name(node: &str, axes: &[&Axis], point: &BTreeMap<String, Value>) -> String {
    if axes.is_empty() {
        return node.to_owned();
    }
    let part = |axis: &&Axis| format!("{}={}", axis.name, point.get(&axis.name).map_or_else(String::new, sweep::show));
    format!("{node}[{}]", axes.iter().map(part).collect::<Vec<_>>().join(","))
}
