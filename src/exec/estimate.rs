//! What an estimate rests on, gathered: the cache, the lockfile, listings of hubs, models and data that are here, this machine.
//!
//! A hub that does not answer is no reason to say nothing: its sources are taken for new, and what would be known of them is
//! unknown. Nothing is written and nothing is fetched.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::outside::is_outside;
use super::{Decider, ExecError, NodeState, locked};
use crate::cache::Action;
use crate::estimate::{Earlier, Facts, Measured, Sample, Samples, Shape};
use crate::ops::{self, DeviceChoice, OpError};
use crate::plan::graph::{Artifacts, Instance, InstanceId};
use crate::spec::lock::Lock;
use crate::spec::params::{Op, SftParams, SourceParams, WeightType};

/// Rows of each data set that are tokenized to know how long samples are.
const ROWS: usize = 512;
/// Nodes that took less say nothing about speeds.
const LEAST_MS: u64 = 2000;

/// What an estimate rests on.
pub struct Gathered {
    /// What is known of each instance that was asked for, as `plan` has it.
    pub states: Vec<Option<NodeState>>,
    /// What is known of each instance, by its place.
    pub facts: Vec<Facts>,
}

/// Gathers what is known of the wanted instances and of all that they are made from.
pub fn gather(decider: &Decider<'_>, wanted: &[bool], lock: Option<&Lock>) -> Result<Gathered, ExecError> {
    let plan = decider.plan;
    let mut facts = vec![Facts::default(); plan.instances().len()];
    let unseen = look_at_sources(decider, wanted, lock, &mut facts)?;
    let states = decider.preview_without(wanted, &HashSet::new(), &unseen)?;
    let anything_runs = states.iter().flatten().any(|state| !matches!(state, NodeState::Fresh(_)));
    for (id, facts) in plan.ids().zip(&mut facts) {
        let instance = plan.instance(id);
        if let Some(NodeState::Fresh(action)) = &states[id.index()] {
            facts.fresh = true;
            facts.metrics = action.metrics.clone();
            facts.size = Some(action.size as f64);
            let output = instance.op.outputs().into_iter().next();
            let folder = output.map(|output| folder(decider, action, &output.path));
            facts.shape = folder.and_then(|folder| Shape::of_folder(&folder)).or(facts.shape.take());
        }
        if let Op::Source(params) = &instance.op
            && anything_runs
            && wanted[id.index()]
        {
            facts.rows = rows(decider, id, params, action(&states, id));
        }
        if let (Op::Sft(params), false, true) = (&instance.op, facts.fresh, wanted[id.index()]) {
            facts.samples = samples(decider, instance, params, &states);
        }
    }
    Ok(Gathered { states, facts })
}

/// Notes what is known of sources, and returns those that cannot be looked at.
fn look_at_sources(
    decider: &Decider<'_>,
    wanted: &[bool],
    lock: Option<&Lock>,
    facts: &mut [Facts],
) -> Result<HashSet<InstanceId>, ExecError> {
    let (mut unseen, mut reason) = (HashSet::new(), None::<String>);
    for (id, facts) in decider.plan.ids().zip(facts).filter(|(id, _)| wanted[id.index()]) {
        let instance = decider.plan.instance(id);
        let Op::Source(params) = &instance.op else { continue };
        match decider.source_files(id) {
            Ok(files) => {
                let bytes: u64 = files.iter().map(|file| file.size).sum();
                let locked = || lock.and_then(|lock| lock.node(&instance.name)).map(|node| node.size);
                let listed = if bytes > 0 { Some(bytes) } else { locked() };
                facts.listed = listed.map(|bytes| bytes as f64);
                facts.packed = files.iter().any(|file| ops::is_packed(&file.name));
            }
            Err(ExecError::Outside { why, .. }) => {
                unseen.insert(id);
                // One that does not answer is said once; that it was not asked any more is no news.
                let silent = why.may_pass() || decider.outside.is_offline() || reason.is_some();
                facts.note = Some(match &reason {
                    Some(reason) if silent => reason.clone(),
                    _ => format!("the hub does not tell: {why}"),
                });
                reason = reason.or_else(|| facts.note.clone().filter(|_| silent));
            }
            Err(error) => return Err(error),
        }
        if !is_outside(params) {
            let local = params.model.as_ref().and_then(|path| local_shape(decider, instance, params, path));
            facts.shape = local;
        }
    }
    Ok(unseen)
}

/// Counts the rows of a data set whose files are here.
fn rows(decider: &Decider<'_>, id: InstanceId, params: &SourceParams, made: Option<&Action>) -> Option<f64> {
    if params.dataset.is_none() || made.is_none() && is_outside(params) {
        return None;
    }
    let files = decider.source_files(id).ok()?;
    let files: Vec<(String, PathBuf)> = files.iter().map(|file| (file.name.clone(), file.path.clone())).collect();
    let dir = made.map(|action| folder(decider, action, ""));
    ops::rows(params, &files, dir.as_deref()).map(|rows| rows as f64)
}

/// Returns the sizes of a model on this machine that was not brought in yet.
fn local_shape(decider: &Decider<'_>, instance: &Instance, params: &SourceParams, path: &str) -> Option<Shape> {
    let path = decider.folder_of(instance).join(path);
    if path.is_dir() {
        return Shape::of_folder(&path);
    }
    let stored = if params.dtype == Some(WeightType::F32) { 4.0 } else { 2.0 };
    Shape::of_keys(ops::configuration(&path)?, stored)
}

fn action(states: &[Option<NodeState>], id: InstanceId) -> Option<&Action> {
    match states[id.index()].as_ref()? {
        NodeState::Fresh(action) => Some(action),
        _ => None,
    }
}

