//! Spherical interpolation between two tensors, each taken as one long vector (Shoemake 1985).
//!
//! As MergeKit 0.1.5 defines it: the angle is that between the two directions, but the coefficients are applied to the
//! vectors as they are, lengths included; a vector shorter than 1e-8 counts as having length one, so that a zero tensor
//! is perpendicular to everything; nearly parallel or opposite vectors (|cos| above 0.9995) are interpolated along the
//! chord, where the arc is not defined well. Fine-tunes of one model lie so close that most of their tensors fall there.
//!
//! MergeKit 0.1.4 did the same through NumPy: one length by BLAS, whose order of additions is not known (here it is summed
//! in f64), one product in the order of NumPy's pairwise sum, and coefficients from `theta - t theta`.
//!
//! Its reductions are made over chunks of 2^20 numbers, each in the order of [`torch`]; the length of a tensor is that
//! of the lengths of its chunks.

use rayon::prelude::*;

use super::super::combine::Combine;
use super::super::fused::{Kernel, vectorized};
use super::super::part::{Part, Work};
use super::super::{torch, trig};
use crate::spec::params::Compat;

/// Numbers in a chunk of a reduction.
const CHUNK: usize = 1 << 20;

/// Numbers of a vector read at a time.
const PIECE: usize = 1 << 12;

/// Above this |cosine| the chord is taken.
const PARALLEL: f64 = 0.9995;

/// A vector of at most this length counts as having length one.
const NO_LENGTH: f64 = 1e-8;

/// Returns the weights of the base and of the other part.
pub(super) fn prepare(work: &Work<'_>) -> Combine {
    let base = work.base.unwrap_or(0);
    let parts = [base, 1 - base];
    let t = work.shared.number("t") as f32;
    // The ends are the models themselves, whatever the angle, down to the sign of a zero.
    if t == 0.0 || (t - 1.0).abs() < f32::EPSILON / 4.0 {
        return Combine::Copy(parts[usize::from(t != 0.0)]);
    }
    let (a, b) = (&work.parts[parts[0]], &work.parts[parts[1]]);
    let cosine = match work.compat {
        Compat::Newest => cosine(a, b),
        Compat::Older => older_cosine(a, b, work),
    };
    let (weights, straight) = coefficients_of(work, cosine);
    Combine::Pair { parts, weights, straight }
}

/// Returns what the base and the other vector are multiplied by, and whether along the chord.
pub(in super::super) fn coefficients_of(work: &Work<'_>, cosine: f32) -> ([f32; 2], bool) {
    let t = work.shared.number("t");
    match work.compat {
        Compat::Newest => coefficients(cosine, t as f32),
        Compat::Older => older_coefficients(cosine, t),
    }
}

fn coefficients(cosine: f32, t: f32) -> ([f32; 2], bool) {
    if f64::from(cosine.abs()) > f64::from(PARALLEL as f32) {
        return ([1.0 - t, t], true);
    }
    let angle = trig::acos(cosine);
    let sine = trig::sin(angle);
    ([trig::sin((1.0 - t) * angle) / sine, trig::sin(t * angle) / sine], false)
}

fn older_coefficients(cosine: f32, t: f64) -> ([f32; 2], bool) {
    if f64::from(cosine.abs()) > f64::from(PARALLEL as f32) {
        return ([(1.0 - t) as f32, t as f32], true);
    }
    let angle = trig::acos(cosine);
    let (sine, part) = (trig::sin(angle), angle * t as f32);
    ([trig::sin(angle - part) / sine, trig::sin(part) / sine], false)
}

fn older_cosine(a: &Part<'_>, b: &Part<'_>, work: &Work<'_>) -> f32 {
    let square = |x: &[f32]| x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    let squares = chunks(a, b, work, |x, y| [square(x), square(y)]);
    let length = |which: usize| {
        let length = squares.iter().map(|pair| pair[which]).sum::<f64>().sqrt() as f32;
        if length > NO_LENGTH as f32 { length } else { 1.0 }
    };
    let (length_a, length_b) = (length(0), length(1));
    pairwise(0, a.count(), &|from, out: &mut [f32]| {
        let mut others = vec![0.0; out.len()];
        a.read(from, out);
        b.read(from, &mut others);
        for (x, y) in out.iter_mut().zip(&others) {
            *x = (*x / length_a) * (*y / length_b);
        }
        work.passed(from, from + out.len());
    })
}

/// Adds numbers in NumPy's order: halves of a multiple of eight, down to 128 numbers in eight lanes.
fn pairwise(from: usize, count: usize, read: &(dyn Fn(usize, &mut [f32]) + Sync)) -> f32 {
    fn lanes(numbers: &[f32]) -> f32 {
        let Some((first, rest)) = numbers.split_first_chunk::<8>() else { return numbers.iter().sum::<f32>() };
        if numbers.len() > 128 {
            let half = numbers.len() / 2;
            let (left, right) = numbers.split_at(half - half % 8);
            return lanes(left) + lanes(right);
        }
        let mut sums = *first;
        let rows = rest.chunks_exact(8);
        let after = rows.remainder();
        for row in rows {
            sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
        }
        let [a, b, c, d, e, f, g, h] = sums;
        after.iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, number| sum + number)
    }
    if count <= CHUNK {
        let mut numbers = vec![0.0; count];
        read(from, &mut numbers);
        return lanes(&numbers);
    }
    let half = count / 2;
    let left = half - half % 8;
    let (a, b) = rayon::join(|| pairwise(from, left, read), || pairwise(from + left, count - left, read));
    a + b
}

