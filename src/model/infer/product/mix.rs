//! The inner loops of attention: sums of rows of numbers, each row with a weight.
//!
//! Sums run over rows in their order and stay in registers, as in [`tile`](super::tile).
#![expect(unsafe_code, reason = "bounds are checked once for a whole mixture and not in its innermost loop")]
#![expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]

use super::Work;
use super::lanes::{LANES, Lanes};
use super::tile::{Out, Rows, TOKENS};

/// Adds to each row of `out` the sum of `count` rows of numbers, `width` wide (a multiple of sixteen), each times its weight:
/// the weights of a row of `out` lie side by side. Sums run over rows in their order.
///
/// # Safety
/// The machine has the instructions of `L`; all rows are there.
#[inline(always)]
pub(super) unsafe fn mix<L: Lanes>(weights: Rows, outs: usize, rows: Rows, count: usize, width: usize, out: Out) {
    let mut first = 0;
    while first < outs {
        let size = if L::WIDE { (outs - first).min(TOKENS) } else { (outs - first).min(3) };
        let mut column = 0;
        while column < width {
            let groups = match (width - column) / LANES {
                4.. if L::WIDE => 4,
                2.. if L::WIDE => 2,
                _ => 1,
            };
            // SAFETY: within what the caller promised.
            unsafe {
                let (weights, rows) = (weights.from(first, 0), rows.from(0, column * 4));
                let out = Out { start: out.start.add(first * out.stride + column), ..out };
                match (size, groups) {
                    (1, 4) => mix_tile::<L, 1, 4>(weights, rows, count, out),
                    (2, 4) => mix_tile::<L, 2, 4>(weights, rows, count, out),
                    (3, 4) => mix_tile::<L, 3, 4>(weights, rows, count, out),
                    (4, 4) => mix_tile::<L, 4, 4>(weights, rows, count, out),
                    (5, 4) => mix_tile::<L, 5, 4>(weights, rows, count, out),
                    (6, 4) => mix_tile::<L, 6, 4>(weights, rows, count, out),
                    (1, 2) => mix_tile::<L, 1, 2>(weights, rows, count, out),
                    (2, 2) => mix_tile::<L, 2, 2>(weights, rows, count, out),
                    (3, 2) => mix_tile::<L, 3, 2>(weights, rows, count, out),
                    (4, 2) => mix_tile::<L, 4, 2>(weights, rows, count, out),
                    (5, 2) => mix_tile::<L, 5, 2>(weights, rows, count, out),
                    (6, 2) => mix_tile::<L, 6, 2>(weights, rows, count, out),
                    (1, _) => mix_tile::<L, 1, 1>(weights, rows, count, out),
                    (2, _) => mix_tile::<L, 2, 1>(weights, rows, count, out),
                    (3, _) => mix_tile::<L, 3, 1>(weights, rows, count, out),
                    (4, _) => mix_tile::<L, 4, 1>(weights, rows, count, out),
                    (5, _) => mix_tile::<L, 5, 1>(weights, rows, count, out),
                    _ => mix_tile::<L, 6, 1>(weights, rows, count, out),
                }
            }
            column += groups * LANES;
        }
        first += size;
    }
}

/// `T` rows of `G` groups.
struct Mix<const T: usize, const G: usize> {
    weights: Rows,
    rows: Rows,
    count: usize,
    out: Out,
}

/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn mix_tile<L: Lanes, const T: usize, const G: usize>(weights: Rows, rows: Rows, count: usize, out: Out) {
    // SAFETY: the caller's promise.
    unsafe { L::apart(Mix::<T, G> { weights, rows, count, out }) }
}

impl<const T: usize, const G: usize> Work for Mix<T, G> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the caller's promise.
        unsafe { compute_mix::<L, T, G>(&self) }
    }
}

/// # Safety
/// As [`mix`].
#[inline(always)]
unsafe fn compute_mix<L: Lanes, const T: usize, const G: usize>(mix: &Mix<T, G>) {
    let Mix { weights, rows, count, out } = *mix;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums: [[L; G]; T] = std::mem::zeroed();
        unroll!(t < T, {
            unroll!(g < G, {
                sums[t][g] = L::f32(out.start.add(t * out.stride + g * LANES).cast_const().cast());
            });
        });
        for j in 0..count {
            let mut row: [L; G] = std::mem::zeroed();
            unroll!(g < G, {
                row[g] = L::f32(rows.at(j, g * LANES * 4));
            });
            unroll!(t < T, {
                let weight = L::splat(weights.at(t, j * 4).cast::<f32>().read_unaligned());
                unroll!(g < G, {
                    sums[t][g] = weight.times_plus(row[g], sums[t][g]);
                });
            });
        }
        unroll!(t < T, {
            unroll!(g < G, {
                sums[t][g].store(out.start.add(t * out.stride + g * LANES));
            });
        });
    }
}
