//! The settings of steps that ask whether text is good: web heuristics, word lists.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Mistake;
use super::StepParams;
use super::filter::FilterMode;

/// Drops or flags rows whose text breaks a rule of Gopher, C4 or FineWeb, as datatrove 0.10.1 applies them and by its names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Which rules, with which thresholds.
    #[serde(default)]
    pub profile: QualityProfile,
    /// What a word is; as the profile says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<WordKind>,
    /// Thresholds other than the profile's, by name. 0 switches a rule off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Threshold>,
    /// Whether a text that passes C4's rules becomes the lines that C4 keeps of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rewrite: bool,
    /// Whose messages are judged, each by itself; the assistant's when left out. Rows that are no chats are judged whole.
    #[serde(default = "assistant", skip_serializing_if = "is_assistant")]
    pub roles: Vec<String>,
    /// What happens to rows that break a rule.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

fn assistant() -> Vec<String> {
    vec!["assistant".to_owned()]
}

fn is_assistant(roles: &[String]) -> bool {
    roles == ["assistant"]
}

impl StepParams for Quality {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (i, Threshold { rule, value }) in self.thresholds.iter().enumerate() {
            let field = format!("thresholds[{i}]");
            if !(value.is_finite() && *value >= 0.0) {
                mistakes.push(Mistake::new(format!("{field}.value"), "a threshold is a number from 0 on"));
            }
            if self.thresholds[..i].iter().any(|other| other.rule == *rule) {
                mistakes.push(Mistake::new(field, "the rule has a threshold already"));
            }
        }
        if self.rewrite && self.profile != QualityProfile::C4 {
            mistakes.push(Mistake::new("rewrite", "only `profile: c4` keeps lines"));
        }
        mistakes
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}

/// Rules with their thresholds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QualityProfile {
    /// For answers in French: three to 8,000 words, no text that repeats itself. Code, lists and formulas pass.
    #[default]
    SftFr,
    /// FineWeb-2's filters for French web pages: repetition, lines, and words as spaCy cuts them.
    Fineweb2Fr,
    /// Gopher's two families with datatrove's defaults, for English.
    Gopher,
    /// C4's rules for web pages with French endings and phrases. A curly bracket drops a page.
    C4,
    /// None, to start from.
    None,
}

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WordKind {
    /// What white space separates.
    Whitespace,
    /// Unicode's words (UAX 29), punctuation left out.
    Uax29,
    /// The tokens of spaCy's French tokenizer, which FineWeb-2's thresholds were tuned on.
    SpacyFr,
}

/// A threshold of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// The rule.
    pub rule: QualityRule,
    /// Its limit; 0 switches it off.
    pub value: f64,
}

/// A rule that has a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QualityRule {
    /// Gopher: fewest words.
    MinWords,
    /// Gopher: most words.
    MaxWords,
    /// Gopher: least mean length of a word.
    MinMeanLength,
    /// Gopher: largest mean length of a word.
    MaxMeanLength,
    /// Gopher: most hashes, and most ellipses, for each word.
    MaxSymbols,
    /// Gopher: largest share of lines that start with a bullet.
    MaxBulletLines,
    /// Gopher: largest share of lines that end in an ellipsis.
    MaxEllipsisLines,
    /// Gopher: least share of words with a letter.
    MinAlphaWords,
    /// Gopher: fewest stop words.
    MinStopWords,
    /// Repetition: largest share of paragraphs that were there before.
    DupParaFrac,
    /// Repetition: largest share of characters in them.
    DupParaCharFrac,
    /// Repetition: largest share of lines that were there before.
    DupLineFrac,
    /// Repetition: largest share of characters in them.
    DupLineCharFrac,
    /// Repetition: largest share of characters in the most frequent run of two words.
    #[serde(rename = "top_2_gram")]
    Top2Gram,
    /// Repetition: as before, of three words.
    #[serde(rename = "top_3_gram")]
    Top3Gram,
    /// Repetition: as before, of four words.
    #[serde(rename = "top_4_gram")]
    Top4Gram,
    /// Repetition: largest share of characters in runs of five to ten words that were there before.
    DupNGrams,
    /// FineWeb: least share of lines that end as sentences do.
    MinLinePunct,
    /// FineWeb: largest share of lines of 30 characters or fewer.
    MaxShortLines,
    /// FineWeb: largest share of characters in lines that were there before.
    MaxCharDup,
    /// FineWeb: most line feeds for each word.
    MaxNewLines,
    /// C4: fewest sentences left.
    MinSentences,
    /// C4: fewest words of a line that stays.
    MinWordsPerLine,
    /// mC4: fewest lines of 200 characters or more.
    MinParagraphs,
}

/// Drops or flags rows that hold a word of a list, whole and in any case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Toxicity {
    /// The lists that come along. They are short.
    #[serde(default = "french_list")]
    pub lists: Vec<WordListName>,
    /// More words and phrases: a list of yours, also as a parameter of a file that is included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// Whose messages are searched; everybody's when left out. Rows that are no chats are searched whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What happens to rows that hold one.
    #[serde(default = "flag")]
    pub mode: FilterMode,
}

fn flag() -> FilterMode {
    FilterMode::Flag
}

fn french_list() -> Vec<WordListName> {
    vec![WordListName::Fr]
}

impl StepParams for Toxicity {
    fn mistakes(&self) -> Vec<Mistake> {
        let none = self.lists.is_empty() && self.words.iter().all(|word| word.trim().is_empty());
        if none { vec![Mistake::new("lists", "there is no word to look for")] } else { Vec::new() }
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}

/// A list of insults and slurs that have no innocent sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WordListName {
    /// French.
    Fr,
    /// English.
    En,
}
