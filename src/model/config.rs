//! `config.json` of a Hugging Face model folder, as far as the weights' meaning depends on it.
//!
//! Keys that change what a model computes are either honoured or refused, never skipped: a model with biases or scaled
//! rotary embedding that loads without them runs and is quietly wrong. Both spellings that are in use are read:
//! `rope_theta` (transformers 4) and `rope_parameters` (5), `torch_dtype` and `dtype`.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::ModelError;
use crate::tensor::Dtype;

/// The name of the file.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The largest `config.json` that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// The largest size of anything, so that products of sizes cannot overflow.
const LARGEST_SIZE: usize = 1 << 24;

/// The sizes and constants of a Qwen3 model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
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
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Guards the norms against division by zero.
    pub rms_norm_eps: f64,
    /// Whether the output layer shares the embedding's weights.
    pub tie_word_embeddings: bool,
    /// How the weights are stored.
    pub dtype: StoredDtype,
}

/// How the weights of a model are stored.
pub type StoredDtype = Dtype;

/// The keys as they stand in the file.
#[derive(Deserialize)]
struct File {
    model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default = "default_positions")]
    max_position_embeddings: usize,
    rope_theta: Option<f64>,
    rope_parameters: Option<Value>,
    rope_scaling: Option<Value>,
    #[serde(default = "default_epsilon")]
    rms_norm_eps: f64,
    #[serde(default)]
    tie_word_embeddings: bool,
    torch_dtype: Option<String>,
    dtype: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    hidden_act: Option<String>,
    #[serde(default)]
    use_sliding_window: bool,
    layer_types: Option<Vec<String>>,
}

// The values that transformers takes for keys that are missing.
fn default_positions() -> usize {
    32_768
}

fn default_epsilon() -> f64 {
    1e-6
}

const DEFAULT_THETA: f64 = 10_000.0;
const DEFAULT_HEAD_WIDTH: usize = 128;

impl Config {
    /// Reads the `config.json` of a model folder.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let file = dir.join(CONFIG_FILE);
        let bad = |reason: String| ModelError::Config { file: file.clone(), reason };
        let size = fs_err::metadata(&file)?.len();
        if size > LARGEST_FILE {
            return Err(bad(format!("{size} bytes are more than the {LARGEST_FILE} that are allowed")));
        }
        let read: File = serde_json::from_slice(&fs_err::read(&file)?).map_err(|error| bad(error.to_string()))?;
        read.resolve().map_err(bad)
    }

    /// Returns the file's content as transformers would write it, for a model whose documents end in `document_end` and
    /// whose turns end in `turn_end`.
    pub(crate) fn to_json(&self, initializer_range: f64, document_end: u32, turn_end: Option<u32>) -> Value {
        json!({
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": document_end,
            "eos_token_id": turn_end.unwrap_or(document_end),
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": initializer_range,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "max_window_layers": self.num_hidden_layers,
            "model_type": "qwen3",
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "pad_token_id": document_end,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_scaling": null,
            "rope_theta": self.rope_theta,
            "sliding_window": null,
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": self.dtype.name(),
            "use_cache": true,
            "use_sliding_window": false,
            "vocab_size": self.vocab_size,
        })
    }
}

impl File {
    fn resolve(self) -> Result<Config, String> {
        self.refuse_what_is_missing()?;
        let config = Config {
            rope_theta: self.theta()?,
            dtype: self.stored()?,
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            num_key_value_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: self.head_dim.unwrap_or(DEFAULT_HEAD_WIDTH),
            max_position_embeddings: self.max_position_embeddings,
            rms_norm_eps: self.rms_norm_eps,
            tie_word_embeddings: self.tie_word_embeddings,
        };
        config.check()?;
        Ok(config)
    }

