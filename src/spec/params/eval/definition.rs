//! What a task asks and how answers are judged: the content of a task file, of which the built-in tasks are some.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::metric::Metric;

/// A task. Texts in it are templates over the columns of a row, `let` and `words`; expressions are over the same.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskDefinition {
    /// What it is called: letters, digits, `-` and `_`.
    pub task: String,
    /// What it measures, in one line.
    #[serde(default, skip_serializing)]
    pub about: String,
    /// Where its rows are found, when no node gives them.
    #[serde(default, skip_serializing)]
    pub source: Option<TaskSource>,
    /// Solved rows that stand in front of each question.
    #[serde(default)]
    pub fewshot: FewShot,
    /// Words of the language, for `{{words.answer}}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub words: Map<String, Value>,
    /// Further columns, each the value of an expression over the row; in any order.
    #[serde(default, rename = "let", skip_serializing_if = "Map::is_empty")]
    pub columns: Map<String, Value>,
    /// A number drawn for each row, in the order of the rows, which is its column `draw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draw: Option<Draw>,
    /// Only rows for which this expression holds.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// What is said before everything else: by the system in a chat, on top of a plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// The question.
    #[serde(default)]
    pub prompt: String,
    /// How the answer begins, in the words of the assistant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_start: Option<String>,
    /// What the model is asked for.
    pub request: Request,
    /// What is made of the answers. The first one is the score that tables show.
    pub metrics: Vec<Metric>,
    /// A column by which scores are also given apart, as `<task>.<group>.<metric>` in `scores.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// How groups make one score.
    #[serde(default, skip_serializing_if = "Average::is_rows")]
    pub average: Average,
    /// A column whose equal values mark rows that are not independent (questions on one passage): the standard error is
    /// then that of clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// A data set on the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSource {
    /// Its address, `hf://datasets/OWNER/NAME@REVISION`.
    pub dataset: String,
    /// Its configuration.
    #[serde(default)]
    pub config: Option<String>,
    /// The split that is asked.
    #[serde(default)]
    pub split: Option<String>,
    /// The split that examples are taken from.
    #[serde(default)]
    pub examples: Option<String>,
}

/// Solved rows in front of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FewShot {
    /// How many.
    pub shots: usize,
    /// Which of the examples.
    pub order: ShotOrder,
    /// The column that an example must share with the question (`subject`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same: Option<String>,
    /// The answer of an example, a template; the right choice, or the first reference, when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What stands between examples in a plain text.
    pub between: String,
    /// Whether examples are turns of the chat, or all of them text in front of the question.
    pub as_turns: bool,
}

impl Default for FewShot {
    fn default() -> Self {
        Self { shots: 0, order: ShotOrder::First, same: None, answer: None, between: "\n\n".to_owned(), as_turns: true }
    }
}

/// Which examples stand in front of a question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShotOrder {
    /// The first ones.
    #[default]
    First,
    /// Others for every row, drawn as lm-evaluation-harness draws them (1234 and the seed of the node are where that begins).
    Random,
}

/// A number drawn for each row as Python's `random` draws it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// Where it begins, as `random.seed` says.
    pub seed: u32,
    /// How many draws come before that of the first row.
    #[serde(default)]
    pub skip: usize,
    /// The number is below this.
    pub below: usize,
}

/// How groups make one score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// Every row counts the same.
    #[default]
    Rows,
    /// Every group counts the same.
    Groups,
}

impl Average {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_rows(&self) -> bool {
        *self == Self::Rows
    }
}

/// What the model is asked for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How likely each of some answers is.
    Choices(Choices),
    /// Which of two texts is likelier.
    Pair(Pair),
    /// How likely a text is, from its first word to its last.
    Text(Rolling),
    /// An answer in its own words.
    Generate(Generate),
}

/// How likely each of some answers is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// The answers, each a template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Or an expression whose value is the list of answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<String>,
    /// An expression: the place of the right answer, counted from 0, or a list of places.
    pub gold: String,
    /// What stands between the question and an answer.
    #[serde(default = "space")]
    pub delimiter: String,
    /// Questions of their own for each answer, an expression whose value is a list; in place of `prompt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contexts: Option<String>,
    /// The question that says nothing, for `acc_mutual_info`: a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconditioned: Option<String>,
}

fn space() -> String {
    " ".to_owned()
}

/// Which of two texts is likelier.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The one that should be: a template.
    pub good: String,
    /// The other.
    pub bad: String,
}

/// How likely a text is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rolling {
    /// The text: a template.
    pub text: String,
}

/// An answer in the model's own words.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// The most tokens of an answer.
    #[serde(default = "most_tokens")]
    pub max_tokens: usize,
    /// Texts that end an answer; each a template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// What logits are divided by; 0 always takes the likeliest token.
    #[serde(default)]
    pub temperature: f64,
    /// Only the likeliest tokens whose probabilities add up to this.
    #[serde(default = "whole")]
    pub top_p: f64,
    /// How many answers each question gets.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub samples: usize,
    /// An expression: the reference, or a list of those that are right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gold: Option<String>,
    /// Further questions, each asked after the answer to the one before: an expression whose value is a list of texts.
    /// The last answer is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
}

fn most_tokens() -> usize {
    1024
}

fn whole() -> f64 {
    1.0
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(count: &usize) -> bool {
    *count == 1
}
