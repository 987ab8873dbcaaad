//! Checks of form: paragraphs, lists, sections, quotes, as the references make them.

use super::super::python::{Lazy, fixed, strip};
use super::json::{self, Dialect};
use super::kinds::{Relation, Tongue};

static PLACEHOLDER: Lazy = Lazy::new(|| fixed(r"\[.*?\]"));
static STAR: Lazy = Lazy::new(|| fixed(r"(?m)^\s*\*[^\*].*$"));
static DASH: Lazy = Lazy::new(|| fixed(r"(?m)^\s*-.*$"));
static HIGHLIGHT: Lazy = Lazy::new(|| fixed(r"\*[^\n\*]*\*"));
static STRONG: Lazy = Lazy::new(|| fixed(r"\*\*[^\n\*]*\*\*"));
static TITLE: Lazy = Lazy::new(|| fixed(r"<<[^\n]+>>"));
static FRENCH_TITLE: Lazy = Lazy::new(|| fixed(r"##[^\n]+##"));
static DIVIDER: Lazy = Lazy::new(|| fixed(r"\s?\*\*\*\s?"));

/// The paragraphs between `***`, `None` where one between two others is empty.
pub(super) fn paragraphs(text: &str) -> Option<usize> {
    filled(&DIVIDER.split(text).collect::<Vec<_>>()).map(|pieces| pieces.len())
}

/// The pieces of a text that hold something; only the first and the last may be empty.
fn filled<'a>(pieces: &[&'a str]) -> Option<Vec<&'a str>> {
    let last = pieces.len() - 1;
    let empty = |piece: &str| strip(piece).is_empty();
    if pieces.iter().enumerate().any(|(index, piece)| index != 0 && index != last && empty(piece)) {
        return None;
    }
    Some(pieces.iter().copied().filter(|piece| !empty(piece)).collect())
}

pub(super) fn has_two_responses(text: &str) -> bool {
    let pieces: Vec<_> = text.split("******").collect();
    matches!(filled(&pieces).as_deref(), Some([first, second]) if strip(first) != strip(second))
}

/// Whether the nth piece between empty lines starts with a word. Empty pieces do not count, but have their place.
pub(super) fn has_first_word(text: &str, paragraphs: Relation, nth: usize, word: &str) -> bool {
    let pieces: Vec<_> = text.split("\n\n").map(strip).collect();
    let count = pieces.iter().filter(|piece| !piece.is_empty()).count();
    if nth > count || !paragraphs.holds(count) {
        return false;
    }
    let Some(first) = pieces[nth - 1].split(super::super::python::is_space).next() else { return false };
    let first = first.trim_start_matches('\'').trim_start_matches('"');
    let first = first.split(['.', ',', '?', '!', '\'', '"']).next().unwrap_or_default();
    !pieces[nth - 1].is_empty() && first.chars().flat_map(char::to_lowercase).eq(word.chars())
}

pub(super) fn placeholders(text: &str) -> usize {
    PLACEHOLDER.find_iter(text).count()
}

pub(super) fn bullets(text: &str) -> usize {
    STAR.find_iter(text).count() + DASH.find_iter(text).count()
}

pub(super) fn highlights(text: &str) -> usize {
    let single = HIGHLIGHT.find_iter(text).filter(|found| !strip(found.as_str().trim_matches('*')).is_empty());
    let inside = |found: &str| strip(&found[2..found.len() - 2]).is_empty();
    single.count() + STRONG.find_iter(text).filter(|found| !inside(found.as_str())).count()
}

pub(super) fn is_json(text: &str, dialect: Dialect) -> bool {
    let mut text = strip(text);
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    json::is_json(strip(text.strip_suffix("```").unwrap_or(text)), dialect)
}

/// `<<poem of joy>>`, in French `##hymne à la joie##`.
pub(super) fn has_title(text: &str, tongue: Tongue) -> bool {
    let (pattern, open, close) = match tongue {
        Tongue::English => (&TITLE, '<', '>'),
        Tongue::French => (&FRENCH_TITLE, '#', '#'),
    };
    let mut titles = pattern.find_iter(text).map(|found| found.as_str());
    titles.any(|title| !strip(title.trim_start_matches(open).trim_end_matches(close)).is_empty())
}

pub(super) fn is_quoted(text: &str, tongue: Tongue) -> bool {
    let text = strip(text);
    let pairs: &[(char, char)] = match tongue {
        Tongue::English => &[('"', '"')],
        Tongue::French => &[('"', '"'), ('\'', '\''), ('«', '»')],
    };
    let wrapped = |(open, close): &(char, char)| text.starts_with(*open) && text.ends_with(*close);
    text.chars().nth(1).is_some() && pairs.iter().any(wrapped)
}
