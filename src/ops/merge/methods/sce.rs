//! SCE (<https://arxiv.org/abs/2408.07990>): select the positions where the models differ most, calculate a weight for
//! each model from the energy of its differences, erase what goes against the majority.

use rayon::prelude::*;

use super::super::combine::{Combine, Each};
use super::super::part::{Work, rounded};
use super::super::torch;
use super::array::{self, PIECE, map, split};
use super::select::{self, Between, Read};

/// Below this sum of energies all models count the same.
const TOO_SMALL: f64 = 1e-6;

/// What is needed for every number.
struct Sce {
    parts: Vec<usize>,
    /// The variances that are kept; nothing if all are.
    kept: Option<Between>,
    weights: Vec<f32>,
    least: f32,
}

pub(super) fn prepare(work: &Work<'_>) -> Combine {
    let parts = array::others(work);
    if work.base().is_none() || parts.is_empty() {
        return Combine::Copy(work.base.unwrap_or(0));
    }
    let topk = work.shared.number("select_topk");
    let mut sce = Sce { parts, kept: None, weights: Vec::new(), least: work.round(1e-6) };
    if topk < 1.0 {
        sce.kept = Some(sce.select(work, topk));
    }
    sce.weights = sce.weigh(work);
    Combine::Each(Box::new(sce))
}

/// Returns 1 for every place at which differences are kept and 0 for the others; nothing if all are.
pub(in super::super) fn kept(work: &Work<'_>) -> Option<Vec<f32>> {
    let topk = work.shared.number("select_topk");
    let sce = Sce { parts: array::others(work), kept: None, weights: Vec::new(), least: 0.0 };
    let between = (topk < 1.0).then(|| sce.select(work, topk))?;
    let count = work.count();
    let (mut differences, mut flags) = (vec![0.0; count * sce.parts.len()], vec![0.0; count]);
    array::differences(work, &sce.parts, 0, &mut differences, &mut flags);
    variances(work, &differences, &mut flags);
    between.spans(0, count, |range, span| flags[range].iter_mut().for_each(|flag| *flag = span.flag(*flag)));
    Some(flags)
}

impl Sce {
    /// Returns which variances are kept: the largest of those that are not zero.
    fn select(&self, work: &Work<'_>, share: f64) -> Between {
        let count = work.count();
        let read = |from: usize, out: &mut [f32]| {
            let mut scratch = Vec::new();
            for (i, out) in out.chunks_mut(PIECE).enumerate() {
                let size = out.len();
                let [differences, spare] = split(&mut scratch, [self.parts.len() * size, size]);
                array::differences(work, &self.parts, from + i * PIECE, differences, spare);
                variances(work, differences, out);
            }
            array::passed(work, from, out.len());
        };
        let some: usize = (0..count.div_ceil(PIECE))
            .into_par_iter()
            .map(|piece| {
                let mut variances = vec![0.0; PIECE.min(count - piece * PIECE)];
                read(piece * PIECE, &mut variances);
                variances.iter().filter(|variance| **variance != 0.0).count()
            })
            .sum();
        let keep = if share <= 0.0 { 0 } else { (some as f64 * share) as usize };
        select::largest(count, keep, Read::Numbers(&read))
    }

    /// Reads the differences of a piece, and makes those zero that are not kept.
    fn differences(&self, work: &Work<'_>, from: usize, differences: &mut [f32], spare: &mut [f32]) {
        let size = spare.len();
        array::differences(work, &self.parts, from, differences, spare);
        let Some(kept) = &self.kept else { return };
        variances(work, differences, spare);
        kept.spans(from, from + size, |range, span| {
            for i in range.start - from..range.end - from {
                if span.flag(spare[i]) == 0.0 {
                    differences[i..].iter_mut().step_by(size).for_each(|number| *number = 0.0);
                }
            }
        });
    }

    /// Returns each model's share of the mean square of the differences.
    fn weigh(&self, work: &Work<'_>) -> Vec<f32> {
        let count = work.count() as f32;
        // A mean of 16-bit numbers is taken in f32.
        let energy = |which: usize| {
            let sum = torch::sum(work.count(), false, &|from, out: &mut [f32]| {
                let mut scratch = Vec::new();
                for (i, out) in out.chunks_mut(PIECE).enumerate() {
                    let size = out.len();
                    let [differences, spare] = split(&mut scratch, [self.parts.len() * size, size]);
                    self.differences(work, from + i * PIECE, differences, spare);
                    out.copy_from_slice(&differences[which * size..(which + 1) * size]);
                    map(work.dtype, out, |number| number * number);
                }
                array::passed(work, from, out.len());
            });
            rounded(work.dtype, sum / count)
        };
        let energies: Vec<f32> = (0..self.parts.len()).map(energy).collect();
        let sum = rounded(work.dtype, energies.iter().fold(0.0_f32, |sum, energy| sum + energy));
        if f64::from(sum.abs()) < TOO_SMALL {
            return vec![work.round(1.0 / self.parts.len() as f64); self.parts.len()];
        }
        energies.into_iter().map(|energy| rounded(work.dtype, energy / sum)).collect()
    }
}

/// Makes `out` the variances of differences over the models.
fn variances(work: &Work<'_>, differences: &[f32], out: &mut [f32]) {
    let size = out.len();
    let models = (differences.len() / size) as f64;
    for (i, out) in out.iter_mut().enumerate() {
        let each = || differences[i..].iter().step_by(size).map(|number| f64::from(*number));
        let mean = each().sum::<f64>() / models;
        *out = (each().map(|number| (number - mean).powi(2)).sum::<f64>() / models) as f32;
    }
    map(work.dtype, out, |number| number);
}

impl Each for Sce {
    fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        let size = out.len();
        let [differences, spare] = split(scratch, [self.parts.len() * size, size]);
        self.differences(work, from, differences, spare);
        if let Some(base) = work.base() {
            base.read(from, out);
        }
        let round = |number: f32| rounded(work.dtype, number);
        for (i, out) in out.iter_mut().enumerate() {
            let each = || differences[i..].iter().step_by(size);
            let sum = each().fold(0.0_f32, |sum, number| sum + number);
            let sign = if round(sum) >= 0.0 { 1.0 } else { -1.0 };
            let (mut merged, mut total) = (0.0_f32, 0.0_f32);
            for (number, weight) in each().zip(&self.weights) {
                let weight = if number * sign > 0.0 { *weight } else { 0.0 };
                merged += round(number * weight);
                total += weight;
            }
            *out = round(*out + round(round(merged) / round(total).max(self.least)));
        }
    }
}
