//! Spherical interpolation between two tensors, each taken as one long vector (Shoemake 1985).
//!
//! As MergeKit 0.1.5 defines it: the angle is that between the two directions, but the coefficients are applied to the
//! vectors as they are, lengths included; a vector shorter than 1e-8 counts as having length one, so that a zero tensor
//! is perpendicular to everything; nearly parallel or opposite vectors (|cos| above 0.9995) are interpolated along the
//! chord, where the arc is not defined well. Fine-tunes of one model lie so close that most of their tensors fall there.
//!
//! The products are summed in f64 over fixed blocks, combined in order: the same cosine on any number of threads, and
//! closer to the true one than torch's f32 sums, which decides the branch for tensors near the threshold.

use rayon::prelude::*;

use super::combine::Combine;
use crate::tensor::View;

/// Numbers in a block of the reduction. Part of the result: another size would round differently.
const BLOCK: usize = 1 << 16;

/// Independent sums within a block, so that the additions need not wait for one another.
const LANES: usize = 8;

/// Above this |cosine| the chord is taken.
const PARALLEL: f64 = 0.9995;

/// A vector of at most this length counts as having length one.
const NO_LENGTH: f64 = 1e-8;

/// Returns how two tensors are combined at `t` of the way.
pub(super) fn combine(base: &View<'_>, other: &View<'_>, t: f64) -> Combine {
    let cosine = cosine(products(base, other));
    let (weights, straight) = coefficients(cosine, t);
    Combine::Pair { weights: weights.map(|weight| weight as f32), straight }
}

/// Returns what the base and the other vector are multiplied by, and whether along the chord.
fn coefficients(cosine: f64, t: f64) -> ([f64; 2], bool) {
    if cosine.abs() > PARALLEL {
        return ([1.0 - t, t], true);
    }
    let angle = cosine.acos();
    let sine = angle.sin();
    ([((1.0 - t) * angle).sin() / sine, (t * angle).sin() / sine], false)
}

fn cosine([dot, base, other]: [f64; 3]) -> f64 {
    let length = |squared: f64| match squared.sqrt() {
        length if length <= NO_LENGTH => 1.0,
        length => length,
    };
    (dot / length(base) / length(other)).clamp(-1.0, 1.0)
}

/// Returns `a·b`, `a·a` and `b·b`.
fn products(a: &View<'_>, b: &View<'_>) -> [f64; 3] {
    let count = a.count();
    let blocks: Vec<[f64; 3]> = (0..count.div_ceil(BLOCK))
        .into_par_iter()
        .map_init(
            || (vec![0.0; BLOCK.min(count)], vec![0.0; BLOCK.min(count)]),
            |(x, y), block| {
                let from = block * BLOCK;
                let size = BLOCK.min(count - from);
                a.read_f32(from, &mut x[..size]);
                b.read_f32(from, &mut y[..size]);
                block_products(&x[..size], &y[..size])
            },
        )
        .collect();
    blocks.iter().fold([0.0; 3], |sum, block| [sum[0] + block[0], sum[1] + block[1], sum[2] + block[2]])
}

fn block_products(x: &[f32], y: &[f32]) -> [f64; 3] {
    let mut lanes = [[0.0_f64; LANES]; 3];
    let mut add = |lane: usize, x: f32, y: f32| {
        let (x, y) = (f64::from(x), f64::from(y));
        lanes[0][lane] += x * y;
        lanes[1][lane] += x * x;
        lanes[2][lane] += y * y;
    };
    let (whole_x, rest_x) = x.as_chunks::<LANES>();
    let (whole_y, rest_y) = y.as_chunks::<LANES>();
    for (x, y) in whole_x.iter().zip(whole_y) {
        for lane in 0..LANES {
            add(lane, x[lane], y[lane]);
        }
    }
    for (lane, (x, y)) in rest_x.iter().zip(rest_y).enumerate() {
        add(lane, *x, *y);
    }
    lanes.map(|sums| sums.iter().sum())
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn a_right_angle_is_cut_in_half() {
        let (weights, straight) = coefficients(0.0, 0.5);
        assert!(!straight);
        assert!(weights.iter().all(|weight| (weight - 0.5_f64.sqrt()).abs() < 1e-15), "{weights:?}");
    }

    #[test]
    fn parallel_and_opposite_vectors_take_the_chord() {
        for cosine in [1.0, 0.9996, -0.9996, -1.0] {
            assert_eq!(coefficients(cosine, 0.25), ([0.75, 0.25], true));
        }
        assert!(!coefficients(0.9995, 0.25).1);
    }

    #[test]
    fn a_vector_without_length_is_perpendicular_to_all() {
        assert!(cosine([0.0, 0.0, 4.0]).abs() < f64::EPSILON);
        assert!((cosine([2.0, 1.0, 4.0]) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn all_numbers_are_counted_once() {
        let x: Vec<f32> = (0_u8..21).map(f32::from).collect();
        let y = vec![1.0; 21];
        assert_eq!(block_products(&x, &y), [210.0, 2870.0, 21.0]);
    }
}
