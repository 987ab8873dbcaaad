//! The tokens of spaCy's blank `fr` pipeline (3.8), which datatrove counts for French.
//!
//! The algorithm is spaCy's: from each run of non-space take prefixes and suffixes off until an exception or a word remains,
//! cut that at infixes, then look for exceptions once more across tokens. Its four regular expressions are read by hand
//! here; most words are letters only, and those never reach any rule.

use std::sync::LazyLock;

use rustc_hash::{FxHashMap, FxHashSet};

use super::class::{self, Class};
use super::rules::{find_infixes, prefix, suffix};
use super::tables::EXCEPTIONS;
use super::whole::{is_address, is_apostrophe, is_compound, is_hyphen};
use crate::text::python::is_space;

/// First and last byte, the last not included.
pub(super) type Span = (usize, usize);

type Exceptions = FxHashMap<&'static str, &'static [&'static str]>;

static EXCEPTION: LazyLock<Exceptions> = LazyLock::new(|| EXCEPTIONS.iter().copied().collect());

/// No exception is longer.
static LONGEST: LazyLock<usize> = LazyLock::new(|| EXCEPTIONS.iter().map(|(word, _)| word.len()).max().unwrap_or(0));

/// Exceptions that rules cut, as the tokens rules make of them, by their first token.
static ACROSS: LazyLock<FxHashMap<&'static str, Vec<Vec<&'static str>>>> = LazyLock::new(|| {
    let mut across: FxHashMap<_, Vec<Vec<_>>> = FxHashMap::default();
    for (word, _) in EXCEPTIONS {
        let mut infixes = Vec::new();
        find_infixes(word, &mut infixes);
        if prefix(word) > 0 || suffix(word) > 0 || !infixes.is_empty() {
            let mut cut = Cut { text: word, exceptions: false, out: Vec::new(), suffixes: Vec::new(), infixes };
            cut.word(0, word.len());
            let tokens: Vec<_> = cut.out.iter().map(|(start, end)| &word[*start..*end]).collect();
            across.entry(tokens[0]).or_default().push(tokens);
        }
    }
    across
});

fn exception(word: &str) -> Option<&'static [&'static str]> {
    if word.len() > *LONGEST { None } else { EXCEPTION.get(word).copied() }
}

/// The tokens of `text`, those of white space among them.
pub(super) fn tokens(text: &str) -> Vec<Span> {
    let out = Vec::with_capacity(text.len() / 4);
    let mut cut = Cut { text, exceptions: true, out, suffixes: Vec::new(), infixes: Vec::new() };
    let mut start = 0;
    let mut in_space = text.starts_with(is_space);
    for (at, c) in text.char_indices() {
        if is_space(c) == in_space {
            continue;
        }
        if start < at {
            if in_space { cut.out.push((start, at)) } else { cut.word(start, at) }
        }
        // The first plain space after a word belongs to the word.
        start = if c == ' ' { at + 1 } else { at };
        in_space = !in_space;
    }
    if start < text.len() {
        if in_space { cut.out.push((start, text.len())) } else { cut.word(start, text.len()) }
    }
    let mut spans = cut.out;
    join_exceptions(text, &mut spans);
    spans
}

struct Cut<'t> {
    text: &'t str,
    /// Whether exceptions are looked up; not while they themselves are cut.
    exceptions: bool,
    out: Vec<Span>,
    suffixes: Vec<Span>,
    infixes: Vec<Span>,
}

