//! `kind: sft`: supervised fine-tuning.
//!
//! Fields are called what Axolotl, TRL and PEFT call them wherever they mean the same.

mod check;
mod checkpointing;
mod early_exit;
mod lora;
mod parts;
mod preference;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};
pub use checkpointing::GradientCheckpointing;
pub use early_exit::{BranchParams, EarlyExitParams, ExitHead, ExitWeights};
pub use lora::{LoraOutput, LoraParams, TargetModules, names_module};
pub use parts::{LongSamples, OptimizerName, Packing, SaveStrategy, Schedule, TrainOn, TrainOnEos};
pub use preference::DpoSettings;

/// Trains all weights of a model, or an adapter beside them (`lora`), on chats (loss on the assistant's words) and prose (loss
/// on every token).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SftParams {
    /// The model to start from.
    #[serde(skip_serializing)]
    pub model: InputRef,
    /// The data sets to train on.
    #[serde(skip_serializing)]
    pub data: Vec<InputRef>,
    /// Data sets that are not trained on: their loss is found out on the way (`eval_steps`, `evals_per_epoch`).
    #[serde(default, skip_serializing)]
    pub eval_data: Vec<InputRef>,
    /// What of `data` is kept apart for that: a share below 1, or a number of samples, picked by the seed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub val_set_size: f64,
    /// How many times the data is gone through; a fraction is a part of a pass.
    #[serde(default = "default_epochs")]
    pub epochs: f64,
    /// Ends the training after this many optimizer steps, whatever `epochs` says.
    #[serde(default)]
    pub max_steps: Option<usize>,
    /// Tokens in a packed sequence, and the length of the longest sample.
    #[serde(default = "default_sequence_len")]
    pub sequence_len: usize,
    /// What becomes of a sample that is longer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub long_samples: LongSamples,
    /// How samples are put into sequences.
    #[serde(default, skip_serializing_if = "is_default")]
    pub packing: Packing,
    /// The most samples in a bin, with `packing: multipack`; 200 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packing_bin_size: Option<usize>,
    /// Samples that are packed among each other, with `packing: multipack`; 100,000 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packing_group_size: Option<usize>,
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
    /// The number of steps during which the learning rate rises, instead of `warmup_ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<usize>,
    /// What the learning rate falls to, as a share of the highest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_lr_ratio: f64,
    /// The share of all steps during which the learning rate falls, with `lr_scheduler: wsd`; 0.1 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_ratio: Option<f64>,
    /// What turns gradients into changes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optimizer: OptimizerName,
    /// The momentum of `optimizer: muon`; 0.95 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muon_momentum: Option<f64>,
    /// Decoupled weight decay; norms and biases are left out of it.
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
    /// Trains an adapter instead of the weights.
    #[serde(default, deserialize_with = "lora::given", skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraParams>,
    /// Trains heads after layers in the middle too, so that the model can stop there.
    #[serde(default, deserialize_with = "early_exit::given", skip_serializing_if = "Option::is_none")]
    pub early_exit: Option<EarlyExitParams>,
    /// The tokens of a chat that are trained. Prose is always trained whole. A message with `"train": false` or `"weight": 0`
    /// is not trained in any case.
    #[serde(default)]
    pub train_on: TrainOn,
    /// The ends of turns that are trained.
    #[serde(default, skip_serializing_if = "is_default")]
    pub train_on_eos: TrainOnEos,
    /// The share of the loss that asks for all tokens alike instead of for the right one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub label_smoothing: f64,
    /// Adds noise to the embeddings of a sample of `l` tokens in `d` dimensions, even between ±α/√(l·d) (NEFTune, Jain et al.
    /// 2023).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neftune_noise_alpha: Option<f64>,
    /// Computes with weights rounded to bfloat16, as a GPU does; the optimizer changes masters in float32, which costs four
    /// bytes more a weight.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bf16: bool,
    /// Variables that the chat template is told for every chat, such as `enable_thinking: false`. Those of a row
    /// (`chat_template_kwargs`) go before them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub template_variables: BTreeMap<String, serde_json::Value>,
    /// The day that chat templates take for today, as `2024-07-26`. Without it those that print one fall back to a day of
    /// their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_date: Option<String>,
    /// Learns from pairs of answers which one is better, instead of learning texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpo: Option<DpoSettings>,
    /// Finds the loss of the evaluation data out after every so many steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_steps: Option<usize>,
    /// Finds the loss of the evaluation data out so many times in an epoch, instead of `eval_steps`. Once, if neither is
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evals_per_epoch: Option<usize>,
    /// Stops when so many evaluations in a row were no better than the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping_patience: Option<usize>,
    /// Gives the weights of the best evaluation instead of the last.
    #[serde(default, skip_serializing_if = "is_default")]
    pub load_best_model_at_end: bool,
    /// Which models come out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub save_strategy: SaveStrategy,
    /// Ends the training when the loss of `loss_watchdog_patience` steps in a row is above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_watchdog_threshold: Option<f64>,
    /// How many steps in a row; 3 if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_watchdog_patience: Option<usize>,
    /// Computes again in the backward pass what then needs no memory. `true`: all but the input of each layer, for a third more
    /// time; `selective`: the inside of feed-forward layers, more than half of it for a tenth more time. The same bytes in any
    /// case, and not part of the key.
    #[serde(default, skip_serializing)]
    pub gradient_checkpointing: GradientCheckpointing,
    /// Saves all that a killed training needs to go on after every so many steps. Not part of the key.
    #[serde(default, skip_serializing)]
    pub checkpoint_steps: Option<usize>,
    /// The same after so many minutes; 0 switches it off. Not part of the key.
    #[serde(default = "default_checkpoint_minutes", skip_serializing)]
    pub checkpoint_minutes: f64,
    /// What decides the order of the data, and all else that is random.
    #[serde(default)]
    pub seed: u64,
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