fn folder(decider: &Decider<'_>, action: &Action, below: &str) -> PathBuf {
    let whole = decider.cache.artifact_path(&action.artifact);
    if below.is_empty() { whole } else { whole.join(Path::new(below)) }
}

fn artifact_in<'a>(instance: &'a Instance, slot: &str) -> Option<&'a Artifacts> {
    instance.slots.iter().find(|own| own.name == slot)?.artifacts.first()
}

/// Returns the folder of a model that is here and has the tokenizer of this one: itself, or what it will be trained from.
fn tokenizer_of(decider: &Decider<'_>, model: &Artifacts, states: &[Option<NodeState>]) -> Option<PathBuf> {
    let mut model = model;
    loop {
        if let Some(action) = action(states, model.from) {
            return Some(folder(decider, action, &model.output.path));
        }
        let instance = decider.plan.instance(model.from);
        match &instance.op {
            Op::Sft(_) | Op::ApplyLora(_) => model = artifact_in(instance, "model")?,
            _ => return None,
        }
    }
}

/// Returns how long some samples of a training are, if its data is here and a tokenizer for it.
fn samples(
    decider: &Decider<'_>,
    instance: &Instance,
    params: &SftParams,
    states: &[Option<NodeState>],
) -> Option<Samples> {
    // Pairs of answers are tokenized in another way.
    if params.dpo.is_some() {
        return None;
    }
    let here = |artifact: &Artifacts| {
        let action = action(states, artifact.from)?;
        let name = &artifact.output.name;
        let rows = if name.is_empty() { "rows_out".to_owned() } else { format!("{name}_rows") };
        let rows = action.metrics.get(&rows).map(|rows| *rows as usize);
        Some((folder(decider, action, &artifact.output.path), rows))
    };
    let data: Option<Vec<_>> =
        (0..params.data.len()).map(|i| here(artifact_in(instance, &format!("data[{i}]"))?)).collect();
    let model = tokenizer_of(decider, artifact_in(instance, "model")?, states)?;
    // What is wrong with data or model is said when the training runs.
    let (found, sequences) = ops::lengths(params, &model, &data?, ROWS).ok()?;
    let sample = |one: ops::Lengths| Sample {
        rows: one.rows as f64,
        among: one.among as f64,
        share: one.share,
        all: one.all,
        lengths: one.lengths,
        trained: one.trained as f64,
    };
    Some(Samples { of: found.into_iter().map(sample).collect(), sequences })
}

/// Measures the device of this machine; `memory` is what the host has.
pub fn measure(choice: DeviceChoice, memory: u64) -> Result<Measured, OpError> {
    let speeds = ops::speeds(choice)?;
    // How much a GPU has is not asked for: a node that needs more says so when it runs.
    let memory = speeds.is_host.then_some(memory as f64);
    let ops::Speeds { about, flops, bandwidth, is_host } = speeds;
    Ok(Measured { about, flops, bandwidth, memory, is_host })
}

/// Returns the speeds of earlier runs on this platform, as the cache has them on record.
pub fn earlier(decider: &Decider<'_>) -> Result<Earlier, ExecError> {
    let actions = decider.cache.actions()?;
    let ours = |action: &&Action| {
        action.duration_ms >= LEAST_MS && action.producer.rsplit(' ').next() == Some(locked::platform().as_str())
    };
    let speed = |kind: &str, work: &dyn Fn(&Action) -> Option<(f64, f64)>| {
        let found: Vec<(f64, f64)> =
            actions.iter().filter(ours).filter(|action| action.kind == kind).filter_map(work).collect();
        let (done, seconds) = found.iter().fold((0.0, 0.0), |(done, all), (one, time)| (done + one, all + time));
        (done > 0.0).then(|| (done / seconds, found.len()))
    };
    Ok(Earlier {
        training: speed("sft", &|action| steps(&action.measured)),
        // Where answers were known before, their tokens did not go through the model.
        eval: speed("eval", &|action| {
            let measured = |name: &str| action.measured.get(name);
            Some((measured("tokens_per_second")? * measured("flops_per_token")? * seconds(action), seconds(action)))
        }),
        curation: speed("curate", &|action| Some((*action.metrics.get("rows_in")?, seconds(action)))),
        merge: speed("merge", &|action| Some((*action.metrics.get("parameters")?, seconds(action)))),
    })
}

fn seconds(action: &Action) -> f64 {
    action.duration_ms as f64 / 1000.0
}

/// Returns the operations of a training, those that were done twice counted twice, and the seconds that its steps took. Not those
/// of the node: one that went on from a checkpoint took fewer than its operations did.
fn steps(measured: &BTreeMap<String, f64>) -> Option<(f64, f64)> {
    let (flops, a_second) = (measured.get("flops")?, measured.get("gflops_per_second")? * 1e9);
    let again = measured.get("recomputed_flops").copied().unwrap_or_default();
    (a_second > 0.0).then(|| (flops + again, flops / a_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two trainings of the same operations at the same speed, one of which did a third more to save memory.
    #[test]
    fn what_is_computed_again_takes_its_time() {
        let measured = |figures: &[(&str, f64)]| -> BTreeMap<String, f64> {
            figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
        };
        let plain = steps(&measured(&[("flops", 6e9), ("gflops_per_second", 2.0)]));
        let again = [("flops", 6e9), ("gflops_per_second", 1.5), ("recomputed_flops", 2e9)];
        assert_eq!((plain, steps(&measured(&again))), (Some((6e9, 3.0)), Some((8e9, 4.0))));
        assert_eq!(steps(&measured(&[("flops", 6e9), ("gflops_per_second", 0.0)])), None);
        assert_eq!(steps(&measured(&[("gflops_per_second", 1.0)])), None);
    }
}
