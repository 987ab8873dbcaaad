//! The checks that only M-IFEval's French instructions have.

use std::collections::HashMap;
use std::hash::BuildHasher;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

use super::super::python::{is_boundary, words};

/// Whether a text lacks a character in both cases.
pub(super) fn lacks(text: &str, character: &str) -> bool {
    !text.to_lowercase().contains(&character.to_lowercase())
}

/// Whether a text has a letter of Latin-1 with an accent. `œ` is none.
pub(super) fn has_accents(text: &str) -> bool {
    text.chars().any(|c| "àáâãäåçèéêëìíîïñòóôõöùúûüýÿÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖÙÚÛÜÝ".contains(c))
}

/// Whether each word of a list, where it occurs with whatever accents, has the right ones.
pub(super) fn is_accented<S: BuildHasher>(text: &str, right: &HashMap<String, String, S>) -> bool {
    words(&text.to_lowercase()).all(|word| right.get(&plain(word)).is_none_or(|right| word == right))
}

/// A word without its accents.
pub(super) fn plain(word: &str) -> String {
    word.nfkd().filter(|c| canonical_combining_class(*c) == 0).collect()
}

/// Whether a text says "tu": any of `\btu\b`, `\bte\b`, `\bt'\b`, `\btoi\b`, `\bton\b`, `\bta\b`, `\btes\b`.
pub(super) fn is_informal(text: &str) -> bool {
    let text = text.to_lowercase();
    let said = words(&text).any(|word| matches!(word, "tu" | "te" | "toi" | "ton" | "ta" | "tes"));
    said || text.match_indices("t'").any(|(at, _)| is_boundary(&text, at) && is_boundary(&text, at + 2))
}
