//! What a training makes smaller. The loop, its checkpoints and its evaluations know no more of it than this.

use super::samples::{Sample, Samples, split_off};
use super::state::EXIT_LOSS;
use crate::model::{CausalLm, ModelError, Packed, Pass};
use crate::ops::{OpCx, OpError};
use crate::spec::params::SftParams;

/// Something to learn from, in units that are packed and shuffled: samples of text, pairs of answers.
pub(super) trait Objective {
    /// Returns how many tokens of the model each unit takes.
    fn lengths(&self) -> Vec<usize>;

    /// Returns how many tokens there is room for in a packed sequence.
    fn room(&self, params: &SftParams) -> usize {
        params.sequence_len
    }

    /// Returns how often a unit counts in the mean loss of a step: once for each trained token, or once.
    fn count(&self, unit: usize) -> usize;

    /// Returns how many tokens of a unit are learned.
    fn trained_tokens(&self, unit: usize) -> usize;

    /// Says where a unit comes from.
    fn name(&self, unit: usize) -> String;

    /// Adds the gradient of the units' loss times `pass.scale` to that of the model, and returns the loss, not scaled.
    fn add_gradients(&self, model: &mut CausalLm, units: &[usize], pass: Pass) -> Result<Added, ModelError>;

    /// Returns the loss of a unit alone, for a diagnosis.
    fn loss_of(&self, model: &CausalLm, unit: usize) -> Result<f64, ModelError>;

    /// Returns how the model does on what is kept apart.
    fn evaluate(&self, model: &CausalLm, cx: &OpCx<'_>) -> Result<Score, OpError>;
}

/// What a batch came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Added {
    /// The sum of all losses, in nats.
    pub(super) loss: f64,
    /// Sums of other figures, whose means belong into the log.
    pub(super) more: Vec<(String, f64)>,
}

/// How a model does on what is kept apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Score {
    /// The mean loss, in nats.
    pub(super) loss: f64,
    /// Other figures for the log.
    pub(super) more: Vec<(String, f64)>,
}

/// The next token: the negative logarithm of the probability that the model gives to each trained token.
pub(super) struct NextToken {
    pub(super) samples: Samples,
    /// Kept apart.
    pub(super) held_out: Vec<Sample>,
    /// Tokens that are scored together.
    pub(super) together: usize,
}

impl NextToken {
    /// Puts the data of the node together.
    pub(super) fn new(mut samples: Samples, evaluation: Option<Samples>, params: &SftParams) -> Result<Self, OpError> {
        let mut held_out = split_off(&mut samples.list, params)?;
        held_out.extend(evaluation.map(|evaluation| evaluation.list).unwrap_or_default());
        Ok(Self { samples, held_out, together: params.micro_batch_size.saturating_mul(params.sequence_len) })
    }

    fn sample(&self, unit: usize) -> &Sample {
        &self.samples.list[unit]
    }
}

impl Objective for NextToken {
    fn lengths(&self) -> Vec<usize> {
        self.samples.list.iter().map(|sample| sample.ids.len()).collect()
    }

    fn count(&self, unit: usize) -> usize {
        self.sample(unit).trained_tokens()
    }

    fn trained_tokens(&self, unit: usize) -> usize {
        self.sample(unit).trained_tokens()
    }

    fn name(&self, unit: usize) -> String {
        self.samples.name(self.sample(unit))
    }

    fn add_gradients(&self, model: &mut CausalLm, units: &[usize], pass: Pass) -> Result<Added, ModelError> {
        let mut packed = Packed::default();
        let mut trained = Vec::new();
        for sample in units.iter().map(|unit| self.sample(*unit)) {
            packed.push(&sample.ids);
            trained.extend_from_slice(&sample.trained);
        }
        let losses = model.add_all_gradients(&packed, &trained, pass)?;
        let name = |exit: usize| format!("{EXIT_LOSS}{exit}");
        Ok(Added { loss: losses.last, more: model.exits().into_iter().map(name).zip(losses.exits).collect() })
    }

    fn loss_of(&self, model: &CausalLm, unit: usize) -> Result<f64, ModelError> {
        loss_of(model, &[self.sample(unit)])
    }

    fn evaluate(&self, model: &CausalLm, cx: &OpCx<'_>) -> Result<Score, OpError> {
        cx.progress.phase("evaluating", Some(self.held_out.len() as u64), "samples");
        let (mut loss, mut count) = (0.0, 0);
        let mut exits = vec![0.0; model.exits().len()];
        let mut rest = self.held_out.as_slice();
        while !rest.is_empty() {
            cx.check_cancelled()?;
            let mut tokens = 0;
            let fits = |sample: &&Sample| {
                tokens += sample.ids.len();
                tokens <= self.together
            };
            let (group, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let group: Vec<&Sample> = group.iter().collect();
            let failed = |error| OpError::caused("cannot evaluate", error);
            loss += loss_of(model, &group).map_err(failed)?;
            for (number, sum) in exits.iter_mut().enumerate() {
                *sum += loss_at(model, &group, Some(number)).map_err(failed)?;
            }
            count += group.iter().map(|sample| sample.trained_tokens()).sum::<usize>();
            rest = others;
            cx.progress.position((self.held_out.len() - rest.len()) as u64);
        }
        let loss = loss / count as f64;
        let mut more = vec![("perplexity".to_owned(), loss.exp()), ("tokens".to_owned(), count as f64)];
        let mean = |(exit, sum): (usize, f64)| (format!("{EXIT_LOSS}{exit}"), sum / count as f64);
        more.extend(model.exits().into_iter().zip(exits).map(mean));
        Ok(Score { loss, more })
    }
}

/// Returns the summed loss of the trained tokens of some samples, in nats.
fn loss_of(model: &CausalLm, samples: &[&Sample]) -> Result<f64, ModelError> {
    loss_at(model, samples, None)
}

/// As [`loss_of`], at one of the exits that are trained, by its number.
fn loss_at(model: &CausalLm, samples: &[&Sample], exit: Option<usize>) -> Result<f64, ModelError> {
    let mut packed = Packed::default();
    for sample in samples {
        packed.push(&sample.ids);
    }
    let log_probs = model.log_probs_at(&packed, exit)?;
    let trained = samples.iter().flat_map(|sample| &sample.trained);
    Ok(trained.zip(log_probs).filter(|(trained, _)| **trained).map(|(_, log_prob)| -f64::from(log_prob)).sum())
}
