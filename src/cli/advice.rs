//! What `check` says of a pipeline that is right and probably not meant so: an order of steps that loses something, an
//! evaluation whose items the training data was never searched for.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::report::warnings;
use crate::plan::{InstanceId, Plan};
use crate::spec::params::{CurateStep, Kind, Op, Task};
use crate::spec::{Diagnostic, NodeSpec, Pipeline};

/// What is said, with the files that it is about.
#[derive(Default)]
pub(super) struct Advice {
    pub(super) said: Vec<Diagnostic>,
    pub(super) files: Vec<(PathBuf, String)>,
}

impl Advice {
    /// Returns it ready to be drawn.
    pub(super) fn reports(&self) -> Vec<miette::Report> {
        warnings(&self.files, &self.said)
    }
}

/// Returns what is to be said of a plan, by place.
pub(super) fn of_plan(plan: &Plan, pipeline: &Pipeline) -> Vec<Diagnostic> {
    let mut said = BTreeSet::new();
    for instance in plan.instances() {
        let Some(node) = pipeline.node(&instance.node) else { continue };
        for advice in instance.op.advice() {
            let place = pipeline.field_span(node, &advice.field);
            said.insert(Diagnostic::new(place, advice.message).maybe_help(advice.help));
        }
    }
    said.extend(unsearched(plan, pipeline));
    said.into_iter().collect()
}

/// Returns the tasks of evaluations that no step of the curation behind them has looked for in its rows.
fn unsearched(plan: &Plan, pipeline: &Pipeline) -> BTreeSet<Diagnostic> {
    let mut said = BTreeSet::new();
    for id in plan.ids().filter(|id| plan.instance(*id).kind() == Kind::Eval) {
        let Some((params, node)) = eval_of(plan, pipeline, id) else { continue };
        let behind = plan.with_ancestors(&[id]);
        let behind: Vec<InstanceId> = plan.ids().filter(|id| behind[id.index()]).collect();
        let curated = behind.iter().any(|id| plan.instance(*id).kind() == Kind::Curate);
        let trained = behind.iter().any(|id| plan.instance(*id).kind() == Kind::Sft);
        if !curated || !trained {
            continue;
        }
        let searched = Searched::of(plan, &behind);
        let tasks = params.iter().enumerate().filter_map(|(i, task)| match task {
            Task::Named(task) => Some((i, task)),
            _ => None,
        });
        let unsearched = tasks.filter_map(|(i, task)| {
            let name = in_language(&task.key, task.language.as_deref());
            let rows = rows_of(plan, id, &format!("tasks[{i}].{}.data", task.key));
            let found = searched.tasks.contains(&name) || rows.is_some_and(|rows| searched.rows.contains(&rows));
            (!found).then_some((i, name))
        });
        said.extend(told(&unsearched.collect::<Vec<_>>(), node, pipeline));
    }
    said
}

/// Returns the name of a task as `evals:` takes it, with its language: `belebele` and `de` are `belebele-de`, however they are written.
fn in_language(task: &str, language: Option<&str>) -> String {
    let end = language.map_or_else(String::new, |language| format!("-{language}"));
    if task.ends_with(&end) { task.to_owned() } else { format!("{task}{end}") }
}

/// Says it of all tasks of an evaluation at once: there may be many.
fn told(tasks: &[(usize, String)], node: (&NodeSpec, &str), pipeline: &Pipeline) -> Option<Diagnostic> {
    let keys: Vec<&str> = tasks.iter().map(|(_, task)| task.as_str()).collect();
    let (field, its) = match tasks {
        [] => return None,
        [(i, _)] => (format!("tasks[{i}]"), "its"),
        _ => ("tasks".to_owned(), "their"),
    };
    let message =
        format!("`{}` is examined on `{}`, and no data was searched for {its} items", node.1, keys.join("`, `"));
    let help = format!("add a step `decontaminate: {{evals: [{}]}}` to what it is trained on", keys.join(", "));
    Some(Diagnostic::new(pipeline.field_span(node.0, &field), message).help(help))
}

type Examined<'a> = (&'a [Task], (&'a NodeSpec, &'a str));

fn eval_of<'a>(plan: &'a Plan, pipeline: &'a Pipeline, id: InstanceId) -> Option<Examined<'a>> {
    let instance = plan.instance(id);
    let Op::Eval(params) = &instance.op else { return None };
    Some((&params.tasks, (pipeline.node(&instance.node)?, params.model.node())))
}

/// What `decontaminate` looks for in the nodes behind an evaluation.
#[derive(Default)]
struct Searched {
    tasks: BTreeSet<String>,
    rows: BTreeSet<InstanceId>,
}

impl Searched {
    fn of(plan: &Plan, behind: &[InstanceId]) -> Self {
        let mut searched = Self::default();
        for id in behind {
            let Op::Curate(params) = &plan.instance(*id).op else { continue };
            for (i, step) in params.steps.iter().enumerate() {
                let CurateStep::Decontaminate(step) = step else { continue };
                for (set, eval) in step.evals.iter().enumerate() {
                    let language = eval.language.as_deref();
                    searched.tasks.extend(eval.task.as_deref().map(|task| in_language(task, language)));
                    searched.rows.extend(rows_of(plan, *id, &format!("steps[{i}].decontaminate.evals[{set}].node")));
                }
            }
        }
        searched
    }
}

/// Returns what fills a slot.
fn rows_of(plan: &Plan, id: InstanceId, slot: &str) -> Option<InstanceId> {
    let slot = plan.instance(id).slots.iter().find(|found| found.name == slot)?;
    slot.artifacts.first().map(|artifact| artifact.from)
}
