//! The inner loops: rows of a stored matrix times rows of numbers.
//!
//! Both sides of a product lie row by row, the way they are stored and the way they come, so nothing is transposed. What
//! is kept in registers is a tile of products, a group of sixteen sums for each. A number of the result is made by the
//! same operations in the same order in a tile of any shape, and that is what makes results independent of what is fed
//! together with what.
#![expect(unsafe_code, reason = "bounds are checked once for a whole product and not in its innermost loop")]
#![expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]

use std::marker::PhantomData;

use super::Work;
use super::lanes::{F32, LANES, Lanes, Stored};

/// Rows of the matrix in a tile.
pub(super) const ROWS: usize = 4;
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

/// Some columns of a product.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) columns: usize,
    /// Whether there were columns before, whose sums these are added to.
    pub(super) add: bool,
    /// How many bytes further what is read after them begins; it may lie before them. `None` where others ask for it.
    pub(super) next: Option<usize>,
}

/// A few rows of the matrix with a few tokens.
///
/// # Safety
/// The machine has the instructions of `L`; all rows are there, 1 or 4 of the matrix and up to six of `x`, or 8 and one.
#[inline(always)]
pub(super) unsafe fn tiles<L: Lanes, N: Stored>(
    matrix: Rows,
    rows: usize,
    x: Rows,
    size: usize,
    out: Out,
    chunk: Chunk,
) {
    // SAFETY: within what the caller promised.
    unsafe {
        match (rows, L::WIDE) {
            (1, _) => few::<L, N, 1>(matrix, x, size, out, chunk),
            (ROWS, true) => many::<L, N>(matrix, x, size, out, chunk),
            (ROWS, false) if size == 1 => tile::<L, N, ROWS, 1>(matrix, x, out, chunk),
            (ROWS, false) => {
                few::<L, N, 2>(matrix, x, size, out, chunk);
                let out = Out { start: out.start.add(2), ..out };
                few::<L, N, 2>(matrix.from(2, 0), x, size, out, chunk);
            }
            _ => tile::<L, N, { 2 * ROWS }, 1>(matrix, x, out, chunk),
        }
    }
}

/// Four rows and up to six tokens, where there are registers for so many.
///
/// # Safety
/// As [`tiles`].
#[inline(always)]
unsafe fn many<L: Lanes, N: Stored>(matrix: Rows, x: Rows, size: usize, out: Out, chunk: Chunk) {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => tile::<L, N, ROWS, 1>(matrix, x, out, chunk),
            2 => tile::<L, N, ROWS, 2>(matrix, x, out, chunk),
            3 => tile::<L, N, ROWS, 3>(matrix, x, out, chunk),
            4 => tile::<L, N, ROWS, 4>(matrix, x, out, chunk),
            5 => tile::<L, N, ROWS, 5>(matrix, x, out, chunk),
            _ => tile::<L, N, ROWS, TOKENS>(matrix, x, out, chunk),
        }
    }
}

/// One or two rows, three tokens at a time.
///
/// # Safety
/// As [`tiles`].
#[inline(always)]
unsafe fn few<L: Lanes, N: Stored, const R: usize>(matrix: Rows, x: Rows, size: usize, out: Out, chunk: Chunk) {
    let mut token = 0;
    while token < size {
        // SAFETY: within what the caller promised.
        unsafe {
            let (x, out) = (x.from(token, 0), Out { start: out.start.add(token * out.stride), ..out });
            match size - token {
                1 => tile::<L, N, R, 1>(matrix, x, out, chunk),
                2 => tile::<L, N, R, 2>(matrix, x, out, chunk),
                _ => tile::<L, N, R, 3>(matrix, x, out, chunk),
            }
        }
        token += 3;
    }
}

/// `R` rows (1, 2, 4 or 8) times `T` tokens.
///
/// # Safety
/// As [`tiles`].
#[inline(always)]
unsafe fn tile<L: Lanes, N: Stored, const R: usize, const T: usize>(matrix: Rows, x: Rows, out: Out, chunk: Chunk) {
    // SAFETY: the caller's promise.
    unsafe {
        match chunk.next {
            Some(next) => L::apart(Tile::<N, R, T, true> { matrix, x, out, chunk, next, stored: PhantomData }),
            None => L::apart(Tile::<N, R, T, false> { matrix, x, out, chunk, next: 0, stored: PhantomData }),
        }
    }
}

/// A tile is a function of its own: inlined into each other, dozens of them leave no registers to any. `ASK` says whether it
/// asks for what is read next, so many bytes further.
struct Tile<N, const R: usize, const T: usize, const ASK: bool> {
    matrix: Rows,
    x: Rows,
    out: Out,
    chunk: Chunk,
    next: usize,
    stored: PhantomData<N>,
}

impl<N: Stored, const R: usize, const T: usize, const ASK: bool> Work for Tile<N, R, T, ASK> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the caller's promise.
        unsafe { compute::<L, N, R, T, ASK>(&self) }
    }
}

/// # Safety
/// As [`tiles`].
#[inline(always)]
unsafe fn compute<L: Lanes, N: Stored, const R: usize, const T: usize, const ASK: bool>(tile: &Tile<N, R, T, ASK>) {
    let Tile { matrix, x, out, chunk: Chunk { columns, add, .. }, next, .. } = *tile;
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
                if ASK {
                    // Of what is read next the processor knows nothing at the end of a row.
                    L::prefetch(at.wrapping_add(next));
                }
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