fn default_checkpoint_minutes() -> f64 {
    15.0
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

// What keeps keys of before valid: a setting that came later is left out while it has its default.

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl SftParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "sft";

    /// The outputs for the models after epochs, without the last one: `epoch1`, …
    pub fn epoch_outputs(&self) -> impl Iterator<Item = String> + use<> {
        let before_the_last = match self.save_strategy {
            SaveStrategy::Epoch => (self.epochs.ceil() as usize).saturating_sub(1),
            SaveStrategy::End => 0,
        };
        (1..=before_the_last).map(|epoch| format!("epoch{epoch}"))
    }

    /// Returns the folder of the result in the artifact, and what it is. The models of epochs are the same.
    pub fn result(&self) -> (&'static str, InputType) {
        self.lora.as_ref().map_or(("model", InputType::Model), |lora| lora.output.folder())
    }

    /// Says whether the loss of data that is not trained on is to be found out.
    pub fn evaluates(&self) -> bool {
        self.val_set_size > 0.0 || !self.eval_data.is_empty()
    }
}

impl Params for SftParams {
    const KIND: Kind = Kind::Sft;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let lists = [("data", &self.data), ("eval_data", &self.eval_data)];
        let slots = lists.into_iter().flat_map(|(name, list)| {
            let slot = move |(i, from)| Input::one(format!("{name}[{i}]"), from, InputType::Dataset);
            list.iter().enumerate().map(slot)
        });
        let reference = self.dpo.as_ref().and_then(|dpo| dpo.reference.as_ref());
        let reference = reference.map(|from| Input::one("dpo.reference", from, InputType::Model));
        std::iter::once(Input::one("model", &self.model, InputType::Model)).chain(slots).chain(reference).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        let kind = self.result().1;
        let mut outputs = vec![
            Output { name: "".into(), path: self.result().0.into(), kind },
            Output { name: "log".into(), path: "log".into(), kind: InputType::Log },
        ];
        outputs.extend(self.epoch_outputs().map(|name| Output { path: name.clone().into(), name: name.into(), kind }));
        outputs
    }

    fn check(&self) -> Vec<Mistake> {
        check::check(self)
    }
}
