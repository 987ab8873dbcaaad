//! Linear layers over stored matrices, shared out among threads by rows of the matrix.
//!
//! What becomes of a product (a residual is added, a gate is applied) is done while it is in the nearest cache. The result
//! is written once, into memory that nobody filled with zeros before.
#![expect(
    unsafe_code,
    reason = "threads write different columns of the same rows; memory is filled by its parts; aligned numbers"
)]
#![expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]

use std::ops::Range;

use rayon::prelude::*;

use super::lanes::{Bf16, F16, F32, LANES, Lanes, Stored};
use super::strip::products;
use super::target::Target;
use super::tile::{Out, Rows, TOKENS};
use super::{Work, dispatch};
use crate::model::Unit;
use crate::model::kernel::gated::{Activation, gate};
use crate::tensor::Dtype;

/// Rows of the matrix whose products are collected before they are written out, so that whole cache lines are written.
const PANEL: usize = 32;
/// What the rows of numbers that are worked on together may take, in bytes: half of a common second-level cache.
const BLOCK_BYTES: usize = 1 << 19;
/// The most tokens in a block.
const BLOCK_TOKENS: usize = 252;
/// Multiplications that are worth a thread.
const WORTH_A_THREAD: usize = 1 << 15;
/// Cache lines that are worth a task of their own.
const LINES_A_TASK: usize = 1 << 11;
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

/// A layer: the matrix of all parts, one below the other, and a number for each of its rows.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Layer<'a> {
    pub(in super::super) parts: &'a [StoredRows<'a>],
    pub(in super::super) columns: usize,
    pub(in super::super) bias: Option<&'a [f32]>,
}

/// What becomes of `x · matrixᵀ + bias`.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Then<'a> {
    /// It is the result.
    Nothing,
    /// It is added to rows.
    Add(&'a [f32]),
    /// Its rows are `[gate | up]`, of which `activation(gate) * up` is made. The layer has these two parts.
    Gate(Activation),
}

impl Layer<'_> {
    /// Returns how many rows a part has.
    fn rows(&self, part: &StoredRows<'_>) -> usize {
        part.bytes.len() / (self.columns * part.dtype.size())
    }
}

/// Returns what a layer makes of rows `x` of `layer.columns` numbers each.
pub(in super::super) fn linear(unit: Unit, layer: Layer<'_>, x: &[f32], then: Then<'_>) -> Vec<f32> {
    let (columns, tokens) = (layer.columns, x.len() / layer.columns);
    if tokens == 0 {
        // Of a step that ends no text nothing is wanted.
        return Vec::new();
    }
    let all: usize = layer.parts.iter().map(|part| layer.rows(part)).sum();
    let gated = matches!(then, Then::Gate(_));
    let total = if gated { all / 2 } else { all };
    assert!(x.len() == tokens * columns, "a product's rows are not of one length");
    assert!(layer.bias.is_none_or(|bias| bias.len() == all), "a bias has a number for each row");
    assert!(!gated || (layer.parts.len() == 2 && layer.rows(&layer.parts[0]) == total), "a gate has rows of its own");
    if let Then::Add(start) = then {
        assert!(start.len() == tokens * total, "a product is added to rows like its own");
    }
    let lines = on_lines(x, columns);
    let x = lines.as_deref().map_or(x, numbers);
    let mut out = Vec::with_capacity(tokens * total);
    let target = Target::of(&mut out.spare_capacity_mut()[..tokens * total], total);
    let pieces = rayon::current_num_threads() * PIECES;
    let size = if all * columns * tokens < 2 * WORTH_A_THREAD { total } else { total.div_ceil(pieces) };
    let size = size.next_multiple_of(PANEL);
    let mut work = Vec::new();
    let mut first = 0;
    for part in if gated { &layer.parts[..1] } else { layer.parts } {
        for start in (0..layer.rows(part)).step_by(size) {
            let rows = start..layer.rows(part).min(start + size);
            work.push(Piece { layer, part: *part, rows, x, tokens, target: &target, column: first + start, then });
        }
        first += layer.rows(part);
    }
    // No two pieces have a column in common, and together they have all.
    work.into_par_iter().with_max_len(1).for_each(|piece| dispatch(unit, piece));
    // SAFETY: there is room for so many numbers, and the pieces have written each column of each row.
    unsafe { out.set_len(tokens * total) };
    out
}

/// Sixteen numbers on a cache line of their own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

/// Returns a copy that begins where a cache line begins, if the rows do not and are read often enough: a group of sixteen
/// that lies across two lines takes two loads.
fn on_lines(x: &[f32], columns: usize) -> Option<Vec<Line>> {
    let rare = x.len() < 4 * TOKENS * columns;
    if rare || !columns.is_multiple_of(LANES) || x.as_ptr().addr().is_multiple_of(align_of::<Line>()) {
        return None;
    }
    let (lines, _) = x.as_chunks::<LANES>();
    Some(lines.par_iter().with_min_len(LINES_A_TASK).map(|line| Line(*line)).collect())
}

