//! A model's sizes and constants as `config.json`, to and from [`Shape`].
//!
//! Written in the spelling of transformers 4, which its version 5 and most other programs read; both are read. What
//! changes the model's numbers and has no place in a GGUF file is refused by the name of its key.

use std::path::Path;

use serde_json::{Value, json};

use super::error::GgufError;
use super::metadata::check_biases;
use super::shape::{Biases, Family, Rope, Shape, check_layers, same};
use crate::tensor::Dtype;

pub(super) const CONFIG_FILE: &str = "config.json";
/// The largest JSON file of a model that is read, in bytes; tokenizers have some ten million.
const LARGEST_FILE: u64 = 256 << 20;

/// Reads a JSON file of a model folder.
pub(super) fn read_json(path: &Path) -> Result<Value, GgufError> {
    let size = fs_err::metadata(path)?.len();
    if size > LARGEST_FILE {
        return Err(GgufError::folder(path, format!("{size} bytes are more than the {LARGEST_FILE} allowed")));
    }
    serde_json::from_slice(&fs_err::read(path)?).map_err(|error| GgufError::folder(path, error.to_string()))
}

/// Reads the sizes and constants of a model folder.
pub(super) fn read(dir: &Path) -> Result<Shape, GgufError> {
    let path = dir.join(CONFIG_FILE);
    let config = read_json(&path)?;
    let shape = Reader(&config).shape();
    shape.and_then(|shape| shape.check().map(|()| shape)).map_err(|reason| GgufError::folder(&path, reason))
}

struct Reader<'a>(&'a Value);

