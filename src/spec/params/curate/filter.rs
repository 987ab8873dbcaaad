//! The settings of steps that keep or drop rows by what is in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Input, InputRef, InputType, Mistake};
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

/// Keeps rows in some languages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// ISO 639-1 codes of the languages to keep, of those that the detector knows.
    pub keep: Vec<LanguageCode>,
    /// What finds the language out.
    #[serde(default, skip_serializing_if = "LanguageDetector::is_default")]
    pub detector: LanguageDetector,
    /// The node with the model for `detector: fasttext`: a folder with one `.ftz` or `.bin` file, lid.176, GlotLID, or another that
    /// gives labels.
    #[serde(default, skip_serializing)]
    pub model: Option<InputRef>,
    /// How sure the detector must be; 0.65 for lid.176 when left out. whichlang does not say how sure it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f64>,
    /// What of a row is judged.
    #[serde(default, skip_serializing_if = "LanguageScope::is_default")]
    pub scope: LanguageScope,
    /// Whose turns are judged in the scope `turn`; the user's and the assistant's when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// In the scope `turn`, turns with fewer characters are not judged: no detector can be relied on below 40, the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_chars: Option<usize>,
    /// In the scope `turn`, the largest share of the judged characters that may be in other languages; 0.2 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_foreign_share: Option<f64>,
    /// What is left out before the language is looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<NoProse>,
    /// What happens to other rows.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

impl StepParams for Language {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.keep.is_empty() {
            mistakes.push(Mistake::new("keep", "no language is kept"));
        }
        for (i, code) in self.keep.iter().enumerate() {
            mistakes.extend(self.detector.unknown(code, format!("keep[{i}]")));
        }
        match (self.detector, &self.model) {
            (LanguageDetector::Fasttext, None) => {
                let help = "name the node that holds lid.176.ftz or GlotLID's model.bin";
                mistakes.push(Mistake::new("model", "`detector: fasttext` needs a model").help(help));
            }
            (LanguageDetector::Whichlang | LanguageDetector::Lingua, Some(_)) => {
                mistakes.push(Mistake::new("model", "only `detector: fasttext` reads a model"));
            }
            _ => {}
        }
        for (field, share) in [("min_score", self.min_score), ("max_foreign_share", self.max_foreign_share)] {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                mistakes.push(Mistake::new(field, "not between 0 and 1"));
            }
        }
        let turns = [
            ("roles", !self.roles.is_empty()),
            ("min_chars", self.min_chars.is_some()),
            ("max_foreign_share", self.max_foreign_share.is_some()),
        ];
        for (field, _) in turns.into_iter().filter(|(_, given)| *given && self.scope == LanguageScope::Row) {
            mistakes.push(Mistake::new(field, "only `scope: turn` looks at turns"));
        }
        mistakes
    }

    fn reads(&self) -> Vec<Input<'_>> {
        self.model.iter().map(|model| Input::one("model", model, InputType::Any)).collect()
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}

/// What finds out a language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LanguageDetector {
    /// 16 languages, without a model.
    #[default]
    Whichlang,
    /// A model of fastText.
    // Since no-break spaces are letters, as they are to fastText, some rows get other labels. Only the keys of nodes that
    // read a model change with it, so the second way has a name of its own there.
    #[serde(rename(serialize = "fasttext/2", deserialize = "fasttext"))]
    Fasttext,
    /// lingua, with Dutch, English, French, German, Italian, Portuguese and Spanish: best below 40 characters, and slow.
    Lingua,
}

impl LanguageDetector {
    /// The languages that a detector without a model knows.
    fn known(self) -> Option<&'static [&'static str]> {
        match self {
            LanguageDetector::Whichlang => {
                Some(&["ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pt", "ru", "sv", "tr", "vi", "zh"])
            }
            LanguageDetector::Lingua => Some(&["de", "en", "es", "fr", "it", "nl", "pt"]),
            LanguageDetector::Fasttext => None,
        }
    }

    /// Returns what is wrong with a code that the detector never gives.
    fn unknown(self, code: &LanguageCode, field: String) -> Option<Mistake> {
        let LanguageCode(name) = code;
        if !code.is_code() {
            let message = format!("`{name}` is no code of a language");
            return Some(Mistake::new(field, message).help("codes of ISO 639-1 have two letters: `fr`"));
        }
        let known = self.known().filter(|known| !known.contains(&name.as_str()))?;
        let detector = if self == LanguageDetector::Lingua { "lingua" } else { "whichlang" };
        let help = format!("it knows {}; `detector: fasttext` with lid.176 knows 176 languages", known.join(", "));
        Some(Mistake::new(field, format!("{detector} does not know the language `{name}`")).help(help))
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_default(&self) -> bool {
        *self == LanguageDetector::Whichlang
    }
}

/// What of a row is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LanguageScope {
    /// All that is said, at once.
    #[default]
    Row,
    /// Every turn by itself. A chat whose turns are all short is judged at once.
    Turn,
}

impl LanguageScope {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_default(&self) -> bool {
        *self == LanguageScope::Row
    }
}

/// What is no prose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoProse {
    /// Fenced code, and code between back-ticks.
    Code,
    /// Formulas.
    Latex,
    /// Addresses on the web.
    Urls,
}

/// A language by its ISO 639-1 code, or by a label of the model of `detector: fasttext` (`fra_Latn`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LanguageCode(pub String);

impl LanguageCode {
    /// Whether it has the shape of a code: `fr`, `fra`, `fra_Latn`.
    fn is_code(&self) -> bool {
        let (base, script) = self.0.split_once('_').map_or((self.0.as_str(), None), |(base, rest)| (base, Some(rest)));
        let small = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase());
        let written =
            |script: &str| script.len() == 4 && script.as_bytes()[0].is_ascii_uppercase() && small(&script[1..]);
        (2..=3).contains(&base.len()) && small(base) && script.is_none_or(written)
    }
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
