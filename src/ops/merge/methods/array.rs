//! Operations on a piece of a tensor, rounded to the type of the tensor as PyTorch would.
//!
//! The methods that look at tensors as vectors (lengths, products, angles) pass over them several times, and make
//! anew in each pass what PyTorch would keep: a whole tensor in f32 is four bytes a number for each of them, and what is made of
//! a piece is in the nearest cache.

use super::super::fused::{Kernel, vectorized};
use super::super::part::Work;
use crate::tensor::Dtype;

/// Numbers that a thread reads at a time.
pub(super) const PIECE: usize = 1 << 12;

struct Map<'a, F> {
    dtype: Dtype,
    numbers: &'a mut [f32],
    operation: F,
}

impl<F: Fn(f32) -> f32> Kernel for Map<'_, F> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        for number in self.numbers.iter_mut() {
            *number = (self.operation)(*number);
        }
        self.dtype.round(self.numbers);
    }
}

/// Applies an operation to every number.
pub(super) fn map(dtype: Dtype, numbers: &mut [f32], operation: impl Fn(f32) -> f32) {
    vectorized(Map { dtype, numbers, operation });
}

struct With<'a, F> {
    dtype: Dtype,
    numbers: &'a mut [f32],
    others: &'a [f32],
    operation: F,
}

impl<F: Fn(f32, f32) -> f32> Kernel for With<'_, F> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        for (number, other) in self.numbers.iter_mut().zip(self.others) {
            *number = (self.operation)(*number, *other);
        }
        self.dtype.round(self.numbers);
    }
}

/// Applies an operation to every number and the one at the same place of another piece.
pub(super) fn with(dtype: Dtype, numbers: &mut [f32], others: &[f32], operation: impl Fn(f32, f32) -> f32) {
    vectorized(With { dtype, numbers, others, operation });
}

/// Adds weighted pieces, `size` numbers each and one after the other, to `sum`: each product is rounded, the sum once, as
/// `(stack * weights).sum(0)` does. `spare` is as long as `sum`.
pub(super) fn weighted_sum(dtype: Dtype, pieces: &[f32], weights: &[f32], sum: &mut [f32], spare: &mut [f32]) {
    sum.fill(0.0);
    for (piece, weight) in pieces.chunks_exact(sum.len()).zip(weights) {
        spare.copy_from_slice(piece);
        map(dtype, spare, |number| number * weight);
        with(Dtype::F32, sum, spare, |sum, product| sum + product);
    }
    map(dtype, sum, |number| number);
}

/// Reads a part, and adds the base to numbers where there is one.
pub(super) fn plus_base(work: &Work<'_>, from: usize, out: &mut [f32], spare: &mut [f32]) {
    if let Some(base) = work.base() {
        base.read(from, spare);
        with(work.dtype, out, spare, |number, base| base + number);
    }
}

/// Reads the differences of all parts but the base to it, or the parts themselves where there is no base: one after the
/// other, `spare.len()` numbers each.
pub(super) fn differences(work: &Work<'_>, parts: &[usize], from: usize, out: &mut [f32], spare: &mut [f32]) {
    for (part, out) in parts.iter().zip(out.chunks_exact_mut(spare.len())) {
        work.difference(&work.parts[*part], from, out, spare);
    }
}

/// Returns the numbers of the parts that are not the base.
pub(super) fn others(work: &Work<'_>) -> Vec<usize> {
    work.others().map(|(i, _)| i).collect()
}

/// Splits what is lent into pieces, after making it long enough.
pub(super) fn split<const N: usize>(scratch: &mut Vec<f32>, sizes: [usize; N]) -> [&mut [f32]; N] {
    scratch.resize(sizes.iter().sum::<usize>().max(scratch.len()), 0.0);
    let mut rest: &mut [f32] = scratch;
    sizes.map(|size| {
        let (first, after) = std::mem::take(&mut rest).split_at_mut(size);
        rest = after;
        first
    })
}

/// Lets go of the memory behind what was read of all parts.
pub(super) fn passed(work: &Work<'_>, from: usize, count: usize) {
    work.passed(from, from + count);
}
