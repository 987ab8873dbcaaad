//! How likely given tokens are: what is asked of the rows of a step, and the answers.
//!
//! With a vocabulary of 150 000 the logits of a step's rows would be its largest table by far, so only rows that are asked
//! about go through the output layer, some at a time. Of each the largest logit and the sum of the powers are taken once,
//! however many tokens are asked for.

use rayon::prelude::*;

use super::{SequenceId, among};
use crate::model::Unit;
use crate::model::kernel::lanes::{exp_sum, max, vectorised};

/// Logits that exist at a time: 32 MiB of them, which the heap keeps for the next ones.
const LOGITS: usize = 1 << 23;
/// Numbers whose f32 sum is then added in f64.
const SUM_BLOCK: usize = 1024;

/// Tokens that a text goes on with, and tokens whose likelihood is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The text.
    pub text: SequenceId,
    /// What it goes on with.
    pub tokens: &'a [u32],
    /// Which of these tokens, by its place, and one that may come after it. The places ascend; several pairs may have one
    /// place.
    pub asked: &'a [(usize, u32)],
}

/// How likely a token is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The natural logarithm of its probability, given all tokens before it. Not a number if the model gave one that is
    /// none.
    pub log_prob: f32,
    /// Whether no token is likelier, and of equal ones none comes before it.
    pub likeliest: bool,
}

impl Asking<'_> {
    /// Fails if what is asked for is not there.
    pub(super) fn check(&self, vocabulary: usize) -> Result<(), String> {
        if !self.asked.is_sorted_by_key(|(row, _)| *row) {
            return Err("what is asked about the tokens of a text is not in their order".into());
        }
        if let Some((row, _)) = self.asked.last().filter(|(row, _)| *row >= self.tokens.len()) {
            let count = self.tokens.len();
            return Err(format!("something was asked about token {row} of {count}, counted from 0"));
        }
        among(vocabulary, self.asked.iter().map(|(_, token)| *token))
    }

    /// Returns the rows that something is asked about.
    pub(super) fn rows(&self) -> Vec<usize> {
        let mut rows: Vec<usize> = self.asked.iter().map(|(row, _)| *row).collect();
        rows.dedup();
        rows
    }

    /// Returns for each of these rows the tokens that are asked for.
    pub(super) fn tokens_by_row(&self) -> impl Iterator<Item = Vec<u32>> {
        let rows = self.asked.chunk_by(|(first, _), (second, _)| first == second);
        rows.map(|row| row.iter().map(|(_, token)| *token).collect())
    }
}

/// Returns how many rows go through the output layer together.
pub(in crate::model) fn rows_at_a_time(vocabulary: usize) -> usize {
    (LOGITS / vocabulary.max(1)).clamp(16, 256)
}

/// Adds the scores of the tokens that are asked for after each of some rows, for which `logits` is the output layer.
pub(super) fn score_rows(
    rows: &[f32],
    width: usize,
    vocabulary: usize,
    asked: &[Vec<u32>],
    logits: impl Fn(&[f32]) -> Vec<f32>,
    scored: &mut Vec<Scored>,
) {
    let count = rows_at_a_time(vocabulary);
    for (rows, asked) in rows.chunks(count * width).zip(asked.chunks(count)) {
        let mut logits = logits(rows);
        let of_row = |(row, tokens): (&mut [f32], &Vec<u32>)| score_row(row, tokens);
        let found: Vec<Vec<Scored>> = logits.par_chunks_exact_mut(vocabulary).zip(asked).map(of_row).collect();
        scored.extend(found.into_iter().flatten());
    }
}

/// Returns the scores of some tokens; spoils the logits.
fn score_row(row: &mut [f32], tokens: &[u32]) -> Vec<Scored> {
    let logits: Vec<f32> = tokens.iter().map(|token| row[*token as usize]).collect();
    // Before the row is spoilt.
    let first = |top: f32| row.iter().position(|logit| *logit >= top);
    let top = largest(Unit::best(), row);
    let likeliest = first(top);
    let sum = sum_of_powers(Unit::best(), row, top).ln();
    let of_token = |(token, logit): (&u32, f32)| Scored {
        log_prob: (f64::from(logit) - f64::from(top) - sum) as f32,
        likeliest: likeliest == Some(*token as usize),
    };
    tokens.iter().zip(logits).map(of_token).collect()
}

vectorised! {
    /// Returns the largest logit.
    fn largest(row: &[f32]) -> f32 {
        max(row)
    }
}

vectorised! {
    /// Returns the sum of `exp(logit - top)`, in blocks of a fixed size; leaves the powers in the row.
    fn sum_of_powers(row: &mut [f32], top: f32) -> f64 {
        let mut sum = 0.0;
        for block in row.chunks_mut(SUM_BLOCK) {
            sum += f64::from(exp_sum(block, 1.0, top));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kernel::lanes::testing::{numbers, on_all_units};

    #[test]
    fn all_units_give_the_logarithms_of_the_probabilities() {
        for count in [1, 15, 16, 1000, 2500] {
            let row: Vec<f32> = numbers(count, 3).iter().map(|x| 9.0 * x).collect();
            let found = on_all_units(|unit| {
                let top = largest(unit, &row);
                vec![top, sum_of_powers(unit, &mut row.clone(), top) as f32]
            });
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            let tokens: Vec<u32> = (0..count as u32).collect();
            let best = (0..count).fold(0, |best, i| if row[i] > row[best] { i } else { best });
            assert_eq!(found[0].to_bits(), row[best].to_bits());
            for (token, scored) in score_row(&mut row.clone(), &tokens).into_iter().enumerate() {
                let expected = f64::from(row[token]) - sum.ln();
                assert!((f64::from(scored.log_prob) - expected).abs() < 1e-5, "{scored:?} {expected}");
                assert_eq!(scored.likeliest, token == best);
            }
        }
    }

    #[test]
    fn the_first_of_equal_tokens_is_the_likeliest() {
        let scored = score_row(&mut [1.0, 2.0, 2.0], &[2, 1]);
        assert_eq!(scored.iter().map(|one| one.likeliest).collect::<Vec<_>>(), [false, true]);
        assert_eq!(scored[0].log_prob.to_bits(), scored[1].log_prob.to_bits());
    }

    #[test]
    fn a_logit_that_is_no_number_leaves_no_score_that_is_one() {
        for bad in [f32::NAN, f32::INFINITY] {
            for place in 0..40 {
                let mut row = numbers(40, 1);
                row[place] = bad;
                assert!(score_row(&mut row, &[0, 39]).iter().all(|one| !one.log_prob.is_finite()), "{bad} at {place}");
            }
        }
    }
}
