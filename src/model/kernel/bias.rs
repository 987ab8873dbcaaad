//! Biases of linear layers: one row that is added to all rows, and the sum over rows that its gradient is.

use rayon::prelude::*;

use super::BLOCK_ROWS;
use super::lanes::vectorised;
use super::norm::add_parts;

/// Adds the bias to every row of `bias.len()` numbers.
pub(crate) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    rows.par_chunks_mut(bias.len() * BLOCK_ROWS).for_each(|rows| {
        vectorised(|| {
            for row in rows.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
            }
        });
    });
}

/// Adds the sum of all rows to `total`.
pub(crate) fn add_rows(total: &mut [f32], rows: &[f32]) {
    let width = total.len();
    let sum = |rows: &[f32]| {
        let mut part = vec![0.0; width];
        vectorised(|| {
            for row in rows.chunks_exact(width) {
                part.iter_mut().zip(row).for_each(|(total, x)| *total += x);
            }
        });
        part
    };
    let parts: Vec<Vec<f32>> = rows.par_chunks(width * BLOCK_ROWS).map(sum).collect();
    add_parts(total, &parts);
}
