//! The settings of steps that shape rows: their columns, their number, their order.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Mistake;
use super::StepParams;

/// Brings columns to chat messages. The columns that they are made of go; the others stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Messages {
    /// The shape that the columns have.
    #[serde(default)]
    pub format: MessagesFormat,
    /// The column with the list of messages; `messages` or `conversations` when left out.
    #[serde(default)]
    pub messages: Option<String>,
    /// The column with what the user says. When left out: `instruction` of `alpaca`, or else the first that is there of
    /// `prompt`, `inputs`, `question`, `instruction`, `query`, `problem`.
    #[serde(default)]
    pub prompt: Option<String>,
    /// The column with more of what the user says, below the prompt; `input` of `alpaca`.
    #[serde(default)]
    pub input: Option<String>,
    /// The column with what the assistant answers. When left out: `output` of `alpaca`, or else the first that is there of
    /// `response`, `completion`, `targets`, `answer`, `output`, `solution`.
    #[serde(default)]
    pub response: Option<String>,
    /// The column with the system message; `system` when left out, if it is there.
    #[serde(default)]
    pub system: Option<String>,
    /// What speakers are called in the data, and which role each is; beside `human`, `gpt`, `bot`, `chatgpt`, `model`,
    /// `prompter`, `function_call`, `observation` and the roles themselves, which are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, String>,
    /// What happens to the thinking (`<think>…</think>`) at the beginning of an assistant's message.
    #[serde(default)]
    pub thinking: Thinking,
    /// The messages of `template`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub template: Vec<TemplateMessage>,
}

/// The shape that rows have before they are chats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessagesFormat {
    /// Each row as its columns look: a list of messages (`openai`, `sharegpt`), then `alpaca`, then `prompt_completion`.
    #[default]
    Auto,
    /// A list of `{role, content}`.
    Openai,
    /// A list of `{from, value}`.
    Sharegpt,
    /// `instruction`, `input` (may be empty), `output`.
    Alpaca,
    /// A prompt and a response.
    PromptCompletion,
    /// Messages written from all columns by `template`.
    Template,
}

/// What happens to thinking.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// It stays where it is.
    #[default]
    Keep,
    /// It goes.
    Strip,
    /// It becomes the message's `reasoning_content`, which chat templates put where their model wants it.
    Split,
}

/// A message made of a row's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateMessage {
    /// Who speaks: `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// What is said, as a MiniJinja template over the row's columns: `{{context}}\n{{question}}`. A message that comes out
    /// empty is left out.
    pub content: String,
}

impl StepParams for Messages {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.template.is_empty() == (self.format == MessagesFormat::Template) {
            let message = if self.template.is_empty() {
                "`format: template` needs messages to write"
            } else {
                "only `format: template` has a `template`"
            };
            let help = "write `format: template` and `template: [{role: user, content: \"{{question}}\"}, …]`";
            mistakes.push(Mistake::new("template", message).help(help));
        }
        mistakes
    }
}

/// Gives columns other names: `{old: new}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Rename(pub BTreeMap<String, String>);

impl StepParams for Rename {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut taken = std::collections::BTreeSet::new();
        let twice = self.0.values().find(|new| !taken.insert(*new));
        twice.map(|new| Mistake::new("", format!("two columns would be called `{new}`"))).into_iter().collect()
    }
}

/// Keeps the named columns, in this order, and drops the others. Columns that a row does not have are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SelectColumns(pub Vec<String>);

impl StepParams for SelectColumns {
    fn mistakes(&self) -> Vec<Mistake> {
        if self.0.is_empty() { vec![Mistake::new("", "no column is kept")] } else { Vec::new() }
    }
}

/// Writes columns as text, each by a MiniJinja template over the row's columns: `{subject: "{{file.split('/')[0]}}"}`. All of
/// them see the row as it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SetColumns(pub BTreeMap<String, String>);

impl StepParams for SetColumns {
    fn mistakes(&self) -> Vec<Mistake> {
        if self.0.is_empty() { vec![Mistake::new("", "no column is written")] } else { Vec::new() }
    }
}

/// Keeps rows for which an expression holds: `language_code == 'fra' and score >= 4`.
///
/// The expression is one of MiniJinja, over the row's columns; `source` is the name of the entry of `from`, `flags` what
/// filters had against it. A column that a row does not have is `undefined`, and comparing it is an error: write
/// `bad_entry is undefined or not bad_entry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Where(pub String);

impl StepParams for Where {}

