//! Checks of words, letters and language, as the references make them.

use regex::Regex;

use super::super::python::{is_boundary, is_lower, is_upper, strip};
use super::kinds::Tongue;
use super::language::detect;
use super::sentences::{Model, sentences as split, words};

const ENGLISH_OPTIONS: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];
const FRENCH_OPTIONS: [&str; 3] = ["Oui.", "Non.", "Peut-être."];

/// Whether a text has a match between two `\b`.
///
/// A pattern of several lengths is tried at each place with the length that it prefers; the words of a data set have
/// but one.
pub(super) fn has_word(pattern: &Regex, text: &str) -> bool {
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| pattern.find(rest)) {
        let (start, end) = (from + found.start(), from + found.end());
        if is_boundary(text, start) && is_boundary(text, end) {
            return true;
        }
        from = start + text[start..].chars().next().map_or(1, char::len_utf8);
    }
    false
}

/// Whether a text is in a language, or in none that langdetect can tell.
pub(super) fn is_in(text: &str, code: &str) -> bool {
    detect(text).is_none_or(|found| found == code)
}

pub(super) fn sentences(text: &str, tongue: Tongue) -> usize {
    match tongue {
        Tongue::English => split(text, Model::english()).len(),
        Tongue::French => split(text, Model::french_with_more()).len(),
    }
}

pub(super) fn options(tongue: Tongue) -> [&'static str; 3] {
    match tongue {
        Tongue::English => ENGLISH_OPTIONS,
        Tongue::French => FRENCH_OPTIONS,
    }
}

pub(super) fn is_constrained(text: &str, tongue: Tongue) -> bool {
    options(tongue).iter().any(|option| text.contains(option))
}

pub(super) fn ends_with(text: &str, phrase: &str) -> bool {
    strip(text).trim_matches('"').to_lowercase().ends_with(phrase)
}

/// NLTK's tokens in capitals.
pub(super) fn capital_words(text: &str) -> usize {
    let mut count = 0;
    words(text, |word| count += usize::from(is_upper(word)));
    count
}

pub(super) fn is_all_capital(text: &str, tongue: Tongue) -> bool {
    is_upper(text)
        && match tongue {
            Tongue::English => is_in(text, "en"),
            // Capital words mean nothing to langdetect.
            Tongue::French => is_in(&text.to_lowercase(), "fr"),
        }
}

pub(super) fn is_all_lower(text: &str, tongue: Tongue) -> bool {
    let code = match tongue {
        Tongue::English => "en",
        Tongue::French => "fr",
    };
    is_lower(text) && is_in(text, code)
}