impl Reader<'_> {
    /// Returns what a key holds, unless it is null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn size(&self, key: &str) -> Result<Option<usize>, String> {
        let read = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        self.get(key)
            .map(|value| read(value).ok_or_else(|| format!("`{key}` is {value}, which is no size")))
            .transpose()
    }

    fn needed(&self, key: &str) -> Result<usize, String> {
        self.size(key)?.ok_or_else(|| format!("`{key}` is missing"))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        self.get(key)
            .map(|value| value.as_f64().ok_or_else(|| format!("`{key}` is {value}, which is no number")))
            .transpose()
    }

    fn truth(&self, key: &str, default: bool) -> Result<bool, String> {
        let read = |value: &Value| value.as_bool().ok_or_else(|| format!("`{key}` is {value}, not true or false"));
        self.get(key).map_or(Ok(default), read)
    }

    fn family(&self) -> Result<Family, String> {
        let name = self.get("model_type").and_then(Value::as_str).unwrap_or("nothing");
        Family::ALL.into_iter().find(|family| family.model_type() == name).ok_or_else(|| {
            let known: Vec<_> = Family::ALL.iter().map(|family| family.model_type()).collect();
            format!("`model_type` is {name}; only {} can become a GGUF file", known.join(", "))
        })
    }

    fn shape(&self) -> Result<Shape, String> {
        let family = self.family()?;
        self.refuse_what_has_no_place(family)?;
        let layers = self.needed("num_hidden_layers")?;
        check_layers(layers)?;
        let (hidden, heads) = (self.needed("hidden_size")?, self.needed("num_attention_heads")?);
        let usual_width = match family {
            Family::Qwen3 => 128,
            Family::Gemma3 => 256,
            _ => hidden.checked_div(heads).unwrap_or(0),
        };
        let gemma = family == Family::Gemma3;
        let (rope, theta, window_theta) = self.rope(family)?;
        let tied_by_default = matches!(family, Family::Gemma3 | Family::Lfm2);
        let tied = self.truth("tie_word_embeddings", self.truth("tie_embedding", tied_by_default)?)?;
        let (epsilon, usual_epsilon) = if family == Family::Lfm2 { ("norm_eps", 1e-5) } else { ("rms_norm_eps", 1e-6) };
        let shape = Shape {
            family,
            vocab: self.needed("vocab_size")?,
            hidden,
            intermediate: self.intermediate(family)?,
            layers,
            heads,
            shared_heads: self.size("num_key_value_heads")?.unwrap_or(heads),
            head_width: self.size("head_dim")?.unwrap_or(usual_width),
            positions: self.needed("max_position_embeddings")?,
            theta,
            epsilon: self.number(epsilon)?.unwrap_or(usual_epsilon),
            rope,
            tied,
            attends: self.attends(family, layers)?,
            biases: self.biases(family)?,
            convolution: if family == Family::Lfm2 { self.size("conv_L_cache")?.unwrap_or(3) } else { 0 },
            window: if gemma { Some(self.needed("sliding_window")?) } else { None },
            window_theta,
            logit_cap: self.number("final_logit_softcapping")?.filter(|_| gemma),
        };
        self.check_layers(&shape)?;
        Ok(shape)
    }

    fn refuse_what_has_no_place(&self, family: Family) -> Result<(), String> {
        let gemma = family == Family::Gemma3;
        let (key, only) = if gemma { ("hidden_activation", "gelu_pytorch_tanh") } else { ("hidden_act", "silu") };
        if let Some(other) = self.get(key).filter(|act| act.as_str() != Some(only)) {
            return Err(format!("`{key}` is {other}, and not {only}"));
        }
        for key in ["use_sliding_window", "conv_bias", "use_bidirectional_attention"] {
            if self.truth(key, false)? {
                return Err(format!("`{key}` is true, which a GGUF file of {} cannot say", family.architecture()));
            }
        }
        if let Some(cap) = self.get("attn_logit_softcapping") {
            return Err(format!("`attn_logit_softcapping` is {cap}, which a GGUF file of gemma3 cannot say"));
        }
        if let Some(part) = self.number("partial_rotary_factor")?.filter(|part| !same(*part, 1.0)) {
            return Err(format!("`partial_rotary_factor` is {part}, and not 1"));
        }
        Ok(())
    }

    /// Returns the width of the feed-forward layer; LFM2 computes it from the one it is given.
    fn intermediate(&self, family: Family) -> Result<usize, String> {
        if family != Family::Lfm2 {
            return self.needed("intermediate_size");
        }
        let given = match self.size("block_ff_dim")? {
            Some(given) => given,
            None => self.needed("intermediate_size")?,
        };
        if !self.truth("block_auto_adjust_ff_dim", true)? {
            return Ok(given);
        }
        let mut width = (2.0 * given as f64 / 3.0) as usize;
        if let Some(multiplier) = self.number("block_ffn_dim_multiplier")? {
            width = (multiplier * width as f64) as usize;
        }
        let multiple = self.size("block_multiple_of")?.unwrap_or(256).max(1);
        width.checked_next_multiple_of(multiple).ok_or_else(|| "`block_multiple_of` is too large".into())
    }

    fn layer_types(&self) -> Result<Option<Vec<&str>>, String> {
        let Some(value) = self.get("layer_types") else { return Ok(None) };
        let types = value.as_array().and_then(|all| all.iter().map(Value::as_str).collect());
        types.map(Some).ok_or_else(|| "`layer_types` is no list of names".into())
    }

    fn attends(&self, family: Family, layers: usize) -> Result<Vec<bool>, String> {
        if family != Family::Lfm2 {
            return Ok(vec![true; layers]);
        }
        if let Some(types) = self.layer_types()? {
            return Ok(types.iter().map(|name| *name != "conv").collect());
        }
        let Some(indices) = self.get("full_attn_idxs").and_then(Value::as_array) else {
            return Err("neither `layer_types` nor `full_attn_idxs` says which layers attend".into());
        };
        let mut attends = vec![false; layers];
        for index in indices {
            let place = index.as_u64().and_then(|index| attends.get_mut(usize::try_from(index).ok()?));
            *place.ok_or_else(|| format!("`full_attn_idxs` holds {index}, and there are {layers} layers"))? = true;
        }
        Ok(attends)
    }

    /// Fails if the layers are of other kinds than a GGUF file of this family means.
    fn check_layers(&self, shape: &Shape) -> Result<(), String> {
        if shape.attends.len() != shape.layers {
            return Err(format!("`layer_types` has {} entries for {} layers", shape.attends.len(), shape.layers));
        }
        if let Some(types) = self.layer_types()? {
            let expected: Vec<&str> = (0..shape.layers).map(|layer| layer_type(shape, layer)).collect();
            if types != expected {
                let name = shape.family.architecture();
                return Err(format!("`layer_types` has an order that a GGUF file of {name} cannot say"));
            }
        } else if let Some(pattern) = self.size("sliding_window_pattern")?
            && shape.family == Family::Gemma3
            && pattern != 6
        {
            return Err(format!("`sliding_window_pattern` is {pattern}, and not 6"));
        }
        let scalar = self.number("query_pre_attn_scalar")?.unwrap_or(256.0);
        if shape.family == Family::Gemma3 && !same(scalar, shape.query_scalar() as f64) {
            let expected = shape.query_scalar();
            return Err(format!("`query_pre_attn_scalar` is {scalar}, and llama.cpp takes {expected}"));
        }
        if shape.family == Family::Gemma3 && !same(shape.window_theta, 10_000.0) {
            let theta = shape.window_theta;
            return Err(format!("the rope base of layers with a window is {theta}, and llama.cpp takes 10000"));
        }
        Ok(())
    }

    fn biases(&self, family: Family) -> Result<Biases, String> {
        let inward = family == Family::Qwen2 || self.truth("attention_bias", false)?;
        let biases =
            Biases { inward, outward: inward && family != Family::Qwen2, feed_forward: self.truth("mlp_bias", false)? };
        check_biases(family, biases)?;
        Ok(biases)
    }

    /// Returns the stretching of the rotary embedding, its base, and that of layers with a window.
    fn rope(&self, family: Family) -> Result<(Rope, f64, f64), String> {
        let usual = if matches!(family, Family::Gemma3 | Family::Lfm2) { 1_000_000.0 } else { 10_000.0 };
        let theta = self.number("rope_theta")?.unwrap_or(usual);
        let window_theta = self.number("rope_local_base_freq")?.unwrap_or(10_000.0);
        let Some(parameters) = self.get("rope_parameters") else {
            let scaling = self.get("rope_scaling");
            return Ok((scaling.map_or(Ok(Rope::Plain), stretching)?, theta, window_theta));
        };
        let base = |value: &Value, other: f64| value.get("rope_theta").and_then(Value::as_f64).unwrap_or(other);
        match (parameters.get("full_attention"), parameters.get("sliding_attention")) {
            (Some(full), Some(windowed)) => {
                if stretching(windowed)? != Rope::Plain {
                    return Err("`rope_parameters.sliding_attention` stretches the rotary embedding".into());
                }
                Ok((stretching(full)?, base(full, theta), base(windowed, window_theta)))
            }
            _ => Ok((stretching(parameters)?, base(parameters, theta), window_theta)),
        }
    }
}

