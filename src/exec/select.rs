//! Which instance a `select` node gives on: metrics that are on record, compared. Nothing runs for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cache::Action;
use crate::plan::graph::{InstanceId, Plan};
use crate::spec::params::{Goal, Op, SelectParams};
use crate::spec::suggest;

/// What a selection chose, as it stands in the record, in the lockfile and in reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// The instance: `merged[t=0.6]`.
    pub instance: String,
    /// Its point of the sweep.
    pub axes: BTreeMap<String, Value>,
    /// What the expression gave for it.
    pub value: f64,
    /// How many instances it was chosen from.
    pub of: usize,
}

impl std::fmt::Display for Chosen {
    /// As one sentence: `chose merged[t=0.6] of 11, at 0.812`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "chose {} of {}, at {}", self.instance, self.of, self.value)
    }
}

impl Chosen {
    /// Reads what a selection chose from its record.
    pub fn of_action(action: &Action) -> Option<Self> {
        Self::deserialize(action.chosen.as_ref()?).ok()
    }

    /// Returns the metrics of the selection.
    pub(super) fn metrics(&self) -> BTreeMap<String, f64> {
        let axes = self.axes.iter().filter_map(|(name, value)| Some((format!("chosen.{name}"), value.as_f64()?)));
        std::iter::once(("value".to_owned(), self.value)).chain(axes).collect()
    }
}

/// An instance that is chosen from, and what the expression gave for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The instance.
    pub id: InstanceId,
    /// What the expression gave.
    pub value: f64,
}

/// Returns the settings of a selection.
pub fn params(plan: &Plan, id: InstanceId) -> Option<&SelectParams> {
    match &plan.instance(id).op {
        Op::Select(params) => Some(params),
        _ => None,
    }
}

/// Returns every candidate of a selection with its value, in graph order. `metrics` gives those of an instance.
pub fn candidates<'m>(
    plan: &Plan,
    id: InstanceId,
    metrics: &dyn Fn(InstanceId) -> Option<&'m BTreeMap<String, f64>>,
) -> Result<Vec<Candidate>, String> {
    let instance = plan.instance(id);
    let Some(params) = params(plan, id) else { return Ok(Vec::new()) };
    let slot = |name: &str| instance.slots.iter().find(|slot| slot.name == name);
    let mut found = Vec::new();
    for candidate in slot("from").into_iter().flat_map(|slot| &slot.artifacts) {
        let axes = &plan.instance(candidate.from).axes;
        let mut metric = |node: usize, metric: &str| -> Result<f64, String> {
            let scores = slot(&format!("by.{node}"));
            let agrees = |from: InstanceId| {
                plan.instance(from).axes.iter().all(|(name, value)| axes.get(name).is_none_or(|own| own == value))
            };
            let scores = scores.into_iter().flat_map(|slot| &slot.artifacts);
            let mut scores = scores.map(|artifact| artifact.from).filter(|from| agrees(*from));
            let from = scores
                .next()
                .ok_or_else(|| format!("no scores belong to `{}`", instance_name(plan, candidate.from)))?;
            let metrics = metrics(from).ok_or("its scores are not there")?;
            metric_of(metrics, metric, &plan.instance(from).name)
        };
        let value = params.by.value(&mut metric)?;
        if value.is_nan() {
            return Err(format!("`by` gives no number for `{}`", instance_name(plan, candidate.from)));
        }
        found.push(Candidate { id: candidate.from, value });
    }
    Ok(found)
}

/// Returns the best of the candidates: the first one, where several are equally good.
pub fn best(candidates: &[Candidate], goal: Goal) -> Option<&Candidate> {
    let better = |a: f64, b: f64| if goal == Goal::Max { a > b } else { a < b };
    candidates.iter().reduce(|best, next| if better(next.value, best.value) { next } else { best })
}

/// Returns the choice of a selection, and the action of the instance chosen.
pub(super) fn choose(plan: &Plan, id: InstanceId, done: &[Option<Action>]) -> Result<(Chosen, Action), String> {
    let metrics = |id: InstanceId| done[id.index()].as_ref().map(|action| &action.metrics);
    let candidates = candidates(plan, id, &metrics)?;
    let goal = params(plan, id).map_or(Goal::Max, |params| params.goal);
    let best = best(&candidates, goal).ok_or("there is nothing to choose from")?;
    let instance = plan.instance(best.id);
    let chosen = Chosen {
        instance: instance.name.clone(),
        axes: instance.axes.clone(),
        value: best.value,
        of: candidates.len(),
    };
    let action = done[best.id.index()].clone().ok_or("the instance chosen is not there")?;
    Ok((chosen, action))
}

fn metric_of(metrics: &BTreeMap<String, f64>, metric: &str, instance: &str) -> Result<f64, String> {
    metrics.get(metric).copied().ok_or_else(|| {
        let known = metrics.keys().map(String::as_str);
        let help = suggest::help(metric, known).map_or_else(String::new, |help| format!("; {help}"));
        format!("`{instance}` has no metric `{metric}`{help}")
    })
}

fn instance_name(plan: &Plan, id: InstanceId) -> &str {
    &plan.instance(id).name
}
