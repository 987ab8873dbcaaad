//! Biases of linear layers: one row that is added to all rows, and the sum over rows that its gradient is.

use rayon::prelude::*;

use super::BLOCK_ROWS;
use super::lanes::{Unit, vectorised};
use super::norm::add_parts;

/// Adds the bias to every row of `bias.len()` numbers.
pub(crate) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    rows.par_chunks_mut(bias.len() * BLOCK_ROWS).for_each(|rows| add_to_rows(Unit::best(), rows, bias));
}

vectorised! {
    fn add_to_rows(rows: &mut [f32], bias: &[f32]) {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (x, bias) in row.iter_mut().zip(bias) {
                *x += bias;
            }
        }
    }
}

/// Adds the sum of all rows to `total`.
pub(crate) fn add_rows(total: &mut [f32], rows: &[f32]) {
    let width = total.len();
    let sum = |rows: &[f32]| {
        let mut part = vec![0.0; width];
        sum_rows(Unit::best(), &mut part, rows);
        part
    };
    let parts: Vec<Vec<f32>> = rows.par_chunks(width * BLOCK_ROWS).map(sum).collect();
    add_parts(total, &parts);
}

vectorised! {
    fn sum_rows(total: &mut [f32], rows: &[f32]) {
        for row in rows.chunks_exact(total.len()) {
            for (total, x) in total.iter_mut().zip(row) {
                *total += x;
            }
        }
    }
}