fn cosine(a: &Part<'_>, b: &Part<'_>) -> f32 {
    let count = a.count();
    let chunk = |chunk: usize| chunk * CHUNK..count.min((chunk + 1) * CHUNK);
    let lengths: Vec<[f32; 2]> = (0..count.div_ceil(CHUNK)).into_par_iter().map(|i| lengths(a, b, chunk(i))).collect();
    let length = |which: usize| {
        let parts: Vec<f32> = lengths.iter().map(|pair| pair[which]).collect();
        let length = torch::norm(&parts, false);
        if length > NO_LENGTH as f32 { length } else { 1.0 }
    };
    let lengths = [length(0), length(1)];
    let product = |i: usize| {
        let start = chunk(i).start;
        for part in [a, b] {
            part.expect(start, chunk(i).end);
        }
        let sum = torch::sum(chunk(i).len(), false, &|from, out: &mut [f32]| {
            vectorized(Products { parts: [a, b], lengths, from: start + from, out });
        });
        for part in [a, b] {
            part.passed(chunk(i).start, chunk(i).end);
        }
        sum
    };
    let products: Vec<f32> = (0..count.div_ceil(CHUNK)).into_par_iter().map(product).collect();
    torch::sum_of(&products, false).clamp(-1.0, 1.0)
}

/// Returns the lengths of a chunk of both vectors.
fn lengths(a: &Part<'_>, b: &Part<'_>, chunk: std::ops::Range<usize>) -> [f32; 2] {
    let mut lengths = torch::Lengths::default();
    for part in [a, b] {
        part.expect(chunk.start, chunk.end);
    }
    for from in chunk.clone().step_by(PIECE) {
        let size = PIECE.min(chunk.end - from);
        vectorized(Squares { parts: [a, b], from, size, lengths: &mut lengths });
    }
    for part in [a, b] {
        part.passed(chunk.start, chunk.end);
    }
    lengths.end()
}

/// Adds the squares of a piece of both vectors.
struct Squares<'a, 'b> {
    parts: [&'a Part<'b>; 2],
    from: usize,
    size: usize,
    lengths: &'a mut torch::Lengths<2>,
}

impl Kernel for Squares<'_, '_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        let (mut x, mut y) = ([0.0; PIECE], [0.0; PIECE]);
        self.parts[0].read(self.from, &mut x[..self.size]);
        self.parts[1].read(self.from, &mut y[..self.size]);
        self.lengths.add(&[&x[..self.size], &y[..self.size]]);
    }
}

/// The products of the directions of two vectors.
struct Products<'a, 'b> {
    parts: [&'a Part<'b>; 2],
    lengths: [f32; 2],
    from: usize,
    out: &'a mut [f32],
}

impl Kernel for Products<'_, '_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        let mut others = [0.0; PIECE];
        let [length_a, length_b] = self.lengths;
        for (i, x) in self.out.chunks_mut(PIECE).enumerate() {
            let from = self.from + i * PIECE;
            let y = &mut others[..x.len()];
            self.parts[0].read(from, x);
            self.parts[1].read(from, y);
            for (x, y) in x.iter_mut().zip(y) {
                *x = (*x / length_a) * (*y / length_b);
            }
        }
    }
}

/// Returns what `reduce` makes of each chunk of both vectors.
fn chunks<T: Send>(
    a: &Part<'_>,
    b: &Part<'_>,
    work: &Work<'_>,
    reduce: impl Fn(&mut [f32], &mut [f32]) -> T + Sync,
) -> Vec<T> {
    let count = a.count();
    let size = CHUNK.min(count);
    let buffers = || (vec![0.0; size], vec![0.0; size]);
    let each = (0..count.div_ceil(CHUNK)).into_par_iter().map_init(buffers, |(x, y), chunk| {
        let from = chunk * CHUNK;
        let size = CHUNK.min(count - from);
        a.read(from, &mut x[..size]);
        b.read(from, &mut y[..size]);
        let reduced = reduce(&mut x[..size], &mut y[..size]);
        work.passed(from, from + size);
        reduced
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_angle_is_cut_in_half() {
        let (weights, straight) = coefficients(0.0, 0.5);
        assert!(!straight);
        assert!(weights.iter().all(|weight| (weight - 0.5_f32.sqrt()).abs() < 1e-6), "{weights:?}");
    }

    #[test]
    fn parallel_and_opposite_vectors_take_the_chord() {
        for cosine in [1.0, 0.9996, -0.9996, -1.0] {
            assert_eq!(coefficients(cosine, 0.25), ([0.75, 0.25], true));
        }
        assert!(!coefficients(0.9995, 0.25).1);
    }
}
