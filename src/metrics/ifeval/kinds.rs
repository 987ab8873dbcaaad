//! The kinds of instructions, with their settings, and which check judges each.

use regex::Regex;
use rustc_hash::FxHashMap;

use super::{Rules, french, layout, native, wording};

/// The language that a set of instructions was written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    English,
    French,
}

/// How a count stands to a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Relation {
    LessThan(f64),
    AtLeast(f64),
    Exactly(f64),
}

impl Relation {
    pub(super) fn holds(self, count: usize) -> bool {
        match self {
            Self::LessThan(limit) => (count as f64) < limit,
            Self::AtLeast(limit) => count as f64 >= limit,
            Self::Exactly(number) => (count as f64).total_cmp(&number).is_eq(),
        }
    }
}

/// A word to look for: the pattern that the reference makes of it, and as it was written.
#[derive(Debug, Clone)]
pub(super) struct Keyword {
    pub(super) pattern: Regex,
    pub(super) literal: Regex,
}

/// A kind of instruction with its settings. Texts are stripped and in lower case where the check needs them so.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Keywords(Vec<Keyword>),
    KeywordFrequency(Keyword, Relation),
    ForbiddenWords(Vec<Keyword>),
    LetterFrequency(String, Relation),
    ResponseLanguage(String),
    Sentences(Relation),
    Paragraphs(Relation),
    Words(Relation),
    FirstWord { paragraphs: Relation, nth: usize, word: String },
    Placeholders(Relation),
    Postscript { pattern: Regex, marker: String },
    Bullets(Relation),
    ConstrainedResponse,
    Highlights(Relation),
    Sections { pattern: Regex, literal: Regex, count: Relation },
    Json,
    Title,
    TwoResponses,
    RepeatPrompt(String),
    EndPhrase(String),
    Quotation,
    CapitalWords(Relation),
    AllCapital,
    AllLower,
    NoComma,
    NoCharacter(String),
    NoAccents,
    Accents(FxHashMap<String, String>),
    Informal,
    NoDigits,
}

/// Says whether an answer follows an instruction.
pub(super) fn is_followed(kind: &Kind, tongue: Tongue, rules: Rules, text: &str) -> bool {
    if rules == Rules::Native
        && let Some(followed) = native::is_followed(kind, tongue, text)
    {
        return followed;
    }
    match kind {
        Kind::Keywords(keywords) => keywords.iter().all(|keyword| keyword.pattern.is_match(text)),
        Kind::KeywordFrequency(keyword, relation) => relation.holds(keyword.pattern.find_iter(text).count()),
        Kind::ForbiddenWords(words) => !words.iter().any(|word| wording::has_word(&word.pattern, text)),
        Kind::LetterFrequency(letter, relation) => relation.holds(text.to_lowercase().matches(letter.as_str()).count()),
        Kind::ResponseLanguage(code) => wording::is_in(text, code),
        Kind::Sentences(relation) => relation.holds(wording::sentences(text, tongue)),
        Kind::Paragraphs(relation) => layout::paragraphs(text).is_some_and(|count| relation.holds(count)),
        Kind::Words(relation) => relation.holds(super::super::python::words(text).count()),
        Kind::FirstWord { paragraphs, nth, word } => layout::has_first_word(text, *paragraphs, *nth, word),
        Kind::Placeholders(relation) => relation.holds(layout::placeholders(text)),
        Kind::Postscript { pattern, .. } => pattern.is_match(&text.to_lowercase()),
        Kind::Bullets(relation) => relation.holds(layout::bullets(text)),
        Kind::ConstrainedResponse => wording::is_constrained(text, tongue),
        Kind::Highlights(relation) => relation.holds(layout::highlights(text)),
        Kind::Sections { pattern, count, .. } => count.holds(pattern.find_iter(text).count()),
        Kind::Json => layout::is_json(text, super::json::Dialect::Python),
        Kind::Title => layout::has_title(text, tongue),
        Kind::TwoResponses => layout::has_two_responses(text),
        Kind::RepeatPrompt(prompt) => super::super::python::strip(text).to_lowercase().starts_with(prompt.as_str()),
        Kind::EndPhrase(phrase) => wording::ends_with(text, phrase),
        Kind::Quotation => layout::is_quoted(text, tongue),
        Kind::CapitalWords(relation) => relation.holds(wording::capital_words(text)),
        Kind::AllCapital => wording::is_all_capital(text, tongue),
        Kind::AllLower => wording::is_all_lower(text, tongue),
        Kind::NoComma => !text.contains(','),
        Kind::NoCharacter(character) => french::lacks(text, character),
        Kind::NoAccents => !french::has_accents(text),
        Kind::Accents(words) => french::is_accented(text, words),
        Kind::Informal => french::is_informal(text),
        Kind::NoDigits => !text.chars().any(super::super::python::is_digit),
    }
}
