//! `config.json` of a Hugging Face model folder, as far as the weights' meaning depends on it.
//!
//! Every family has a reader of its own ([`family`]), because the same key means different things, and a key that is
//! missing has another value in each. What they all give is one [`Config`]: what a decoder computes, in words of no family.
//!
//! Keys that change what a model computes are either honoured or refused, never skipped: a model with scaled rotary
//! embedding that loads without it runs and is quietly wrong. Both spellings that are in use are read: `rope_theta` and
//! `rope_scaling` (transformers 4) and `rope_parameters` (5), `torch_dtype` and `dtype`.

mod check;
mod family;
mod keys;
#[cfg(test)]
mod published;
mod rotary;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

use serde_json::{Map, Value};

use super::ModelError;
use super::early_exit::EarlyExit;
use super::kernel::Heads;
pub use super::kernel::gated::Activation;
use crate::tensor::{Dtype, model_tensors};
use keys::Keys;
pub use rotary::{Rotary, Scaling};

/// The name of the file.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The largest `config.json` that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// The tensor that says how weights are stored where `config.json` does not.
const EMBEDDING: &str = "model.embed_tokens.weight";

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// Qwen3, dense.
    Qwen3,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Llama, and what borrows its name: SmolLM2.
    Llama,
    /// LFM2, dense.
    Lfm2,
    /// Gemma 3, text only.
    Gemma3,
}

impl Architecture {
    /// All families.
    pub const ALL: [Self; 5] = [Self::Qwen3, Self::Qwen2, Self::Llama, Self::Lfm2, Self::Gemma3];

    /// Returns what `model_type` says.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Qwen3 => "qwen3",
            Self::Qwen2 => "qwen2",
            Self::Llama => "llama",
            Self::Lfm2 => "lfm2",
            Self::Gemma3 => "gemma3_text",
        }
    }

    /// Returns what `architectures` says.
    pub fn class(self) -> &'static str {
        match self {
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Llama => "LlamaForCausalLM",
            Self::Lfm2 => "Lfm2ForCausalLM",
            Self::Gemma3 => "Gemma3ForCausalLM",
        }
    }

    /// Returns the name people use.
    pub fn title(self) -> &'static str {
        match self {
            Self::Qwen3 => "Qwen3",
            Self::Qwen2 => "Qwen2",
            Self::Llama => "Llama",
            Self::Lfm2 => "LFM2",
            Self::Gemma3 => "Gemma 3",
        }
    }
}

/// What a layer does with other tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// Attention.
    Attention {
        /// How many tokens a token sees, itself included; all before it if there is none.
        window: Option<usize>,
        /// Which entry of [`Config::rotary`] turns the heads.
        rotary: usize,
    },
    /// A short convolution.
    Convolution,
}

/// The shape of all short convolutions of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortConvolution {
    /// How many tokens a token sees, itself included.
    pub width: usize,
    /// Whether the convolution and its projections have biases.
    pub bias: bool,
}

impl Default for ShortConvolution {
    fn default() -> Self {
        Self { width: 3, bias: false }
    }
}

/// The sizes and constants of a model.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "as many things as config.json can say yes or no to")]
pub struct Config {
    /// The family, which decides how tensors are named.
    pub architecture: Architecture,
    /// Number of tokens.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
    /// The longest sequence the model is meant for.
    pub max_position_embeddings: usize,
    /// Guards the norms against division by zero.
    pub norm_eps: f64,
    /// Whether the output layer shares the embedding's weights.
    pub tie_word_embeddings: bool,
    /// How the weights are stored.
    pub dtype: StoredDtype,
    /// Whether the projections of queries, keys and values have biases.
    pub attention_bias: bool,
    /// Whether the projection of what attention gives has a bias.
    pub output_bias: bool,
    /// Whether the projections of the feed-forward layer have biases.
    pub mlp_bias: bool,
    /// Whether query and key heads go through norms.
    pub head_norm: bool,
    /// Whether the weights of norms are stored as their distance from 1.
    pub norm_offset: bool,
    /// Whether attention and feed-forward layer have norms behind them too.
    pub sandwich_norms: bool,
    /// What becomes of the gate in the feed-forward layer.
    pub activation: Activation,
    /// What embeddings are multiplied by, once it is rounded to the format of the weights.
    pub embedding_scale: Option<f32>,
    /// What attention scores are multiplied by.
    pub attention_scale: f32,
    /// What each layer does with other tokens.
    pub layers: Vec<LayerKind>,
    /// The rotary embeddings that layers choose from.
    pub rotary: Vec<Rotary>,
    /// The shape of short convolutions, if there are any.
    pub convolution: Option<ShortConvolution>,
    /// The exits and branches that stand in files of their own, if there are any.
    pub early_exit: Option<EarlyExit>,
    /// The model with all its layers, if this one ends at an exit.
    pub whole: Option<Box<Config>>,
}

/// How the weights of a model are stored.
pub type StoredDtype = Dtype;

impl Config {
    /// Reads the `config.json` of a model folder.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let file = dir.join(CONFIG_FILE);
        let bad = |reason: String| ModelError::Config { file: file.clone(), reason };
        let looks = fs_err::metadata(&file)?;
        // A pipe would be waited for, and a device read for ever.
        if !looks.is_file() {
            return Err(bad("it is not a regular file".into()));
        }
        let size = looks.len();
        if size > LARGEST_FILE {
            return Err(bad(format!("{size} bytes are more than the {LARGEST_FILE} that are allowed")));
        }
        let keys: Map<String, Value> =
            serde_json::from_slice(&fs_err::read(&file)?).map_err(|error| bad(error.to_string()))?;
        let said = ["dtype", "torch_dtype"].iter().any(|key| keys.contains_key(*key));
        let mut config = Self::from_keys(keys).map_err(bad)?;
        // What is wrong with the weights is found when they are loaded.
        if let (false, Ok(tensors)) = (said, model_tensors(dir)) {
            config.dtype = tensors.get(EMBEDDING).map_or(config.dtype, |embedding| embedding.dtype);
        }
        config.early_exit = EarlyExit::load(dir, config.layers.len())?;
        Ok(config)
    }

    /// Reads the keys of a `config.json`.
    pub(crate) fn from_keys(keys: Map<String, Value>) -> Result<Self, String> {
        let config = family::read(&Keys(keys))?;
        config.check()?;
        Ok(config)
    }

    /// Returns how fused rows are divided into heads.
    pub(crate) fn heads(&self) -> Heads {
        Heads { query: self.num_attention_heads, key_value: self.num_key_value_heads, width: self.head_dim }
    }
}
