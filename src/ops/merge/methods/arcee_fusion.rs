//! Arcee Fusion: of the differences of one model to the base only those that matter: large ones in rows whose softmax
//! has moved.
//!
//! The mask is f32, so that PyTorch computes the last step in f32 and a bfloat16 merge comes out as f32 unless
//! `out_dtype` is set; the type is the plan's business, the numbers here are not rounded at the end. Over a million
//! numbers the quantiles are those of a million draws.

use rayon::prelude::*;

use super::super::combine::Combine;
use super::super::part::{Work, rounded};
use super::super::twister::Twister;
use crate::tensor::Dtype;

/// The most numbers of which quantiles are taken.
const SAMPLE: usize = 1_000_000;

pub(super) fn prepare(work: &Work<'_>, twister: &mut Twister) -> Combine {
    let (Some(base), Some((_, other))) = (work.base(), work.others().next()) else { return Combine::Copy(0) };
    let (base_numbers, numbers) = (base.all(), other.all());
    let length = work.shape.last().copied().unwrap_or(1);
    let mut importance = work.differences(other);
    importance.par_chunks_mut(length).zip(numbers.par_chunks(length).zip(base_numbers.par_chunks(length))).for_each(
        |(row, (x, y))| {
            let divergence = divergence(x, y, work.dtype);
            for number in row.iter_mut() {
                *number = rounded(work.dtype, number.abs() * divergence);
            }
        },
    );
    let threshold = threshold(&importance, work.dtype, twister);
    let mut differences = work.differences(other);
    differences.par_iter_mut().zip(&importance).zip(&base_numbers).for_each(|((number, importance), base)| {
        let mask = if *importance >= threshold { 1.0 } else { 0.0 };
        *number = base + *number * mask;
    });
    Combine::Whole(differences)
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

/// Returns the median and one and a half times the distance of the quartiles.
fn threshold(importance: &[f32], dtype: Dtype, twister: &mut Twister) -> f32 {
    let round = |number: f32| rounded(dtype, number);
    let mut sorted = sample(importance, twister);
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

/// Returns a number below `count`, as `torch.randint` draws it.
fn draw(count: usize, twister: &mut Twister) -> usize {
    let count = count as u64;
    if count < 1 << 28 {
        return (u64::from(twister.draw()) % count) as usize;
    }
    let high = u64::from(twister.draw());
    ((high << 32 | u64::from(twister.draw())) % count) as usize
}
