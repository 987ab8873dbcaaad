//! The settings of steps that keep or drop rows by what is in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Mistake;
use super::StepParams;

/// What happens to a row that a filter is against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterMode {
    /// It is dropped.
    #[default]
    Drop,
    /// It stays, and the rule is added to its column `flags`, which `where` and `columns` can use.
    Flag,
}

impl FilterMode {
    /// Returns whether it is the usual one, which is not written into keys.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(super) fn is_drop(&self) -> bool {
        *self == FilterMode::Drop
    }
}

/// Bounds on the text of a row; a chat counts the text of all its messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// The fewest characters a row may have.
    #[serde(default)]
    pub min_chars: Option<usize>,
    /// The most characters a row may have.
    #[serde(default)]
    pub max_chars: Option<usize>,
    /// The fewest words (what white space separates) a row may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_words: Option<usize>,
    /// The most words a row may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_words: Option<usize>,
    /// What happens to other rows.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

impl StepParams for Length {
    fn mistakes(&self) -> Vec<Mistake> {
        let bounds = [
            ("chars", "characters", self.min_chars, self.max_chars),
            ("words", "words", self.min_words, self.max_words),
        ];
        let crossed = bounds.into_iter().filter_map(|(field, unit, min, max)| {
            let (min, max) = (min?, max?);
            let message = format!("no row can have at least {min} and at most {max} {unit}");
            (min > max).then(|| Mistake::new(format!("min_{field}"), message))
        });
        crossed.collect()
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}

/// Keeps rows whose language, as whichlang sees it, is one of `keep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// ISO 639-1 codes of the languages to keep.
    pub keep: Vec<LanguageCode>,
}

impl StepParams for Language {
    fn mistakes(&self) -> Vec<Mistake> {
        if self.keep.is_empty() { vec![Mistake::new("keep", "no language is kept")] } else { Vec::new() }
    }
}

/// A language that the detector tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the codes are ISO 639-1")]
pub enum LanguageCode {
    Ar,
    De,
    En,
    Es,
    Fr,
    Hi,
    It,
    Ja,
    Ko,
    Nl,
    Pt,
    Ru,
    Sv,
    Tr,
    Vi,
    Zh,
}

/// Keeps or drops rows in which a regular expression finds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matches {
    /// The regular expression, in the syntax of Rust's `regex`: `(?i)` ignores case.
    pub pattern: String,
    /// Whether the rows in which it is found stay, and not the others.
    #[serde(default)]
    pub keep: bool,
    /// Whose messages are searched; everybody's when left out. Rows that are no chats are searched whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What happens to the rows that do not stay.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

impl StepParams for Matches {
    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}
