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

#[inline(always)]
fn silu(z: f32) -> f32 {
    z * sigmoid(z)
}

/// Returns rows of `width` numbers from rows `[gate | up]` of twice as many.
pub(crate) fn gated(rows: &[f32], width: usize, activation: Activation) -> Vec<f32> {
    let mut out = vec![0.0; rows.len() / 2];
    let blocks = out.par_chunks_mut(width * BLOCK_ROWS).zip(rows.par_chunks(2 * width * BLOCK_ROWS));
    blocks.for_each(|(out, rows)| {
        for (out, row) in out.chunks_exact_mut(width).zip(rows.chunks_exact(2 * width)) {
            let (gate, up) = row.split_at(width);
            gate_row(Unit::best(), activation, gate, up, out);
        }
    });
    out
}

vectorised! {
    /// Writes `activation(gate) * up`.
    pub(crate) fn gate_row(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
        let numbers = out.iter_mut().zip(gate).zip(up);
        match activation {
            Activation::Silu => {
                for ((out, gate), up) in numbers {
                    *out = silu(*gate) * up;
                }
            }
            Activation::GeluTanh => {
                for ((out, gate), up) in numbers {
                    *out = gelu_tanh(*gate).0 * up;
                }
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
