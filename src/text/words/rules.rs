//! spaCy's rules for French on what comes off the front and the back of a word and what cuts it inside, read by hand: its three
//! regular expressions ask up to a hundred alternatives of every character.

use std::sync::LazyLock;

use rustc_hash::FxHashSet;

use super::class::{self, Class};
use super::french::Span;
use super::tables::UNITS;
use super::whole::{is_apostrophe, is_hyphen};

static UNIT: LazyLock<FxHashSet<&str>> = LazyLock::new(|| UNITS.iter().copied().collect());

fn first(text: &str) -> Option<char> {
    text.chars().next()
}

fn last(text: &str) -> Option<char> {
    text.chars().next_back()
}

fn is(c: Option<char>, kinds: u8) -> bool {
    c.is_some_and(|c| class::of(c).is(kinds))
}

/// Length of the prefix to take off.
pub(super) fn prefix(word: &str) -> usize {
    let Some(c) = first(word) else { return 0 };
    let after = &word[c.len_utf8()..];
    match c {
        '§' | '%' | '=' | '—' | '–' => c.len_utf8(),
        '+' => usize::from(!is(first(after), Class::DIGIT)),
        '.' => match word.bytes().take_while(|byte| *byte == b'.').count() {
            1 => 0,
            dots => dots,
        },
        _ if class::of(c).is(Class::PUNCT | Class::QUOTE | Class::CURRENCY | Class::ICON) => c.len_utf8(),
        'U' if after.starts_with("S$") => 3,
        'C' | 'A' if after.starts_with('$') => 2,
        'd' | 'l' | 'n' | 'D' | 'L' | 'N' => match first(after).filter(|c| is_apostrophe(*c)) {
            Some(sign) if is(first(&after[sign.len_utf8()..]), Class::ALPHA) => 1 + sign.len_utf8(),
            _ => 0,
        },
        _ => 0,
    }
}

/// Length of the suffix to take off, the longest there is.
pub(super) fn suffix(word: &str) -> usize {
    let Some(c) = last(word) else { return 0 };
    let before = &word[..word.len() - c.len_utf8()];
    let class = class::of(c);
    if word.ends_with("……") {
        return "……".len();
    }
    if class.is(Class::PUNCT | Class::QUOTE) {
        return c.len_utf8();
    }
    if c == '.' {
        return full_stop(before);
    }
    let number = is(last(before), Class::DIGIT);
    if number && matches!(c, '+' | '%') {
        return 1;
    }
    if class.is(Class::CURRENCY) {
        for sign in ["US$", "C$", "A$"] {
            if word.strip_suffix(sign).is_some_and(|rest| is(last(rest), Class::DIGIT)) {
                return sign.len();
            }
        }
        return if number { c.len_utf8() } else { 0 };
    }
    if let Some(digit) = word.rfind(|c: char| c.is_ascii_digit()) {
        let unit = &word[digit + 1..];
        if UNIT.contains(unit) {
            return unit.len();
        }
    }
    if class.is(Class::ALPHA) { pronoun(word) } else { 0 }
}

/// How much of the dots at the end goes: the one after `before`, more of them, or none.
fn full_stop(before: &str) -> usize {
    let dots = before.bytes().rev().take_while(|byte| *byte == b'.').count();
    if dots > 0 {
        return dots + 1;
    }
    let mut back = before.chars().rev();
    let (one, two) = (back.next(), back.next());
    let sign = one.is_some_and(|c| matches!(c, '%' | '²' | '-' | '+' | '(' | '?' | ':' | ')'));
    let degree = two == Some('°') && matches!(one, Some('F' | 'C' | 'K'));
    let capitals = is(one, Class::UPPER) && is(two, Class::UPPER);
    usize::from(sign || degree || capitals || is(one, Class::DIGIT | Class::LOWER | Class::QUOTE))
}

/// Length of the pronoun after the last hyphen, hyphen included.
fn pronoun(word: &str) -> usize {
    let Some((at, hyphen)) = word.char_indices().rev().take(6).find(|(_, c)| is_hyphen(*c)) else { return 0 };
    let tail = &word[at + hyphen.len_utf8()..];
    let known = matches!(
        tail,
        "ce" | "clés"
            | "elle"
            | "en"
            | "il"
            | "ils"
            | "je"
            | "là"
            | "moi"
            | "nous"
            | "on"
            | "t"
            | "vous"
            | "CE"
            | "CLÉS"
            | "ELLE"
            | "EN"
            | "IL"
            | "ILS"
            | "JE"
            | "LÀ"
            | "MOI"
            | "NOUS"
            | "ON"
            | "T"
            | "VOUS"
    );
    if known && is(last(&word[..at]), Class::ALPHA) { word.len() - at } else { 0 }
}

/// The places inside `word` where it is cut, some of them of no length.
pub(super) fn find_infixes(word: &str, out: &mut Vec<Span>) {
    let (mut at, mut before, mut before_that) = (0, None, None);
    while let Some(c) = first(&word[at..]) {
        let length = infix(word, at, c, before);
        if length > 0 {
            out.push((at, at + length));
            let mut back = word[..at + length].chars().rev();
            (before, before_that) = (back.next(), back.next());
            at += length;
            continue;
        }
        let elided = before.is_some_and(is_apostrophe) && is(before_that, Class::ALPHA);
        if elided && class::of(c).is(Class::ALPHA) {
            out.push((at, at));
        }
        (before, before_that) = (Some(c), before);
        at += c.len_utf8();
    }
}

/// Length of the infix at `at`, where `c` stands.
fn infix(word: &str, at: usize, c: char, before: Option<char>) -> usize {
    let after = &word[at + c.len_utf8()..];
    let class = class::of(c);
    if c.is_ascii_alphanumeric() {
        return 0;
    }
    if c == '.' && after.starts_with('.') {
        return 1 + after.bytes().take_while(|byte| *byte == b'.').count();
    }
    if c == '…' || class.is(Class::ICON) {
        return c.len_utf8();
    }
    let next = first(after);
    let letters = is(before, Class::ALPHA);
    let here = match c {
        '+' | '-' | '*' | '^' if is(before, Class::DIGIT) => is(next, Class::DIGIT) || next == Some('-'),
        '.' => is(before, Class::LOWER | Class::QUOTE) && is(next, Class::UPPER | Class::QUOTE),
        ',' => letters && is(next, Class::ALPHA),
        ':' | '<' | '>' | '=' | '/' => is(before, Class::ALPHA | Class::DIGIT) && is(next, Class::ALPHA),
        _ => false,
    };
    if here {
        return c.len_utf8();
    }
    if letters && matches!(c, '-' | '–' | '—' | '~') {
        let found = ["-", "–", "—", "--", "---", "——", "~"]
            .iter()
            .find(|dash| word[at..].strip_prefix(**dash).is_some_and(|rest| is(first(rest), Class::ALPHA)));
        return found.map_or(0, |dash| dash.len());
    }
    0
}
