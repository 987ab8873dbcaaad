//! What adapters need beside matrix products: numbers left out at random, and the lengths of rows.

use rayon::prelude::*;

use super::BLOCK_ROWS;
use super::lanes::{Unit, vectorised};
use super::noise::bits;

/// Numbers that one task works on.
const BLOCK: usize = 1 << 14;
/// Numbers of random bits that decide over one number.
const BITS: u32 = 24;

/// Which numbers are left out, and how much the others grow for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dropout {
    /// The share that is left out.
    pub(crate) share: f32,
    /// What decides which, together with the place of a number.
    pub(crate) seed: u64,
}

impl Dropout {
    /// Leaves numbers out.
    pub(crate) fn apply(self, numbers: &mut [f32]) {
        let least = (f64::from(self.share) * f64::from(1u32 << BITS)) as u64;
        let kept = 1.0 / (1.0 - self.share);
        numbers.par_chunks_mut(BLOCK).enumerate().for_each(|(block, numbers)| {
            let first = (block * BLOCK) as u64;
            leave_out(Unit::best(), numbers, (self.seed, first), least, kept);
        });
    }

    /// Returns what `count` numbers are multiplied by.
    pub(crate) fn factors(self, count: usize) -> Vec<f32> {
        let mut factors = vec![1.0; count];
        self.apply(&mut factors);
        factors
    }
}

vectorised! {
    /// Multiplies each number by zero or `kept`, as the seed and its place, counted from the first one's, decide.
    fn leave_out(numbers: &mut [f32], from: (u64, u64), least: u64, kept: f32) {
        let (seed, first) = from;
        for (i, number) in numbers.iter_mut().enumerate() {
            let drawn = bits(seed, first + i as u64) >> (u64::BITS - BITS);
            *number *= if drawn < least { 0.0 } else { kept };
        }
    }
}

/// The rows of `weight + scale · up · down`; without `up` those of the weight.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) weight: &'a [f32],
    /// Numbers in a row.
    pub(crate) inputs: usize,
    pub(crate) up: &'a [f32],
    pub(crate) down: &'a [f32],
    pub(crate) scale: f32,
}

/// Returns the length of each row.
pub(crate) fn row_lengths(rows: Rows<'_>) -> Vec<f32> {
    let inputs = rows.inputs;
    let rank = rows.down.len() / inputs;
    let mut lengths = vec![0.0; rows.weight.len() / inputs];
    lengths.par_chunks_mut(BLOCK_ROWS).enumerate().for_each(|(block, lengths)| {
        let mut sum = vec![0.0; inputs];
        for (i, length) in lengths.iter_mut().enumerate() {
            let row = block * BLOCK_ROWS + i;
            let up = if rank == 0 { &[][..] } else { &rows.up[row * rank..][..rank] };
            *length = length_of(Unit::best(), up, rows, &rows.weight[row * inputs..][..inputs], &mut sum);
        }
    });
    lengths
}

vectorised! {
    /// Returns the length of a row, with the row itself left in `sum`.
    fn length_of(up: &[f32], rows: Rows<'_>, weight: &[f32], sum: &mut [f32]) -> f32 {
        sum.fill(0.0);
        for (up, down) in up.iter().zip(rows.down.chunks_exact(sum.len())) {
            for (sum, down) in sum.iter_mut().zip(down) {
                *sum += up * down;
            }
        }
        let mut squares = 0.0;
        for (sum, weight) in sum.iter_mut().zip(weight) {
            *sum = *sum * rows.scale + weight;
            squares += f64::from(*sum) * f64::from(*sum);
        }
        squares.sqrt() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_left_out_and_the_mean_stays() {
        for share in [0.0, 0.1, 0.5, 0.9] {
            let factors = Dropout { share, seed: 5 }.factors(200_000);
            let count = factors.len() as f64;
            let out = factors.iter().filter(|factor| **factor == 0.0).count() as f64 / count;
            let mean = factors.iter().map(|factor| f64::from(*factor)).sum::<f64>() / count;
            assert!((out - f64::from(share)).abs() < 4e-3 && (mean - 1.0).abs() < 3e-2, "{share}: {out} {mean}");
        }
        assert_ne!(Dropout { share: 0.5, seed: 1 }.factors(64), Dropout { share: 0.5, seed: 2 }.factors(64));
    }

    #[test]
    fn lengths_are_those_of_the_sum() {
        let (weight, up, down) = ([1.0, 2.0, -1.0, 0.5, 0.0, 3.0], [2.0, -1.0], [1.0, 0.0, 2.0]);
        let of = |up: &[f32], down: &[f32]| row_lengths(Rows { weight: &weight, inputs: 3, up, down, scale: 0.5 });
        assert_eq!(of(&up, &down), [(4.0f32 + 4.0 + 1.0).sqrt(), 2.0]);
        assert_eq!(of(&[], &[]), [6.0f32.sqrt(), 9.25f32.sqrt()]);
    }
}