/// Makes a row of every element of a column that is a list. The element takes the column's place; an empty list makes no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Explode(pub String);

impl StepParams for Explode {}

/// Puts rows into a random order: that of a hash of seed, content and place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shuffle {
    /// What decides about the order.
    #[serde(default)]
    pub seed: u64,
}

impl StepParams for Shuffle {}

/// Puts rows into the order of an expression's value. Rows with equal values keep their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sort {
    /// An expression over the row's columns, as in `where`: a number or text, such as `score` or `text | length`.
    pub by: String,
    /// Whether the greatest comes first.
    #[serde(default)]
    pub descending: bool,
}

impl StepParams for Sort {}

/// Takes as much of every entry of `from` as its weight says, at random and without repetition, in the rows' own order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// The share of each entry of `from`, by its `name`; they need not add up to 1.
    pub weights: BTreeMap<String, f64>,
    /// How many rows there are to be in all; as many as the scarcest entry allows when left out.
    #[serde(default)]
    pub rows: Option<u64>,
    /// Whether shares are of characters and not of rows. (`rows` then counts characters.)
    #[serde(default)]
    pub by_chars: bool,
    /// How often a row may be taken. With more than 1 an entry that is too small for its share is repeated.
    #[serde(default = "once")]
    pub max_epochs: f64,
    /// What decides which rows are taken.
    #[serde(default)]
    pub seed: u64,
}

fn once() -> f64 {
    1.0
}

impl StepParams for Mix {
    fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if !self.weights.values().all(|weight| weight.is_finite() && *weight >= 0.0) {
            mistakes.push(Mistake::new("weights", "a weight is a number of 0 or more"));
        } else if self.weights.values().sum::<f64>() <= 0.0 {
            mistakes.push(Mistake::new("weights", "all weights are 0"));
        }
        if !(self.max_epochs >= 1.0 && self.max_epochs.is_finite()) {
            mistakes.push(Mistake::new("max_epochs", "a row is taken once or more often"));
        }
        mistakes
    }
}

impl Mix {
    /// Returns the weights of entries that there are not, and the entries without a weight.
    pub(super) fn strangers(&self, entries: &[String], field: &str) -> Vec<Mistake> {
        let stranger = |name: &&String| !entries.contains(*name);
        let mistake = |name: &String| {
            let message = format!("`weights` knows an entry `{name}` that `from` does not");
            let help = format!("its entries are `{}`; `name` gives one a name", entries.join("`, `"));
            Mistake::new(format!("{field}.{name}"), message).help(help)
        };
        let without = |name: &&String| !self.weights.contains_key(*name);
        let missing = |name: &String| {
            let message = format!("`weights` says nothing about the entry `{name}`");
            Mistake::new(field, message).help("write the weight 0 to leave an entry out")
        };
        let strangers = self.weights.keys().filter(stranger).map(mistake);
        strangers.chain(entries.iter().filter(without).map(missing)).collect()
    }
}

/// Keeps a reproducible random sample, in the rows' own order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// How many rows to keep; all of them if there are fewer.
    pub rows: usize,
    /// What decides which rows are kept.
    #[serde(default)]
    pub seed: u64,
}

impl StepParams for Sample {
    fn mistakes(&self) -> Vec<Mistake> {
        let help = "keep 1 row or more, or leave the step out";
        let mistake = || Mistake::new("rows", "a sample of 0 rows keeps nothing").help(help);
        (self.rows == 0).then(mistake).into_iter().collect()
    }
}

/// Sets a part of the rows aside. Each row is placed by a hash of its own content, or of its group, so rows added later
/// move no other row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The share of rows, between 0 and 1, that becomes `NODE.eval`; the rest becomes `NODE.train`.
    pub eval: f64,
    /// What decides which rows are set aside.
    #[serde(default)]
    pub seed: u64,
    /// An expression over the row's columns, as in `where`; rows with the same value are on the same side: `document`, or
    /// `cluster` of `dedup_fuzzy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// An expression over the row's columns; of the rows with each of its values just the share is set aside, as nearly as
    /// whole rows and groups allow: `source`. All rows are held back for it, on disk if they are many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stratify: Option<String>,
}

impl StepParams for Split {
    fn mistakes(&self) -> Vec<Mistake> {
        let mistake = || Mistake::new("eval", format!("a share of {} is not between 0 and 1", self.eval));
        (!(self.eval > 0.0 && self.eval < 1.0)).then(mistake).into_iter().collect()
    }
}
