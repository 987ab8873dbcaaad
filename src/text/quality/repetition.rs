//! Gopher's rules against text that repeats itself: paragraphs, lines, and runs of words.
//!
//! datatrove builds a string for each run of words. Here runs of two to four are compared by the numbers of their words, and
//! runs of five to ten as slices of all words written together, without spaces, as datatrove joins them: cut elsewhere, other
//! words can be the same run.

use std::hash::Hash;

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Document, Finding, share};
use crate::text::python;

/// Largest shares; `None` switches a rule off.
#[derive(Clone, Debug, PartialEq)]
pub struct Repetition {
    /// Paragraphs that were there before, of all paragraphs.
    pub dup_para_frac: Option<f64>,
    /// Their characters, of all characters.
    pub dup_para_char_frac: Option<f64>,
    /// Lines that were there before, of all lines.
    pub dup_line_frac: Option<f64>,
    /// Their characters, of all characters.
    pub dup_line_char_frac: Option<f64>,
    /// For a number of words: the characters of the most frequent run of so many, of all characters.
    pub top_n_grams: Vec<(usize, f64)>,
    /// For a number of words: the characters in runs of so many that were there before, of all characters.
    pub dup_n_grams: Vec<(usize, f64)>,
    /// Runs of words are looked at from this many words on; datatrove looks at any text.
    pub min_words: usize,
    /// Whether the most frequent run counts though it occurs once, as in datatrove, where it drops every very short text.
    pub count_single: bool,
}

impl Repetition {
    pub(super) fn judge(&self, document: &Document) -> Option<Finding> {
        let text = document.text;
        if text.is_empty() {
            return Some(Finding::empty());
        }
        let characters = document.length();
        let paragraphs = pieces(python::strip(text), 2);
        let lines = pieces(text, 1);
        let rules = [
            ("dup_para", self.dup_para_frac, self.dup_para_char_frac, paragraphs),
            ("dup_line", self.dup_line_frac, self.dup_line_char_frac, lines),
        ];
        for (name, most, most_characters, pieces) in rules {
            if most.is_none() && most_characters.is_none() {
                continue;
            }
            let (repeated, repeated_characters) = repeated(&pieces);
            let values = [
                (share(repeated, pieces.len()), most, "frac"),
                (share(repeated_characters, characters), most_characters, "char_frac"),
            ];
            for (value, most, what) in values {
                if let Some(most) = most.filter(|most| value > *most) {
                    return Some(Finding::new(format!("{name}_{what}"), value, most));
                }
            }
        }
        if self.min_words > 0 && document.words().len() < self.min_words {
            return None;
        }
        self.runs(document.words(), characters)
    }

    fn runs(&self, words: &[&str], characters: usize) -> Option<Finding> {
        let over = |name: String, repeated: usize, most: f64| {
            let value = share(repeated, characters);
            (value > most).then(|| Finding::new(name, value, most))
        };
        let numbers = number(words);
        for (n, most) in self.top_n_grams.iter().filter(|(n, _)| *n <= words.len()) {
            let top = match n {
                2 => {
                    top(numbers.windows(2).map(|run| (u64::from(run[0]) << 32) | u64::from(run[1])), self.count_single)
                }
                _ => top(numbers.windows(*n), self.count_single),
            };
            let repeated = top.map_or(0, |(first, count)| {
                let letters: usize = words[first..first + n].iter().map(|word| python::len(word)).sum();
                (letters + n - 1) * count
            });
            if let Some(finding) = over(format!("top_{n}_gram"), repeated, *most) {
                return Some(finding);
            }
        }
        if self.dup_n_grams.is_empty() {
            return None;
        }
        let text = words.concat();
        let mut joined = Joined::new(words, &text);
        self.dup_n_grams
            .iter()
            .find_map(|(n, most)| over(format!("duplicated_{n}_n_grams"), joined.repeated(*n), *most))
    }
}

/// The pieces of `text` between runs of at least `least` line feeds.
fn pieces(text: &str, least: usize) -> Vec<&str> {
    let (mut pieces, mut start, mut at) = (Vec::new(), 0, 0);
    let bytes = text.as_bytes();
    while let Some(found) = memchr::memchr(b'\n', &bytes[at..]) {
        let from = at + found;
        let run = bytes[from..].iter().take_while(|byte| **byte == b'\n').count();
        at = from + run;
        if run >= least {
            pieces.push(&text[start..from]);
            start = at;
        }
    }
    pieces.push(&text[start..]);
    pieces
}

/// How many pieces were there before, and their characters.
pub(super) fn repeated(pieces: &[&str]) -> (usize, usize) {
    let mut seen = FxHashSet::default();
    let again = pieces.iter().filter(|piece| !seen.insert(**piece));
    again.fold((0, 0), |(count, characters), piece| (count + 1, characters + python::len(piece)))
}

/// The same number for the same word.
fn number(words: &[&str]) -> Vec<u32> {
    let mut numbers = FxHashMap::default();
    words
        .iter()
        .map(|word| {
            let next = numbers.len() as u32;
            *numbers.entry(*word).or_insert(next)
        })
        .collect()
}

/// Where the most frequent run is first, and how often it is there. Of equals the first counts.
fn top<K: Hash + Eq>(runs: impl Iterator<Item = K>, count_single: bool) -> Option<(usize, usize)> {
    let mut counts: FxHashMap<K, u32> = FxHashMap::default();
    let mut firsts: Vec<(usize, usize)> = Vec::new();
    for (at, run) in runs.enumerate() {
        let slot = *counts.entry(run).or_insert(firsts.len() as u32) as usize;
        match firsts.get_mut(slot) {
            Some((_, count)) => *count += 1,
            None => firsts.push((at, 1)),
        }
    }
    let most = firsts.iter().map(|(_, count)| *count).max()?;
    if most == 1 && !count_single {
        return None;
    }
    firsts.into_iter().find(|(_, count)| *count == most)
}

/// All words in one string, so that a run of them is a slice of it.
struct Joined<'j> {
    text: &'j str,
    /// Where each word starts, in bytes and in characters; the end as well.
    starts: Vec<(usize, usize)>,
    seen: FxHashSet<&'j str>,
}

impl<'j> Joined<'j> {
    fn new(words: &[&str], text: &'j str) -> Self {
        let mut start = (0, 0);
        let mut starts = vec![start];
        starts.extend(words.iter().map(|word| {
            start = (start.0 + word.len(), start.1 + python::len(word));
            start
        }));
        Self { text, starts, seen: FxHashSet::default() }
    }

    /// Characters in runs of `n` words that were there before, runs taken from left to right without overlap.
    fn repeated(&mut self, n: usize) -> usize {
        self.seen.clear();
        let (mut at, mut characters) = (0, 0);
        while at + n < self.starts.len() {
            let (from, to) = (self.starts[at], self.starts[at + n]);
            if self.seen.insert(&self.text[from.0..to.0]) {
                at += 1;
            } else {
                characters += to.1 - from.1;
                at += n;
            }
        }
        characters
    }
}
