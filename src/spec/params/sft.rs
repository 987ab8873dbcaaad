//! `kind: sft`: supervised fine-tuning.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Trains all weights of a model on chats (loss on the assistant's words) and prose (loss on every token).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SftParams {
    /// The model to start from.
    #[serde(skip_serializing)]
    pub model: InputRef,
    /// The data sets to train on.
    #[serde(skip_serializing)]
    pub data: Vec<InputRef>,
    /// How many times the data is gone through; a fraction is a part of a pass.
    #[serde(default = "default_epochs")]
    pub epochs: f64,
    /// Ends the training after this many optimizer steps, whatever `epochs` says.
    #[serde(default)]
    pub max_steps: Option<usize>,
    /// Tokens in a packed sequence; longer samples are cut here.
    #[serde(default = "default_sequence_len")]
    pub sequence_len: usize,
    /// Packed sequences in one forward pass.
    #[serde(default = "default_one")]
    pub micro_batch_size: usize,
    /// Forward passes in one optimizer step. The loss is the mean over all trained tokens of the step.
    #[serde(default = "default_one")]
    pub gradient_accumulation_steps: usize,
    /// The highest learning rate.
    #[serde(default = "default_learning_rate")]
    pub learning_rate: f64,
    /// How the learning rate moves after the warm-up.
    #[serde(default)]
    pub lr_scheduler: Schedule,
    /// The share of all steps during which the learning rate rises. It is above zero from the first step on.
    #[serde(default = "default_warmup_ratio")]
    pub warmup_ratio: f64,
    /// AdamW's decoupled weight decay; norms are left out of it.
    #[serde(default)]
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    #[serde(default = "default_beta1")]
    pub adam_beta1: f64,
    /// AdamW's decay of the second moment.
    #[serde(default = "default_beta2")]
    pub adam_beta2: f64,
    /// AdamW's guard against division by zero.
    #[serde(default = "default_epsilon")]
    pub adam_epsilon: f64,
    /// The gradient's greatest L2 norm over all parameters; 0 switches clipping off.
    #[serde(default = "default_max_grad_norm")]
    pub max_grad_norm: f64,
    /// The tokens of a chat that are trained. Prose is always trained whole.
    #[serde(default)]
    pub train_on: TrainOn,
    /// Variables that the chat template is told for every chat, such as `enable_thinking: false`. Those of a row
    /// (`chat_template_kwargs`) go before them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub template_variables: BTreeMap<String, serde_json::Value>,
    /// The day that chat templates take for today, as `2024-07-26`. Without it those that print one fall back to a day of
    /// their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_date: Option<String>,
    /// What decides the order of the data.
    #[serde(default)]
    pub seed: u64,
}

/// How the learning rate moves after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Falls to zero along half a cosine.
    #[default]
    Cosine,
    /// Falls to zero along a line.
    Linear,
    /// Stays where it is.
    Constant,
}

/// The tokens of a chat that are trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainOn {
    /// What the assistant says, and the token that ends its turn.
    #[default]
    Assistant,
    /// Every token.
    All,
}

fn default_epochs() -> f64 {
    1.0
}

fn default_sequence_len() -> usize {
    512
}

fn default_one() -> usize {
    1
}

fn default_learning_rate() -> f64 {
    2e-5
}

fn default_warmup_ratio() -> f64 {
    0.1
}

fn default_beta1() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.999
}

fn default_epsilon() -> f64 {
    1e-8
}

fn default_max_grad_norm() -> f64 {
    1.0
}

impl SftParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "sft";
}

impl Params for SftParams {
    const KIND: Kind = Kind::Sft;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let slot = |(i, from)| Input::one(format!("data[{i}]"), from, InputType::Dataset);
        let model = Input::one("model", &self.model, InputType::Model);
        std::iter::once(model).chain(self.data.iter().enumerate().map(slot)).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![
            Output { name: "".into(), path: "model".into(), kind: InputType::Model },
            Output { name: "log".into(), path: "log".into(), kind: InputType::Log },
        ]
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut demand = |ok: bool, field: &str, message: String| {
            if !ok {
                mistakes.push(Mistake::new(field, message));
            }
        };
        demand(!self.data.is_empty(), "data", "there is no data to train on".into());
        demand(
            self.epochs > 0.0 && self.epochs <= 1000.0,
            "epochs",
            format!("{} is not between 0 and 1000", self.epochs),
        );
        demand(self.max_steps != Some(0), "max_steps", "0 steps train nothing".into());
        demand(self.sequence_len >= 2, "sequence_len", format!("{} leaves no token to predict", self.sequence_len));
        demand(self.micro_batch_size > 0, "micro_batch_size", "must be 1 or more".into());
        demand(self.gradient_accumulation_steps > 0, "gradient_accumulation_steps", "must be 1 or more".into());
        demand(
            self.learning_rate > 0.0 && self.learning_rate.is_finite(),
            "learning_rate",
            format!("{} is not above 0", self.learning_rate),
        );
        demand(
            (0.0..1.0).contains(&self.warmup_ratio),
            "warmup_ratio",
            format!("{} is not at least 0 and below 1", self.warmup_ratio),
        );
        demand(self.weight_decay >= 0.0, "weight_decay", format!("{} is below 0", self.weight_decay));
        demand(
            (0.0..1.0).contains(&self.adam_beta1),
            "adam_beta1",
            format!("{} is not at least 0 and below 1", self.adam_beta1),
        );
        demand(
            (0.0..1.0).contains(&self.adam_beta2),
            "adam_beta2",
            format!("{} is not at least 0 and below 1", self.adam_beta2),
        );
        demand(self.adam_epsilon > 0.0, "adam_epsilon", format!("{} is not above 0", self.adam_epsilon));
        if let Some(date) = &self.template_date {
            demand(is_date(date), "template_date", format!("`{date}` is no date; write it as `2024-07-26`"));
        }
        demand(self.max_grad_norm >= 0.0, "max_grad_norm", format!("{} is below 0", self.max_grad_norm));
        mistakes
    }
}

/// Says whether a text looks like a date, year first. Whether the month has that day is seen when the node runs.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str, digits: usize, range: std::ops::RangeInclusive<u32>| {
        part.len() == digits && part.parse().is_ok_and(|number| range.contains(&number))
    };
    matches!(parts[..], [year, month, day]
        if number(year, 4, 1..=9999) && number(month, 2, 1..=12) && number(day, 2, 1..=31))
}
