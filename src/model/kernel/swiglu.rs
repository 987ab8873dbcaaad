//! The gated activation of the feed-forward layer: `silu(gate) * up`, `silu(z) = z / (1 + exp(-z))` (Shazeer 2020).
//!
//! Gate and up come side by side in one row, because one product with both weights makes them.

use rayon::prelude::*;

use super::BLOCK_ROWS;
use super::lanes::{sigmoid, vectorised};

/// Returns rows of `width` numbers from rows `[gate | up]` of twice as many.
pub(crate) fn swiglu(rows: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len() / 2];
    let blocks = out.par_chunks_mut(width * BLOCK_ROWS).zip(rows.par_chunks(2 * width * BLOCK_ROWS));
    blocks.for_each(|(out, rows)| {
        vectorised(|| {
            for (out, row) in out.chunks_exact_mut(width).zip(rows.chunks_exact(2 * width)) {
                let (gate, up) = row.split_at(width);
                for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                    *out = gate * sigmoid(*gate) * up;
                }
            }
        });
    });
    out
}

/// Returns the gradient of the rows `[gate | up]`, given that of the result.
///
/// `d silu(z) / dz = s (1 + z (1 - s))` with `s` the sigmoid of `z`.
pub(crate) fn swiglu_backward(rows: &[f32], gradient: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    let wide = 2 * width * BLOCK_ROWS;
    let blocks = out.par_chunks_mut(wide).zip(rows.par_chunks(wide).zip(gradient.par_chunks(width * BLOCK_ROWS)));
    blocks.for_each(|(out, (rows, gradient))| {
        vectorised(|| {
            let rows = rows.chunks_exact(2 * width).zip(gradient.chunks_exact(width));
            for (out, (row, gradient)) in out.chunks_exact_mut(2 * width).zip(rows) {
                let (gate, up) = row.split_at(width);
                let (gate_out, up_out) = out.split_at_mut(width);
                for i in 0..width {
                    let s = sigmoid(gate[i]);
                    gate_out[i] = gradient[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
                    up_out[i] = gradient[i] * gate[i] * s;
                }
            }
        });
    });
    out
}
