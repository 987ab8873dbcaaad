//! The plan: every node instance, what it reads, and an order in which all can run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use serde_json::Value;

use crate::spec::Execution;
use crate::spec::params::{InputType, Kind, Op, Output};

/// A node instance of one plan. Only the plan that gave it out knows what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub(super) usize);

impl InstanceId {
    /// Returns the place of the instance in [`Plan::instances`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A node at one point of the sweep.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name: `sft`, or `merged[t=0.6]` when it depends on an axis.
    pub name: String,
    /// The node it is an instance of.
    pub node: String,
    /// The folder of the file that the node is written in, relative to that of the pipeline file. Paths in its settings
    /// are relative to this one.
    pub base: PathBuf,
    /// Its settings.
    pub op: Op,
    /// Its settings as they were written, with parameters filled in.
    pub fields: Value,
    /// The point of the sweep it belongs to: the axes that reach it, and their values.
    pub axes: BTreeMap<String, Value>,
    /// What it reads.
    pub slots: Vec<Slot>,
    /// How it is to be run.
    pub execution: Execution,
}

impl Instance {
    /// Returns its kind.
    pub fn kind(&self) -> Kind {
        self.op.kind()
    }
}

/// One input of a node instance.
#[derive(Debug, Clone)]
pub struct Slot {
    /// The path of the field that names it: `model`, `data[1]`.
    pub name: String,
    /// What fills it: one artifact, or several when the slot gathers a sweep.
    pub artifacts: Vec<Artifacts>,
    /// Whether it gathers a sweep.
    pub gathers: bool,
    /// What was expected there.
    pub expects: InputType,
}

/// An artifact, or one output of it, that a slot reads.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The instance that makes it.
    pub from: InstanceId,
    /// Which output of it.
    pub output: Output,
}

/// Every node instance of a pipeline, and what each one reads.
#[derive(Debug)]
pub struct Plan {
    /// The name of the pipeline.
    pub name: String,
    /// The parameters that have one value.
    pub params: BTreeMap<String, Value>,
    /// Those that have several, in order.
    pub sweep: Vec<(String, Vec<Value>)>,
    instances: Vec<Instance>,
    graph: DiGraph<InstanceId, ()>,
    order: Vec<InstanceId>,
    ranks: Vec<usize>,
}

impl Plan {
    /// Builds the graph. The instances' slots must form no cycle, which `resolve` sees to; `None` if they do.
    pub(super) fn new(name: String, instances: Vec<Instance>) -> Option<Self> {
        let mut graph = DiGraph::with_capacity(instances.len(), instances.len());
        for index in 0..instances.len() {
            graph.add_node(InstanceId(index));
        }
        // Several slots may read one instance, which is one edge. `update_edge` would look through all readers of a source.
        let mut reads = Vec::new();
        for (index, instance) in instances.iter().enumerate() {
            let artifacts = instance.slots.iter().flat_map(|slot| &slot.artifacts);
            reads.extend(artifacts.map(|artifact| artifact.from));
            reads.sort_unstable();
            reads.dedup();
            for from in reads.drain(..) {
                graph.add_edge(NodeIndex::new(from.0), NodeIndex::new(index), ());
            }
        }
        let order = topological_order(&graph)?;
        let mut ranks = vec![0; order.len()];
        for (rank, id) in order.iter().enumerate() {
            ranks[id.0] = rank;
        }
        Some(Self { name, params: BTreeMap::new(), sweep: Vec::new(), instances, graph, order, ranks })
    }

    /// Returns all instances; an [`InstanceId`] is an index into this.
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Returns the instance with this id.
    pub fn instance(&self, id: InstanceId) -> &Instance {
        &self.instances[id.0]
    }

    /// Returns all instances in an order in which each comes after what it reads, and otherwise in file order.
    pub fn order(&self) -> &[InstanceId] {
        &self.order
    }

    /// Returns the place of an instance in [`Plan::order`].
    pub fn rank(&self, id: InstanceId) -> usize {
        self.ranks[id.0]
    }

    /// Returns the ids of all instances, in the order of [`Plan::instances`].
    pub fn ids(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..self.instances.len()).map(InstanceId)
    }

    /// Returns the instances that `id` reads.
    pub fn upstream(&self, id: InstanceId) -> impl Iterator<Item = InstanceId> + '_ {
        self.graph.neighbors_directed(NodeIndex::new(id.0), Direction::Incoming).map(|index| self.graph[index])
    }

    /// Returns the instances that read `id`.
    pub fn downstream(&self, id: InstanceId) -> impl Iterator<Item = InstanceId> + '_ {
        self.graph.neighbors_directed(NodeIndex::new(id.0), Direction::Outgoing).map(|index| self.graph[index])
    }

    /// Returns `targets` and all they are made from, as a flag for every instance.
    pub fn with_ancestors(&self, targets: &[InstanceId]) -> Vec<bool> {
        let mut wanted = vec![false; self.instances.len()];
        let mut stack = targets.to_vec();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut wanted[id.0], true) {
                stack.extend(self.upstream(id));
            }
        }
        wanted
    }

    /// Returns what an instance is about, for tables: the model an `eval` scored, otherwise its own name.
    pub fn label(&self, id: InstanceId) -> &str {
        self.scored(id).map_or(&self.instance(id).name, |model| &self.instance(model.from).name)
    }

    /// Returns the model that an instance scores, if it is an eval.
    pub fn scored(&self, id: InstanceId) -> Option<&Artifacts> {
        let instance = self.instance(id);
        let of_model = |slot: &&Slot| instance.kind() == Kind::Eval && slot.name == "model";
        instance.slots.iter().find(of_model).and_then(|slot| slot.artifacts.first())
    }
}

/// Kahn's algorithm over a binary heap, so that among the ready ones the first in the file comes first.
fn topological_order(graph: &DiGraph<InstanceId, ()>) -> Option<Vec<InstanceId>> {
    let mut waiting: Vec<usize> =
        graph.node_indices().map(|node| graph.neighbors_directed(node, Direction::Incoming).count()).collect();
    let ready = waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(i, _)| std::cmp::Reverse(i));
    let mut ready: std::collections::BinaryHeap<_> = ready.collect();
    let mut order = Vec::with_capacity(graph.node_count());
    while let Some(std::cmp::Reverse(index)) = ready.pop() {
        order.push(InstanceId(index));
        for next in graph.neighbors_directed(NodeIndex::new(index), Direction::Outgoing) {
            waiting[next.index()] -= 1;
            if waiting[next.index()] == 0 {
                ready.push(std::cmp::Reverse(next.index()));
            }
        }
    }
    (order.len() == graph.node_count()).then_some(order)
}
