//! `kind: moe`: a mixture of experts from dense models, with the fields of a `mergekit-moe` configuration.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lora::dtype_mistake;
use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Makes a mixture of experts: attention, norms and embeddings of one model, the feed-forward layers of several.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoeParams {
    /// The model that gives everything but the experts.
    #[serde(skip_serializing)]
    pub base_model: InputRef,
    /// The experts, among which a router chooses.
    pub experts: Vec<MoeExpert>,
    /// Experts that every token passes through: exactly one for Qwen2, at most one for DeepSeek, none for others.
    #[serde(default, deserialize_with = "listed")]
    pub shared_experts: Vec<MoeExpert>,
    /// How the router is made.
    #[serde(default)]
    pub gate_mode: GateMode,
    /// The type that the result is stored in; that of the base's `config.json` when left out.
    #[serde(default)]
    pub dtype: Option<String>,
    /// How many experts a token passes through.
    #[serde(default = "two")]
    pub experts_per_token: usize,
    /// What the result is: `mixtral`, `deepseek`, `qwen` or `qwen3`; the first of these that fits when left out.
    #[serde(default)]
    pub architecture: Option<String>,
    /// How experts are stored; as MergeKit 0.1.5 does when left out: packed for Mixtral and Qwen3.
    #[serde(default)]
    pub layout: Option<MoeLayout>,
    /// Where random routers and noise begin; MergeKit's `--random-seed`.
    #[serde(default = "seed")]
    pub seed: u32,
    /// Says that the model is going to be trained, so that experts may all be the same.
    #[serde(default)]
    pub for_training: bool,
    /// The most bytes of weights in one file.
    #[serde(default = "shard_size", skip_serializing_if = "is_shard_size")]
    #[schemars(default = "shard_size")]
    pub shard_size: u64,
}

/// An expert.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MoeExpert {
    /// The model whose feed-forward layers it is.
    #[serde(skip_serializing)]
    pub source_model: InputRef,
    /// Prompts of the kind that it should answer.
    #[serde(default, deserialize_with = "listed")]
    pub positive_prompts: Vec<String>,
    /// Prompts of the kind that it should not answer.
    #[serde(default, deserialize_with = "listed")]
    pub negative_prompts: Vec<String>,
    /// The standard deviation of noise that is added to its weights.
    #[serde(default)]
    pub noise_scale: Option<f64>,
    /// What its output is multiplied by.
    #[serde(default)]
    pub residual_scale: Option<f64>,
}

/// An empty list may be written as nothing.
fn listed<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// How a router is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateMode {
    /// From what the base computes at the last token of the prompts, for each layer.
    #[default]
    Hidden,
    /// The same as `hidden`.
    HiddenLast,
    /// From what the base computes at all tokens of the prompts, on average.
    HiddenAvg,
    /// From the sum of the embeddings of the prompts' tokens, the same for all layers.
    CheapEmbed,
    /// From a normal distribution.
    Random,
    /// From a uniform distribution, as PyTorch begins a linear layer.
    UniformRandom,
}

impl GateMode {
    /// Returns whether the router is made from prompts.
    pub fn reads_prompts(self) -> bool {
        !matches!(self, GateMode::Random | GateMode::UniformRandom)
    }
}

/// How the experts of a layer are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoeLayout {
    /// All experts in two tensors, as transformers 5 does.
    Packed,
    /// Each expert in tensors of its own, as vLLM, llama.cpp and transformers 4 expect them; transformers 5 reads them too.
    Separate,
}

fn two() -> usize {
    2
}

fn seed() -> u32 {
    42
}

fn shard_size() -> u64 {
    5_000_000_000
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_shard_size(given: &u64) -> bool {
    *given == shard_size()
}

impl MoeParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "moe";

    /// Returns all experts, shared ones last, each with its place.
    pub fn all_experts(&self) -> impl Iterator<Item = (String, &MoeExpert)> {
        let placed = |field: &'static str| move |(i, expert)| (format!("{field}[{i}]"), expert);
        let shared = self.shared_experts.iter().enumerate().map(placed("shared_experts"));
        self.experts.iter().enumerate().map(placed("experts")).chain(shared)
    }

    /// Writes the name of a node in place of every model into the fields that these settings were read from.
    pub fn call_models(&self, fields: &mut serde_json::Value, names: &BTreeMap<String, String>) {
        let call = |place: &mut serde_json::Value, model: &InputRef| {
            if let Some(name) = names.get(&model.0) {
                *place = name.as_str().into();
            }
        };
        call(&mut fields["base_model"], &self.base_model);
        for (list, experts) in [("experts", &self.experts), ("shared_experts", &self.shared_experts)] {
            for (i, expert) in experts.iter().enumerate() {
                call(&mut fields[list][i]["source_model"], &expert.source_model);
            }
        }
    }

    fn check_experts(&self, mistakes: &mut Vec<Mistake>) {
        for (place, expert) in self.all_experts() {
            for (name, number) in [("noise_scale", expert.noise_scale), ("residual_scale", expert.residual_scale)] {
                if number.is_some_and(|number| !number.is_finite()) {
                    mistakes.push(Mistake::new(format!("{place}.{name}"), "it is not finite"));
                }
            }
        }
        if !self.gate_mode.reads_prompts() {
            return;
        }
        for (i, expert) in self.experts.iter().enumerate().filter(|(_, expert)| expert.positive_prompts.is_empty()) {
            let help = "give `positive_prompts`, or `gate_mode: random`";
            let message = format!("nothing says what `{}` is an expert for", expert.source_model);
            mistakes.push(Mistake::new(format!("experts[{i}]"), message).help(help));
        }
        let prompts = |expert: &MoeExpert| (expert.positive_prompts.clone(), expert.negative_prompts.clone());
        let same = self.experts.windows(2).all(|pair| prompts(&pair[0]) == prompts(&pair[1]));
        if self.experts.len() > 1 && same && mistakes.is_empty() {
            let message = "the prompts of all experts are the same, so the router could not tell them apart";
            mistakes.push(Mistake::new("experts", message));
        }
    }
}

impl Params for MoeParams {
    const KIND: Kind = Kind::Moe;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let experts = self.all_experts();
        let experts =
            experts.map(|(place, it)| Input::one(format!("{place}.source_model"), &it.source_model, InputType::Model));
        std::iter::once(Input::one("base_model", &self.base_model, InputType::Model)).chain(experts).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Model }]
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.shard_size == 0 {
            mistakes.push(Mistake::new("shard_size", "a file of 0 bytes holds nothing"));
        }
        if self.experts.is_empty() {
            mistakes.push(Mistake::new("experts", "there is no expert"));
            return mistakes;
        }
        if self.experts_per_token == 0 || self.experts_per_token > self.experts.len() {
            let message =
                format!("a token cannot pass through {} of {} experts", self.experts_per_token, self.experts.len());
            mistakes.push(Mistake::new("experts_per_token", message));
        }
        mistakes.extend(dtype_mistake(self.dtype.as_deref()));
        self.check_experts(&mut mistakes);
        let first = &self.experts[0].source_model;
        let same = self.experts.iter().all(|expert| expert.source_model == *first);
        let noisy = self.experts.iter().any(|expert| expert.noise_scale.is_some_and(|scale| scale != 0.0));
        if self.experts.len() > 1 && same && !noisy && !self.for_training {
            let message = format!("all experts are `{first}`: the result is slower and computes the same");
            let help = "if it is going to be trained, say `for_training: true`";
            mistakes.push(Mistake::new("experts", message).help(help));
        }
        mistakes
    }
}
