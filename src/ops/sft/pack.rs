//! Which samples go into which forward pass: shuffled, packed without padding, known before the first step.
//!
//! Each pass over the data is shuffled by its own random stream and packed best-fit-decreasing (Johnson 1973): longest
//! sample first, each into the fullest bin that still has room. Bins are then shuffled, since packing leaves the long
//! samples in the first ones. The whole plan depends on the lengths, the settings and the seed alone, so the number of
//! steps is exact and the learning rate falls to its end.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::spec::params::SftParams;

/// The samples of one packed sequence, by their place in the list.
type Bin = Vec<usize>;

/// An optimizer step.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The samples of each forward pass.
    pub(super) batches: Vec<Bin>,
    /// Bins gone through when the step is done, in all passes so far, and bins of a pass: their quotient is the epoch.
    pub(super) done: (usize, usize),
}

/// Returns all steps of a training run over samples of these lengths, none longer than `sequence_len`.
pub(super) fn plan(lengths: &[usize], params: &SftParams) -> Vec<Step> {
    let bins_in_step = params.micro_batch_size * params.gradient_accumulation_steps;
    let most = params.max_steps.unwrap_or(usize::MAX);
    let mut steps: Vec<Step> = Vec::new();
    let passes = params.epochs.ceil() as u64;
    for pass in 0..passes {
        let mut bins = pack(lengths, params.sequence_len, params.seed, pass);
        let all = bins.len();
        let share = (params.epochs - pass as f64).min(1.0);
        bins.truncate(((all as f64 * share).ceil() as usize).clamp(1, all));
        let mut done = pass as usize * all;
        for bins in bins.chunks(bins_in_step) {
            if steps.len() == most {
                return steps;
            }
            done += bins.len();
            let batches = bins.chunks(params.micro_batch_size).map(<[Bin]>::concat).collect();
            steps.push(Step { batches, done: (done, all) });
        }
    }
    steps
}

/// Packs all samples once.
fn pack(lengths: &[usize], capacity: usize, seed: u64, pass: u64) -> Vec<Bin> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(pass);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    shuffle(&mut order, &mut generator);
    order.sort_by_key(|sample| std::cmp::Reverse(lengths[*sample]));
    let mut bins: Vec<Bin> = Vec::new();
    // Room left, and the bin that has it.
    let mut room: BTreeSet<(usize, usize)> = BTreeSet::new();
    for sample in order {
        let length = lengths[sample];
        let found = room.range((length, 0)..).next().copied();
        let (left, bin) = found.unwrap_or_else(|| {
            bins.push(Bin::new());
            (capacity, bins.len() - 1)
        });
        room.remove(&(left, bin));
        bins[bin].push(sample);
        room.insert((left.saturating_sub(length), bin));
    }
    shuffle(&mut bins, &mut generator);
    bins
}

/// Puts items in random order (Fisher and Yates). Fewer than 2³² items, so the bias of the remainder is below 2⁻³².
fn shuffle<T>(items: &mut [T], generator: &mut ChaCha8Rng) {
    for last in (1..items.len()).rev() {
        let other = generator.next_u64() % (last as u64 + 1);
        items.swap(last, other as usize);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(change: &serde_json::Value) -> SftParams {
        let mut fields = json!({"model": "m", "data": ["d"], "sequence_len": 100, "epochs": 1.0});
        fields.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(fields).unwrap()
    }

    fn lengths() -> Vec<usize> {
        (0..200).map(|i| 1 + (i * i * 37) % 100).collect()
    }

    #[test]
    fn every_sample_is_in_one_bin_that_holds_it() {
        let lengths = lengths();
        let bins = pack(&lengths, 100, 1, 0);
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
        assert_eq!(pack(&lengths, 100, 1, 0), pack(&lengths, 100, 1, 0));
        assert_ne!(pack(&lengths, 100, 1, 0), pack(&lengths, 100, 1, 1));
        assert_ne!(pack(&lengths, 100, 1, 0), pack(&lengths, 100, 2, 0));
    }

    #[test]
    fn steps_follow_epochs_batches_and_the_limit() {
        let lengths = vec![100; 10];
        let count = |change: serde_json::Value| {
            plan(&lengths, &params(&change)).iter().map(|s| s.batches.len()).collect::<Vec<_>>()
        };
        assert_eq!(count(json!({})), [1; 10]);
        assert_eq!(count(json!({"epochs": 1.5})), [1; 15]);
        assert_eq!(count(json!({"epochs": 0.01})), [1]);
        assert_eq!(count(json!({"gradient_accumulation_steps": 4})), [4, 4, 2]);
        assert_eq!(count(json!({"micro_batch_size": 2, "gradient_accumulation_steps": 2})), [2, 2, 1]);
        assert_eq!(count(json!({"epochs": 3, "max_steps": 12})), [1; 12]);
        let steps = plan(&lengths, &params(&json!({"epochs": 2, "micro_batch_size": 4})));
        assert_eq!(steps.iter().map(|s| s.done.0).collect::<Vec<_>>(), [4, 8, 10, 14, 18, 20]);
        assert_eq!(steps[0].batches[0].len(), 4);
    }
}
