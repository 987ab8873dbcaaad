//! The bootstrap (Efron 1979): how a score would vary had other samples been drawn, for scores that are no mean (BLEU, F1
//! over a corpus). Draws come from ChaCha8 and a seed, one stream a round, so that rounds may run in any order.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::mean::mean;

/// How a score varies.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    /// The standard deviation of the rounds' scores: the standard error of the score.
    pub error: f64,
    /// The rounds' scores, sorted.
    pub scores: Vec<f64>,
}

impl Bootstrap {
    /// The interval that holds the given part of the rounds, as much left out below as above (percentiles with linear
    /// interpolation, as NumPy's).
    pub fn interval(&self, part: f64) -> (f64, f64) {
        let tail = (1.0 - part) / 2.0;
        (self.percentile(tail), self.percentile(1.0 - tail))
    }

    fn percentile(&self, part: f64) -> f64 {
        let Some(last) = self.scores.len().checked_sub(1) else { return f64::NAN };
        let place = part * last as f64;
        let (low, high) = (self.scores[place.floor() as usize], self.scores[(place.ceil() as usize).min(last)]);
        low + (high - low) * place.fract()
    }
}

/// Scores `rounds` drawings, with repetition, of as many samples as there are. `score` gets the indices of the samples.
pub fn bootstrap(count: usize, rounds: usize, seed: u64, mut score: impl FnMut(&[usize]) -> f64) -> Bootstrap {
    let mut drawn = vec![0; count];
    let mut round = |round: usize| {
        let mut random = stream(seed, round);
        for index in &mut drawn {
            *index = below(&mut random, count);
        }
        score(&drawn)
    };
    summary((0..rounds).map(&mut round).collect())
}

/// As [`bootstrap`], but draws whole clusters: `clusters` names each sample's.
pub fn bootstrap_clustered(
    clusters: &[usize],
    rounds: usize,
    seed: u64,
    mut score: impl FnMut(&[usize]) -> f64,
) -> Bootstrap {
    let mut samples: Vec<usize> = (0..clusters.len()).collect();
    samples.sort_by_key(|sample| clusters[*sample]);
    let groups: Vec<&[usize]> = samples.chunk_by(|a, b| clusters[*a] == clusters[*b]).collect();
    let mut drawn = Vec::with_capacity(clusters.len());
    let mut round = |round: usize| {
        let mut random = stream(seed, round);
        drawn.clear();
        for _ in &groups {
            drawn.extend_from_slice(groups[below(&mut random, groups.len())]);
        }
        score(&drawn)
    };
    summary((0..rounds).map(&mut round).collect())
}

fn summary(mut scores: Vec<f64>) -> Bootstrap {
    let error = mean(&scores).error * (scores.len() as f64).sqrt();
    scores.sort_by(f64::total_cmp);
    Bootstrap { error, scores }
}

fn stream(seed: u64, round: usize) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(round as u64);
    random
}

/// A number below `count`, by the high half of a product (Lemire 2019); its bias, count / 2⁶⁴, is beyond notice.
fn below(random: &mut ChaCha8Rng, count: usize) -> usize {
    ((u128::from(random.next_u64()) * count as u128) >> 64) as usize
}
