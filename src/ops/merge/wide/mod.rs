//! Merges of tensors in float64: the same formulas, in float64 from the first number to the last.
//!
//! Hardly any model is stored so, and those that are were made by people who want the last digit. So there is no
//! streaming here and no rounding to follow: a tensor is in memory as a whole, and each method is its formula. Sums are
//! taken over fixed blocks. MergeKit drops at random in float32 also here, and so does this.

mod sphere;
mod task;

use rayon::prelude::*;

use super::OpError;
use super::methods::{arcee_fusion, ram};
use super::part::Work;
use super::twister::Twister;
use crate::spec::params::MergeMethod as M;

/// Numbers that are added in one go.
const BLOCK: usize = 1 << 14;

/// Merges a tensor.
pub(super) fn merge(method: M, work: &Work<'_>, twister: &mut Twister) -> Result<Vec<f64>, OpError> {
    let parts: Vec<Vec<f64>> = work.parts.iter().map(super::part::Part::all64).collect();
    if work.copied || parts[0].is_empty() {
        return Ok(parts.into_iter().next().unwrap_or_default());
    }
    let all = Parts { base: work.base, parts };
    match method {
        M::Linear => linear(work, &all),
        M::Slerp => Ok(sphere::slerp(work, &all)),
        M::Nuslerp => Ok(sphere::nuslerp(work, &all)),
        M::Multislerp => sphere::multislerp(work, &all),
        M::Karcher => Ok(sphere::karcher(work, &all)),
        M::ModelStock => Ok(sphere::model_stock(work, &all)),
        M::Sce => Ok(task::sce(work, &all)),
        M::Ram | M::RamplusTl => Ok(rams(work, &all, method == M::RamplusTl)),
        M::Nearswap => Ok(nearswap(work, &all)),
        M::ArceeFusion => Ok(fusion(work, &all, twister)),
        M::Passthrough => {
            let scale = work.each[0].number("scale");
            Ok(if scale.is_nan() { all.parts[0].clone() } else { times(&all.parts[0], scale) })
        }
        _ => task::merge(method, work, &all, twister),
    }
}

/// The tensors that are merged.
struct Parts {
    base: Option<usize>,
    parts: Vec<Vec<f64>>,
}

impl Parts {
    fn base(&self) -> Option<&[f64]> {
        self.base.map(|base| self.parts[base].as_slice())
    }

    /// Returns the parts that are not the base, with their numbers.
    fn others(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.parts.iter().enumerate().filter(|(i, _)| Some(*i) != self.base).map(|(i, part)| (i, part.as_slice()))
    }

    /// Returns the differences of the others to the base, or the others where there is none.
    fn differences(&self) -> Vec<Vec<f64>> {
        let less = |(_, part): (usize, &[f64])| match self.base() {
            Some(base) => with(part, base, |x, base| x - base),
            None => part.to_vec(),
        };
        self.others().map(less).collect()
    }

    /// Adds the base, if there is one.
    fn on_base(&self, numbers: Vec<f64>) -> Vec<f64> {
        match self.base() {
            Some(base) => with(&numbers, base, |x, base| base + x),
            None => numbers,
        }
    }
}

fn with(a: &[f64], b: &[f64], operation: impl Fn(f64, f64) -> f64 + Sync) -> Vec<f64> {
    a.par_iter().zip(b).map(|(a, b)| operation(*a, *b)).collect()
}

fn times(a: &[f64], factor: f64) -> Vec<f64> {
    a.par_iter().map(|a| a * factor).collect()
}

