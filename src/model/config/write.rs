//! `config.json` for a model that has none yet, in the spelling of transformers 4, which 5 reads too.

use serde_json::{Map, Value, json};

use super::{Activation, Architecture, Config, LayerKind, Scaling, ShortConvolution};

impl Config {
    /// Returns the file's content as transformers would write it, for a model whose documents end in `document_end` and
    /// whose turns end in `turn_end`.
    pub(crate) fn to_json(&self, initializer_range: f64, document_end: u32, turn_end: Option<u32>) -> Value {
        let mut keys = self.common_keys();
        let family = match self.architecture {
            Architecture::Qwen3 | Architecture::Qwen2 => self.qwen_keys(),
            Architecture::Llama => json!({
                "attention_bias": self.attention_bias,
                "attention_dropout": 0.0,
                "head_dim": self.head_dim,
                "hidden_act": name_of(self.activation),
                "mlp_bias": self.mlp_bias,
                "rms_norm_eps": self.norm_eps,
            }),
            Architecture::Lfm2 => self.lfm2_keys(),
            Architecture::Gemma3 => self.gemma3_keys(),
        };
        let tokens = json!({
            "bos_token_id": document_end,
            "eos_token_id": turn_end.unwrap_or(document_end),
            "initializer_range": initializer_range,
            "pad_token_id": document_end,
        });
        for more in [family, tokens] {
            keys.extend(more.as_object().cloned().unwrap_or_default());
        }
        let mut sorted: Vec<(String, Value)> = keys.into_iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        Value::Object(sorted.into_iter().collect())
    }

    fn common_keys(&self) -> Map<String, Value> {
        let rotary = self.rotary.first();
        let keys = json!({
            "architectures": [self.architecture.class()],
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.max_position_embeddings,
            "model_type": self.architecture.model_type(),
            "num_attention_heads": self.num_attention_heads,
            "num_hidden_layers": self.num_hidden_layers,
            "num_key_value_heads": self.num_key_value_heads,
            "rope_scaling": rotary.map_or(Value::Null, |rotary| scaling(&rotary.scaling)),
            "rope_theta": rotary.map(|rotary| rotary.theta),
            "tie_word_embeddings": self.tie_word_embeddings,
            "torch_dtype": self.dtype.name(),
            "use_cache": true,
            "vocab_size": self.vocab_size,
        });
        keys.as_object().cloned().unwrap_or_default()
    }

    fn qwen_keys(&self) -> Value {
        let window = self.window();
        let first = self.layers.iter().position(|kind| matches!(kind, LayerKind::Attention { window: Some(_), .. }));
        let mut keys = json!({
            "attention_dropout": 0.0,
            "hidden_act": name_of(self.activation),
            "max_window_layers": first.unwrap_or(self.num_hidden_layers),
            "rms_norm_eps": self.norm_eps,
            "sliding_window": window,
            "use_sliding_window": window.is_some(),
        });
        if self.architecture == Architecture::Qwen3 {
            keys["attention_bias"] = self.attention_bias.into();
        }
        if self.architecture == Architecture::Qwen3 || self.head_dim * self.num_attention_heads != self.hidden_size {
            keys["head_dim"] = self.head_dim.into();
        }
        if window.is_some() {
            keys["layer_types"] = self.layer_types();
        }
        keys
    }

    fn lfm2_keys(&self) -> Value {
        let ShortConvolution { width, bias } = self.convolution.unwrap_or_default();
        let attends = |index: &usize| self.layers[*index] != LayerKind::Convolution;
        let mut keys = json!({
            "block_auto_adjust_ff_dim": false,
            "block_dim": self.hidden_size,
            "block_ff_dim": self.intermediate_size,
            "block_ffn_dim_multiplier": 1.0,
            "block_multiple_of": 256,
            "block_norm_eps": self.norm_eps,
            "conv_L_cache": width,
            "conv_bias": bias,
            "conv_dim": self.hidden_size,
            "conv_dim_out": self.hidden_size,
            "full_attn_idxs": (0..self.layers.len()).filter(attends).collect::<Vec<_>>(),
            "layer_types": self.layer_types(),
            "norm_eps": self.norm_eps,
            "tie_embedding": self.tie_word_embeddings,
        });
        if self.head_dim * self.num_attention_heads != self.hidden_size {
            keys["head_dim"] = self.head_dim.into();
        }
        keys
    }

    fn gemma3_keys(&self) -> Value {
        // transformers wants a whole number.
        let scalar = f64::from(self.attention_scale).powi(-2);
        let whole = scalar.round();
        let scalar = if (scalar - whole).abs() < 1e-6 * whole { json!(whole as u64) } else { json!(scalar) };
        let mut keys = json!({
            "attention_bias": self.attention_bias,
            "attention_dropout": 0.0,
            "attn_logit_softcapping": null,
            "final_logit_softcapping": null,
            "head_dim": self.head_dim,
            "hidden_activation": name_of(self.activation),
            "layer_types": self.layer_types(),
            "query_pre_attn_scalar": scalar,
            "rms_norm_eps": self.norm_eps,
            "rope_local_base_freq": self.rotary.get(1).map(|rotary| rotary.theta),
            "sliding_window": self.window(),
        });
        if let Some(pattern) = self.window_pattern() {
            keys["sliding_window_pattern"] = pattern.into();
        }
        keys
    }

    /// Returns the window of the layers that have one.
    fn window(&self) -> Option<usize> {
        self.layers.iter().find_map(|kind| match kind {
            LayerKind::Attention { window, .. } => *window,
            LayerKind::Convolution => None,
        })
    }

    /// Returns after how many layers one without a window comes, if they come regularly.
    fn window_pattern(&self) -> Option<usize> {
        let full = |kind: &LayerKind| matches!(kind, LayerKind::Attention { window: None, .. });
        let pattern = self.layers.iter().position(full)? + 1;
        let regular = |(index, kind): (usize, &LayerKind)| full(kind) == (index + 1).is_multiple_of(pattern);
        self.layers.iter().enumerate().all(regular).then_some(pattern)
    }

    fn layer_types(&self) -> Value {
        let word = |kind: &LayerKind| match kind {
            LayerKind::Attention { window: None, .. } => "full_attention",
            LayerKind::Attention { window: Some(_), .. } => "sliding_attention",
            LayerKind::Convolution => "conv",
        };
        self.layers.iter().map(word).collect()
    }
}

fn scaling(scaling: &Scaling) -> Value {
    match scaling {
        Scaling::None => Value::Null,
        Scaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        Scaling::Llama3 { factor, low, high, original } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": *original as u64,
        }),
        Scaling::Yarn { factor, attention, fast, slow, original, truncate } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "attention_factor": attention,
            "beta_fast": fast,
            "beta_slow": slow,
            "original_max_position_embeddings": *original as u64,
            "truncate": truncate,
        }),
    }
}

fn name_of(activation: Activation) -> &'static str {
    match activation {
        Activation::Silu => "silu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
    }
}
