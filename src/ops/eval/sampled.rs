//! What became of one row of a task: a line of `samples/<task>.jsonl`. All that judges need is in it, so that answers can be
//! judged again without the model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One row: what was asked, what the model answered, and what that is worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::ops) struct Sampled {
    /// The place of the row in the data, counted from 0.
    pub(in crate::ops) row: usize,
    /// The value of the task's `group` column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ops) group: Option<String>,
    /// The value of the task's `cluster` column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ops) cluster: Option<String>,
    /// What the model read before it answered, as text. Empty for texts and pairs.
    pub(in crate::ops) prompt: String,
    /// How many tokens that is.
    pub(in crate::ops) prompt_tokens: usize,
    /// Whether the beginning of the prompt was cut off, because the model reads no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::ops) truncated: bool,
    /// The choices; of a pair the good text and then the bad one; a text that is scored whole is the only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::ops) choices: Vec<Likely>,
    /// What the model wrote, one for each sample.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::ops) answers: Vec<Written>,
    /// What is right: the place of a choice or a list of places; a text or a list of texts.
    pub(in crate::ops) gold: Value,
    /// Columns of the row that a metric reads by name (`instruction_id_list`, `kwargs`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(in crate::ops) columns: Map<String, Value>,
    /// What it is worth, by the name of the score. The scores of a metric that only a whole task has (BLEU) are not here.
    #[serde(default)]
    pub(in crate::ops) values: Map<String, Value>,
    /// What judges took out of the answer and of the reference, by the name of the score: `{"maths": {"predicted": …,
    /// "expected": …}}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(in crate::ops) extracted: Map<String, Value>,
}

/// A text and how likely the model finds it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::ops) struct Likely {
    /// The text that was scored, with the space before it, if any.
    pub(in crate::ops) text: String,
    /// The sum of the log-probabilities of its tokens.
    pub(in crate::ops) sum: f64,
    /// How many tokens it has.
    pub(in crate::ops) tokens: usize,
    /// Whether each of its tokens is the likeliest.
    pub(in crate::ops) greedy: bool,
    /// The sum after a question that says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ops) alone: Option<f64>,
}

/// An answer in the model's own words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::ops) struct Written {
    /// The text, without what ended it.
    pub(in crate::ops) text: String,
    /// Why it ended: `stop` (a token or text that ends answers) or `length`.
    pub(in crate::ops) finish_reason: String,
    /// How many tokens it has.
    pub(in crate::ops) tokens: usize,
    /// What the model said to the questions before the last one, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::ops) before: Vec<String>,
}