fn sum(a: &[f64]) -> f64 {
    let blocks: Vec<f64> = a.par_chunks(BLOCK).map(|block| block.iter().sum()).collect();
    blocks.iter().sum()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let product = |(a, b): (&[f64], &[f64])| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let blocks: Vec<f64> = a.par_chunks(BLOCK).zip(b.par_chunks(BLOCK)).map(product).collect();
    blocks.iter().sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn linear(work: &Work<'_>, all: &Parts) -> Result<Vec<f64>, OpError> {
    let weights: Vec<f64> = work.each.iter().map(|values| values.number("weight")).collect();
    let total: f64 = weights.iter().sum();
    let normalize = work.shared.flag("normalize");
    if normalize && (total == 0.0 || !total.is_finite()) {
        let message = format!("the weights {weights:?} add up to {total}, which nothing can be divided by");
        return Err(OpError::new(message));
    }
    let mut out = vec![0.0; all.parts[0].len()];
    for (part, weight) in all.parts.iter().zip(&weights) {
        out.par_iter_mut().zip(part).for_each(|(sum, number)| *sum = number.mul_add(*weight, *sum));
    }
    Ok(if normalize { out.par_iter().map(|sum| sum / total).collect() } else { out })
}

fn nearswap(work: &Work<'_>, all: &Parts) -> Vec<f64> {
    let base = work.base.unwrap_or(0);
    let t = work.shared.number("t");
    with(&all.parts[base], &all.parts[1 - base], |a, b| {
        let weight = (1.0 / (a - b).abs().max(1e-6) * t).clamp(0.0, 1.0);
        weight * b + (1.0 - weight) * a
    })
}

fn rams(work: &Work<'_>, all: &Parts, amplify: bool) -> Vec<f64> {
    let epsilon = work.shared.number("epsilon");
    let mut differences = all.differences();
    differences.par_iter_mut().flatten().for_each(|number| {
        if number.abs() <= epsilon {
            *number = 0.0;
        }
    });
    let count = all.parts[0].len();
    let mut having = vec![0_u32; count];
    for difference in &differences {
        having.iter_mut().zip(difference).for_each(|(having, number)| *having += u32::from(*number != 0.0));
    }
    let mut out = vec![0.0; count];
    for difference in &differences {
        let common = |(number, having): (&f64, &u32)| *number != 0.0 && *having > 1;
        let shared = difference.iter().zip(&having).filter(|pair| common(*pair)).count() as u64;
        let own = difference.iter().filter(|number| **number != 0.0).count() as u64 - shared;
        let factor = if amplify { f64::from(ram::factor(work, [own, shared])) } else { 1.0 };
        for ((out, number), having) in out.iter_mut().zip(difference).zip(&having) {
            *out += if *having > 1 { number / f64::from(*having) } else { number * factor };
        }
    }
    all.on_base(out)
}

fn fusion(work: &Work<'_>, all: &Parts, twister: &mut Twister) -> Vec<f64> {
    let base = work.base.unwrap_or(0);
    let (base, other) = (&all.parts[base], &all.parts[1 - base]);
    let length = work.shape.last().copied().unwrap_or(1);
    let softmax = |row: &[f64]| -> Vec<f64> {
        let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = row.iter().map(|number| (number - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.iter().map(|power| power / sum + 1e-8).collect()
    };
    let rows = other.par_chunks(length).zip(base.par_chunks(length));
    let importance: Vec<f64> = rows
        .flat_map(|(x, y)| {
            let divergence: f64 = softmax(x).iter().zip(softmax(y)).map(|(p, q)| p * (p / q).ln()).sum();
            x.iter().zip(y).map(|(x, y)| (x - y).abs() * divergence).collect::<Vec<_>>()
        })
        .collect();
    let mut sorted = arcee_fusion::sample(&importance, twister);
    sorted.par_sort_unstable_by(f64::total_cmp);
    let quantile = |share: f32| sorted[(share * (sorted.len() - 1) as f32) as usize];
    let threshold = quantile(0.5) + 1.5 * (quantile(0.75) - quantile(0.25));
    let kept = with(other, base, |x, base| x - base);
    let kept = with(&kept, &importance, |number, importance| if importance >= threshold { number } else { 0.0 });
    with(&kept, base, |number, base| base + number)
}
