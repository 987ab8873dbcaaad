//! Operations on whole tensors that are in memory, rounded to the type of the tensor as PyTorch would.

use rayon::prelude::*;

use super::super::part::{Work, rounded};
use super::super::torch;
use crate::tensor::Dtype;

/// Numbers a thread takes at a time.
const PIECE: usize = 1 << 14;

/// Numbers in memory that are rounded to a type after every operation.
#[derive(Debug, Clone)]
pub(super) struct Array {
    pub(super) numbers: Vec<f32>,
    pub(super) dtype: Dtype,
}

impl Array {
    pub(super) fn new(numbers: Vec<f32>, dtype: Dtype) -> Self {
        Self { numbers, dtype }
    }

    pub(super) fn zeros(like: &Self) -> Self {
        Self { numbers: vec![0.0; like.numbers.len()], dtype: like.dtype }
    }

    /// Applies an operation to every number.
    pub(super) fn map(mut self, operation: impl Fn(f32) -> f32 + Sync) -> Self {
        let dtype = self.dtype;
        self.numbers.par_chunks_mut(PIECE).for_each(|piece| {
            for number in piece.iter_mut() {
                *number = operation(*number);
            }
            dtype.round(piece);
        });
        self
    }

    /// Applies an operation to every number and the one at the same place of another array.
    pub(super) fn with(mut self, other: &Self, operation: impl Fn(f32, f32) -> f32 + Sync) -> Self {
        let dtype = self.dtype;
        self.numbers.par_chunks_mut(PIECE).zip(other.numbers.par_chunks(PIECE)).for_each(|(piece, others)| {
            for (number, other) in piece.iter_mut().zip(others) {
                *number = operation(*number, *other);
            }
            dtype.round(piece);
        });
        self
    }

    /// Multiplies by a number.
    pub(super) fn times(self, factor: f32) -> Self {
        self.map(|number| number * factor)
    }

    /// Adds another array.
    pub(super) fn plus(self, other: &Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    /// Multiplies by another array, number by number.
    pub(super) fn by(self, other: &Self) -> Self {
        self.with(other, |a, b| a * b)
    }

    /// Returns the sum, rounded to the type.
    pub(super) fn sum(&self) -> f32 {
        rounded(self.dtype, torch::sum_of(&self.numbers, self.dtype != Dtype::F32))
    }

    /// Returns the length, rounded to the type.
    pub(super) fn norm(&self) -> f32 {
        rounded(self.dtype, torch::norm(&self.numbers, self.dtype != Dtype::F32))
    }
}

/// Returns the weighted sum of arrays: each product is rounded, the sum once, as `(stack * weights).sum(0)` does.
pub(super) fn weighted_sum(arrays: &[Array], weights: &[f32]) -> Array {
    let mut sum = vec![0.0_f32; arrays[0].numbers.len()];
    let dtype = arrays[0].dtype;
    for (array, weight) in arrays.iter().zip(weights) {
        sum.par_chunks_mut(PIECE).zip(array.numbers.par_chunks(PIECE)).for_each_init(
            Vec::new,
            |products, (sum, numbers)| {
                products.clear();
                products.extend(numbers.iter().map(|number| number * weight));
                dtype.round(products);
                sum.iter_mut().zip(&*products).for_each(|(sum, product)| *sum += product);
            },
        );
    }
    Array::new(sum, dtype).map(|number| number)
}

/// Returns the differences of all parts but the base to it, or the parts themselves where there is no base.
pub(super) fn others(work: &Work<'_>) -> Vec<Array> {
    work.others().map(|(_, part)| Array::new(work.differences(part), work.dtype)).collect()
}

/// Returns the base.
pub(super) fn base(work: &Work<'_>) -> Option<Array> {
    work.base().map(|base| Array::new(base.all(), work.dtype))
}