/// Reads `rope_scaling` or `rope_parameters`.
fn stretching(value: &Value) -> Result<Rope, String> {
    let kind = value.get("rope_type").or_else(|| value.get("type")).and_then(Value::as_str).unwrap_or("default");
    let number = |key: &str| {
        value.get(key).and_then(Value::as_f64).ok_or_else(|| format!("the rope scaling `{kind}` has no number `{key}`"))
    };
    match kind {
        "default" => Ok(Rope::Plain),
        "linear" => Ok(Rope::Linear(number("factor")?)),
        "llama3" => Ok(Rope::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original: number("original_max_position_embeddings")? as usize,
        }),
        other => Err(format!("the rope scaling `{other}` cannot be written into a GGUF file")),
    }
}

fn layer_type(shape: &Shape, layer: usize) -> &'static str {
    match (shape.attends[layer], shape.is_windowed(layer)) {
        (false, _) => "conv",
        (true, true) => "sliding_attention",
        (true, false) => "full_attention",
    }
}

/// The tokens that `config.json` names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NamedTokens {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) pad: Option<u32>,
}

/// Returns the `config.json` of a model whose weights are stored as `dtype`.
pub(super) fn write(shape: &Shape, tokens: NamedTokens, dtype: Dtype) -> Value {
    let scaling = match shape.rope {
        Rope::Plain => Value::Null,
        Rope::Linear(factor) => json!({"rope_type": "linear", "factor": factor}),
        Rope::Llama3 { factor, low, high, original } => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original,
        }),
    };
    let mut config = json!({
        "architectures": [shape.family.class()],
        "model_type": shape.family.model_type(),
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.shared_heads,
        "max_position_embeddings": shape.positions,
        "rope_theta": shape.theta,
        "rope_scaling": scaling,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": tokens.bos,
        "eos_token_id": tokens.eos,
        "pad_token_id": tokens.pad,
        "torch_dtype": dtype.name(),
        "use_cache": true,
    });
    let own = own_keys(shape);
    if let (Value::Object(config), Value::Object(own)) = (&mut config, own) {
        config.extend(own);
    }
    config
}

/// Returns the keys that only this family has.
fn own_keys(shape: &Shape) -> Value {
    let types: Vec<&str> = (0..shape.layers).map(|layer| layer_type(shape, layer)).collect();
    let (width, epsilon) = (shape.head_width, shape.epsilon);
    match shape.family {
        Family::Llama => json!({
            "head_dim": width, "hidden_act": "silu", "rms_norm_eps": epsilon,
            "attention_bias": shape.biases.inward, "mlp_bias": shape.biases.feed_forward, "attention_dropout": 0.0,
            "pretraining_tp": 1,
        }),
        Family::Qwen2 => json!({
            "head_dim": width, "hidden_act": "silu", "rms_norm_eps": epsilon, "attention_dropout": 0.0,
            "use_sliding_window": false, "sliding_window": null, "max_window_layers": shape.layers,
        }),
        Family::Qwen3 => json!({
            "head_dim": width, "hidden_act": "silu", "rms_norm_eps": epsilon, "attention_bias": false,
            "attention_dropout": 0.0, "use_sliding_window": false, "sliding_window": null,
            "max_window_layers": shape.layers,
        }),
        Family::Lfm2 => json!({
            "norm_eps": epsilon, "conv_L_cache": shape.convolution, "conv_bias": false,
            "block_ff_dim": shape.intermediate, "block_auto_adjust_ff_dim": false, "block_multiple_of": 256,
            "block_ffn_dim_multiplier": 1.0, "tie_embedding": shape.tied, "layer_types": types,
            "full_attn_idxs": (0..shape.layers).filter(|layer| shape.attends[*layer]).collect::<Vec<_>>(),
        }),
        Family::Gemma3 => json!({
            "head_dim": width, "hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": epsilon,
            "attention_bias": false, "attention_dropout": 0.0, "query_pre_attn_scalar": shape.query_scalar(),
            "sliding_window": shape.window, "sliding_window_pattern": 6, "layer_types": types,
            "rope_local_base_freq": shape.window_theta, "attn_logit_softcapping": null,
            "final_logit_softcapping": shape.logit_cap,
        }),
    }
}
