//! The training loop.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::optim::{AdamW, clip_factor, gradient_norm};
use super::pack::{Plan, Step};
use super::samples::Sample;
use super::schedule::learning_rate;
use crate::model::{CausalLm, ModelError, Packed};
use crate::ops::{OpCx, OpError};
use crate::spec::params::SftParams;

/// What a training run came to.
#[derive(Debug)]
pub(super) struct Summary {
    /// Optimizer steps.
    pub(super) steps: usize,
    /// The mean loss of the last tenth of the steps, in nats a token.
    pub(super) final_loss: f64,
    /// Tokens that went through the model.
    pub(super) tokens: usize,
    /// Those of them that were learned.
    pub(super) trained_tokens: usize,
    /// How long the steps took.
    pub(super) duration: Duration,
}

/// A step's figures: a line of the log.
struct StepFigures {
    loss: f64,
    grad_norm: f64,
    tokens: usize,
    trained_tokens: usize,
}

/// Trains a model on samples, and writes a line for each step to `log`.
pub(super) fn train(
    model: &mut CausalLm,
    samples: &[Sample],
    params: &SftParams,
    log: &Path,
    cx: &OpCx<'_>,
) -> Result<Summary, OpError> {
    let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
    let plan = Plan::new(lengths, params, cx)?;
    let steps = plan.steps();
    let mut optimizer = AdamW::new(params);
    let mut log = std::io::BufWriter::new(fs_err::File::create(log)?);
    let mut summary = Summary { steps, final_loss: 0.0, tokens: 0, trained_tokens: 0, duration: Duration::ZERO };
    let averaged = steps.div_ceil(10);
    cx.progress.phase("training", Some(steps as u64), "steps");
    let start = Instant::now();
    let mut index = 0;
    for pass in 0..plan.passes() {
        if index == steps {
            break;
        }
        for step in plan.pass(pass, cx)?.iter().take(steps - index) {
            let figures = gradients(model, samples, step, cx).and_then(|figures| check(model, index, figures));
            let figures = figures.map_err(|error| locate(error, index + 1))?;
            let rate = learning_rate(params, index, steps);
            optimizer.step(model.parameters(), rate, clip_factor(figures.grad_norm, params.max_grad_norm));
            index += 1;
            write_line(&mut log, index, step, rate, &figures)?;
            if index > steps - averaged {
                summary.final_loss += figures.loss;
            }
            summary.tokens += figures.tokens;
            summary.trained_tokens += figures.trained_tokens;
            cx.progress.position(index as u64);
            cx.progress.note(&format!("loss {:.3}", figures.loss));
        }
    }
    summary.duration = start.elapsed();
    log.flush()?;
    summary.final_loss /= averaged as f64;
    Ok(summary)
}

/// Why a step failed.
enum Failure {
    Stopped(OpError),
    Model(ModelError),
    Loss(f64),
}

fn locate(failure: Failure, step: usize) -> OpError {
    let help = "lower `learning_rate`, lengthen the warm-up (`warmup_ratio`), or clip harder (`max_grad_norm`)";
    match failure {
        Failure::Stopped(error) => error,
        Failure::Loss(loss) => OpError::new(format!("the loss is {loss} at step {step}")).help(help),
        Failure::Model(error @ ModelError::NotFinite { .. }) => {
            OpError::caused(format!("training broke down at step {step}"), error).help(help)
        }
        Failure::Model(error) => OpError::caused(format!("cannot take step {step}"), error),
    }
}

/// Adds up the gradients of all batches of a step. The loss is the mean over all learned tokens of the step, so a token
/// weighs the same in whatever batch it is.
fn gradients(model: &mut CausalLm, samples: &[Sample], step: &Step, cx: &OpCx<'_>) -> Result<StepFigures, Failure> {
    let trained_tokens: usize = step.batches.iter().flatten().map(|sample| samples[*sample].trained_tokens()).sum();
    let mut figures = StepFigures { loss: 0.0, grad_norm: 0.0, tokens: 0, trained_tokens };
    for batch in &step.batches {
        cx.check_cancelled().map_err(Failure::Stopped)?;
        let mut packed = Packed::default();
        let mut trained = Vec::new();
        for sample in batch.iter().map(|sample| &samples[*sample]) {
            packed.push(&sample.ids);
            trained.extend_from_slice(&sample.trained);
        }
        figures.tokens += packed.ids.len();
        let scale = 1.0 / trained_tokens as f32;
        figures.loss += model.add_gradients(&packed, &trained, scale).map_err(Failure::Model)?;
    }
    figures.loss /= trained_tokens as f64;
    Ok(figures)
}

/// Finds out the norm of the gradients, and that nothing is infinite or undefined.
fn check(model: &CausalLm, index: usize, mut figures: StepFigures) -> Result<StepFigures, Failure> {
    if !figures.loss.is_finite() {
        return Err(Failure::Loss(figures.loss));
    }
    figures.grad_norm = gradient_norm(model.parameters());
    // A weight cut off from the loss shows at the first step or never.
    if index == 0 || !figures.grad_norm.is_finite() {
        model.check_gradients().map_err(Failure::Model)?;
    }
    Ok(figures)
}

fn write_line(
    log: &mut impl Write,
    step: usize,
    planned: &Step,
    learning_rate: f64,
    figures: &StepFigures,
) -> Result<(), OpError> {
    let line = json!({
        "step": step,
        "epoch": planned.done.0 as f64 / planned.done.1 as f64,
        "loss": figures.loss,
        "learning_rate": learning_rate,
        "grad_norm": figures.grad_norm,
        "tokens": figures.tokens,
        "trained_tokens": figures.trained_tokens,
    });
    Ok(writeln!(log, "{line}")?)
}
