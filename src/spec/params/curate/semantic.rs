//! The settings of `dedup_semantic`: rows that mean the same to a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Input, InputRef, InputType, Mistake};
use super::duplicates::{check_keep, usual_keep};
use super::{DuplicateKey, FilterMode, KeepRule, StepParams};

/// Drops rows that mean nearly the same as another one, across all entries of `from`: rows whose mean last hidden states under
/// a model point the same way (SemDeDup).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DedupSemantic {
    /// The model.
    #[serde(skip_serializing)]
    pub model: InputRef,
    /// What of a row is compared; a chat as plain text, without roles or template.
    #[serde(default)]
    pub key: DuplicateKey,
    /// What of a row is compared instead, as a MiniJinja template over its columns: `{{title}} : {{messages[0].content}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Data sets whose rows stay out of this one: rows like one of theirs are dropped, and reported. The `template` reads
    /// their columns too.
    #[serde(default, skip_serializing)]
    pub against: Vec<InputRef>,
    /// The cosine from which on two rows are alike.
    #[serde(default = "threshold")]
    pub threshold: f64,
    /// How many tokens of a text the model sees, the one that stands in front of every text among them.
    #[serde(default = "max_length")]
    pub max_length: usize,
    /// Up to so many rows, those of `against` among them, each is compared with all others; more are put into clusters, and compared inside theirs.
    #[serde(default = "exact_rows")]
    pub exact_rows: usize,
    /// How many clusters there are then; one for a thousand rows when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
    /// Which one stays.
    #[serde(default = "usual_keep")]
    pub keep: Vec<KeepRule>,
    /// An expression over the row's columns, as in `where`, for the rule `score`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// What decides where clusters begin.
    #[serde(default)]
    pub seed: u64,
    /// What happens to the others.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

fn threshold() -> f64 {
    0.95
}

fn max_length() -> usize {
    512
}

fn exact_rows() -> usize {
    20_000
}

impl DedupSemantic {
    /// Returns how many clusters so many rows are put into.
    pub fn clusters_of(&self, rows: usize) -> usize {
        self.clusters.unwrap_or(rows.div_ceil(1000)).clamp(1, rows.max(1))
    }
}

impl StepParams for DedupSemantic {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = check_keep(&self.keep, self.score.as_ref());
        let mut wrong = |field: &str, message: &str| mistakes.push(Mistake::new(field, message));
        if self.keep.contains(&KeepRule::Datatrove) {
            wrong("keep", "`datatrove` is a rule of `dedup_fuzzy`");
        }
        if self.template.is_some() && self.key != DuplicateKey::Text {
            wrong("key", "`template` says what is compared: leave `key` out");
        }
        if self.template.as_ref().is_some_and(|source| source.trim().is_empty()) {
            wrong("template", "there is nothing in it to compare");
        }
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            wrong("threshold", "a likeness is above 0 and at most 1");
        }
        if self.max_length < 2 {
            wrong("max_length", "the model sees a token behind the first one: 2 or more");
        }
        if self.clusters == Some(0) {
            wrong("clusters", "there is at least one cluster");
        }
        mistakes
    }

    fn reads(&self) -> Vec<Input<'_>> {
        let other = |(i, node)| Input::one(format!("against[{i}]"), node, InputType::Dataset);
        let others = self.against.iter().enumerate().map(other);
        [Input::one("model", &self.model, InputType::Model)].into_iter().chain(others).collect()
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}
