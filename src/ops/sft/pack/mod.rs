//! Which samples go into which forward pass: shuffled, packed without padding, counted before the first step.
//!
//! Each pass over the data is shuffled by its own random stream and packed ([`bin`]). The whole plan depends on the
//! lengths, the settings and the seed alone, so the number of steps is exact and the learning rate falls to its end. A
//! pass is packed again when its turn comes: a thousand passes need the memory of one.

mod bin;

use crate::ops::{OpCx, OpError};
use crate::spec::params::{Packing, SftParams};
use bin::Bin;
pub(in crate::ops) use bin::sequences_of;
pub(super) use bin::shuffle;

/// An optimizer step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The samples of each forward pass.
    pub(super) batches: Vec<Bin>,
    /// How many bins they are.
    pub(super) bins: usize,
    /// Bins gone through when the step is done, if all passes had as many as this one, and bins of this pass: their quotient
    /// is the epoch.
    pub(super) done: (usize, usize),
}

/// The plan of a training run.
pub(super) struct Plan<'a> {
    params: &'a SftParams,
    lengths: Vec<usize>,
    /// Tokens that a packed sequence has room for.
    room: usize,
    /// Bins of each whole pass.
    bins: Vec<usize>,
    /// Steps of the whole run.
    steps: usize,
}

impl<'a> Plan<'a> {
    /// Plans a training run over samples of these lengths, none longer than the room in a sequence.
    pub(super) fn new(lengths: Vec<usize>, room: usize, params: &'a SftParams, cx: &OpCx<'_>) -> Result<Self, OpError> {
        let passes = params.epochs.ceil() as usize;
        // Only first-fit depends on the order of samples that are equally long.
        let packings = if params.packing == Packing::Multipack { passes } else { 1 };
        cx.progress.phase("packing", Some((packings * lengths.len()) as u64), "samples");
        let count = |pass: usize| {
            let packed = bin::pack(&lengths, room, params, pass as u64, |packed| {
                cx.progress.position((pass * lengths.len() + packed) as u64);
                cx.check_cancelled()
            });
            packed.map(|bins| bins.len())
        };
        let mut bins = (0..packings).map(count).collect::<Result<Vec<usize>, OpError>>()?;
        bins.resize(passes, bins[0]);
        let mut plan = Self { params, lengths, room, bins, steps: 0 };
        let steps = (0..plan.passes())
            .map(|pass| plan.bins_of(pass).div_ceil(plan.bins_in_step()))
            .fold(0_usize, usize::saturating_add);
        plan.steps = steps.min(params.max_steps.unwrap_or(usize::MAX));
        Ok(plan)
    }

    /// Returns how many tokens each unit has.
    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Returns the number of steps of the whole run.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Returns the number of passes over the data; the last one may be a part of one.
    pub(super) fn passes(&self) -> u64 {
        self.params.epochs.ceil() as u64
    }

    /// Returns the steps of a pass. `max_steps` does not shorten it: whoever takes the steps counts them.
    pub(super) fn pass(&self, pass: u64, cx: &OpCx<'_>) -> Result<Vec<Step>, OpError> {
        let mut bins = bin::pack(&self.lengths, self.room, self.params, pass, |_| cx.check_cancelled())?;
        let in_pass = bins.len();
        bins.truncate(self.bins_of(pass));
        let mut done = pass as usize * in_pass;
        let step = |bins: &[Bin]| {
            done += bins.len();
            let batches = bins.chunks(self.bins_in_batch()).map(<[Bin]>::concat).collect();
            Step { batches, bins: bins.len(), done: (done, in_pass) }
        };
        Ok(bins.chunks(self.bins_in_step()).map(step).collect())
    }

    /// Returns how many bins go through the model together.
    fn bins_in_batch(&self) -> usize {
        if self.params.packing == Packing::Multipack { 1 } else { self.params.micro_batch_size }
    }

    fn bins_in_step(&self) -> usize {
        self.bins_in_batch().saturating_mul(self.params.gradient_accumulation_steps)
    }

