//! The inner loops: rows of a stored matrix times rows of numbers.
//!
//! Both sides of a product lie row by row, the way they are stored and the way they come, so nothing is packed or
//! transposed. What is kept in registers is a tile of products, a group of sixteen sums for each. A number of the result
//! is made by the same operations in the same order in a tile of any shape, and that is what makes results independent
//! of what is fed together with what.
#![expect(unsafe_code, reason = "bounds are checked once for a whole product and not in its innermost loop")]
#![expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]

use std::marker::PhantomData;

use super::Work;
use super::lanes::{F32, LANES, Lanes, Stored};

/// Columns that are summed in registers before they are added to what came before. Four rows of so many stay in the
/// nearest cache while many tokens go by.
pub(super) const CHUNK: usize = 768;
/// Rows of the matrix in a tile.
const ROWS: usize = 4;
/// Tokens in a tile.
pub(super) const TOKENS: usize = 6;

/// Rows in memory, whose bounds somebody has checked.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    /// The first number.
    pub(super) start: *const u8,
    /// Bytes from one row to the next.
    pub(super) stride: usize,
}

impl Rows {
    /// # Safety
    /// The row and the byte are there.
    #[inline(always)]
    pub(super) unsafe fn at(self, row: usize, byte: usize) -> *const u8 {
        // SAFETY: the caller's promise.
        unsafe { self.start.add(row * self.stride + byte) }
    }

    /// # Safety
    /// The row is there.
    #[inline(always)]
    pub(super) unsafe fn from(self, row: usize, byte: usize) -> Self {
        // SAFETY: the caller's promise.
        Self { start: unsafe { self.at(row, byte) }, ..self }
    }
}

/// Where numbers go.
#[derive(Clone, Copy)]
pub(super) struct Out {
    /// The first number.
    pub(super) start: *mut f32,
    /// Numbers from one row to the next.
    pub(super) stride: usize,
}

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
                strip::<L, N>(matrix, rows, x, tokens, out, Chunk { columns: size, add: start > 0, next });
            }
            start += size;
        }
        row += rows;
    }
}

/// Some columns of a product.
#[derive(Clone, Copy)]
struct Chunk {
    columns: usize,
    /// Whether there were columns before, whose sums these are added to.
    add: bool,
    /// How many bytes further what is read after them begins; it may lie before them.
    next: usize,
}

/// A few rows of the matrix with all tokens.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn strip<L: Lanes, N: Stored>(matrix: Rows, rows: usize, x: Rows, tokens: usize, out: Out, chunk: Chunk) {
    let Chunk { columns, add, next } = chunk;
    let mut token = 0;
    while token < tokens {
        let left = tokens - token;
        let size = if left > 2 * TOKENS { TOKENS } else { left.div_ceil(left.div_ceil(TOKENS)) };
        // SAFETY: within what the caller promised.
        unsafe {
            let (x, out) = (x.from(token, 0), Out { start: out.start.add(token * out.stride), ..out });
            match (rows, L::WIDE) {
                (1, _) => few::<L, N, 1>(matrix, x, size, columns, out, add, next),
                (ROWS, true) => many::<L, N>(matrix, x, size, columns, out, add, next),
                (ROWS, false) if size == 1 => tile::<L, N, ROWS, 1>(matrix, x, columns, out, add, next),
                (ROWS, false) => {
                    few::<L, N, 2>(matrix, x, size, columns, out, add, next);
                    let out = Out { start: out.start.add(2), ..out };
                    few::<L, N, 2>(matrix.from(2, 0), x, size, columns, out, add, next);
                }
                _ => tile::<L, N, { 2 * ROWS }, 1>(matrix, x, columns, out, add, next),
            }
        }
        token += size;
    }
}

/// Four rows and up to six tokens, where there are registers for so many.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn many<L: Lanes, N: Stored>(
    matrix: Rows,
    x: Rows,
    size: usize,
    columns: usize,
    out: Out,
    add: bool,
    next: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => tile::<L, N, ROWS, 1>(matrix, x, columns, out, add, next),
            2 => tile::<L, N, ROWS, 2>(matrix, x, columns, out, add, next),
            3 => tile::<L, N, ROWS, 3>(matrix, x, columns, out, add, next),
            4 => tile::<L, N, ROWS, 4>(matrix, x, columns, out, add, next),
            5 => tile::<L, N, ROWS, 5>(matrix, x, columns, out, add, next),
            _ => tile::<L, N, ROWS, TOKENS>(matrix, x, columns, out, add, next),
        }
    }
}

