//! Whether the means of a report are of tasks that its evals have.
//!
//! A name that nobody scores is found when the report runs, which is the last of all: after the trainings that it tells of. What
//! evals are asked is in the plan, so it is found there. Metrics are not: only judges know which a task gives.

use std::collections::BTreeSet;

use super::graph::{Instance, InstanceId, Plan};
use crate::spec::diagnostic::Diagnostic;
use crate::spec::params::{EvalParams, Op, ReportParams, Task};
use crate::spec::pipeline::{NodeSpec, Pipeline};
use crate::spec::suggest;

/// The score that an eval with an exit has beside those of its tasks.
const COST: &str = "compute";

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

fn of_report(
    params: &ReportParams,
    node: &NodeSpec,
    pipeline: &Pipeline,
    tasks: &BTreeSet<&str>,
) -> BTreeSet<Diagnostic> {
    let mut found = BTreeSet::new();
    for (name, of) in &params.averages {
        if tasks.contains(name.as_str()) {
            let place = pipeline.field_span(node, &format!("averages.{name}"));
            let message = format!("there is a column `{name}` already: a task is called so");
            found.insert(Diagnostic::new(place, message).help("give the mean another name"));
        }
        for (i, wanted) in of.iter().map(|wanted| task_of(wanted)).enumerate() {
            if tasks.contains(wanted) {
                continue;
            }
            let place = pipeline.field_span(node, &format!("averages.{name}[{i}]"));
            let message = format!("no eval of this report has a task `{wanted}`");
            let help = suggest::help(wanted, tasks.iter().copied());
            found.insert(Diagnostic::new(place, message).maybe_help(help));
        }
    }
    found
}

/// Returns the task in a name, which may go on with one of its metrics. Names of tasks have no dots.
fn task_of(wanted: &str) -> &str {
    wanted.split_once('.').map_or(wanted, |(task, _)| task)
}

/// Returns the tasks that a report has scores of, if there are any: evals alone give tables.
fn tasks<'a>(plan: &'a Plan, report: &Instance) -> Option<BTreeSet<&'a str>> {
    let over = report.slots.iter().filter(|slot| slot.name.starts_with("over["));
    let mut waiting: Vec<InstanceId> = over.flat_map(|slot| &slot.artifacts).map(|artifact| artifact.from).collect();
    let mut tasks = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let instance = plan.instance(id);
        match &instance.op {
            Op::Eval(params) => tasks.extend(names(params)),
            // What it chooses from may be tables, or models that have none.
            Op::Select(_) => {
                waiting.extend(instance.slots.iter().flat_map(|slot| &slot.artifacts).map(|artifact| artifact.from));
            }
            _ => {}
        }
    }
    (!tasks.is_empty()).then_some(tasks)
}

fn names(params: &EvalParams) -> impl Iterator<Item = &str> {
    params.tasks.iter().map(Task::name).chain(params.exit.map(|_| COST))
}
