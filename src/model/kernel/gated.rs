//! The gated activation of the feed-forward layer: `act(gate) * up` (Shazeer 2020).
//!
//! Gate and up come side by side in one row, because one product with both weights makes them. The approximation of GELU
//! is used as `z * sigmoid(2 u)`, `u = sqrt(2 / pi) (z + 0.044715 z³)`, which is its usual form `z / 2 * (1 + tanh(u))`
//! without the cancellation for large negative `z`.
#![expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised!`")]

use rayon::prelude::*;

use super::BLOCK_ROWS;
use super::lanes::{Unit, sigmoid, vectorised};

/// What becomes of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `z * sigmoid(z)`.
    Silu,
    /// The usual approximation of `z * Φ(z)`, with `Φ` the distribution function of the normal distribution.
    GeluTanh,
}

/// `2 * sqrt(2 / pi)`.
const TWICE_ROOT: f32 = 1.595_769_1_f64 as f32;
const CUBE: f32 = 0.044_715;

/// Returns the approximation of GELU and its slope.
#[inline(always)]
fn gelu_tanh(z: f32) -> (f32, f32) {
    let square = z * z;
    let s = sigmoid(TWICE_ROOT * z * (1.0 + CUBE * square));
    let inner = TWICE_ROOT * (1.0 + 3.0 * CUBE * square);
    (z * s, s + z * s * (1.0 - s) * inner)
}

/// Returns rows of `width` numbers from rows `[gate | up]` of twice as many.
pub(crate) fn gated(rows: &[f32], width: usize, activation: Activation) -> Vec<f32> {
    let mut out = vec![0.0; rows.len() / 2];
    let blocks = out.par_chunks_mut(width * BLOCK_ROWS).zip(rows.par_chunks(2 * width * BLOCK_ROWS));
    blocks.for_each(|(out, rows)| {
        for (out, row) in out.chunks_exact_mut(width).zip(rows.chunks_exact(2 * width)) {
            gate_row(Unit::best(), activation, row, out);
        }
    });
    out
}

vectorised! {
    fn gate_row(activation: Activation, row: &[f32], out: &mut [f32]) {
        let (before, up) = row.split_at(out.len());
        out.copy_from_slice(before);
        gate(activation, out, up);
    }
}

/// Replaces each number of a gate by `activation(gate) * up`.
#[inline(always)]
pub(crate) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    let numbers = gate.iter_mut().zip(up);
    match activation {
        Activation::Silu => {
            for (gate, up) in numbers {
                *gate = *gate * sigmoid(*gate) * up;
            }
        }
        Activation::GeluTanh => {
            for (gate, up) in numbers {
                *gate = gelu_tanh(*gate).0 * up;
            }
        }
    }
}

/// Returns the gradient of the rows `[gate | up]`, given that of the result.
pub(crate) fn gated_backward(rows: &[f32], gradient: &[f32], width: usize, activation: Activation) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    let wide = 2 * width * BLOCK_ROWS;
    let blocks = out.par_chunks_mut(wide).zip(rows.par_chunks(wide).zip(gradient.par_chunks(width * BLOCK_ROWS)));
    blocks.for_each(|(out, (rows, gradient))| {
        let rows = rows.chunks_exact(2 * width).zip(gradient.chunks_exact(width));
        for (out, (row, gradient)) in out.chunks_exact_mut(2 * width).zip(rows) {
            gate_row_backward(Unit::best(), activation, row, gradient, out);
        }
    });
    out
}

vectorised! {
    /// Writes the gradient of a row `[gate | up]`.
    fn gate_row_backward(activation: Activation, row: &[f32], gradient: &[f32], out: &mut [f32]) {
        let (gate, up) = row.split_at(gradient.len());
        let (gate_out, up_out) = out.split_at_mut(gradient.len());
        let numbers = gate_out.iter_mut().zip(up_out).zip(gate.iter().zip(up).zip(gradient));
        match activation {
            Activation::Silu => {
                // `d silu(z) / dz = s (1 + z (1 - s))` with `s` the sigmoid of `z`.
                for ((gate_out, up_out), ((z, up), gradient)) in numbers {
                    let s = sigmoid(*z);
                    *gate_out = gradient * up * s * (1.0 + z * (1.0 - s));
                    *up_out = gradient * z * s;
                }
            }
            Activation::GeluTanh => {
                for ((gate_out, up_out), ((z, up), gradient)) in numbers {
                    let (value, slope) = gelu_tanh(*z);
                    *gate_out = gradient * up * slope;
                    *up_out = gradient * value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::testing::{assert_close, numbers, on_all_units};
    use super::*;

    #[test]
    fn all_units_gate() {
        for (width, activation) in
            [1, 15, 16, 37].into_iter().flat_map(|width| [(width, Activation::Silu), (width, Activation::GeluTanh)])
        {
            let (row, gradient) = (numbers(2 * width, 1), numbers(width, 2));
            let found = on_all_units(|unit| {
                let mut out = vec![0.0; width];
                gate_row(unit, activation, &row, &mut out);
                out
            });
            let act = |z: f64| match activation {
                Activation::Silu => z / (1.0 + (-z).exp()),
                Activation::GeluTanh => {
                    z / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (z + 0.044_715 * z.powi(3))).tanh())
                }
            };
            let exact: Vec<f64> = (0..width).map(|i| act(f64::from(row[i])) * f64::from(row[width + i])).collect();
            assert_close(&found, &exact);
            let back = on_all_units(|unit| {
                let mut out = vec![0.0; 2 * width];
                gate_row_backward(unit, activation, &row, &gradient, &mut out);
                out
            });
            let step = 1e-4;
            let exact = (0..2 * width).map(|i| {
                let (z, up, g) =
                    (f64::from(row[i % width]), f64::from(row[width + i % width]), f64::from(gradient[i % width]));
                let slope = (act(z + step) - act(z - step)) / (2.0 * step);
                if i < width { g * up * slope } else { g * act(z) }
            });
            assert_close(&back, &exact.collect::<Vec<_>>());
        }
    }
}
