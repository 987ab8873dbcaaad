//! Gopher's rules against text that repeats itself: paragraphs, lines, and runs of words.
//!
//! datatrove builds a string for each run of words. Here runs of two to four are compared by the numbers of their words, and
//! runs of five to ten as slices of all words written together, without spaces, as datatrove joins them: cut elsewhere, other
//! words can be the same run. A rolling hash finds a slice, and equal means equal: bytes are compared.

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

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
        let mut table = Table::new(words.len());
        for (n, most) in self.top_n_grams.iter().filter(|(n, _)| *n <= words.len()) {
            let top = top(&numbers, *n, &mut table).filter(|(_, count)| self.count_single || *count > 1);
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
        let joined = Joined::new(words, &text);
        self.dup_n_grams
            .iter()
            .find_map(|(n, most)| over(format!("duplicated_{n}_n_grams"), joined.repeated(*n, &mut table), *most))
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
    let mut numbers = FxHashMap::with_capacity_and_hasher(words.len(), FxBuildHasher);
    words
        .iter()
        .map(|word| {
            let next = numbers.len() as u32;
            *numbers.entry(*word).or_insert(next)
        })
        .collect()
}

/// Where runs were first, by their hash. Made once for a text and used for one length of runs after another.
struct Table {
    /// Hash, place and use; a slot of an earlier use is free.
    slots: Vec<(u64, u32, u32)>,
    shift: u32,
    used: u32,
}

impl Table {
    fn new(runs: usize) -> Self {
        let bits = (2 * runs.max(4)).next_power_of_two().trailing_zeros();
        Self { slots: vec![(0, 0, 0); 1 << bits], shift: 64 - bits, used: 0 }
    }

    /// Empties it.
    fn begin(&mut self) {
        self.used += 1;
    }

    /// Where an equal run is, or nothing, and then this one is known.
    fn earlier(&mut self, hash: u64, at: usize, equal: impl Fn(usize) -> bool) -> Option<usize> {
        let mut slot = (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        loop {
            let (known, place, used) = self.slots[slot];
            if used != self.used {
                self.slots[slot] = (hash, at as u32, self.used);
                return None;
            }
            if known == hash && equal(place as usize) {
                return Some(place as usize);
            }
            slot = (slot + 1) % self.slots.len();
        }
    }
}

/// Where the most frequent run of `n` words is first, and how often it is there. Of equals the first counts.
fn top(numbers: &[u32], n: usize, table: &mut Table) -> Option<(usize, usize)> {
    table.begin();
    let mut counts = vec![0u32; numbers.len()];
    for (at, run) in numbers.windows(n).enumerate() {
        let hash = run.iter().fold(0, |hash: u64, number| mix(hash, u64::from(*number)));
        let first = table.earlier(hash, at, |earlier| numbers[earlier..earlier + n] == *run);
        counts[first.unwrap_or(at)] += 1;
    }
    let most = *counts.iter().max()?;
    counts.iter().position(|count| *count == most).map(|first| (first, most as usize))
}

fn mix(hash: u64, more: u64) -> u64 {
    (hash.rotate_left(5) ^ more).wrapping_mul(0x51_7C_C1_B7_27_22_0A_95)
}

/// All words in one string, so that a run of them is a slice of it, with its hash at hand.
struct Joined<'j> {
    text: &'j str,
    starts: Vec<Start>,
    /// Powers of the base, by number of bytes.
    powers: Vec<u64>,
}

/// Where a word starts, or the end.
#[derive(Clone, Copy)]
struct Start {
    byte: usize,
    character: usize,
    /// Hash of all bytes before it.
    hash: u64,
}

const BASE: u64 = 0x9E37_79B1_85EB_CA87;

impl<'j> Joined<'j> {
    fn new(words: &[&str], text: &'j str) -> Self {
        let mut start = Start { byte: 0, character: 0, hash: 0 };
        let mut starts = Vec::with_capacity(words.len() + 1);
        starts.push(start);
        starts.extend(words.iter().map(|word| {
            let add = |hash: u64, byte: &u8| hash.wrapping_mul(BASE).wrapping_add(u64::from(*byte) + 1);
            start = Start {
                byte: start.byte + word.len(),
                character: start.character + python::len(word),
                hash: word.as_bytes().iter().fold(start.hash, add),
            };
            start
        }));
        // Runs of ten ordinary words; longer ones are worked out.
        let mut powers = vec![1u64; 128];
        for at in 1..powers.len() {
            powers[at] = powers[at - 1].wrapping_mul(BASE);
        }
        Self { text, starts, powers }
    }

    /// Characters in runs of `n` words that were there before, runs taken from left to right without overlap.
    fn repeated(&self, n: usize, table: &mut Table) -> usize {
        table.begin();
        let (mut at, mut characters) = (0, 0);
        while at + n < self.starts.len() {
            let (from, to) = (self.starts[at], self.starts[at + n]);
            let slice = &self.text[from.byte..to.byte];
            let hash = to.hash.wrapping_sub(from.hash.wrapping_mul(self.power(slice.len())));
            let equal = |earlier: usize| self.text[self.starts[earlier].byte..self.starts[earlier + n].byte] == *slice;
            if table.earlier(hash, at, equal).is_some() {
                characters += to.character - from.character;
                at += n;
            } else {
                at += 1;
            }
        }
        characters
    }

    fn power(&self, bytes: usize) -> u64 {
        self.powers.get(bytes).copied().unwrap_or_else(|| (0..bytes).fold(1, |power: u64, _| power.wrapping_mul(BASE)))
    }
}
