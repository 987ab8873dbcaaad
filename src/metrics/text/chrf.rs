//! chrF (Popović 2015) and chrF++ (2017) as sacrebleu 2 computes them: the F-score of shared runs of letters, and of words.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::super::python::is_space;

/// The settings of a score. The default is chrF2; with `word_order` 2 it is chrF2++.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chrf {
    /// The longest runs of letters.
    pub char_order: usize,
    /// The longest runs of words.
    pub word_order: usize,
    /// How many times more recall counts than precision.
    pub beta: usize,
    /// Compare in lower case.
    pub lowercase: bool,
}

impl Default for Chrf {
    fn default() -> Self {
        Self { char_order: 6, word_order: 0, beta: 2, lowercase: false }
    }
}

/// For each order: runs of the answer, runs of the reference, shared runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(Vec<[usize; 3]>);

impl std::ops::AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        self.0.resize(self.0.len().max(other.0.len()), [0; 3]);
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
    }
}

impl Chrf {
    /// Counts what an answer shares with the reference that it shares most with.
    pub fn count(&self, answer: &str, references: &[&str]) -> Counts {
        let answer = self.pieces(answer);
        let mut best: Option<(f64, Counts)> = None;
        for reference in references {
            let reference = self.pieces(reference);
            let letters = (1..=self.char_order).map(|order| shared(&answer.letters, &reference.letters, order));
            let words = (1..=self.word_order).map(|order| shared(&answer.words, &reference.words, order));
            let counts = Counts(letters.chain(words).collect());
            let score = self.score(&counts);
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, counts));
            }
        }
        best.map_or_else(Counts::default, |(_, counts)| counts)
    }

    /// The score of counts, from 0 to 100.
    pub fn score(&self, counts: &Counts) -> f64 {
        let orders = counts.0.iter().filter(|[answer, reference, _]| *answer > 0 && *reference > 0);
        let (mut precision, mut recall, mut effective) = (0.0, 0.0, 0.0);
        for &[answer, reference, shared] in orders {
            precision += shared as f64 / answer as f64;
            recall += shared as f64 / reference as f64;
            effective += 1.0;
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / effective, recall / effective);
        let factor = (self.beta * self.beta) as f64;
        100.0 * (1.0 + factor) * precision * recall / (factor * precision + recall)
    }

    fn pieces(&self, text: &str) -> Pieces {
        let text = if self.lowercase { text.to_lowercase() } else { text.to_owned() };
        let words = if self.word_order > 0 { words(&text) } else { Vec::new() };
        Pieces { letters: text.chars().filter(|c| !is_space(*c)).collect(), words }
    }
}

struct Pieces {
    letters: Vec<char>,
    words: Vec<String>,
}

/// Words, with one sign at the end, or else at the start, apart.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        let sign = |c: char| c.is_ascii_punctuation();
        if word.chars().nth(1).is_none() {
            words.push(word.to_owned());
        } else if word.ends_with(sign) {
            let (word, sign) = word.split_at(word.len() - 1);
            words.extend([word.to_owned(), sign.to_owned()]);
        } else if word.starts_with(sign) {
            let (sign, word) = word.split_at(1);
            words.extend([sign.to_owned(), word.to_owned()]);
        } else {
            words.push(word.to_owned());
        }
    }
    words
}

fn shared<T: Eq + Hash>(answer: &[T], reference: &[T], order: usize) -> [usize; 3] {
    let mut known: FxHashMap<&[T], usize> = FxHashMap::default();
    reference.windows(order).for_each(|run| *known.entry(run).or_default() += 1);
    let runs = |pieces: &[T]| (pieces.len() + 1).saturating_sub(order);
    let mut matches = 0;
    for run in answer.windows(order) {
        if let Some(left) = known.get_mut(run).filter(|left| **left > 0) {
            *left -= 1;
            matches += 1;
        }
    }
    // Without runs in the reference, none of the answer count.
    let reference = runs(reference);
    [if reference > 0 { runs(answer) } else { 0 }, reference, matches]
}
