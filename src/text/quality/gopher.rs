//! Gopher's rules on how much of a text is words: length, mean length of a word, signs, bullets, letters, stop words.

use rustc_hash::FxHashSet;
use unicode_general_category::{GeneralCategory as G, get_general_category};

use super::symbols::is_symbol;
use super::{Document, Finding, share};
use crate::text::python;

/// Thresholds; `None` switches a rule off.
#[derive(Clone, Debug, PartialEq)]
pub struct Gopher {
    /// Fewest words that are not symbols alone.
    pub min_words: Option<usize>,
    /// Most words that are not symbols alone.
    pub max_words: Option<usize>,
    /// Least mean length of such words.
    pub min_mean_length: Option<f64>,
    /// Largest mean length of such words.
    pub max_mean_length: Option<f64>,
    /// Most hashes for each word, and most ellipses for each word.
    pub max_symbols: Option<f64>,
    /// Largest share of lines that start with a bullet.
    pub max_bullet_lines: Option<f64>,
    /// Largest share of lines that end in an ellipsis.
    pub max_ellipsis_lines: Option<f64>,
    /// Least share of words with a letter.
    pub min_alpha_words: Option<f64>,
    /// Fewest of the stop words, each counted once.
    pub min_stop_words: Option<usize>,
    /// The stop words, as they are written.
    pub stop_words: Vec<String>,
    /// Stop words are asked for from this many words on.
    pub stop_words_from: usize,
}

fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphabetic();
    }
    let category = get_general_category(c);
    matches!(
        category,
        G::LowercaseLetter | G::UppercaseLetter | G::TitlecaseLetter | G::ModifierLetter | G::OtherLetter
    )
}

fn below(rule: &'static str, value: f64, least: Option<f64>) -> Option<Finding> {
    least.filter(|least| value < *least).map(|least| Finding::new(rule, value, least))
}

fn above(rule: &'static str, value: f64, most: Option<f64>) -> Option<Finding> {
    most.filter(|most| value > *most).map(|most| Finding::new(rule, value, most))
}

fn per(count: usize, words: usize) -> f64 {
    count as f64 / words as f64
}

impl Gopher {
    pub(super) fn judge(&self, document: &Document) -> Option<Finding> {
        let words = document.words();
        let (mut count, mut characters) = (0, 0);
        for word in words.iter().filter(|word| !word.chars().all(is_symbol)) {
            count += 1;
            characters += python::len(word);
        }
        let limit = |words: Option<usize>| words.map(|words| words as f64);
        if let Some(finding) = below("gopher_short_doc", count as f64, limit(self.min_words)) {
            return Some(finding);
        }
        if words.is_empty() {
            return Some(Finding::empty());
        }
        above("gopher_long_doc", count as f64, limit(self.max_words))
            .or_else(|| self.length(characters, count))
            .or_else(|| self.signs(document.text, words.len()))
            .or_else(|| self.lines(document.text))
            .or_else(|| self.letters(words))
    }

    fn length(&self, characters: usize, count: usize) -> Option<Finding> {
        if count == 0 {
            return None;
        }
        let mean = characters as f64 / count as f64;
        below("gopher_below_avg_threshold", mean, self.min_mean_length)
            .or_else(|| above("gopher_above_avg_threshold", mean, self.max_mean_length))
    }

    fn signs(&self, text: &str, words: usize) -> Option<Finding> {
        self.max_symbols?;
        let hashes = memchr::memchr_iter(b'#', text.as_bytes()).count();
        let ellipses = text.matches("...").count() + text.matches('…').count();
        above("gopher_too_many_hashes", per(hashes, words), self.max_symbols)
            .or_else(|| above("gopher_too_many_ellipsis", per(ellipses, words), self.max_symbols))
    }

    fn lines(&self, text: &str) -> Option<Finding> {
        if self.max_bullet_lines.is_none() && self.max_ellipsis_lines.is_none() {
            return None;
        }
        let (mut count, mut bullets, mut ellipses) = (0, 0, 0);
        for line in python::lines(text) {
            count += 1;
            bullets += usize::from(line.trim_start_matches(python::is_space).starts_with(['•', '-']));
            let end = line.trim_end_matches(python::is_space);
            ellipses += usize::from(end.ends_with("...") || end.ends_with('…'));
        }
        above("gopher_too_many_bullets", share(bullets, count), self.max_bullet_lines)
            .or_else(|| above("gopher_too_many_end_ellipsis", share(ellipses, count), self.max_ellipsis_lines))
    }

    fn letters(&self, words: &[&str]) -> Option<Finding> {
        if self.min_alpha_words.is_some() {
            let spelt = words.iter().filter(|word| word.chars().any(is_letter)).count();
            let finding = below("gopher_below_alpha_threshold", per(spelt, words.len()), self.min_alpha_words);
            if finding.is_some() {
                return finding;
            }
        }
        let least = self.min_stop_words.filter(|_| words.len() >= self.stop_words_from)?;
        let wanted: FxHashSet<&str> = self.stop_words.iter().map(String::as_str).collect();
        let found: FxHashSet<&str> = words.iter().copied().filter(|word| wanted.contains(word)).collect();
        below("gopher_enough_stop_words", found.len() as f64, Some(least as f64))
    }
}
