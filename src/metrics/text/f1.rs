//! The words that an answer shares with a reference (F1).

use std::collections::HashSet;

use rustc_hash::FxHashMap;

use super::super::python::is_space;
use super::normal::{Articles, quasi, squad};

/// SQuAD's token F1 (Rajpurkar et al. 2016): the harmonic mean of precision and recall over words with their counts,
/// articles and punctuation left out. For French, articles and signs are the French ones. Two empty texts are equal.
pub fn token_f1(gold: &str, answer: &str, articles: Articles) -> f64 {
    let form = |text| if articles == Articles::English { squad(text) } else { quasi(text, articles) };
    let (gold, answer) = (form(gold), form(answer));
    let (gold, answer): (Vec<&str>, Vec<&str>) = (words(&gold).collect(), words(&answer).collect());
    if gold.is_empty() || answer.is_empty() {
        return f64::from(u8::from(gold.is_empty() && answer.is_empty()));
    }
    let mut counts: FxHashMap<&str, usize> = FxHashMap::default();
    for word in &gold {
        *counts.entry(word).or_default() += 1;
    }
    let left = |word: &&&str| counts.get_mut(**word).filter(|count| **count > 0).map(|count| *count -= 1).is_some();
    harmonic(answer.iter().filter(left).count(), gold.len(), answer.len())
}

/// lighteval's `f1`: over the sets of words as they are written, between spaces.
pub fn set_f1(gold: &str, answer: &str) -> f64 {
    let gold: HashSet<&str> = words(gold).collect();
    let answer: HashSet<&str> = words(answer).collect();
    harmonic(gold.intersection(&answer).count(), gold.len(), answer.len())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

fn harmonic(shared: usize, gold: usize, answer: usize) -> f64 {
    if shared == 0 {
        return 0.0;
    }
    let (precision, recall) = (shared as f64 / answer as f64, shared as f64 / gold as f64);
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "fractions of small counts")]

    use super::*;

    #[test]
    fn counts_shared_words() {
        assert_eq!(token_f1("the cat sat", "A cat", Articles::English), 2.0 / 3.0);
        assert_eq!(token_f1("la rue de l'Odéon", "rue de l’Odéon.", Articles::French), 1.0);
        assert_eq!(token_f1("no no yes", "no", Articles::None), 0.5);
        assert_eq!(token_f1("", "", Articles::None), 1.0);
        assert_eq!(set_f1("no no yes", "no"), 2.0 / 3.0);
        assert_eq!(set_f1("", ""), 0.0);
    }
}
