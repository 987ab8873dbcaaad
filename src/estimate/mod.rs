//! What a plan will cost, before it runs: operations, tokens, disk, memory and time of every node that is not fresh.
//!
//! Pure: the plan, what is known of each instance ([`Facts`]) and a device go in, an [`Estimate`] comes out. What nodes give is
//! passed on from instance to instance in the order of the graph ([`content`]): rows and tokens of data, sizes of models. A
//! number is known, assumed or unknown ([`Figure`]), and every assumption is a sentence that names the way to make it exact.
//! All formulas are in `docs/estimate.md`. Left out: what the host does beside a GPU, and what waits for another node.

mod ask;
mod content;
mod cost;
pub mod device;
mod figure;
mod files;
mod memory;
pub mod rates;
mod shape;
mod train;

use std::collections::BTreeMap;

use serde::Serialize;

use content::{Content, Contents};
pub use content::{Sample, Samples};
pub use cost::Cost;
pub use device::{Device, Measured};
pub use figure::Figure;
pub use rates::Earlier;
pub use shape::Shape;

use crate::plan::graph::{Instance, InstanceId, Plan};
use crate::spec::params::Op;

/// What is known of an instance before anything runs.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether the cache holds its result: it costs nothing.
    pub fresh: bool,
    /// The metrics of its result, if it is fresh.
    pub metrics: BTreeMap<String, f64>,
    /// The bytes of its result, if it is fresh or the lockfile has it.
    pub size: Option<f64>,
    /// Of a source: the bytes that are brought in, as they are listed.
    pub listed: Option<f64>,
    /// Of a source: whether some of its files are packed, so that their bytes say nothing about their text.
    pub packed: bool,
    /// Of a data set whose files are here: its rows, counted.
    pub rows: Option<f64>,
    /// Of a model that can be looked at: its sizes.
    pub shape: Option<Shape>,
    /// Of a training whose data is here: the lengths of some samples.
    pub samples: Option<Samples>,
    /// Why something is not known that could be.
    pub note: Option<String>,
}

/// What is reckoned with.
#[derive(Debug, Clone)]
pub struct Ground<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What is known of each instance, by its place.
    pub facts: &'a [Facts],
    /// The device.
    pub device: &'a Device,
    /// Speeds of earlier runs, for the device that they ran on.
    pub earlier: &'a Earlier,
    /// Bytes a second from outside, if the user says so.
    pub bandwidth: Option<f64>,
}

/// The estimate of one instance.
#[derive(Debug, Clone, Serialize)]
pub struct NodeEstimate {
    /// Which one.
    #[serde(skip)]
    pub id: InstanceId,
    /// What it costs.
    #[serde(flatten)]
    pub cost: Cost,
}

/// What a plan will cost.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// All instances that were asked for, in an order in which they can run.
    #[serde(skip)]
    pub nodes: Vec<NodeEstimate>,
    /// All together; what is unknown is left out and counted.
    pub total: Total,
}

/// The costs of all nodes together. Memory is that of the node that takes most.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Total {
    /// Tokens that go through a model.
    pub tokens: Figure,
    /// Operations, those that are done a second time included.
    pub flops: Figure,
    /// Bytes that stay in the cache.
    pub disk: Figure,
    /// The most memory of the host that a node takes.
    pub host_memory: Figure,
    /// The most memory of the device that a node takes.
    pub device_memory: Figure,
    /// Seconds, one node after the other.
    pub seconds: Figure,
    /// Nodes whose time is not known, and not in the sum.
    pub without_time: usize,
}

/// Reckons what the wanted instances cost.
pub fn reckon(ground: &Ground<'_>, wanted: &[bool]) -> Estimate {
    let mut contents = Contents::default();
    let mut nodes = Vec::new();
    for id in ground.plan.order().iter().copied() {
        let instance = ground.plan.instance(id);
        let facts = &ground.facts[id.index()];
        let mut cost = if facts.fresh { Cost::default() } else { cost_of(instance, facts, ground, &contents) };
        cost.notes.extend(facts.note.clone().filter(|_| !facts.fresh));
        let outputs = content::outputs(instance, facts, &contents);
        contents.put(id, outputs);
        if wanted[id.index()] {
            cost.fits = cost.fit(instance, ground.device);
            nodes.push(NodeEstimate { id, cost });
        }
    }
    let total = total(&nodes);
    Estimate { nodes, total }
}

fn cost_of(instance: &Instance, facts: &Facts, ground: &Ground<'_>, contents: &Contents) -> Cost {
    let inputs = |slot: &str| contents.of_slot(instance, slot);
    match &instance.op {
        Op::Sft(params) => {
            let data: Vec<Content> = (0..params.data.len()).map(|i| inputs(&format!("data[{i}]"))).collect();
            train::cost(params, &inputs("model"), &data, facts, ground)
        }
        Op::Eval(params) => ask::eval(params, &inputs("model"), &inputs, ground),
        Op::Generate(params) => {
            let model = params.model.as_ref().map(|_| inputs("model"));
            ask::generate(params, model.as_ref(), &inputs("from"), ground)
        }
        Op::Source(params) => files::source(params, facts, ground),
        Op::Curate(params) => files::curate(params, &contents.all(instance), ground),
        Op::Merge(_) | Op::Moe(_) | Op::ApplyLora(_) | Op::ExtractLora(_) => {
            let out = content::outputs(instance, facts, contents);
            files::merge(&contents.all(instance), out.first().map(|(_, content)| content), ground)
        }
        Op::Export(params) => files::export(params, &inputs("model")),
        Op::Init(params) => files::init(params, &inputs("tokenizer")),
        Op::Tokenizer(_) => Cost::unknown("counts words of its data and merges pairs", "its time is not estimated"),
        Op::Command(_) => Cost::unknown("runs another program", "what another program takes is not estimated"),
        Op::Select(_) => Cost { what: "compares metrics".into(), ..Cost::nothing() },
        Op::Report(_) => files::report(),
    }
}

fn total(nodes: &[NodeEstimate]) -> Total {
    let costs = || nodes.iter().map(|node| &node.cost);
    let sum = |of: fn(&Cost) -> Figure| costs().map(of).filter(|figure| !figure.is_unknown()).sum();
    let most = |of: fn(&Cost) -> Figure| {
        let known = costs().map(of).filter(|figure| !figure.is_unknown());
        known.fold(Figure::ZERO, |most, one| if one.value() > most.value() { one } else { most })
    };
    Total {
        tokens: sum(|cost| cost.tokens),
        flops: sum(|cost| cost.flops + cost.recomputed_flops),
        disk: sum(|cost| cost.disk),
        host_memory: most(|cost| cost.host_memory),
        device_memory: most(|cost| cost.device_memory),
        seconds: sum(|cost| cost.seconds),
        without_time: costs().filter(|cost| cost.seconds.is_unknown()).count(),
    }
}
