//! Root-mean-square norm of rows: `y = w * x / sqrt(mean(x²) + epsilon)` (Zhang and Sennrich 2019, as in Qwen3).
//!
//! With `r = 1 / sqrt(mean(x²) + epsilon)` and `h = g * w`, the gradients are `dx = r h - x r³ mean(h x)` and
//! `dw = Σ g x r`. The backward pass computes `r` again: it is one pass over a row that is read anyway.
#![expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised!`")]

use rayon::prelude::*;

use super::BLOCK_ROWS;
use super::lanes::{Unit, dot, vectorised};

/// Normalises every row of `weight.len()` numbers.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let width = weight.len();
    let mut y = vec![0.0; x.len()];
    let blocks = y.par_chunks_mut(width * BLOCK_ROWS).zip(x.par_chunks(width * BLOCK_ROWS));
    blocks.for_each(|(y, x)| norm_rows(Unit::best(), y, x, weight, epsilon));
    y
}

vectorised! {
    fn norm_rows(y: &mut [f32], x: &[f32], weight: &[f32], epsilon: f32) {
        let width = weight.len();
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            norm_row(x, weight, scale_of(x, epsilon), y);
        }
    }
}

/// Returns the gradient of the rows, given that of the result, and adds that of the weight to `weight_gradient`,
/// if it is wanted.
pub(crate) fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    epsilon: f32,
    weight_gradient: Option<&mut [f32]>,
) -> Vec<f32> {
    let width = weight.len();
    let mut x_gradient = vec![0.0; x.len()];
    let block = width * BLOCK_ROWS;
    let parts: Vec<Vec<f32>> = x_gradient
        .par_chunks_mut(block)
        .zip(x.par_chunks(block).zip(gradient.par_chunks(block)))
        .map(|(out, (x, gradient))| {
            let mut part = vec![0.0; width];
            norm_rows_backward(Unit::best(), [x, gradient, weight], epsilon, out, &mut part);
            part
        })
        .collect();
    if let Some(total) = weight_gradient {
        add_parts(total, &parts);
    }
    x_gradient
}

vectorised! {
    fn norm_rows_backward(given: [&[f32]; 3], epsilon: f32, out: &mut [f32], part: &mut [f32]) {
        let [x, gradient, weight] = given;
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
        for (out, (x, gradient)) in out.chunks_exact_mut(width).zip(rows) {
            norm_row_backward(x, weight, gradient, scale_of(x, epsilon), out, part);
        }
    }
}

/// Adds the parts of a sum over blocks in the order of the blocks.
pub(crate) fn add_parts(total: &mut [f32], parts: &[Vec<f32>]) {
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
}

/// Returns `1 / sqrt(mean(x²) + epsilon)`.
#[inline(always)]
pub(crate) fn scale_of(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + epsilon).sqrt()
}

/// Normalises one row.
#[inline(always)]
pub(crate) fn norm_row(x: &[f32], weight: &[f32], scale: f32, y: &mut [f32]) {
    for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
        *y = x * scale * weight;
    }
}

/// Writes the gradient of one row and adds that of the weight.
#[inline(always)]
pub(crate) fn norm_row_backward(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    scale: f32,
    out: &mut [f32],
    weight_gradient: &mut [f32],
) {
    for ((out, gradient), weight) in out.iter_mut().zip(gradient).zip(weight) {
        *out = gradient * weight;
    }
    let pull = dot(out, x) * scale * scale * scale / x.len() as f32;
    for (out, x) in out.iter_mut().zip(x) {
        *out = *out * scale - x * pull;
    }
    for ((total, gradient), x) in weight_gradient.iter_mut().zip(gradient).zip(x) {
        *total += gradient * x * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::testing::{assert_close, numbers, on_all_units};
    use super::*;

    /// Widths that fill groups of numbers and ones that do not.
    const WIDTHS: [usize; 6] = [1, 7, 16, 33, 64, 577];

    #[test]
    fn all_units_normalise() {
        for width in WIDTHS {
            let (x, weight) = (numbers(3 * width, 1), numbers(width, 2));
            let found = on_all_units(|unit| {
                let mut y = vec![0.0; x.len()];
                norm_rows(unit, &mut y, &x, &weight, 1e-5);
                y
            });
            let exact = x.chunks_exact(width).flat_map(|row| {
                let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                let scale = 1.0 / (mean + 1e-5).sqrt();
                row.iter().zip(&weight).map(move |(x, weight)| f64::from(*x) * scale * f64::from(*weight))
            });
            assert_close(&found, &exact.collect::<Vec<_>>());
        }
    }

    #[test]
    fn all_units_go_back() {
        for width in WIDTHS {
            let (x, weight, gradient) = (numbers(3 * width, 1), numbers(width, 2), numbers(3 * width, 3));
            on_all_units(|unit| {
                let (mut out, mut part) = (vec![0.0; x.len()], vec![0.0; width]);
                norm_rows_backward(unit, [&x, &gradient, &weight], 1e-5, &mut out, &mut part);
                [out, part].concat()
            });
        }
    }
}
