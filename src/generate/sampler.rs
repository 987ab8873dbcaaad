//! Which token comes next: logits in, one token out.
//!
//! The steps and their order are those of transformers: repetition penalty on the logits, then temperature, top-k, top-p
//! and min-p, each of which takes out tokens, and a draw from what is left. Tokens are drawn in the order of their ids,
//! so that one random number means one token on every machine.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::GenerateError;

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Only the likeliest so many; 0 for all.
    pub top_k: usize,
    /// Only the likeliest whose probabilities add up to this; 1 for all.
    pub top_p: f32,
    /// Only those at least so likely, as a share of the likeliest one; 0 for all.
    pub min_p: f32,
    /// What the logits of tokens that were there before are divided by (multiplied, if below zero); 1 for nothing.
    pub repetition_penalty: f32,
}

impl Sampling {
    /// Returns the settings that always take the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0 }
    }

    /// Fails if a setting is out of its range.
    pub fn check(&self) -> Result<(), GenerateError> {
        let within = |name: &str, value: f32, range: std::ops::RangeInclusive<f32>| {
            if range.contains(&value) {
                return Ok(());
            }
            let (least, most) = range.into_inner();
            let most = if most.to_bits() == f32::MAX.to_bits() { "up".to_owned() } else { format!("to {most}") };
            Err(GenerateError::Setting(format!("`{name}` is {value}; it goes from {least} {most}")))
        };
        within("temperature", self.temperature, 0.0..=f32::MAX)?;
        within("top_p", self.top_p, 0.0..=1.0)?;
        within("min_p", self.min_p, 0.0..=1.0)?;
        if self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite() {
            return Ok(());
        }
        Err(GenerateError::Setting(format!("`repetition_penalty` is {}; it is above 0", self.repetition_penalty)))
    }
}

/// Chooses the tokens of one text.
#[derive(Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    seen: BTreeSet<u32>,
}

impl Sampler {
    /// Returns the sampler of text number `stream` under a seed.
    pub fn new(sampling: Sampling, seed: u64, stream: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        Self { sampling, random, seen: BTreeSet::new() }
    }

    /// Says that tokens are in the text, which matters to the repetition penalty.
    pub fn saw(&mut self, tokens: &[u32]) {
        if self.sampling.repetition_penalty.to_bits() != 1.0_f32.to_bits() {
            self.seen.extend(tokens);
        }
    }

    /// Returns the next token and the natural logarithm of its probability by the model itself, before any setting
    /// had its say. `None` if the logits hold no usable number.
    pub fn choose(&mut self, logits: &[f32]) -> Option<(u32, f32)> {
        let left = self.distribution(logits);
        let token = if self.sampling.temperature > 0.0 {
            // 53 bits, as many as the fraction of a number has.
            let mut point = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            let mut drawn = left.last()?.0;
            for &(id, probability) in &left {
                point -= f64::from(probability);
                if point < 0.0 {
                    drawn = id;
                    break;
                }
            }
            drawn
        } else {
            left.first()?.0
        };
        self.saw(&[token]);
        Some((token, log_prob(logits, token)?))
    }

    /// Returns the tokens that may come next with their probabilities, by id. Greedily, it is one.
    pub fn distribution(&self, logits: &[f32]) -> Vec<(u32, f32)> {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let scores = self.penalised(logits);
        if temperature == 0.0 {
            let better = |best: Option<(usize, f32)>, (id, score): (usize, f32)| match best {
                Some((_, highest)) if score.is_nan() || score <= highest => best,
                _ if score.is_nan() => best,
                _ => Some((id, score)),
            };
            let best = scores.iter().copied().enumerate().fold(None, better);
            return best.map(|(id, _)| (id as u32, 1.0)).into_iter().collect();
        }
        let usable = |score: f32| !score.is_nan() && score != f32::INFINITY;
        if !scores.iter().all(|score| usable(*score)) {
            return Vec::new();
        }
        let mut left: Vec<(u32, f32)> =
            scores.iter().enumerate().map(|(id, score)| (id as u32, score / temperature)).collect();
        if (1..left.len()).contains(&top_k) {
            let mut sorted: Vec<f32> = left.iter().map(|(_, score)| *score).collect();
            let (_, &mut least, _) = sorted.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a));
            left.retain(|(_, score)| *score >= least);
        }
        if top_p < 1.0 {
            nucleus(&mut left, top_p);
        }
        if min_p > 0.0 {
            let mut probabilities = left.clone();
            softmax(&mut probabilities);
            let highest = probabilities.iter().map(|(_, p)| *p).fold(0.0, f32::max);
            let mut probabilities = probabilities.iter();
            left.retain(|_| probabilities.next().is_some_and(|(_, p)| *p >= min_p * highest));
        }
        softmax(&mut left);
        left
    }

    fn penalised(&self, logits: &[f32]) -> Vec<f32> {
        let mut scores = logits.to_vec();
        let penalty = self.sampling.repetition_penalty;
        for &id in &self.seen {
            if let Some(score) = scores.get_mut(id as usize) {
                *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
            }
        }
        scores
    }
}

