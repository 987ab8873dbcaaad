//! `kind: eval`: scores of a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Scores a model on a list of tasks, each with its standard error.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalParams {
    /// The model to score.
    #[serde(skip_serializing)]
    pub model: InputRef,
    /// What it is scored on.
    pub tasks: Vec<Task>,
    /// Tokens in one forward pass; longer texts are cut into windows.
    #[serde(default = "default_max_tokens")]
    pub max_length: usize,
}

fn default_max_tokens() -> usize {
    512
}

/// One task.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// How many bits the model needs for a byte of text; lower is better.
    BitsPerByte(BitsPerByte),
    /// How often the model finds the correct sentence of a pair the likelier one; higher is better.
    MinimalPairs(MinimalPairs),
}

/// Bits per byte of text, independent of the tokenizer. Lower is better.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BitsPerByte {
    /// The name in tables: letters, digits, `-` and `_`.
    pub name: String,
    /// The text.
    #[serde(skip_serializing)]
    pub data: InputRef,
    /// Scores only the first rows.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Accuracy on pairs of one correct and one wrong sentence, by their log-probability. Higher is better; 0.5 is chance.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinimalPairs {
    /// The name in tables: letters, digits, `-` and `_`.
    pub name: String,
    /// The pairs.
    #[serde(skip_serializing)]
    pub data: InputRef,
    /// Scores only the first pairs.
    #[serde(default)]
    pub limit: Option<usize>,
}

impl Task {
    /// Returns the name in tables.
    pub fn name(&self) -> &str {
        match self {
            Task::BitsPerByte(task) => &task.name,
            Task::MinimalPairs(task) => &task.name,
        }
    }

    fn field(&self) -> &'static str {
        match self {
            Task::BitsPerByte(_) => "bits_per_byte",
            Task::MinimalPairs(_) => "minimal_pairs",
        }
    }

    fn data(&self) -> &InputRef {
        match self {
            Task::BitsPerByte(task) => &task.data,
            Task::MinimalPairs(task) => &task.data,
        }
    }

    /// Returns how many rows are scored at most.
    pub fn limit(&self) -> Option<usize> {
        match self {
            Task::BitsPerByte(task) => task.limit,
            Task::MinimalPairs(task) => task.limit,
        }
    }

    /// Returns the slot of the task's data, when it is the `index`-th of its node.
    pub fn slot(&self, index: usize) -> String {
        format!("tasks[{index}].{}.data", self.field())
    }
}

impl EvalParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "eval";
}

impl Params for EvalParams {
    const KIND: Kind = Kind::Eval;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let model = Input::one("model", &self.model, InputType::Model);
        let tasks = self.tasks.iter().enumerate();
        let data = tasks.map(|(i, task)| Input::one(task.slot(i), task.data(), InputType::Dataset));
        std::iter::once(model).chain(data).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Scores }]
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.tasks.is_empty() {
            mistakes.push(Mistake::new("tasks", "there is nothing to score"));
        }
        if self.max_length < 2 {
            mistakes.push(Mistake::new("max_length", format!("{} leaves no token to predict", self.max_length)));
        }
        for (i, task) in self.tasks.iter().enumerate() {
            if task.limit() == Some(0) {
                let field = format!("tasks[{i}].{}.limit", task.field());
                let help = "set it to 1 or more, or leave it out to score all rows";
                mistakes.push(Mistake::new(field, "0 rows leave nothing to score").help(help));
            }
            let field = format!("tasks[{i}].{}.name", task.field());
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if task.name().is_empty() || !task.name().chars().all(plain) {
                let message = format!("`{}` is not a task name", task.name());
                mistakes.push(Mistake::new(&field, message).help("use letters, digits, `-` and `_`"));
            }
            if self.tasks[..i].iter().any(|earlier| earlier.name() == task.name()) {
                mistakes.push(Mistake::new(field, format!("two tasks are called `{}`", task.name())));
            }
        }
        mistakes
    }
}
