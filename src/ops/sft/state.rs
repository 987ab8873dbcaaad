//! How far a training is: all that is neither weights nor moments, and goes into a checkpoint.
//!
//! Nothing in it is a state of a random generator: everything random follows from the seed and the number of the step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::params::SftParams;

/// Steps that a loss is compared with.
const SPIKE_WINDOW: usize = 50;
/// Steps before which no loss counts as a spike: it falls steeply at first.
const SPIKE_HISTORY: usize = 20;
/// How many standard deviations above the mean a loss must be to count as a spike.
const SPIKE_DEVIATIONS: f64 = 6.0;

/// How far a training is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Steps taken.
    pub(super) step: usize,
    /// The pass that the next step is of, and how many steps of it were taken.
    pub(super) pass: u64,
    pub(super) in_pass: usize,
    /// Whether an evaluation is due after the last step.
    pub(super) evaluation_due: bool,
    /// The epoch that ended with the last step and whose model is to be kept.
    pub(super) epoch_due: Option<u64>,
    /// Tokens that went through the model, those that were learned, and samples.
    pub(super) tokens: u64,
    pub(super) trained_tokens: u64,
    pub(super) samples: u64,
    /// Floating-point operations of the model, in billions, rounded for each step: what lockfiles hold.
    pub(super) gflops: u64,
    /// The same, not rounded, as bits.
    flops: u64,
    /// Those that were done a second time to save memory, in the same way.
    #[serde(default)]
    recomputed_flops: u64,
    /// The loss of each step, as bits: JSON does not keep the last ones.
    losses: Vec<u64>,
    /// What was evaluated after which step, and its loss as bits.
    evaluations: Vec<(usize, u64)>,
    /// Steps whose loss was a spike.
    pub(super) spikes: u64,
    /// Whether an evaluation ended the training.
    pub(super) stopped: bool,
    /// The losses of exits by name, as bits: of each step, and of the last evaluation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    exits: BTreeMap<String, Vec<u64>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    evaluated_exits: BTreeMap<String, u64>,
}

/// What the names of such losses begin with.
pub(super) const EXIT_LOSS: &str = "loss_exit_";

impl State {
    /// Notes the operations of a step.
    pub(super) fn note_flops(&mut self, flops: f64, recomputed: f64) {
        self.gflops += (flops / 1e9).round() as u64;
        self.flops = (self.flops() + flops).to_bits();
        self.recomputed_flops = (self.recomputed_flops() + recomputed).to_bits();
    }

    /// Returns those that were done a second time, beside [`Self::flops`].
    pub(super) fn recomputed_flops(&self) -> f64 {
        f64::from_bits(self.recomputed_flops)
    }

    /// Returns the floating-point operations of all steps. All bits zero are the number zero.
    pub(super) fn flops(&self) -> f64 {
        f64::from_bits(self.flops)
    }

    /// Notes the loss of a step. Says whether it is far above those before.
    pub(super) fn note_loss(&mut self, loss: f64) -> bool {
        let recent: Vec<f64> = self.losses.iter().rev().take(SPIKE_WINDOW).map(|bits| f64::from_bits(*bits)).collect();
        let spike = recent.len() >= SPIKE_HISTORY && is_spike(&recent, loss);
        self.losses.push(loss.to_bits());
        self.spikes += u64::from(spike);
        spike
    }

    /// Says whether the losses of the last steps were all above what the user bears.
    pub(super) fn is_lost(&self, params: &SftParams) -> bool {
        let patience = watchdog_patience(params);
        let last = self.losses.iter().rev().take(patience).map(|bits| f64::from_bits(*bits));
        params
            .loss_watchdog_threshold
            .is_some_and(|threshold| self.losses.len() >= patience && last.into_iter().all(|loss| loss > threshold))
    }

    /// Returns the mean loss of the last tenth of the steps.
    pub(super) fn final_loss(&self) -> f64 {
        mean_of_last_tenth(&self.losses)
    }

    /// Notes those figures of a step that are losses of exits.
    pub(super) fn note_exits(&mut self, figures: &[(String, f64)]) {
        for (name, loss) in figures.iter().filter(|(name, _)| name.starts_with(EXIT_LOSS)) {
            self.exits.entry(name.clone()).or_default().push(loss.to_bits());
        }
    }