    /// Returns how many bins of a pass are gone through.
    fn bins_of(&self, pass: u64) -> usize {
        let share = (self.params.epochs - pass as f64).min(1.0);
        let bins = self.bins[pass as usize];
        ((bins as f64 * share).ceil() as usize).clamp(1, bins)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use serde_json::json;

    use super::bin::pack;
    use super::*;
    use crate::ops::{Inputs, Progress};

    fn params(change: &serde_json::Value) -> SftParams {
        let mut fields = json!({"model": "m", "data": ["d"], "sequence_len": 100, "epochs": 1.0});
        fields.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(fields).unwrap()
    }

    fn lengths() -> Vec<usize> {
        (0..200).map(|i| 1 + (i * i * 37) % 100).collect()
    }

    /// Packs into bins of 100.
    fn pack_by(lengths: &[usize], seed: u64, pass: u64) -> Vec<Bin> {
        pack(lengths, 100, &params(&json!({"seed": seed})), pass, |_| Ok(())).unwrap()
    }

    /// Calls `work` with what a node may use.
    fn with_cx<T>(cancelled: bool, work: impl FnOnce(&OpCx<'_>) -> T) -> T {
        struct Silent;
        impl Progress for Silent {
            fn phase(&self, _: &str, _: Option<u64>, _: &'static str) {}
            fn position(&self, _: u64) {}
            fn note(&self, _: &str) {}
        }
        let (inputs, cancelled, out) = (Inputs::default(), AtomicBool::new(cancelled), std::path::Path::new("."));
        work(&OpCx {
            inputs: &inputs,
            out,
            scratch: out,
            checkpoint: None,
            memo: None,
            environment: &|_| None,
            threads: 1,
            device: crate::ops::DeviceChoice::Cpu,
            progress: &Silent,
            cancelled: &cancelled,
        })
    }

    /// All steps of a run, one pass after the other.
    fn steps(lengths: &[usize], change: &serde_json::Value) -> Vec<Step> {
        let params = params(change);
        with_cx(false, |cx| {
            let plan = Plan::new(lengths.to_vec(), 100, &params, cx).unwrap();
            let mut steps: Vec<Step> = (0..plan.passes()).flat_map(|pass| plan.pass(pass, cx).unwrap()).collect();
            assert!(plan.steps() == steps.len() || Some(plan.steps()) == params.max_steps, "{change}");
            steps.truncate(plan.steps());
            steps
        })
    }

    #[test]
    fn every_sample_is_in_one_bin_that_holds_it() {
        let lengths = lengths();
        let bins = pack_by(&lengths, 1, 0);
        let mut all: Vec<usize> = bins.concat();
        all.sort_unstable();
        assert_eq!(all, (0..200).collect::<Vec<_>>());
        assert!(bins.iter().all(|bin| bin.iter().map(|s| lengths[*s]).sum::<usize>() <= 100));
        let fewest = lengths.iter().sum::<usize>().div_ceil(100);
        // The bound that is proven for best-fit-decreasing.
        assert!(bins.len() <= fewest * 11 / 9 + 1, "{} bins, {fewest} needed at least", bins.len());
    }

    #[test]
    fn passes_and_seeds_differ_and_repeat() {
        let lengths = lengths();
        assert_eq!(pack_by(&lengths, 1, 0), pack_by(&lengths, 1, 0));
        assert_ne!(pack_by(&lengths, 1, 0), pack_by(&lengths, 1, 1));
        assert_ne!(pack_by(&lengths, 1, 0), pack_by(&lengths, 2, 0));
    }

    #[test]
    fn steps_follow_epochs_batches_and_the_limit() {
        let lengths = vec![100; 10];
        let count =
            |change: serde_json::Value| steps(&lengths, &change).iter().map(|s| s.batches.len()).collect::<Vec<_>>();
        assert_eq!(count(json!({})), [1; 10]);
        assert_eq!(count(json!({"epochs": 1.5})), [1; 15]);
        assert_eq!(count(json!({"epochs": 0.01})), [1]);
        assert_eq!(count(json!({"gradient_accumulation_steps": 4})), [4, 4, 2]);
        assert_eq!(count(json!({"micro_batch_size": 2, "gradient_accumulation_steps": 2})), [2, 2, 1]);
        assert_eq!(count(json!({"epochs": 3, "max_steps": 12})), [1; 12]);
        let steps = steps(&lengths, &json!({"epochs": 2, "micro_batch_size": 4}));
        assert_eq!(steps.iter().map(|s| s.done.0).collect::<Vec<_>>(), [4, 8, 10, 14, 18, 20]);
        assert_eq!(steps[0].batches[0].len(), 4);
    }

    #[test]
    fn the_steps_of_all_passes_are_known_from_the_first() {
        for change in [
            json!({"epochs": 7.3}),
            json!({"epochs": 20, "micro_batch_size": 3, "gradient_accumulation_steps": 2}),
            json!({"epochs": 3, "max_steps": 41}),
            json!({"epochs": 0.5, "max_steps": 100_000}),
        ] {
            let steps = steps(&lengths(), &change);
            let (done, all) = steps.last().unwrap().done;
            assert!(
                change.get("max_steps").is_some() || done as f64 / all as f64 >= change["epochs"].as_f64().unwrap()
            );
        }
        let bins: Vec<usize> = (0..50).map(|pass| pack_by(&lengths(), pass % 3, pass).len()).collect();
        assert!(bins.iter().all(|count| *count == bins[0]), "{bins:?}");
    }

    #[test]
    fn planning_stops_when_it_is_told_to() {
        let params = params(&json!({"epochs": 1000}));
        with_cx(true, |cx| assert!(Plan::new(lengths(), 100, &params, cx).is_err()));
        let plan = with_cx(false, |cx| Plan::new(lengths(), 100, &params, cx).unwrap());
        with_cx(true, |cx| assert!(plan.pass(3, cx).is_err()));
    }
}