/// Returns the numbers of lines.
fn numbers(lines: &[Line]) -> &[f32] {
    // SAFETY: a line is sixteen numbers and nothing else.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LANES) }
}

/// Some rows of a part and all tokens.
struct Piece<'a> {
    layer: Layer<'a>,
    part: StoredRows<'a>,
    rows: Range<usize>,
    x: &'a [f32],
    tokens: usize,
    target: &'a Target<'a>,
    /// Where the first row's products go.
    column: usize,
    then: Then<'a>,
}

impl Work for Piece<'_> {
    #[inline(always)]
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
    unsafe fn compute<L: Lanes, N: Stored>(&self) {
        let columns = self.layer.columns;
        let stride = columns * N::DTYPE.size();
        // Checked here, for all that the inner loops do without looking.
        let cut = |part: StoredRows<'_>| part.bytes[self.rows.start * stride..self.rows.end * stride].as_ptr();
        let matrix = cut(self.part);
        let up = match self.then {
            Then::Gate(_) if self.layer.parts[1].dtype == N::DTYPE => Some(cut(self.layer.parts[1])),
            Then::Gate(_) => unreachable!("a gate and what it lets through are stored alike"),
            Then::Nothing | Then::Add(_) => None,
        };
        let x = &self.x[..self.tokens * columns];
        // Blocks of one size: a last one of a few tokens would read the matrix for little.
        let most = (BLOCK_BYTES / (4 * columns)).clamp(TOKENS, BLOCK_TOKENS);
        let block = self.tokens.div_ceil(self.tokens.div_ceil(most).max(1)).next_multiple_of(TOKENS);
        let mut scratch = vec![0f32; 2 * block.min(self.tokens) * PANEL];
        let (first_half, second_half) = scratch.split_at_mut(block.min(self.tokens) * PANEL);
        for first in (0..self.tokens).step_by(block) {
            let tokens = block.min(self.tokens - first);
            for row in (0..self.rows.len()).step_by(PANEL) {
                let count = PANEL.min(self.rows.len() - row);
                // SAFETY: the rows lie in the slices, either half of the scratch has room for `tokens` rows of `PANEL`, and
                // the columns are the caller's.
                unsafe {
                    let x = Rows { start: x.as_ptr().add(first * columns).cast(), stride: columns * 4 };
                    let panel = |matrix: *const u8| Rows { start: matrix.add(row * stride), stride };
                    let out = Out { start: first_half.as_mut_ptr(), stride: PANEL };
                    let below = matrix.wrapping_add((row + count) * stride);
                    let after = up.map_or(below, |up| up.add(row * stride));
                    products::<L, N>(panel(matrix), count, x, tokens, columns, out, after);
                    if let Some(up) = up {
                        let out = Out { start: second_half.as_mut_ptr(), stride: PANEL };
                        products::<L, N>(panel(up), count, x, tokens, columns, out, below);
                    }
                    let scratch = first_half.chunks_exact_mut(PANEL).zip(second_half.chunks_exact_mut(PANEL));
                    for (token, (products, up)) in scratch.take(tokens).enumerate() {
                        self.write(&mut products[..count], &mut up[..count], row, first + token);
                    }
                }
            }
        }
    }

    /// Makes a token's part of the result of products with rows from `row` of the piece on.
    ///
    /// # Safety
    /// Nobody else writes these columns.
    #[inline(always)]
    unsafe fn write(&self, products: &mut [f32], up: &mut [f32], row: usize, token: usize) {
        let column = self.column + row;
        if let Some(bias) = self.layer.bias {
            add(products, &bias[column..]);
        }
        // SAFETY: the caller's promise.
        let out = unsafe { self.target.row(token, column..column + products.len()) };
        match self.then {
            Then::Nothing => {}
            Then::Add(start) => add(products, &start[token * self.target.stride() + column..]),
            Then::Gate(activation) => {
                if let Some(bias) = self.layer.bias {
                    add(up, &bias[self.target.stride() + column..]);
                }
                gate(activation, products, up);
            }
        }
        let count = out.len().min(products.len());
        // SAFETY: both have as many numbers, and neither lies in the other. Of a length that is known it takes no call.
        unsafe {
            if count == PANEL {
                std::ptr::copy_nonoverlapping(products.as_ptr(), out.as_mut_ptr().cast(), PANEL);
            } else {
                std::ptr::copy_nonoverlapping(products.as_ptr(), out.as_mut_ptr().cast(), count);
            }
        }
    }
}

#[inline(always)]
fn add(sums: &mut [f32], more: &[f32]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum += more;
    }
}
