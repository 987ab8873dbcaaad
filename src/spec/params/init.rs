//! `kind: init`: a model with random weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Makes a model with random weights from a seed, as a Hugging Face folder.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitParams {
    /// The architecture.
    #[serde(default)]
    pub architecture: Architecture,
    /// The tokenizer the model is made for; it decides the vocabulary size and is copied into the model.
    #[serde(skip_serializing)]
    pub tokenizer: InputRef,
    /// The sizes, named as in `config.json`.
    pub config: ModelShape,
    /// The chat template written into `tokenizer_config.json`.
    #[serde(default)]
    pub chat_template: ChatTemplate,
    /// The standard deviation of the weights.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    /// What decides the weights.
    #[serde(default)]
    pub seed: u64,
}

fn default_initializer_range() -> f64 {
    0.02
}

/// A model architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Qwen3: grouped-query attention with per-head RMS norm of queries and keys, SwiGLU.
    #[default]
    Qwen3,
    /// Qwen2: grouped-query attention with biases on queries, keys and values, SwiGLU.
    Qwen2,
    /// Llama: grouped-query attention, SwiGLU.
    Llama,
    /// LFM2: short convolutions, and attention with per-head RMS norm in some layers, SwiGLU.
    Lfm2,
    /// Gemma 3, text only: sliding windows in most layers, RMS norm on both sides of each block, GeGLU.
    Gemma3,
}

impl Architecture {
    /// Returns the word in `architecture:`.
    fn word(self) -> &'static str {
        match self {
            Self::Qwen3 => "qwen3",
            Self::Qwen2 => "qwen2",
            Self::Llama => "llama",
            Self::Lfm2 => "lfm2",
            Self::Gemma3 => "gemma3",
        }
    }

    /// Says whether models of this architecture have a setting of [`ModelShape`] that not all have.
    fn has(self, setting: &str) -> bool {
        let list: &[&str] = match self {
            Self::Qwen3 => &["attention_bias", "layer_types", "sliding_window", "rope_scaling"],
            Self::Qwen2 => &["layer_types", "sliding_window", "rope_scaling"],
            Self::Llama => &["attention_bias", "mlp_bias", "rope_scaling"],
            Self::Lfm2 => &["layer_types", "conv_L_cache", "conv_bias", "rope_scaling"],
            Self::Gemma3 => &[
                "attention_bias",
                "layer_types",
                "sliding_window",
                "rope_scaling",
                "rope_local_base_freq",
                "query_pre_attn_scalar",
            ],
        };
        list.contains(&setting)
    }
}

/// How chats become text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChatTemplate {
    /// `<|im_start|>role\n…<|im_end|>\n`.
    #[default]
    Chatml,
}

/// The sizes of a model, named as in Hugging Face's `config.json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides the number of query heads.
    pub num_key_value_heads: usize,
    /// Width of a head, even.
    pub head_dim: usize,
    /// The longest sequence.
    #[serde(default = "default_positions")]
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// Guards the RMS norm against division by zero.
    #[serde(default = "default_rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Whether the output layer shares the embedding's weights.
    #[serde(default = "default_tied")]
    pub tie_word_embeddings: bool,
    /// Whether the projections of attention have biases (`qwen3`, `llama`, `gemma3`; `qwen2` always has them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_bias: Option<bool>,
    /// Whether the projections of the feed-forward layer have biases (`llama`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlp_bias: Option<bool>,
    /// The kind of each layer: `full_attention`, `sliding_attention`, `conv`. Without it, `lfm2` has attention in every
    /// layer, `gemma3` sliding windows in all but every sixth, and the others none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_types: Option<Vec<String>>,
    /// How many tokens a token sees in layers of `sliding_attention`, itself included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// How the rotary frequencies are stretched, as in `config.json`: `rope_type` (`linear`, `llama3`, `yarn`), `factor`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<serde_json::Map<String, serde_json::Value>>,
    /// Base of the rotary frequencies in layers of `sliding_attention` (`gemma3`; 10000 without it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_local_base_freq: Option<f64>,
    /// Attention scores are divided by its square root (`gemma3`; `head_dim` without it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_pre_attn_scalar: Option<usize>,
    /// How many tokens a short convolution sees (`lfm2`; 3 without it).
    #[serde(default, rename = "conv_L_cache", skip_serializing_if = "Option::is_none")]
    pub conv_l_cache: Option<usize>,
    /// Whether convolutions and their projections have biases (`lfm2`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conv_bias: Option<bool>,
}

impl ModelShape {
    /// Returns the settings that not all architectures have, with whether they are set.
    fn special(&self) -> [(&'static str, bool); 9] {
        [
            ("attention_bias", self.attention_bias.is_some()),
            ("mlp_bias", self.mlp_bias.is_some()),
            ("layer_types", self.layer_types.is_some()),
            ("sliding_window", self.sliding_window.is_some()),
            ("rope_scaling", self.rope_scaling.is_some()),
            ("rope_local_base_freq", self.rope_local_base_freq.is_some()),
            ("query_pre_attn_scalar", self.query_pre_attn_scalar.is_some()),
            ("conv_L_cache", self.conv_l_cache.is_some()),
            ("conv_bias", self.conv_bias.is_some()),
        ]
    }
}

fn default_positions() -> usize {
    2048
}

fn default_rope_theta() -> f64 {
    10_000.0
}

fn default_rms_norm_eps() -> f64 {
    1e-6
}

fn default_tied() -> bool {
    true
}

impl InitParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "init";
}

impl Params for InitParams {
    const KIND: Kind = Kind::Init;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        vec![Input::one("tokenizer", &self.tokenizer, InputType::Tokenizer)]
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Model }]
    }

    fn check(&self) -> Vec<Mistake> {
        let shape = &self.config;
        let mut mistakes = Vec::new();
        let sizes = [
            ("hidden_size", shape.hidden_size),
            ("intermediate_size", shape.intermediate_size),
            ("num_hidden_layers", shape.num_hidden_layers),
            ("num_attention_heads", shape.num_attention_heads),
            ("num_key_value_heads", shape.num_key_value_heads),
            ("head_dim", shape.head_dim),
            ("max_position_embeddings", shape.max_position_embeddings),
        ];
        for (name, size) in sizes {
            if size == 0 || size > 1 << 20 {
                mistakes.push(Mistake::new(format!("config.{name}"), format!("{size} is not a sensible size")));
            }
        }
        if mistakes.is_empty() && !shape.num_attention_heads.is_multiple_of(shape.num_key_value_heads) {
            mistakes.push(Mistake::new(
                "config.num_key_value_heads",
                format!("{} does not divide {} query heads", shape.num_key_value_heads, shape.num_attention_heads),
            ));
        }
        if !shape.head_dim.is_multiple_of(2) {
            mistakes.push(Mistake::new(
                "config.head_dim",
                format!("{} is odd, rotary pairs need an even width", shape.head_dim),
            ));
        }
        for (name, set) in shape.special() {
            if set && !self.architecture.has(name) {
                let reason = format!("models of `architecture: {}` do not have it", self.architecture.word());
                mistakes.push(Mistake::new(format!("config.{name}"), reason));
            }
        }
        mistakes
    }
}