/// One or two rows, three tokens at a time.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn few<L: Lanes, N: Stored, const R: usize>(
    matrix: Rows,
    x: Rows,
    size: usize,
    columns: usize,
    out: Out,
    add: bool,
    next: usize,
) {
    let mut token = 0;
    while token < size {
        // SAFETY: within what the caller promised.
        unsafe {
            let (x, out) = (x.from(token, 0), Out { start: out.start.add(token * out.stride), ..out });
            match size - token {
                1 => tile::<L, N, R, 1>(matrix, x, columns, out, add, next),
                2 => tile::<L, N, R, 2>(matrix, x, columns, out, add, next),
                _ => tile::<L, N, R, 3>(matrix, x, columns, out, add, next),
            }
        }
        token += 3;
    }
}

/// `R` rows (1, 2, 4 or 8) times `T` tokens.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn tile<L: Lanes, N: Stored, const R: usize, const T: usize>(
    matrix: Rows,
    x: Rows,
    columns: usize,
    out: Out,
    add: bool,
    next: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        L::apart(Tile::<N, R, T> { matrix, x, columns, out, add, next, stored: PhantomData });
    }
}

/// A tile is a function of its own: inlined into each other, dozens of them leave no registers to any.
struct Tile<N, const R: usize, const T: usize> {
    matrix: Rows,
    x: Rows,
    columns: usize,
    out: Out,
    add: bool,
    next: usize,
    stored: PhantomData<N>,
}

impl<N: Stored, const R: usize, const T: usize> Work for Tile<N, R, T> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the caller's promise.
        unsafe { compute::<L, N, R, T>(&self) }
    }
}

/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn compute<L: Lanes, N: Stored, const R: usize, const T: usize>(tile: &Tile<N, R, T>) {
    let Tile { matrix, x, columns, out, add, next, .. } = *tile;
    let size = N::DTYPE.size();
    // SAFETY: the caller's promise; a remainder is copied by its length.
    unsafe {
        // A group is made of numbers alone, and a loop that fills the array would keep it in memory.
        let mut sums: [[L; R]; T] = std::mem::zeroed();
        let mut i = 0;
        while i + LANES <= columns {
            let mut weights: [L; R] = std::mem::zeroed();
            unroll!(r < R, {
                let at = matrix.at(r, i * size);
                // Of what is read next the processor knows nothing at the end of a row. Each tile of these rows asks again:
                // one alone cannot ask for so much so early, and what it got has left the nearest cache when it is needed.
                L::prefetch(at.wrapping_add(next));
                weights[r] = N::load(at);
            });
            unroll!(t < T, {
                let x = L::f32(x.at(t, i * 4));
                unroll!(r < R, {
                    sums[t][r] = weights[r].times_plus(x, sums[t][r]);
                });
            });
            i += LANES;
        }
        if i < columns {
            let mut weights: [L; R] = std::mem::zeroed();
            unroll!(r < R, {
                weights[r] = rest::<L, N>(matrix.at(r, i * size), columns - i);
            });
            unroll!(t < T, {
                let x = rest::<L, F32>(x.at(t, i * 4), columns - i);
                unroll!(r < R, {
                    sums[t][r] = weights[r].times_plus(x, sums[t][r]);
                });
            });
        }
        unroll!(t < T, {
            unroll!(four < R.div_ceil(4), {
                // Fewer than four rows are summed up beside copies of themselves.
                let place = [4 * four, (4 * four + 1) % R, (4 * four + 2) % R, (4 * four + 3) % R];
                let of = [sums[t][place[0]], sums[t][place[1]], sums[t][place[2]], sums[t][place[3]]];
                let out = out.start.add(t * out.stride + 4 * four);
                if R >= 4 {
                    L::put_sums(of, out, add);
                } else {
                    for (r, new) in L::sums(of).into_iter().enumerate().take(R) {
                        *out.add(r) = if add { *out.add(r) + new } else { new };
                    }
                }
            });
        });
    }
}

/// The last numbers of a row, fewer than a group, and zeros.
///
/// # Safety
/// `count` numbers are there.
#[inline(always)]
unsafe fn rest<L: Lanes, N: Stored>(from: *const u8, count: usize) -> L {
    let mut numbers = [0f32; LANES];
    // SAFETY: the caller's promise; a group is loaded from an array of as many numbers.
    unsafe {
        let bytes = std::slice::from_raw_parts(from, count * N::DTYPE.size());
        N::DTYPE.read_f32(bytes, &mut numbers[..count]);
        L::f32(numbers.as_ptr().cast())
    }
}
