//! The settings of steps that measure rows by another node: a tokenizer, a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Input, InputRef, InputType, Mistake};
use super::{FilterMode, StepParams};

/// Counts tokens as a training would see them: chats through the tokenizer's chat template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountTokens {
    /// The tokenizer, or the model that has it.
    #[serde(skip_serializing)]
    pub tokenizer: InputRef,
    /// The column for the number of tokens.
    #[serde(default = "tokens")]
    pub column: String,
    /// The fewest tokens a row may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<usize>,
    /// The most tokens a row may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<usize>,
    /// The length of packed sequences that the step reckons with: how many there are, and how full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_len: Option<usize>,
    /// What happens to rows with fewer or more tokens.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

fn tokens() -> String {
    "tokens".into()
}

impl StepParams for CountTokens {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            mistakes.push(Mistake::new("min", "no row can have at least `min` and at most `max` tokens"));
        }
        if self.sequence_len == Some(0) {
            mistakes.push(Mistake::new("sequence_len", "a sequence has at least one token"));
        }
        mistakes
    }

    fn reads(&self) -> Vec<Input<'_>> {
        vec![Input::one("tokenizer", &self.tokenizer, InputType::Any)]
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}

/// Keeps rows whose text a model finds likely enough, and not too likely: by the bits that it needs for a byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Perplexity {
    /// The model.
    #[serde(skip_serializing)]
    pub model: InputRef,
    /// The fewest bits a byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most bits a byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The column for the bits.
    #[serde(default = "bits")]
    pub column: String,
    /// The most tokens that are scored at once; longer texts are cut into pieces.
    #[serde(default = "window")]
    pub max_length: usize,
    /// What happens to the other rows.
    #[serde(default, skip_serializing_if = "FilterMode::is_drop")]
    pub mode: FilterMode,
}

fn bits() -> String {
    "bits_per_byte".into()
}

fn window() -> usize {
    1024
}

impl StepParams for Perplexity {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            mistakes.push(Mistake::new("min", "no row can have at least `min` and at most `max` bits a byte"));
        }
        if self.max_length < 2 {
            mistakes.push(Mistake::new("max_length", "a model predicts a token from one before it: 2 or more"));
        }
        mistakes
    }

    fn reads(&self) -> Vec<Input<'_>> {
        vec![Input::one("model", &self.model, InputType::Model)]
    }

    fn filter_mode(&self) -> FilterMode {
        self.mode
    }
}
