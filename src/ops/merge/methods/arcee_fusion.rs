//! Arcee Fusion: of the differences of one model to the base only those that matter: large ones in rows whose softmax
//! has moved.
//!
//! The mask is f32, so that PyTorch computes the last step in f32 and a bfloat16 merge comes out as f32 unless
//! `out_dtype` is set; the type is the plan's business, the numbers here are not rounded at the end. Over a million
//! numbers the quantiles are those of a million draws.

use rayon::prelude::*;

use super::super::combine::{Combine, Each};
use super::super::part::{Work, rounded};
use super::super::twister::Twister;
use super::array::{self, map, split};
use crate::tensor::Dtype;

/// The most numbers of which quantiles are taken.
const SAMPLE: usize = 1_000_000;

/// What is needed for every number.
struct Fusion {
    other: usize,
    /// How far the softmax of each row has moved.
    divergences: Vec<f32>,
    /// Numbers in a row.
    length: usize,
    threshold: f32,
}

pub(super) fn prepare(work: &Work<'_>, twister: &mut Twister) -> Combine {
    let (Some(base), Some((other, part))) = (work.base(), work.others().next()) else { return Combine::Copy(0) };
    let length = work.shape.last().copied().unwrap_or(1);
    let row = |scratch: &mut Vec<f32>, row: usize| {
        let [x, y] = split(scratch, [length; 2]);
        part.read(row * length, x);
        base.read(row * length, y);
        array::passed(work, row * length, length);
        divergence(x, y, work.dtype)
    };
    let divergences = (0..work.count() / length).into_par_iter().map_init(Vec::new, row).collect();
    let mut fusion = Fusion { other, divergences, length, threshold: 0.0 };
    fusion.threshold = threshold(work, twister, |place| {
        let difference = work.round(f64::from(part.one(place) - base.one(place)));
        work.round(f64::from(difference.abs() * fusion.divergences[place / length]))
    });
    array::passed(work, 0, work.count());
    Combine::Each(Box::new(fusion))
}

/// Returns the Kullback-Leibler divergence of the softmax of two rows.
fn divergence(x: &[f32], y: &[f32], dtype: Dtype) -> f32 {
    let round = |number: f32| rounded(dtype, number);
    let softmax = |row: &[f32]| -> Vec<f32> {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = row.iter().map(|number| f64::from(number - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.iter().map(|power| round(round((power / sum) as f32) + 1e-8)).collect()
    };
    let (p, q) = (softmax(x), softmax(y));
    let terms = p.iter().zip(&q).map(|(p, q)| round(p * round(f64::from(round(p / q)).ln() as f32)));
    round(super::super::torch::sum_of(&terms.collect::<Vec<f32>>(), dtype != Dtype::F32))
}

impl Fusion {
    /// Makes differences what they weigh.
    fn weigh(&self, work: &Work<'_>, from: usize, differences: &mut [f32]) {
        let mut at = 0;
        while at < differences.len() {
            let row = (from + at) / self.length;
            let end = differences.len().min((row + 1) * self.length - from);
            let divergence = self.divergences[row];
            map(work.dtype, &mut differences[at..end], |number| number.abs() * divergence);
            at = end;
        }
    }
}

/// Returns the median of what differences weigh, and one and a half times the distance of the quartiles.
pub(in super::super) fn threshold(work: &Work<'_>, twister: &mut Twister, weight: impl Fn(usize) -> f32 + Sync) -> f32 {
    let round = |number: f32| rounded(work.dtype, number);
    let count = work.count();
    let places = if count > SAMPLE { (0..SAMPLE).map(|_| draw(count, twister)).collect() } else { Vec::new() };
    let mut sorted: Vec<f32> = match &places[..] {
        [] => (0..count).into_par_iter().map(&weight).collect(),
        some => some.par_iter().map(|place| weight(*place)).collect(),
    };
    sorted.par_sort_unstable_by(f32::total_cmp);
    let quantile = |share: f32| sorted[(share * (sorted.len() - 1) as f32) as usize];
    let (low, median, high) = (quantile(0.25), quantile(0.5), quantile(0.75));
    round(median + round(1.5 * round(high - low)))
}

/// Returns the numbers of which quantiles are taken: all of them, or as many as are allowed, drawn.
pub(in super::super) fn sample<T: Copy>(numbers: &[T], twister: &mut Twister) -> Vec<T> {
    if numbers.len() <= SAMPLE {
        return numbers.to_vec();
    }
    (0..SAMPLE).map(|_| numbers[draw(numbers.len(), twister)]).collect()
}

impl Each for Fusion {
    fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        let size = out.len();
        let [weights, base] = split(scratch, [size; 2]);
        // The base is read last, where the difference has left room for it.
        work.difference(&work.parts[self.other], from, out, base);
        weights.copy_from_slice(out);
        self.weigh(work, from, weights);
        if let Some(part) = work.base() {
            part.read(from, base);
        }
        for ((number, weight), base) in out.iter_mut().zip(weights).zip(base) {
            let mask = if *weight >= self.threshold { 1.0 } else { 0.0 };
            *number = *base + *number * mask;
        }
    }
}

/// Returns a number below `count`, as `torch.randint` draws it.
fn draw(count: usize, twister: &mut Twister) -> usize {
    let count = count as u64;
    if count < 1 << 28 {
        return (u64::from(twister.draw()) % count) as usize;
    }
    let high = u64::from(twister.draw());
    ((high << 32 | u64::from(twister.draw())) % count) as usize
}
