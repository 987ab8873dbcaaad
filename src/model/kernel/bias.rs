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

#[cfg(test)]
mod tests {
    use super::super::lanes::testing::{assert_close, numbers, on_all_units};
    use super::*;

    #[test]
    fn all_units_add_rows() {
        for width in [1, 15, 16, 33, 70] {
            let (rows, bias) = (numbers(5 * width, 1), numbers(width, 2));
            let found = on_all_units(|unit| {
                let mut rows = rows.clone();
                add_to_rows(unit, &mut rows, &bias);
                rows
            });
            let exact = rows.iter().enumerate().map(|(i, x)| f64::from(*x) + f64::from(bias[i % width]));
            assert_close(&found, &exact.collect::<Vec<_>>());
            let found = on_all_units(|unit| {
                let mut total = bias.clone();
                sum_rows(unit, &mut total, &rows);
                total
            });
            let column = |i: usize| rows.iter().skip(i).step_by(width).map(|x| f64::from(*x)).sum::<f64>();
            assert_close(&found, &(0..width).map(|i| f64::from(bias[i]) + column(i)).collect::<Vec<_>>());
        }
    }
}