    /// The same of an evaluation.
    pub(super) fn note_evaluated_exits(&mut self, figures: &[(String, f64)]) {
        let losses = figures.iter().filter(|(name, _)| name.starts_with(EXIT_LOSS));
        self.evaluated_exits.extend(losses.map(|(name, loss)| (name.clone(), loss.to_bits())));
    }

    /// Returns of each exit what [`Self::final_loss`] is of the last layer, and the loss of the last evaluation.
    pub(super) fn exit_figures(&self) -> Vec<(String, f64)> {
        let last = self.exits.iter().map(|(name, losses)| (format!("final_{name}"), mean_of_last_tenth(losses)));
        let evaluated = self.evaluated_exits.iter().map(|(name, loss)| (format!("eval_{name}"), f64::from_bits(*loss)));
        last.chain(evaluated).collect()
    }

    /// Notes an evaluation after the last step, and ends the training if it is time. Says whether it is the best so far.
    pub(super) fn note_evaluation(&mut self, loss: f64, params: &SftParams) -> bool {
        self.evaluations.push((self.step, loss.to_bits()));
        let best = self.best().map(|(step, _)| step);
        let place = self.evaluations.iter().position(|(step, _)| Some(*step) == best);
        let since = place.map_or(0, |place| self.evaluations.len() - 1 - place);
        self.stopped = params.early_stopping_patience.is_some_and(|patience| since >= patience);
        best == Some(self.step)
    }

    /// Returns the step and the loss of the best evaluation, the first one among equals.
    pub(super) fn best(&self) -> Option<(usize, f64)> {
        let evaluations = self.evaluations.iter().map(|(step, bits)| (*step, f64::from_bits(*bits)));
        evaluations.reduce(|best, next| if next.1 < best.1 { next } else { best })
    }

    /// Returns the loss of the last evaluation.
    pub(super) fn last_evaluation(&self) -> Option<f64> {
        self.evaluations.last().map(|(_, bits)| f64::from_bits(*bits))
    }
}

/// Returns how many losses in a row must be too high.
pub(super) fn watchdog_patience(params: &SftParams) -> usize {
    params.loss_watchdog_patience.unwrap_or(3)
}

fn mean_of_last_tenth(losses: &[u64]) -> f64 {
    let averaged = losses.len().div_ceil(10);
    let last = &losses[losses.len() - averaged..];
    last.iter().map(|bits| f64::from_bits(*bits)).sum::<f64>() / averaged as f64
}

fn is_spike(recent: &[f64], loss: f64) -> bool {
    let count = recent.len() as f64;
    let mean = recent.iter().sum::<f64>() / count;
    let variance = recent.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / count;
    loss > mean + SPIKE_DEVIATIONS * variance.sqrt()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(change: &serde_json::Value) -> SftParams {
        let mut fields = json!({"model": "m", "data": ["d"]});
        fields.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn a_spike_is_far_above_the_steps_before() {
        let mut state = State::default();
        let steady = |step: usize| 2.0 + 0.1 * (step as f64).sin();
        assert!((0..10).all(|step| !state.note_loss(10.0 - f64::from(step))), "the first steps fall steeply");
        assert!((0..60).all(|step| !state.note_loss(steady(step))));
        assert!(state.note_loss(4.0) && !state.note_loss(2.1));
        assert_eq!(state.spikes, 1);
    }

    #[test]
    fn evaluations_that_get_no_better_end_the_training() {
        let params = params(&json!({"val_set_size": 1, "early_stopping_patience": 2}));
        let mut state = State::default();
        let told = [3.0, 2.0, 2.5, 1.9, 1.9, 2.0].map(|loss| {
            state.step += 10;
            (state.note_evaluation(loss, &params), state.stopped)
        });
        let (good, bad) = ((true, false), (false, false));
        assert_eq!(told, [good, good, bad, good, bad, (false, true)]);
        assert_eq!((state.best(), state.last_evaluation()), (Some((40, 1.9)), Some(2.0)));
    }

    #[test]
    fn the_watchdog_waits_for_so_many_steps_in_a_row() {
        let params = params(&json!({"loss_watchdog_threshold": 5.0, "loss_watchdog_patience": 2}));
        let mut state = State::default();
        let told = [6.0, 4.0, 6.0, 5.0, 7.0, 8.0].map(|loss| {
            state.note_loss(loss);
            state.is_lost(&params)
        });
        assert_eq!(told, [false, false, false, false, false, true]);
        assert_eq!(serde_json::from_str::<State>(&serde_json::to_string(&state).unwrap()).unwrap(), state);
    }
}
