//! Noise for embeddings: every number of it follows from a seed and its place, so threads and resumptions change nothing.

#![expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised`")]

use std::ops::Range;

use rayon::prelude::*;

use crate::model::engine::Noise;

/// Returns the noise of a batch, row by row: even between `±alpha / √(tokens · width)`, with the tokens of the document.
pub(crate) fn noise(noise: Noise, documents: &[Range<usize>], width: usize) -> Vec<f32> {
    let rows = documents.last().map_or(0, |document| document.end);
    let mut out = vec![0.0; rows * width];
    for document in documents {
        let strength = noise.alpha / ((document.len() * width) as f32).sqrt();
        let numbers = &mut out[document.start * width..document.end * width];
        let first = (document.start * width) as u64;
        let fill = |(row, numbers): (usize, &mut [f32])| {
            for (column, number) in numbers.iter_mut().enumerate() {
                *number = strength * even(noise.seed, first + (row * width + column) as u64);
            }
        };
        numbers.par_chunks_mut(width).enumerate().for_each(fill);
    }
    out
}

/// Returns a number between -1 and 1 that a seed and a place decide.
///
/// The mixing is that of SplitMix64 (Steele, Lea and Flood 2014), whose outputs for consecutive places pass BigCrush.
pub(crate) fn even(seed: u64, place: u64) -> f32 {
    // 24 bits fit into an f32.
    (bits(seed, place) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

/// Returns 64 bits that a seed and a place decide.
#[inline(always)]
pub(crate) fn bits(seed: u64, place: u64) -> u64 {
    const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
    mix(mix(seed.wrapping_add(GAMMA)).wrapping_add(place.wrapping_mul(GAMMA)))
}

#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_even_and_of_the_right_strength() {
        let numbers: Vec<f64> = (0..200_000).map(|place| f64::from(even(7, place))).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let variance = numbers.iter().map(|number| number * number).sum::<f64>() / numbers.len() as f64;
        assert!(mean.abs() < 5e-3 && (variance - 1.0 / 3.0).abs() < 5e-3, "{mean} {variance}");
        assert!(numbers.iter().all(|number| (-1.0..1.0).contains(number)));
        let documents = [0..4, 4..5];
        let made = noise(Noise { alpha: 5.0, seed: 1 }, &documents, 16);
        let strongest = |range: Range<usize>| made[range].iter().fold(0.0f32, |most, number| most.max(number.abs()));
        assert!(strongest(0..64) <= 5.0 / 8.0 && strongest(0..64) > 0.5);
        assert!(strongest(64..80) <= 5.0 / 4.0 && strongest(64..80) > 0.8);
        assert_ne!(made, noise(Noise { alpha: 5.0, seed: 2 }, &documents, 16));
    }
}
