//! `kind: eval`: scores of a model.

mod check;
mod definition;
mod entry;
mod metric;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Exit, Input, InputRef, InputType, Kind, Mistake, Output, Params};

pub use definition::{
    Average, Choices, Draw, FewShot, Generate, Pair, Request, Rolling, ShotOrder, TaskDefinition, TaskSource,
};
pub use entry::{NamedTask, Task};
pub use metric::{Extract, IFEVAL_SCORES, Ignore, JudgeRules, Metric, MetricName, Take};

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
    /// The exit that the model stops at: the number of layers it runs, or `last` for all. `sft` trains exits (`early_exit`).
    /// With either, what a token costs is among the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Whose habits are followed: prompts, tokens and judgements.
    #[serde(default, skip_serializing_if = "Profile::is_native")]
    pub profile: Profile,
    /// Whether questions are put into the chat template of the model; by the profile when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<bool>,
    /// What the system says in a chat; by the profile when left out, and nothing if it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Whether the model thinks before it answers, where its chat template leaves that open (`enable_thinking`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<bool>,
    /// The most tokens of an answer, in place of what each task says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Where randomness begins: of answers that are drawn, of examples in random order.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// How often everything is asked, each time with the next seed; scores are means over the runs.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub runs: usize,
    /// How many answers the model writes at once. Decides no score.
    #[serde(default = "default_batch", skip_serializing)]
    pub batch: usize,
}

/// Whose habits an eval follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// What a reader would accept, and what the model was made for: chats in its template, numbers as a language writes them.
    #[default]
    Native,
    /// lighteval 0.10.0 as Luth ran it, with its quirks.
    Luth,
    /// lm-evaluation-harness.
    LmEval,
}

impl Profile {
    /// Returns the word that a pipeline has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Luth => "luth",
            Self::LmEval => "lm-eval",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_native(&self) -> bool {
        *self == Self::Native
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(seed: &u64) -> bool {
    *seed == 0
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(count: &usize) -> bool {
    *count == 1
}

fn default_batch() -> usize {
    32
}

fn default_max_tokens() -> usize {
    512
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
            Task::Named(task) => &task.name,
        }
    }

    /// Returns what its scores are called, the one that tables show first; nothing if the task is not known.
    pub fn scores(&self) -> Option<Vec<String>> {
        match self {
            Task::BitsPerByte(_) => Some(MetricName::BitsPerByte.scores(MetricName::BitsPerByte.word())),
            Task::MinimalPairs(_) => Some(MetricName::Acc.scores(MetricName::Acc.word())),
            Task::Named(task) => Some(task.definition.as_ref()?.metrics.iter().flat_map(Metric::scores).collect()),
        }
    }

    /// Returns how many rows are scored at most.
    pub fn limit(&self) -> Option<usize> {
        match self {
            Task::BitsPerByte(task) => task.limit,
            Task::MinimalPairs(task) => task.limit,
            Task::Named(task) => task.limit,
        }
    }

    /// Returns the slot of the task's data, when it is the `index`-th of its node.
    pub fn slot(&self, index: usize) -> String {
        format!("tasks[{index}].{}.data", self.field())
    }

    /// Returns the slot of the rows that examples are taken from.
    pub fn examples_slot(&self, index: usize) -> String {
        format!("tasks[{index}].{}.examples", self.field())
    }

    fn inputs(&self, index: usize) -> Vec<Input<'_>> {
        let (data, examples) = match self {
            Task::BitsPerByte(task) => (Some(&task.data), None),
            Task::MinimalPairs(task) => (Some(&task.data), None),
            Task::Named(task) => (task.data.as_ref(), task.examples.as_ref()),
        };
        let data = data.map(|data| Input::one(self.slot(index), data, InputType::Dataset));
        let examples = examples.map(|rows| Input::one(self.examples_slot(index), rows, InputType::Dataset));
        data.into_iter().chain(examples).collect()
    }
}

/// What an eval with an `exit` scores beside its tasks: what a token costs.
pub const COST: &str = "compute";
/// The scores of [`COST`].
pub const COST_SCORES: [&str; 2] = ["share", "flops_per_token"];

impl EvalParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "eval";

    /// Returns all that is scored, each with its scores where they are known.
    pub fn scored(&self) -> impl Iterator<Item = (&str, Option<Vec<String>>)> {
        let cost = self.exit.map(|_| (COST, Some(Vec::from(COST_SCORES.map(str::to_owned)))));
        self.tasks.iter().map(|task| (task.name(), task.scores())).chain(cost)
    }
}

impl Params for EvalParams {
    const KIND: Kind = Kind::Eval;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let model = Input::one("model", &self.model, InputType::Model);
        let tasks = self.tasks.iter().enumerate().flat_map(|(i, task)| task.inputs(i));
        std::iter::once(model).chain(tasks).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Scores }]
    }

    fn check(&self) -> Vec<Mistake> {
        check::mistakes(self)
    }
}
