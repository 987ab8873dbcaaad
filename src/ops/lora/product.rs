//! What an adapter adds to one matrix, computed in blocks of rows.
//!
//! PEFT multiplies in f32, scales the product, adds it to the weight and rounds once; for embeddings it rounds the
//! product to the type of the weight before it adds. A number of the product is a sum over the rank, added up here with
//! one fused operation a term from the first to the last, as the matrix products of MKL and OpenBLAS do for ranks that
//! fit their innermost loop. So the bits are PEFT's, and depend on neither blocks nor threads.

use super::adapter::{Adapter, Module};
use crate::model::{Unit, vectorised};
use crate::tensor::{Dtype, View};

/// The product of two matrices that is added to a weight of `rows` times `columns`.
#[derive(Debug)]
pub(super) struct Product {
    /// `rows` times `rank`.
    left: Vec<f32>,
    /// `rank` times `columns`.
    right: Vec<f32>,
    pub(super) columns: usize,
    rank: usize,
    scale: f32,
    /// The type that the product is rounded to before it is added.
    early: Option<Dtype>,
    lengths: Option<Lengths>,
}

/// The lengths that an adapter gives to vectors of the sum (DoRA), divided by those they have.
#[derive(Debug)]
enum Lengths {
    /// Of rows: the length it should have, for each row.
    Rows(Vec<f32>),
    /// Of columns: the factor, for each column.
    Columns(Vec<f32>),
}

impl Product {
    /// Returns the product for a weight of the type `out`. It must fit.
    pub(super) fn new(
        adapter: &Adapter,
        (name, module, turned): (&str, &Module, bool),
        weight: &View<'_>,
        out: Dtype,
    ) -> Self {
        let (down, up) = (adapter.numbers(&module.down), adapter.numbers(&module.up));
        let rank = adapter.shape(&module.down)[0];
        let (left, right) = if turned { (turn(&down, rank), turn(&up, up.len() / rank)) } else { (up, down) };
        let mut product = Self {
            columns: right.len() / rank,
            left,
            right,
            rank,
            scale: adapter.config.scale(name),
            early: (module.embedding && module.magnitude.is_none()).then_some(out),
            lengths: None,
        };
        if let Some(magnitude) = &module.magnitude {
            let magnitude = adapter.numbers(magnitude);
            product.lengths =
                Some(if turned { product.column_factors(&magnitude, weight, out) } else { Lengths::Rows(magnitude) });
        }
        product
    }

    /// Adds the product's rows from `first` on to as many rows of the weight, in `numbers`.
    pub(super) fn add(&self, first: usize, numbers: &mut [f32], scratch: &mut Vec<f32>) {
        self.sum(first, numbers, scratch);
        match &self.lengths {
            None => {}
            Some(Lengths::Rows(wanted)) => {
                for (row, wanted) in numbers.chunks_exact_mut(self.columns).zip(&wanted[first..]) {
                    let squares: f64 = row.iter().map(|number| f64::from(*number) * f64::from(*number)).sum();
                    let factor = wanted / squares.sqrt() as f32;
                    for number in row {
                        *number *= factor;
                    }
                }
            }
            Some(Lengths::Columns(factors)) => {
                for row in numbers.chunks_exact_mut(self.columns) {
                    row.iter_mut().zip(factors).for_each(|(number, factor)| *number *= factor);
                }
            }
        }
    }

    fn sum(&self, first: usize, numbers: &mut [f32], scratch: &mut Vec<f32>) {
        scratch.clear();
        scratch.resize(self.columns, 0.0);
        for (i, row) in numbers.chunks_exact_mut(self.columns).enumerate() {
            let weights = &self.left[(first + i) * self.rank..][..self.rank];
            row_of(Unit::best(), weights, &self.right, self.scale, scratch);
            if let Some(dtype) = self.early {
                dtype.round(scratch);
            }
            row.iter_mut().zip(&*scratch).for_each(|(number, more)| *number += more);
        }
    }

    /// Returns the factors of columns, whose lengths need a look at all rows first.
    fn column_factors(&self, wanted: &[f32], weight: &View<'_>, out: Dtype) -> Lengths {
        let mut squares = vec![0.0_f64; self.columns];
        let (mut row, mut scratch) = (vec![0.0; self.columns], Vec::new());
        for first in 0..weight.count() / self.columns {
            weight.read_f32(first * self.columns, &mut row);
            out.round(&mut row);
            self.sum(first, &mut row, &mut scratch);
            squares.iter_mut().zip(&row).for_each(|(sum, number)| *sum += f64::from(*number) * f64::from(*number));
        }
        Lengths::Columns(wanted.iter().zip(squares).map(|(wanted, sum)| wanted / sum.sqrt() as f32).collect())
    }
}

vectorised! {
    /// Writes one row of a product: `weights` times the rows of `right`, times `scale`.
    fn row_of(weights: &[f32], right: &[f32], scale: f32, out: &mut [f32]) {
        out.fill(0.0);
        for (weight, row) in weights.iter().zip(right.chunks_exact(out.len())) {
            for (sum, number) in out.iter_mut().zip(row) {
                *sum = weight.mul_add(*number, *sum);
            }
        }
        for number in out {
            *number *= scale;
        }
    }
}

/// Returns a matrix of `rows` rows the other way round.
fn turn(matrix: &[f32], rows: usize) -> Vec<f32> {
    let columns = matrix.len() / rows;
    (0..matrix.len()).map(|i| matrix[i % rows * columns + i / rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_twice_changes_nothing() {
        let matrix: Vec<f32> = (0_u8..12).map(f32::from).collect();
        let turned = turn(&matrix, 3);
        assert_eq!(turned[..4], [0.0, 4.0, 8.0, 1.0]);
        assert_eq!(turn(&turned, 4), matrix);
    }

    #[test]
    fn a_row_is_a_row_of_the_matrix_product() {
        for unit in Unit::all() {
            let mut out = [0.0; 3];
            row_of(unit, &[2.0, -1.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.5, &mut out);
            assert_eq!(out.map(f32::to_bits), [-1.0_f32, -0.5, 0.0].map(f32::to_bits), "{unit:?}");
        }
    }
}