impl Cut<'_> {
    fn push_exception(&mut self, start: usize, end: usize) -> bool {
        let found = if self.exceptions { exception(&self.text[start..end]) } else { None };
        let mut at = start;
        for part in found.unwrap_or_default() {
            self.out.push((at, at + part.len()));
            at += part.len();
        }
        found.is_some()
    }

    fn is_exception(&self, start: usize, end: usize) -> bool {
        self.exceptions && start < end && exception(&self.text[start..end]).is_some()
    }

    /// Cuts the run of non-space from `start` to `end`.
    fn word(&mut self, start: usize, end: usize) {
        let text = self.text;
        let word = &text[start..end];
        if word.bytes().all(|byte| byte.is_ascii_alphabetic())
            || word.chars().all(|c| (c as u32) < 0x250 && class::of(c).is(Class::ALPHA))
        {
            self.out.push((start, end));
            return;
        }
        if self.push_exception(start, end) {
            return;
        }
        self.suffixes.clear();
        let joined = word.contains(|c| is_hyphen(c) || is_apostrophe(c));
        let (from, to) = self.affixes(start, end, joined);
        self.core(from, to, joined);
        while let Some(suffix) = self.suffixes.pop() {
            self.out.push(suffix);
        }
    }

    /// Takes prefixes and suffixes off, and returns what is left.
    fn affixes(&mut self, start: usize, end: usize, joined: bool) -> Span {
        let text = self.text;
        let (mut from, mut to) = (start, end);
        while from < to {
            let word = &text[from..to];
            if (joined && is_compound(word)) || self.is_exception(from, to) {
                break;
            }
            let pre = prefix(word);
            if pre > 0 && self.is_exception(from + pre, to) {
                self.out.push((from, from + pre));
                from += pre;
                break;
            }
            let suf = suffix(&word[pre..]);
            if suf > 0 && self.is_exception(from, to - suf) {
                self.suffixes.push((to - suf, to));
                to -= suf;
                break;
            }
            if pre == 0 && suf == 0 {
                break;
            }
            if pre > 0 {
                self.out.push((from, from + pre));
            }
            if suf > 0 {
                self.suffixes.push((to - suf, to));
            }
            from += pre;
            to -= suf;
        }
        (from, to)
    }

    /// Cuts what has no prefix or suffix left.
    fn core(&mut self, from: usize, to: usize, joined: bool) {
        let text = self.text;
        if from == to || self.push_exception(from, to) {
            return;
        }
        let word = &text[from..to];
        if (joined && is_compound(word)) || (word.contains('.') && is_address(word)) {
            self.out.push((from, to));
            return;
        }
        let mut infixes = std::mem::take(&mut self.infixes);
        infixes.clear();
        find_infixes(word, &mut infixes);
        let mut at = 0;
        for (start, end) in infixes.iter().copied().filter(|(start, _)| *start > 0) {
            if start != at {
                self.out.push((from + at, from + start));
            }
            if start != end {
                self.out.push((from + start, from + end));
            }
            at = end;
        }
        if from + at < to {
            self.out.push((from + at, to));
        }
        self.infixes = infixes;
    }
}

/// Puts exceptions back together that were cut because something stood right beside them.
fn join_exceptions(text: &str, spans: &mut Vec<Span>) {
    let word = |span: &Span| &text[span.0..span.1];
    let mut found: Vec<Span> = Vec::new();
    for (at, span) in spans.iter().enumerate() {
        if span.1 - span.0 > *LONGEST {
            continue;
        }
        for tokens in ACROSS.get(word(span)).map(Vec::as_slice).unwrap_or_default() {
            let rest = spans.get(at..at + tokens.len());
            if rest.is_some_and(|spans| spans.iter().map(word).eq(tokens.iter().copied())) {
                found.push((at, at + tokens.len()));
            }
        }
    }
    if found.is_empty() {
        return;
    }
    // The longest first, then the first. One that is passed over still hides shorter ones, as in spaCy.
    found.sort_by_key(|(start, end)| (usize::MAX - (end - start), *start));
    let mut seen = FxHashSet::default();
    found.retain(|(start, end)| {
        let free = !seen.contains(start) && !seen.contains(&(end - 1));
        seen.extend(*start..*end);
        free
    });
    found.sort_unstable();
    let mut joined = Vec::with_capacity(spans.len());
    let mut at = 0;
    for (start, end) in found {
        joined.extend_from_slice(&spans[at..start]);
        let (mut from, to) = (spans[start].0, spans[end - 1].1);
        match exception(&text[from..to]) {
            Some(parts) => joined.extend(parts.iter().map(|part| {
                from += part.len();
                (from - part.len(), from)
            })),
            None => joined.extend_from_slice(&spans[start..end]),
        }
        at = end;
    }
    joined.extend_from_slice(&spans[at..]);
    *spans = joined;
}
