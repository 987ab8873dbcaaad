//! Searches: after every round the values to try next, from all that is known. One round is a run like any other.
//!
//! What was tried is known from the results themselves, wherever they are on record: a search that was stopped goes on,
//! one that is over costs nothing, and a lockfile says which values there were.

use std::collections::BTreeMap;

use serde_json::Value;

use super::select;
use crate::cache::Action;
use crate::plan::graph::{InstanceId, Plan};
use crate::plan::search;
use crate::spec::lock::{Lock, LockedNode};
use crate::spec::params::{Goal, Search};

/// The values of every search, by the whole name of its parameter.
pub type Trials = BTreeMap<String, Vec<Value>>;

/// Returns the values of all searches when another one is to be tried, and nothing when they are over or when what was
/// tried is not all known. `metrics` gives those of an instance.
pub fn next<'m>(
    plan: &Plan,
    searches: &[(String, Search)],
    metrics: &dyn Fn(InstanceId) -> Option<&'m BTreeMap<String, f64>>,
) -> Option<Trials> {
    let (mut trials, mut grew) = (Trials::new(), false);
    for (node, search) in searches {
        let seen = seen(plan, node, search, metrics);
        let mut values: Vec<f64> = tried(plan, node, search);
        if let Some(seen) = seen.filter(|seen| seen.len() == values.len())
            && let Some(value) = search::next(search, goal(plan, node), &seen)
        {
            values.push(value);
            grew = true;
        }
        trials.insert(search.parameter.clone(), values.into_iter().map(|value| search::value(search, value)).collect());
    }
    grew.then_some(trials)
}

/// Returns the metrics of an instance as a run or the cache has them.
pub fn of_actions<'m>(actions: &'m [Option<Action>]) -> impl Fn(InstanceId) -> Option<&'m BTreeMap<String, f64>> {
    |id| actions[id.index()].as_ref().map(|action| &action.metrics)
}

/// Returns the metrics of all instances as a lockfile has them.
pub fn of_lock(plan: &Plan, lock: &Lock) -> Vec<Option<LockedNode>> {
    plan.instances().iter().map(|instance| lock.node(&instance.name)).collect()
}

fn goal(plan: &Plan, node: &str) -> Goal {
    instance(plan, node).and_then(|id| select::params(plan, id)).map_or(Goal::Max, |params| params.goal)
}

fn instance(plan: &Plan, node: &str) -> Option<InstanceId> {
    plan.ids().find(|id| plan.instance(*id).node == node)
}

/// The values that the plan has, in the order in which they were tried.
fn tried(plan: &Plan, node: &str, search: &Search) -> Vec<f64> {
    let mut values: Vec<f64> = Vec::new();
    let Some(id) = instance(plan, node) else { return values };
    for slot in plan.instance(id).slots.iter().filter(|slot| slot.name == "from") {
        for artifact in &slot.artifacts {
            let value = plan.instance(artifact.from).axes.get(&search.parameter).and_then(Value::as_f64);
            values.extend(value.filter(|value| !values.contains(value)));
        }
    }
    values
}

/// The values that were tried and what the best instance at each gave; nothing if a metric is still unknown.
fn seen<'m>(
    plan: &Plan,
    node: &str,
    search: &Search,
    metrics: &dyn Fn(InstanceId) -> Option<&'m BTreeMap<String, f64>>,
) -> Option<Vec<(f64, f64)>> {
    let id = instance(plan, node)?;
    let goal = goal(plan, node);
    let mut seen: Vec<(f64, f64)> = Vec::new();
    for candidate in select::candidates(plan, id, metrics).ok()? {
        let at = plan.instance(candidate.id).axes.get(&search.parameter)?.as_f64()?;
        let better = |old: f64| if goal == Goal::Max { candidate.value > old } else { candidate.value < old };
        match seen.iter_mut().find(|(value, _)| value.to_bits() == at.to_bits()) {
            Some((_, old)) if better(*old) => *old = candidate.value,
            Some(_) => {}
            None => seen.push((at, candidate.value)),
        }
    }
    Some(seen)
}
