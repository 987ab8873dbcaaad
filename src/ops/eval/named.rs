//! A task of the list, or of a task file: rows to questions, questions to the model, answers to scores.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::ask::{Manner, Witness, Writing};
use super::judge::Judge;
use super::sampled::Sampled;
use super::task::Templates;
use super::{Score, record};
use crate::data::{self, Record};
use crate::ops::{OpCx, OpError};
use crate::spec::params::{EvalParams, NamedTask, Request, ShotOrder, TaskDefinition};

/// A task that was asked.
pub(super) struct Asked {
    pub(super) scores: Vec<Score>,
    pub(super) record: record::Task,
}

/// Asks one task, and writes what became of each row.
pub(super) fn run(
    (index, task): (usize, &NamedTask),
    params: &EvalParams,
    witness: &Witness<'_>,
    cx: &OpCx<'_>,
) -> Result<Asked, OpError> {
    let missing = || OpError::new(format!("the task `{}` has no definition", task.name));
    let definition = task.definition.as_ref().ok_or_else(missing)?;
    let templates = Templates::new(&task.name, definition)?;
    let manner = Manner::new(params, definition, witness.tokenizer())?;
    let judge = Judge::new(definition, &task.name, params.profile, params.seed)?;
    let shots = task.shots.unwrap_or(definition.fewshot.shots);
    let slot = format!("tasks[{index}].{}", task.key);
    let rows = rows(cx, &format!("{slot}.data"), task.limit.filter(|_| definition.condition.is_none()))?;
    let examples = if shots > 0 { self::rows(cx, &format!("{slot}.examples"), None)? } else { Vec::new() };
    let limit = task.limit.unwrap_or(usize::MAX);
    let writing = writing(task, params, definition);
    // What is the same in every run is asked once.
    let drawn = writing.temperature > 0.0 && matches!(definition.request, Request::Generate(_));
    let varies = drawn || (shots > 0 && definition.fewshot.order == ShotOrder::Random);
    let mut runs = Vec::new();
    for run in 0..if varies { params.runs } else { 1 } {
        let seed = params.seed.wrapping_add(run as u64);
        let questions = templates.questions(&rows, &examples, shots, limit, seed)?;
        let mut sampled = witness.ask(&task.name, &questions, &manner, &Writing { seed, ..writing })?;
        cx.progress.phase(&format!("judging {}", task.name), None, "rows");
        judge.rows(&mut sampled)?;
        write(&cx.out.join(record::SAMPLES).join(record::samples_file(&task.name, run)), &sampled)?;
        runs.push(sampled);
    }
    let runs: Vec<&[Sampled]> = (0..params.runs).map(|run| &*runs[run.min(runs.len() - 1)]).collect();
    let scores = judge.scores_of_runs(&runs);
    let record = record::Task {
        name: task.name.clone(),
        task: definition.task.clone(),
        language: task.language.clone(),
        shots,
        limit: task.limit,
        rows: rows.len(),
        chat: manner.chat,
        definition: json!(definition),
    };
    Ok(Asked { scores, record })
}

fn writing(task: &NamedTask, params: &EvalParams, definition: &TaskDefinition) -> Writing {
    let (max_tokens, temperature, top_p, samples) = match &definition.request {
        Request::Generate(generate) => (generate.max_tokens, generate.temperature, generate.top_p, generate.samples),
        _ => (0, 0.0, 1.0, 1),
    };
    Writing {
        max_tokens: task.max_tokens.or(params.max_tokens).unwrap_or(max_tokens),
        temperature: task.temperature.unwrap_or(temperature),
        top_p: task.top_p.unwrap_or(top_p),
        samples: task.samples.unwrap_or(samples).max(1),
        seed: params.seed,
    }
}

/// Reads the rows of a data set.
fn rows(cx: &OpCx<'_>, slot: &str, limit: Option<usize>) -> Result<Vec<Record>, OpError> {
    let input = cx.inputs.one(slot)?;
    let unreadable = |error| OpError::caused(format!("the rows of `{}` cannot be read", input.name), error);
    let rows = data::open_records(&input.path).map_err(unreadable)?.unpacking_in(cx.scratch);
    rows.take(limit.unwrap_or(usize::MAX)).map(|row| row.map_err(unreadable)).collect()
}

fn write(path: &Path, rows: &[Sampled]) -> Result<(), OpError> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row).map_err(|error| OpError::io(path, error))?);
        text.push('\n');
    }
    Ok(fs_err::write(path, text)?)
}

/// Returns the names of tasks and what was measured, for the record of the run.
pub(super) fn measured(witness: &Witness<'_>) -> BTreeMap<String, f64> {
    let counts = witness.counts.get();
    [("requests_computed", counts.computed), ("requests_known", counts.known)]
        .map(|(name, count)| (name.to_owned(), count as f64))
        .into()
}
