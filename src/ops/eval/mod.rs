//! `kind: eval`: scores of a model, each with its standard error.
//!
//! Everything here rests on one question to the model, the log-probability of each token given those before it. The
//! question is a trait with one method, so that the statistics are tested with known probabilities instead of a model.
//!
//! A text is conditioned on one `<|endoftext|>` in front of it, which is also what stands in front of every document in
//! training; the token that ends a document is not scored. What is written, `scores.json`, holds no time and no path.

mod ask;
mod bits_per_byte;
mod cost;
mod judge;
mod minimal_pairs;
mod named;
mod passes;
mod record;
mod sampled;
mod scorer;
mod scores;
mod task;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::Device;

use ask::Witness;
pub(super) use scorer::TextScorer;
pub(super) use scores::{Score, Scores};

use super::fit::check_positions;
use super::written::mistake;
use super::{OpCx, OpError, Outcome};
use crate::data::{self, Row, Tokenizer};
use crate::model::{CausalLm, Config, ModelError, OnDevice, Packed};
use crate::spec::params::{EvalParams, Exit, Mistake, Task};
use crate::tensor::device_suffix;

/// What can say how likely tokens are.
trait Scorer {
    /// Returns `ln P(ids[i] | earlier ids of its document)` for every token, 0 for the first of each document.
    fn log_probs(&self, packed: &Packed) -> Result<Vec<f32>, OpError>;
}

impl Scorer for CausalLm {
    fn log_probs(&self, packed: &Packed) -> Result<Vec<f32>, OpError> {
        CausalLm::log_probs(self, packed).map_err(not_run)
    }
}

impl Scorer for OnDevice {
    fn log_probs(&self, packed: &Packed) -> Result<Vec<f32>, OpError> {
        OnDevice::log_probs(self, packed).map_err(not_run)
    }
}

fn not_run(error: ModelError) -> OpError {
    OpError::caused("the model could not be run", error)
}

/// Loads a model onto a device, to stop after so many layers or after the last.
fn load(dir: &Path, device: &Device, exit: Option<usize>) -> Result<(Box<dyn Scorer>, Config), ModelError> {
    if device.is_cpu() {
        let model = CausalLm::load_at(dir, exit)?;
        let config = model.config().clone();
        return Ok((Box::new(model), config));
    }
    let model = OnDevice::load_at(dir, device, exit)?;
    let config = model.config().clone();
    Ok((Box::new(model), config))
}

/// What turns text into tokens.
trait Encoder {
    /// Returns the tokens of a text, without any special ones.
    fn encode(&self, text: &str) -> Result<Vec<u32>, OpError>;
    /// Returns the token that stands in front of every text.
    fn start(&self) -> u32;
}

impl Encoder for Tokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>, OpError> {
        Tokenizer::encode(self, text).map_err(|error| OpError::caused("a text could not be tokenized", error))
    }

    fn start(&self) -> u32 {
        self.document_start()
    }
}

/// What every task needs.
struct Bench<'a> {
    scorer: &'a dyn Scorer,
    encoder: &'a dyn Encoder,
    /// Tokens in one forward pass.
    max_length: usize,
    cx: &'a OpCx<'a>,
}

/// What the tasks are put to, each opened when a task first needs it.
struct Models<'a> {
    dir: &'a Path,
    params: &'a EvalParams,
    cx: &'a OpCx<'a>,
    whole: OnceCell<(Box<dyn Scorer>, Tokenizer)>,
    witness: OnceCell<Witness<'a>>,
}

impl<'a> Models<'a> {
    /// Returns the model as it scores whole texts.
    fn whole(&self) -> Result<&(Box<dyn Scorer>, Tokenizer), OpError> {
        if let Some(open) = self.whole.get() {
            return Ok(open);
        }
        let name = self.cx.inputs.one("model").map_or("", |input| &input.name);
        let unusable = || format!("cannot use the model `{name}`");
        let tokenizer = Tokenizer::load(self.dir).map_err(|error| OpError::caused(unusable(), error))?;
        let device = self.cx.open_device()?;
        let (model, config) = load(self.dir, &device, self.params.exit.and_then(Exit::layers))
            .map_err(|error| OpError::caused(unusable(), error))?;
        check_positions(&config, "max_length", self.params.max_length)?;
        Ok(self.whole.get_or_init(|| (model, tokenizer)))
    }

