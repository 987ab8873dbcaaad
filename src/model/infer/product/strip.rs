//! Products of a matrix, a few rows at a time: how they are cut into [`tile`](super::tile)s, and what is asked for ahead.
#![expect(unsafe_code, reason = "bounds are checked once for a whole product and not in its innermost loop")]
#![expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]

use std::mem::MaybeUninit;

use super::lanes::{F32, LANES, Lanes, Stored};
use super::tile::{Chunk, Out, ROWS, Rows, TOKENS, tiles};

/// Columns that are summed in registers before they are added to what came before. Four rows of so many stay in the
/// nearest cache while many tokens go by.
pub(super) const CHUNK: usize = 768;
/// Tokens for which 16-bit rows are widened once and not in every tile.
const WORTH_WIDENING: usize = 5 * TOKENS;

/// Computes the products of `count` rows of a matrix with `tokens` rows `x`, of `columns` numbers each; `out` has a row for
/// each token. At `after` lies what is read after these rows, if anything.
///
/// # Safety
/// The machine has the instructions of `L`; all rows are there.
#[inline(always)]
pub(super) unsafe fn products<L: Lanes, N: Stored>(
    matrix: Rows,
    count: usize,
    x: Rows,
    tokens: usize,
    columns: usize,
    out: Out,
    after: *const u8,
) {
    let mut row = 0;
    while row < count {
        let rows = if tokens == 1 && L::WIDE && count - row >= 2 * ROWS {
            2 * ROWS
        } else if count - row >= ROWS {
            ROWS
        } else {
            1
        };
        let mut start = 0;
        while start < columns {
            let size = CHUNK.min(columns - start);
            // SAFETY: rows and columns are within what the caller promised.
            unsafe {
                // What is read after this: more of the same rows, or the first numbers of the rows below.
                let next = match (start + size < columns, row + rows < count) {
                    (true, _) => matrix.at(row, (start + size) * N::DTYPE.size()),
                    (false, true) => matrix.at(row + rows, 0),
                    (false, false) => after,
                };
                let matrix = matrix.from(row, start * N::DTYPE.size());
                let next = next.addr().wrapping_sub(matrix.start.addr());
                let (x, out) = (x.from(0, start * 4), Out { start: out.start.add(row), ..out });
                strip::<L, N>(matrix, rows, x, tokens, out, Chunk { columns: size, add: start > 0, next: Some(next) });
            }
            start += size;
        }
        row += rows;
    }
}

/// A few rows of the matrix with all tokens.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn strip<L: Lanes, N: Stored>(matrix: Rows, rows: usize, x: Rows, tokens: usize, out: Out, chunk: Chunk) {
    let mut widened = Widened::new();
    let is_widened = N::DTYPE != F32::DTYPE && tokens >= WORTH_WIDENING;
    let mut token = 0;
    // SAFETY: within what the caller promised; of the widened rows so much is read as was written.
    unsafe {
        let near = is_widened.then(|| widened.fill::<L, N>(matrix, rows, chunk.columns));
        while token < tokens {
            let left = tokens - token;
            let (x, out) = (x.from(token, 0), Out { start: out.start.add(token * out.stride), ..out });
            // The last two tiles ask for what is read next: one alone cannot ask for so much so early, and asking takes a
            // tenth of the time where everything is near.
            if left > 2 * TOKENS {
                let chunk = Chunk { next: None, ..chunk };
                match near {
                    Some(near) => tiles::<L, F32>(near, rows, x, TOKENS, out, chunk),
                    None => tiles::<L, N>(matrix, rows, x, TOKENS, out, chunk),
                }
                token += TOKENS;
            } else {
                let size = left.div_ceil(left.div_ceil(TOKENS));
                tiles::<L, N>(matrix, rows, x, size, out, chunk);
                token += size;
            }
        }
    }
}

/// Some columns of a few rows as f32, so that many tokens need not widen them again and again.
#[repr(C, align(64))]
struct Widened([MaybeUninit<f32>; ROWS * CHUNK]);

impl Widened {
    #[inline(always)]
    fn new() -> Self {
        Self([MaybeUninit::uninit(); ROWS * CHUNK])
    }

    /// Returns rows of `columns` numbers, at most [`CHUNK`], widened.
    ///
    /// # Safety
    /// The machine has the instructions of `L`; the rows are there, at most [`ROWS`] of them.
    #[inline(always)]
    unsafe fn fill<L: Lanes, N: Stored>(&mut self, matrix: Rows, rows: usize, columns: usize) -> Rows {
        let start: *mut f32 = self.0.as_mut_ptr().cast();
        for r in 0..rows {
            let mut i = 0;
            // SAFETY: there is room for so many rows of `CHUNK` numbers; a last group is copied by its length.
            unsafe {
                let row = start.add(r * CHUNK);
                while i + LANES <= columns {
                    N::load::<L>(matrix.at(r, i * N::DTYPE.size())).store(row.add(i));
                    i += LANES;
                }
                let left =
                    std::slice::from_raw_parts(matrix.at(r, i * N::DTYPE.size()), (columns - i) * N::DTYPE.size());
                let mut last = [0f32; LANES];
                N::DTYPE.read_f32(left, &mut last[..columns - i]);
                std::ptr::copy_nonoverlapping(last.as_ptr(), row.add(i), columns - i);
            }
        }
        Rows { start: start.cast_const().cast(), stride: CHUNK * size_of::<f32>() }
    }
}
