//! Bayesian search in one dimension: a Gaussian process through what is known, and the greatest expected improvement.
//!
//! The kernel is Matérn 5/2 over the range scaled to [0, 1], the metric is scaled to mean 0 and deviation 1. The length
//! scale and the noise are those of a short list under which what is known is likeliest: few trials could not tell more
//! from each other, and a list makes the search the same on every run. Nothing is random.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

const LENGTHS: [f64; 6] = [0.05, 0.1, 0.2, 0.35, 0.6, 1.0];
const NOISES: [f64; 4] = [1e-6, 1e-4, 1e-2, 1e-1];

/// Below this expected improvement, in deviations of what is known, there is nothing left to learn.
const LEAST_GAIN: f64 = 1e-5;

/// How many values are looked at closely at a time.
const MAX_LOOKED_AT: i64 = 2000;

/// Returns the index to try next, of `0..=last`. `known` is sorted by index.
pub(super) fn next(last: i64, known: &[(i64, f64)]) -> Option<i64> {
    let process = Process::fit(last, known)?;
    let unknown = |index: &i64| known.binary_search_by_key(index, |(index, _)| *index).is_err();
    let (mut from, mut to) = (0, last);
    loop {
        let stride = ((to - from) / MAX_LOOKED_AT).max(1);
        let mut best: Option<(i64, f64)> = None;
        let mut index = from;
        while index <= to {
            if unknown(&index) {
                let gain = process.gain(index as f64 / last as f64);
                // The first of several equal ones.
                if best.is_none_or(|(_, most)| gain > most) {
                    best = Some((index, gain));
                }
            }
            index += stride;
        }
        let (index, gain) = best?;
        if stride == 1 {
            return (gain > LEAST_GAIN).then_some(index);
        }
        (from, to) = ((index - stride).max(0), (index + stride).min(last));
    }
}

/// A Gaussian process through known points.
struct Process {
    xs: Vec<f64>,
    length: f64,
    noise: f64,
    factor: Vec<Vec<f64>>,
    weights: Vec<f64>,
    best: f64,
}

impl Process {
    fn fit(last: i64, known: &[(i64, f64)]) -> Option<Self> {
        let xs: Vec<f64> = known.iter().map(|(index, _)| *index as f64 / last as f64).collect();
        let ys = scaled(&known.iter().map(|(_, height)| *height).collect::<Vec<_>>());
        let mut likeliest: Option<(f64, Self)> = None;
        for length in LENGTHS {
            for noise in NOISES {
                let Some((likelihood, process)) = Self::with(&xs, &ys, length, noise) else { continue };
                if likeliest.as_ref().is_none_or(|(most, _)| likelihood > *most) {
                    likeliest = Some((likelihood, process));
                }
            }
        }
        likeliest.map(|(_, process)| process)
    }

    fn with(xs: &[f64], ys: &[f64], length: f64, noise: f64) -> Option<(f64, Self)> {
        let entry = |i: usize, j: usize| matern((xs[i] - xs[j]).abs() / length) + if i == j { noise } else { 0.0 };
        let factor = cholesky(xs.len(), entry)?;
        let weights = back(&factor, &forward(&factor, ys));
        let fit: f64 = ys.iter().zip(&weights).map(|(y, weight)| y * weight).sum();
        let size: f64 = factor.iter().enumerate().map(|(i, row)| row[i].ln()).sum();
        let process = Self { xs: xs.to_vec(), length, noise, factor, weights, best: f64::NEG_INFINITY };
        // With noise, the best that is known is the best that is believed.
        let best = xs.iter().map(|x| process.mean(*x)).fold(f64::NEG_INFINITY, f64::max);
        Some((-0.5 * fit - size, Self { best, ..process }))
    }

    fn kernel(&self, x: f64) -> Vec<f64> {
        self.xs.iter().map(|known| matern((x - known).abs() / self.length)).collect()
    }

    fn mean(&self, x: f64) -> f64 {
        self.kernel(x).iter().zip(&self.weights).map(|(k, weight)| k * weight).sum()
    }

