//! Linear layers over stored matrices, shared out among threads by rows of the matrix.
#![expect(unsafe_code, reason = "threads write different columns of the same rows, which slices cannot say")]

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use super::lanes::{Bf16, F16, F32, Lanes, Stored};
use super::tile::{Out, Rows, products};
use super::{Work, dispatch};
use crate::model::Unit;
use crate::tensor::Dtype;

/// Rows of the matrix whose products are collected before they are written out, so that whole cache lines are written.
const PANEL: usize = 32;
/// What the rows of numbers that are worked on together may take, in bytes: half of a common second-level cache.
const BLOCK_BYTES: usize = 1 << 19;
/// The most tokens in a block.
const BLOCK_TOKENS: usize = 252;
/// Multiplications that are worth a thread.
const WORTH_A_THREAD: usize = 1 << 15;
/// Pieces for each thread: some may be slower than others.
const PIECES: usize = 4;

/// Rows of a matrix as they lie in a file.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct StoredRows<'a> {
    /// How a number is stored.
    pub(in super::super) dtype: Dtype,
    /// The numbers, row by row.
    pub(in super::super) bytes: &'a [u8],
}

/// Writes, or adds, `x · matrixᵀ + bias` to `out`, for rows `x` of `columns` numbers. The matrix is that of all parts, one
/// below the other.
pub(in super::super) fn linear(
    parts: &[StoredRows<'_>],
    columns: usize,
    x: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
    add: bool,
) {
    let tokens = x.len() / columns;
    let rows = |part: &StoredRows| part.bytes.len() / (columns * part.dtype.size());
    let total: usize = parts.iter().map(rows).sum();
    assert!(x.len() == tokens * columns && out.len() == tokens * total, "a product's rows are not of one length");
    assert!(bias.is_none_or(|bias| bias.len() == total), "a bias has a number for each row");
    let unit = Unit::best();
    let target = Target { start: out.as_mut_ptr(), rows: tokens, stride: total, numbers: PhantomData };
    let pieces = rayon::current_num_threads() * PIECES;
    let size = if total * columns * tokens < 2 * WORTH_A_THREAD { total } else { total.div_ceil(pieces) };
    let size = size.next_multiple_of(PANEL);
    let mut work = Vec::new();
    let mut first = 0;
    for part in parts {
        for start in (0..rows(part)).step_by(size) {
            let rows = start..rows(part).min(start + size);
            let column = first + start;
            let bias = bias.map(|bias| &bias[column..column + rows.len()]);
            work.push(Piece { part: *part, rows, columns, x, tokens, bias, target: &target, column, add });
        }
        first += rows(part);
    }
    // SAFETY (of the writes in `Piece`): no two pieces have a column in common.
    work.into_par_iter().with_max_len(1).for_each(|piece| dispatch(unit, piece));
}

/// A matrix that is written by columns.
struct Target<'a> {
    start: *mut f32,
    rows: usize,
    stride: usize,
    numbers: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for a mutable slice, and `Target::row` asks that nobody else has the same place.
unsafe impl Send for Target<'_> {}
// SAFETY: as above.
unsafe impl Sync for Target<'_> {}

impl Target<'_> {
    /// # Safety
    /// Nobody else has any of these columns while the slice lives.
    #[expect(clippy::mut_from_ref, reason = "columns belong to one thread each, which the caller promises")]
    unsafe fn row(&self, row: usize, columns: Range<usize>) -> &mut [f32] {
        assert!(row < self.rows && columns.end <= self.stride, "a product is written outside of its matrix");
        // SAFETY: the place is inside the slice, and the caller has it alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride + columns.start), columns.len()) }
    }
}

/// Some rows of the matrix and all tokens.
struct Piece<'a> {
    part: StoredRows<'a>,
    rows: Range<usize>,
    columns: usize,
    x: &'a [f32],
    tokens: usize,
    bias: Option<&'a [f32]>,
    target: &'a Target<'a>,
    /// Where the first row's products go.
    column: usize,
    add: bool,
}

impl Work for Piece<'_> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.part.dtype {
                Dtype::F32 => self.compute::<L, F32>(),
                Dtype::F16 => self.compute::<L, F16>(),
                Dtype::BF16 => self.compute::<L, Bf16>(),
                other => unreachable!("weights in {other} are refused when a model is opened"),
            }
        }
    }
}

impl Piece<'_> {
    /// # Safety
    /// The machine has the instructions of `L`; nobody else writes these columns.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]
    unsafe fn compute<L: Lanes, N: Stored>(&self) {
        let stride = self.columns * N::DTYPE.size();
        // Checked here, for all that the inner loops do without looking.
        let matrix = &self.part.bytes[self.rows.start * stride..self.rows.end * stride];
        let x = &self.x[..self.tokens * self.columns];
        let block = (BLOCK_BYTES / (4 * self.columns)).clamp(6, BLOCK_TOKENS) / 6 * 6;
        let mut scratch = vec![0f32; block.min(self.tokens) * PANEL];
        for first in (0..self.tokens).step_by(block) {
            let tokens = block.min(self.tokens - first);
            for row in (0..self.rows.len()).step_by(PANEL) {
                let count = PANEL.min(self.rows.len() - row);
                // SAFETY: the rows lie in the two slices, the scratch has room for `tokens` rows of `PANEL`, and the columns
                // are the caller's.
                unsafe {
                    let matrix = Rows { start: matrix.as_ptr().add(row * stride), stride };
                    let x = Rows { start: x.as_ptr().add(first * self.columns).cast(), stride: self.columns * 4 };
                    let out = Out { start: scratch.as_mut_ptr(), stride: PANEL };
                    products::<L, N>(matrix, count, x, tokens, self.columns, out);
                    for (token, products) in scratch.chunks_exact_mut(PANEL).take(tokens).enumerate() {
                        let column = self.column + row;
                        let out = self.target.row(first + token, column..column + count);
                        self.write(&mut products[..count], row, out);
                    }
                }
            }
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]
    fn write(&self, products: &mut [f32], row: usize, out: &mut [f32]) {
        if let Some(bias) = self.bias {
            products.iter_mut().zip(&bias[row..]).for_each(|(x, bias)| *x += bias);
        }
        if self.add {
            out.iter_mut().zip(products).for_each(|(out, x)| *out += *x);
        } else {
            out.copy_from_slice(products);
        }
    }
}
