//! `kind: eval`: scores of a model, each with its standard error.
//!
//! Everything here rests on one question to the model, the log-probability of each token given those before it. The
//! question is a trait with one method, so that the statistics are tested with known probabilities instead of a model.
//!
//! A text is conditioned on one `<|endoftext|>` in front of it, which is also what stands in front of every document in
//! training; the token that ends a document is not scored. What is written, `scores.json`, holds no time and no path.

mod bits_per_byte;
mod judge;
mod minimal_pairs;
mod passes;
mod sampled;
mod scorer;
mod scores;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use candle_core::Device;

pub(super) use scorer::TextScorer;
pub(super) use scores::{Score, Scores};

use super::fit::check_positions;
use super::{OpCx, OpError, Outcome};
use crate::data::{self, Row, Tokenizer};
use crate::model::{CausalLm, Config, ModelError, OnDevice, Packed};
use crate::spec::params::{EvalParams, Task};
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

/// Loads a model onto a device.
fn load(dir: &Path, device: &Device) -> Result<(Box<dyn Scorer>, Config), ModelError> {
    if device.is_cpu() {
        let model = CausalLm::load(dir)?;
        let config = model.config().clone();
        return Ok((Box::new(model), config));
    }
    let model = OnDevice::load(dir, device)?;
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

/// Runs the node.
pub(super) fn run(params: &EvalParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let dir = &cx.inputs.one("model")?.path;
    let unusable = || format!("cannot use the model `{}`", cx.inputs.one("model").map_or("", |input| &input.name));
    let tokenizer = Tokenizer::load(dir).map_err(|error| OpError::caused(unusable(), error))?;
    let device = cx.open_device()?;
    let (model, config) = load(dir, &device).map_err(|error| OpError::caused(unusable(), error))?;
    check_positions(&config, "max_length", params.max_length)?;
    let bench = Bench { scorer: &*model, encoder: &tokenizer, max_length: params.max_length, cx };
    let begin = Instant::now();
    let mut tokens = 0;
    let mut scores = Vec::with_capacity(params.tasks.len());
    for (i, task) in params.tasks.iter().enumerate() {
        let data = cx.inputs.one(&task.slot(i))?;
        let (score, scored) = run_task(task, &data.path, &bench)
            .map_err(|error| OpError::caused(format!("task `{}` on `{}` failed", task.name(), data.name), error))?;
        tokens += scored;
        scores.push(score);
    }
    let scores = Scores::new(scores);
    scores.write(cx.out)?;
    let speed = tokens as f64 / begin.elapsed().as_secs_f64().max(1e-9);
    let measured = BTreeMap::from([("tokens_per_second".to_owned(), speed)]);
    Ok(Outcome { metrics: scores.metrics(), measured, device: device_suffix(&device).map(str::to_owned) })
}

/// Returns the score, and how many tokens went through the model.
fn run_task(task: &Task, dir: &Path, bench: &Bench<'_>) -> Result<(Score, usize), OpError> {
    let rows = data::open(dir).map_err(|error| OpError::caused("the data cannot be read", error))?;
    let rows = rows
        .take(task.limit().unwrap_or(usize::MAX))
        .map(|row| row.map_err(|error| OpError::caused("the data cannot be read", error)));
    let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
    match task {
        Task::BitsPerByte(task) => bits_per_byte::run(&task.name, &rows, bench),
        Task::MinimalPairs(task) => minimal_pairs::run(&task.name, &rows, bench),
        Task::Named(task) => Err(OpError::new(format!("`{}` is not asked yet", task.name))),
    }
}