    /// Returns the expected improvement at `x`.
    fn gain(&self, x: f64) -> f64 {
        let kernel = self.kernel(x);
        let mean: f64 = kernel.iter().zip(&self.weights).map(|(k, weight)| k * weight).sum();
        let explained: f64 = forward(&self.factor, &kernel).iter().map(|part| part * part).sum();
        let deviation = (1.0 - explained).max(self.noise * 1e-3).sqrt();
        let z = (mean - self.best) / deviation;
        let density = (-0.5 * z * z).exp() / (2.0 * PI).sqrt();
        (deviation * (z * below(z) + density)).max(0.0)
    }
}

/// Returns heights with mean 0 and deviation 1. What is infinitely bad becomes as bad as the worst of the others.
fn scaled(heights: &[f64]) -> Vec<f64> {
    let finite = || heights.iter().copied().filter(|height| height.is_finite());
    let count = finite().count().max(1) as f64;
    let mean = finite().sum::<f64>() / count;
    let deviation = (finite().map(|height| (height - mean).powi(2)).sum::<f64>() / count).sqrt();
    let worst = finite().fold(mean, f64::min);
    let scale = if deviation > 0.0 { deviation } else { 1.0 };
    heights.iter().map(|height| (if height.is_finite() { *height } else { worst } - mean) / scale).collect()
}

/// The Matérn kernel 5/2 at a distance in length scales.
fn matern(distance: f64) -> f64 {
    let d = 5f64.sqrt() * distance;
    (1.0 + d + d * d / 3.0) * (-d).exp()
}

/// Returns the lower triangle whose product with its transpose is the matrix; nothing if that has none.
fn cholesky(size: usize, entry: impl Fn(usize, usize) -> f64) -> Option<Vec<Vec<f64>>> {
    let mut factor: Vec<Vec<f64>> = Vec::with_capacity(size);
    for i in 0..size {
        let mut row = vec![0.0; i + 1];
        for j in 0..=i {
            let done: f64 = (0..j).map(|k| row[k] * if i == j { row[k] } else { factor[j][k] }).sum();
            let left = entry(i, j) - done;
            row[j] = if i == j { left.sqrt() } else { left / factor[j][j] };
        }
        // The root of what is below zero is no number, and so not above zero.
        if row[i].is_nan() || row[i] <= 0.0 {
            return None;
        }
        factor.push(row);
    }
    Some(factor)
}

/// Solves `factor * x = values`.
fn forward(factor: &[Vec<f64>], values: &[f64]) -> Vec<f64> {
    let mut out: Vec<f64> = Vec::with_capacity(values.len());
    for (row, value) in factor.iter().zip(values) {
        let done: f64 = row.iter().zip(&out).map(|(a, b)| a * b).sum();
        out.push((value - done) / row[out.len()]);
    }
    out
}

/// Solves `transposed(factor) * x = values`.
fn back(factor: &[Vec<f64>], values: &[f64]) -> Vec<f64> {
    let mut out = values.to_vec();
    for i in (0..values.len()).rev() {
        out[i] /= factor[i][i];
        for j in 0..i {
            out[j] -= factor[i][j] * out[i];
        }
    }
    out
}

/// Returns the part of the normal distribution below `z`: Numerical Recipes' `erfcc`, good to 1.2e-7.
fn below(z: f64) -> f64 {
    let x = -z * FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let terms = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let sum = terms.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let tail = t * (-x * x + sum).exp();
    0.5 * if x >= 0.0 { tail } else { 2.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_is_right() {
        for (z, part) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.96, 0.024_997_9), (3.0, 0.998_650_1)] {
            assert!((below(z) - part).abs() < 2e-7, "{z}: {}", below(z));
        }
    }

    #[test]
    fn a_factor_solves_its_equations() {
        let matrix = [[4.0, 2.0, 0.6], [2.0, 5.0, 1.0], [0.6, 1.0, 3.0]];
        let factor = cholesky(3, |i, j| matrix[i][j]).unwrap();
        let x = back(&factor, &forward(&factor, &[1.0, 2.0, 3.0]));
        for (row, wanted) in matrix.iter().zip([1.0, 2.0, 3.0]) {
            let found: f64 = row.iter().zip(&x).map(|(a, b)| a * b).sum();
            assert!((found - wanted).abs() < 1e-12);
        }
        assert!(cholesky(2, |_, _| 1.0).is_none());
    }
}