    /// Returns the model as it answers questions.
    fn witness(&self) -> Result<&Witness<'a>, OpError> {
        if let Some(open) = self.witness.get() {
            return Ok(open);
        }
        let opened = Witness::open(self.dir, self.params, self.cx)?;
        Ok(self.witness.get_or_init(|| opened))
    }
}

/// Returns what cannot be read in tasks of the user's own, by field of their definitions. Those of the list are read by our tests.
pub(super) fn unreadable(params: &EvalParams) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (i, task) in params.tasks.iter().enumerate() {
        let Task::Named(task) = task else { continue };
        let Some(definition) = task.definition.as_ref().filter(|_| task.define.is_some()) else { continue };
        let templates = task::Templates::new(&task.name, definition).err();
        let judge = judge::Judge::new(definition, &task.name, params.profile, params.seed).err();
        let judge = judge.filter(|_| !definition.metrics.is_empty());
        let at = format!("tasks[{i}].{}.definition", task.key);
        let told = |error: OpError| match error.field() {
            Some(field) => mistake(format!("{at}.{field}"), &error),
            None => mistake(&at, &error),
        };
        mistakes.extend(templates.into_iter().chain(judge).map(told));
    }
    mistakes
}

/// Runs the node.
pub(super) fn run(params: &EvalParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let dir = &cx.inputs.one("model")?.path;
    let models = Models { dir, params, cx, whole: OnceCell::new(), witness: OnceCell::new() };
    let begin = Instant::now();
    let mut tokens = 0;
    let (mut scores, mut records) = (Vec::with_capacity(params.tasks.len()), Vec::new());
    for (i, task) in params.tasks.iter().enumerate() {
        let failed =
            |error| OpError::caused(format!("task `{}` on `{}` failed", task.name(), rows_of(task, i, cx)), error);
        if let Task::Named(task) = task {
            let asked = named::run((i, task), params, models.witness()?, cx).map_err(failed)?;
            scores.extend(asked.scores);
            records.push(asked.record);
            continue;
        }
        let (scorer, encoder) = models.whole()?;
        let bench = Bench { scorer: &**scorer, encoder, max_length: params.max_length, cx };
        let data = cx.inputs.one(&task.slot(i))?;
        let (score, scored) = run_task(task, &data.path, &bench).map_err(failed)?;
        tokens += scored;
        scores.push(score);
    }
    let exit = params.exit.and_then(Exit::layers);
    if params.exit.is_some() {
        scores.extend(cost::scores(dir, exit)?);
    }
    let scores = Scores::new(scores);
    scores.write(cx.out)?;
    let mut measured = BTreeMap::new();
    let mut device = models.whole.get().map(|_| cx.open_device()).transpose()?;
    if let Some(witness) = models.witness.get() {
        record::EvalRecord::new(params, witness.tokenizer().template_source(), records).write(cx.out)?;
        measured = named::measured(witness);
        let counts = witness.counts.get();
        tokens += usize::try_from(counts.tokens).unwrap_or(usize::MAX);
        if counts.computed > 0 {
            device = Some(cx.open_device()?);
        }
    }
    let speed = tokens as f64 / begin.elapsed().as_secs_f64().max(1e-9);
    measured.insert("tokens_per_second".to_owned(), speed);
    measured.insert("flops_per_token".to_owned(), cost::of_token(dir, exit)?);
    let device = device.as_ref().and_then(device_suffix).map(str::to_owned);
    Ok(Outcome { metrics: scores.metrics(), measured, device })
}

/// Returns the name of the node that a task has its rows from.
fn rows_of(task: &Task, index: usize, cx: &OpCx<'_>) -> String {
    cx.inputs.one(&task.slot(index)).map_or_else(|_| String::new(), |input| input.name.clone())
}

/// Returns the score, and how many tokens went through the model.
fn run_task(task: &Task, dir: &Path, bench: &Bench<'_>) -> Result<(Score, usize), OpError> {
    let rows = data::open(dir)
        .map_err(|error| OpError::caused("the data cannot be read", error))?
        .unpacking_in(bench.cx.scratch);
    let rows = rows
        .take(task.limit().unwrap_or(usize::MAX))
        .map(|row| row.map_err(|error| OpError::caused("the data cannot be read", error)));
    let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
    match task {
        Task::BitsPerByte(task) => bits_per_byte::run(&task.name, &rows, bench),
        Task::MinimalPairs(task) => minimal_pairs::run(&task.name, &rows, bench),
        Task::Named(task) => Err(OpError::new(format!("`{}` is asked by row", task.name))),
    }
}
