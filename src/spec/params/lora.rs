//! `kind: apply_lora` and `kind: extract_lora`: from an adapter to a model and back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Adds a LoRA adapter to the weights of the model that it was made for, as PEFT's `merge_and_unload` does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyLoraParams {
    /// The model that the adapter was trained on.
    #[serde(skip_serializing)]
    pub model: InputRef,
    /// The adapter: a folder as PEFT writes it.
    #[serde(skip_serializing)]
    pub adapter: InputRef,
    /// The most bytes of weights in one file.
    #[serde(default = "shard_size", skip_serializing_if = "is_shard_size")]
    #[schemars(default = "shard_size")]
    pub shard_size: u64,
}

fn shard_size() -> u64 {
    5_000_000_000
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_shard_size(given: &u64) -> bool {
    *given == shard_size()
}

impl ApplyLoraParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "apply_lora";
}

impl Params for ApplyLoraParams {
    const KIND: Kind = Kind::ApplyLora;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        vec![
            Input::one("model", &self.model, InputType::Model),
            Input::one("adapter", &self.adapter, InputType::Adapter),
        ]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Model }]
    }

    fn check(&self) -> Vec<Mistake> {
        match self.shard_size {
            0 => vec![Mistake::new("shard_size", "a file of 0 bytes holds nothing")],
            _ => Vec::new(),
        }
    }
}

/// Makes a LoRA adapter of the difference between a model and its base, as `mergekit-extract-lora` does.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtractLoraParams {
    /// The model that was trained.
    #[serde(skip_serializing)]
    pub model: InputRef,
    /// The model that it was trained from.
    #[serde(skip_serializing)]
    pub base: InputRef,
    /// The most singular values that are kept of a matrix.
    #[serde(default = "max_rank")]
    pub max_rank: usize,
    /// Whether both of an adapter's matrices get the roots of the singular values, or the first one all of them.
    #[serde(default = "yes")]
    pub distribute_scale: bool,
    /// Whether embedding and output layer are decomposed too, rather than kept whole.
    #[serde(default)]
    pub embed_lora: bool,
    /// Modules that are kept whole, by their name or its last part.
    #[serde(default)]
    pub save_module: Vec<String>,
    /// Modules that match one of these regular expressions are left out.
    #[serde(default)]
    pub exclude_regex: Vec<String>,
    /// Only modules that match one of these regular expressions are taken.
    #[serde(default)]
    pub include_regex: Vec<String>,
    /// Singular values up to this one are dropped; 0 keeps all.
    #[serde(default)]
    pub sv_epsilon: f64,
    /// Whether modules that cannot be decomposed (norms) are left out, rather than kept whole.
    #[serde(default)]
    pub skip_undecomposable: bool,
    /// The type that the adapter's matrices are stored in; that of the models when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// What the adapter calls its base (`base_model_name_or_path`), for those who load it by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_name: Option<String>,
}

fn max_rank() -> usize {
    128
}

fn yes() -> bool {
    true
}

/// The types that weights can be stored in.
pub(super) const DTYPES: [&str; 3] = ["bfloat16", "float16", "float32"];

/// Returns the mistake in the name of a type, if there is one.
pub(super) fn dtype_mistake(dtype: Option<&str>) -> Option<Mistake> {
    let name = dtype.filter(|name| !DTYPES.contains(&name.strip_prefix("torch.").unwrap_or(name)))?;
    let help = format!("there are `{}`", DTYPES.join("`, `"));
    Some(Mistake::new("dtype", format!("cannot store weights in `{name}`")).help(help))
}

impl ExtractLoraParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "extract_lora";
}

impl Params for ExtractLoraParams {
    const KIND: Kind = Kind::ExtractLora;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        vec![Input::one("model", &self.model, InputType::Model), Input::one("base", &self.base, InputType::Model)]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Adapter }]
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.max_rank == 0 {
            mistakes.push(Mistake::new("max_rank", "an adapter of rank 0 adds nothing"));
        }
        if !(self.sv_epsilon.is_finite() && self.sv_epsilon >= 0.0) {
            mistakes.push(Mistake::new("sv_epsilon", format!("{} is no size", self.sv_epsilon)));
        }
        mistakes.extend(dtype_mistake(self.dtype.as_deref()));
        mistakes
    }
}