    fn refuse_what_is_missing(&self) -> Result<(), String> {
        if self.model_type.as_deref() != Some("qwen3") {
            let found = self.model_type.as_deref().unwrap_or("nothing");
            return Err(format!("`model_type` is {found}; only qwen3 can be run"));
        }
        if self.hidden_act.as_deref().is_some_and(|act| act != "silu") {
            return Err("`hidden_act` is not silu, which is the only activation there is".into());
        }
        if self.attention_bias {
            return Err("`attention_bias` is true; projections with biases cannot be run".into());
        }
        let sliding = |kinds: &Vec<String>| kinds.iter().any(|kind| kind != "full_attention");
        if self.use_sliding_window || self.layer_types.as_ref().is_some_and(sliding) {
            return Err("some layers use sliding windows, which cannot be run".into());
        }
        let scaled = |value: &Value| {
            let kind = value.get("rope_type").or_else(|| value.get("type"));
            !value.is_null() && kind.and_then(Value::as_str) != Some("default")
        };
        let rope = [("rope_scaling", &self.rope_scaling), ("rope_parameters", &self.rope_parameters)];
        match rope.into_iter().find(|(_, value)| value.as_ref().is_some_and(scaled)) {
            Some((key, _)) => Err(format!("`{key}` scales the rotary embedding, which cannot be run")),
            None => Ok(()),
        }
    }

    fn theta(&self) -> Result<f64, String> {
        match self.rope_parameters.as_ref().and_then(|value| value.get("rope_theta")) {
            Some(theta) => theta.as_f64().ok_or_else(|| "`rope_parameters.rope_theta` is not a number".into()),
            None => Ok(self.rope_theta.unwrap_or(DEFAULT_THETA)),
        }
    }

    fn stored(&self) -> Result<Dtype, String> {
        match self.dtype.as_deref().or(self.torch_dtype.as_deref()) {
            None | Some("float32") => Ok(Dtype::F32),
            Some("float16") => Ok(Dtype::F16),
            Some("bfloat16") => Ok(Dtype::BF16),
            Some(other) => Err(format!("`dtype` is {other}, which is none of float32, float16 and bfloat16")),
        }
    }
}

impl Config {
    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (name, size) in sizes {
            if size == 0 || size > LARGEST_SIZE {
                return Err(format!("`{name}` is {size}, which is not a sensible size"));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let (heads, shared) = (self.num_attention_heads, self.num_key_value_heads);
            return Err(format!("{shared} key and value heads do not divide {heads} query heads"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("`head_dim` is {}; rotary embedding needs an even width", self.head_dim));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return Err(format!("`rope_theta` is {}", self.rope_theta));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(format!("`rms_norm_eps` is {}", self.rms_norm_eps));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut Value)) -> Result<Config, String> {
        let mut value = json!({
            "model_type": "qwen3", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "head_dim": 4,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "rope_theta": 5000.0, "torch_dtype": "bfloat16",
        });
        change(&mut value);
        serde_json::from_value::<File>(value).map_err(|error| error.to_string())?.resolve()
    }

    #[test]
    fn both_spellings_are_read() {
        let old = read(|_| {}).unwrap();
        assert_eq!((old.rope_theta, old.dtype), (5000.0, Dtype::BF16));
        let new = read(|value| {
            value["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 7000.0});
            value["dtype"] = json!("float16");
        });
        assert_eq!(new.map(|c| (c.rope_theta, c.dtype)), Ok((7000.0, Dtype::F16)));
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for (key, value, word) in [
            ("model_type", json!("llama"), "llama"),
            ("attention_bias", json!(true), "attention_bias"),
            ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), "rope_scaling"),
            ("layer_types", json!(["full_attention", "sliding_attention"]), "sliding"),
            ("num_key_value_heads", json!(3), "divide"),
            ("head_dim", json!(5), "even"),
            ("hidden_size", json!(0), "hidden_size"),
            ("vocab_size", json!(u64::MAX), "vocab_size"),
            ("hidden_act", json!("gelu"), "hidden_act"),
            ("dtype", json!("int8"), "int8"),
        ] {
            let error = read(|config| config[key] = value).unwrap_err();
            assert!(error.contains(word), "{key}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = read(|_| {}).unwrap();
        let written = config.to_json(0.02, 7, Some(9));
        assert_eq!(serde_json::from_value::<File>(written).unwrap().resolve(), Ok(config));
    }
}