/// Keeps the likeliest tokens whose probabilities add up to `top_p`: takes out the unlikeliest as long as those that are
/// out add up to no more than the rest of 1. The likeliest always stays.
fn nucleus(left: &mut Vec<(u32, f32)>, top_p: f32) {
    let mut probabilities = left.clone();
    softmax(&mut probabilities);
    // Tokens below an equal share of what may go are out together. Only the others are sorted.
    let share = (1.0 - top_p) / left.len() as f32 * 0.5;
    let mut out: f32 = probabilities.iter().map(|(_, p)| *p).filter(|p| *p < share).sum();
    let mut order: Vec<usize> = (0..left.len()).filter(|at| probabilities[*at].1 >= share).collect();
    order.sort_by(|a, b| left[*a].1.total_cmp(&left[*b].1).then(b.cmp(a)));
    let mut stays = vec![false; left.len()];
    for (i, at) in order.iter().enumerate() {
        out += probabilities[*at].1;
        stays[*at] = out > 1.0 - top_p || i + 1 == order.len();
    }
    let mut stays = stays.into_iter();
    left.retain(|_| stays.next().unwrap_or(false));
}

/// Turns scores into probabilities.
fn softmax(scores: &mut [(u32, f32)]) {
    let highest = scores.iter().map(|(_, score)| *score).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0_f64;
    for (_, score) in scores.iter_mut() {
        *score = (*score - highest).exp();
        sum += f64::from(*score);
    }
    for (_, score) in scores.iter_mut() {
        *score = (f64::from(*score) / sum) as f32;
    }
}

/// Returns the natural logarithm of the probability of a token.
fn log_prob(logits: &[f32], token: u32) -> Option<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    let log_prob = f64::from(logits.get(token as usize)? - highest) - sum.ln();
    log_prob.is_finite().then_some(log_prob as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_one_text_whatever_the_others_draw() {
        let sampling = Sampling { temperature: 1.0, ..Sampling::greedy() };
        let logits: Vec<f32> = (0..50).map(|i| ((i * 7919) % 13) as f32 * 0.3).collect();
        let draw = |seed, stream| {
            let mut sampler = Sampler::new(sampling, seed, stream);
            (0..20).map(|_| sampler.choose(&logits).unwrap().0).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        assert_ne!(draw(1, 0), draw(2, 0));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let sampling = Sampling { temperature: 1.0, ..Sampling::greedy() };
        let mut sampler = Sampler::new(sampling, 7, 0);
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut counts = [0.0_f64; 3];
        for _ in 0..20_000 {
            counts[sampler.choose(&logits).unwrap().0 as usize] += 1.0 / 20_000.0;
        }
        for (count, expected) in counts.iter().zip([0.5, 0.3, 0.2]) {
            assert!((count - expected).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn logits_that_are_no_numbers_choose_nothing() {
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(Sampling { temperature, ..Sampling::greedy() }, 0, 0);
            assert_eq!(sampler.choose(&[f32::NAN, f32::NAN]), None);
            assert_eq!(sampler.choose(&[]), None);
            assert_eq!(sampler.choose(&[f32::INFINITY, 0.0]), None);
            assert_eq!(sampler.choose(&[f32::NEG_INFINITY, 3.0]), Some((1, 0.0)));
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = Sampling { top_p: 1.5, ..Sampling::greedy() };
        assert!(wrong.check().unwrap_err().to_string().contains("top_p"));
        let wrong = Sampling { temperature: f32::NAN, ..Sampling::greedy() };
        assert!(wrong.check().unwrap_err().to_string().contains("temperature"));
    }
}
