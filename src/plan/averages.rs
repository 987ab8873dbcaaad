//! Whether the means of a report are of scores that its evals give.
//!
//! A name that nobody scores is found when the report runs, which is the last of all: after the trainings that it tells of. What
//! evals are asked is in the plan, and tasks say what their scores are called, so it is found there. Whether two scores have a
//! mean is not: their units are the judges'.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Instance, InstanceId, Plan};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::params::{Op, ReportParams};
use crate::spec::pipeline::{NodeSpec, Pipeline};
use crate::spec::suggest;

/// What is scored, each with the names of its scores; none where one of the evals does not say them.
type Scored<'a> = BTreeMap<&'a str, Option<BTreeSet<String>>>;

/// Returns the names in `averages` that cannot be columns of a report.
pub(super) fn check(plan: &Plan, pipeline: &Pipeline) -> BTreeSet<Diagnostic> {
    let mut found = BTreeSet::new();
    for instance in plan.instances() {
        let Op::Report(params) = &instance.op else { continue };
        let (Some(node), Some(tasks)) = (pipeline.node(&instance.node), tasks(plan, instance)) else { continue };
        found.extend(of_report(params, node, pipeline, &tasks));
    }
    found
}

fn of_report(params: &ReportParams, node: &NodeSpec, pipeline: &Pipeline, tasks: &Scored<'_>) -> BTreeSet<Diagnostic> {
    let mut found = BTreeSet::new();
    for (name, of) in &params.averages {
        if tasks.contains_key(name.as_str()) {
            let place = pipeline.field_span(node, &format!("averages.{name}"));
            let message = format!("there is a column `{name}` already: a task is called so");
            found.insert(Diagnostic::new(place, message).help("give the mean another name"));
        }
        for (i, wanted) in of.iter().enumerate() {
            let Some((message, help)) = wrong(wanted, tasks) else { continue };
            let place = pipeline.field_span(node, &format!("averages.{name}[{i}]"));
            found.insert(Diagnostic::new(place, message).maybe_help(help));
        }
    }
    found
}

/// Says what is wrong with a name, and what may be meant. A name is that of a task, which may go on with one of its scores. Names
/// of tasks have no dots.
fn wrong(wanted: &str, tasks: &Scored<'_>) -> Option<(String, Option<String>)> {
    let (task, score) = wanted.split_once('.').map_or((wanted, None), |(task, score)| (task, Some(score)));
    let Some(scores) = tasks.get(task) else {
        let help = suggest::help(task, tasks.keys().copied());
        return Some((format!("no eval of this report has a task `{task}`"), help));
    };
    let (score, scores) = (score?, scores.as_ref()?);
    let help = || suggest::help(score, scores.iter().map(String::as_str));
    (!scores.contains(score)).then(|| (format!("the task `{task}` has no score `{score}`"), help()))
}

/// Returns what a report has scores of, if there is anything: evals alone give tables.
fn tasks<'a>(plan: &'a Plan, report: &Instance) -> Option<Scored<'a>> {
    let over = report.slots.iter().filter(|slot| slot.name.starts_with("over["));
    let mut waiting: Vec<InstanceId> = over.flat_map(|slot| &slot.artifacts).map(|artifact| artifact.from).collect();
    let mut tasks = Scored::new();
    while let Some(id) = waiting.pop() {
        let instance = plan.instance(id);
        match &instance.op {
            Op::Eval(params) => {
                for (task, scores) in params.scored() {
                    let all = tasks.entry(task).or_insert_with(|| Some(BTreeSet::new()));
                    *all = all.take().zip(scores).map(|(all, scores)| all.into_iter().chain(scores).collect());
                }
            }
            // What it chooses from may be tables, or models that have none.
            Op::Select(_) => {
                waiting.extend(instance.slots.iter().flat_map(|slot| &slot.artifacts).map(|artifact| artifact.from));
            }
            _ => {}
        }
    }
    (!tasks.is_empty()).then_some(tasks)
}
