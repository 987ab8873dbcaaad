//! One reader for each family, with the defaults that transformers 5.23 has for it.

use serde_json::{Value, json};

use super::keys::Keys;
use super::rotary::{self, Rotary};
use super::{Activation, Architecture, Config, LayerKind, ShortConvolution, check};
use crate::tensor::Dtype;

/// Reads a configuration of any family.
pub(super) fn read(keys: &Keys) -> Result<Config, String> {
    let model_type = keys.text_if("model_type")?.unwrap_or("nothing");
    let known = Architecture::ALL.map(Architecture::model_type);
    if model_type == "gemma3" {
        return Err(
            "`model_type` is gemma3, which reads images too; a folder of its text part, `gemma3_text`, can be run"
                .into(),
        );
    }
    let Some(place) = known.iter().position(|name| *name == model_type) else {
        return Err(format!("`model_type` is {model_type}; {} can be run", known.join(", ")));
    };
    // Weights in fewer bits come with tensors of their own; nothing here would know what to do with them.
    keys.only("quantization_config", &Value::Null)?;
    keys.whole_rotation()?;
    match Architecture::ALL[place] {
        Architecture::Qwen3 => qwen3(keys),
        Architecture::Qwen2 => qwen2(keys),
        Architecture::Llama => llama(keys),
        Architecture::Lfm2 => lfm2(keys),
        Architecture::Gemma3 => gemma3(keys),
    }
}

/// What a family takes for keys that are missing.
struct Defaults {
    key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    positions: usize,
    epsilon: (&'static str, f64),
    tied: bool,
}

const QWEN: Defaults = Defaults {
    key_value_heads: Some(32),
    head_dim: None,
    positions: 32_768,
    epsilon: ("rms_norm_eps", 1e-6),
    tied: false,
};

/// Reads what all families have, for a plain decoder: no biases, no norms of heads, layers still to come.
fn plain(keys: &Keys, architecture: Architecture, defaults: &Defaults) -> Result<Config, String> {
    let (hidden_size, num_attention_heads) = (keys.size("hidden_size")?, keys.size("num_attention_heads")?);
    // A key that is null means as many as there are query heads; one that is missing, the family's number.
    let shared = keys.0.get("num_key_value_heads").is_some_and(Value::is_null);
    let key_value_heads = defaults.key_value_heads.filter(|_| !shared).unwrap_or(num_attention_heads);
    let divided = hidden_size.checked_div(num_attention_heads).unwrap_or(0);
    let head_dim = keys.size_or("head_dim", defaults.head_dim.unwrap_or(divided))?;
    let config = Config {
        architecture,
        vocab_size: keys.size("vocab_size")?,
        hidden_size,
        intermediate_size: 0,
        num_hidden_layers: keys.size("num_hidden_layers")?,
        num_attention_heads,
        num_key_value_heads: keys.size_or("num_key_value_heads", key_value_heads)?,
        head_dim,
        max_position_embeddings: keys.size_or("max_position_embeddings", defaults.positions)?,
        norm_eps: keys.number_or(defaults.epsilon.0, defaults.epsilon.1)?,
        tie_word_embeddings: keys.flag_or("tie_word_embeddings", defaults.tied)?,
        dtype: keys.dtype()?.unwrap_or(Dtype::F32),
        attention_bias: false,
        output_bias: false,
        mlp_bias: false,
        head_norm: false,
        norm_offset: false,
        sandwich_norms: false,
        activation: keys.activation("hidden_act", Activation::Silu)?,
        embedding_scale: None,
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        layers: Vec::new(),
        rotary: Vec::new(),
        convolution: None,
        early_exit: None,
        whole: None,
    };
    check::layer_count(config.num_hidden_layers)?;
    Ok(config)
}

fn qwen3(keys: &Keys) -> Result<Config, String> {
    let mut config = plain(keys, Architecture::Qwen3, &Defaults { head_dim: Some(128), ..QWEN })?;
    config.attention_bias = keys.flag_or("attention_bias", false)?;
    config.output_bias = config.attention_bias;
    config.head_norm = true;
    qwen_layers(keys, &mut config)?;
    Ok(config)
}

fn qwen2(keys: &Keys) -> Result<Config, String> {
    let mut config = plain(keys, Architecture::Qwen2, &QWEN)?;
    config.attention_bias = true;
    qwen_layers(keys, &mut config)?;
    Ok(config)
}

/// Reads which layers slide, and what is the same in both Qwens.
fn qwen_layers(keys: &Keys, config: &mut Config) -> Result<(), String> {
    config.intermediate_size = keys.size("intermediate_size")?;
    config.rotary = vec![rotary::flat(keys, config.max_position_embeddings, 10_000.0)?];
    let sliding = keys.flag_or("use_sliding_window", false)?;
    let window = if sliding { Some(keys.size_or("sliding_window", 4096)?) } else { None };
    let first = keys.size_or("max_window_layers", 28)?;
    let slides = |index: usize| window.is_some() && index >= first;
    config.layers = layers(
        keys,
        config.num_hidden_layers,
        |index| if slides(index) { SLIDING } else { FULL },
        |kind| match kind {
            FULL => Ok(LayerKind::Attention { window: None, rotary: 0 }),
            SLIDING if window.is_some() => Ok(LayerKind::Attention { window, rotary: 0 }),
            SLIDING => {
                Err("`layer_types` has layers with a sliding window, and `use_sliding_window` is not true".into())
            }
            other => Err(unknown_layer(other)),
        },
    )?;
    Ok(())
}

fn llama(keys: &Keys) -> Result<Config, String> {
    let defaults = Defaults { key_value_heads: None, positions: 2048, ..QWEN };
    let mut config = plain(keys, Architecture::Llama, &defaults)?;
    config.intermediate_size = keys.size("intermediate_size")?;
    config.attention_bias = keys.flag_or("attention_bias", false)?;
    config.output_bias = config.attention_bias;
    config.mlp_bias = keys.flag_or("mlp_bias", false)?;
    config.rotary = vec![rotary::flat(keys, config.max_position_embeddings, 10_000.0)?];
    config.layers = layers(
        keys,
        config.num_hidden_layers,
        |_| FULL,
        |kind| match kind {
            FULL => Ok(LayerKind::Attention { window: None, rotary: 0 }),
            other => Err(unknown_layer(other)),
        },
    )?;
    Ok(config)
}

fn lfm2(keys: &Keys) -> Result<Config, String> {
    let defaults = Defaults {
        key_value_heads: Some(8),
        head_dim: None,
        positions: 128_000,
        epsilon: ("norm_eps", 1e-5),
        tied: true,
    };
    let mut config = plain(keys, Architecture::Lfm2, &defaults)?;
    config.tie_word_embeddings = keys.flag_or("tie_embedding", config.tie_word_embeddings)?;
    // The feed-forward layer has silu and no key for it.
    config.activation = Activation::Silu;
    config.intermediate_size = lfm2_inner(keys)?;
    config.head_norm = true;
    config.rotary = vec![rotary::flat(keys, config.max_position_embeddings, 1_000_000.0)?];
    let bias = keys.flag_or("conv_bias", false)?;
    config.convolution = Some(ShortConvolution { width: keys.size_or("conv_L_cache", 3)?, bias });
    let attending = keys.sizes_if("full_attn_idxs")?;
    let attends = |index: usize| attending.as_ref().is_none_or(|list| list.contains(&index));
    config.layers = layers(
        keys,
        config.num_hidden_layers,
        |index| if attends(index) { FULL } else { CONV },
        |kind| match kind {
            FULL => Ok(LayerKind::Attention { window: None, rotary: 0 }),
            CONV => Ok(LayerKind::Convolution),
            other => Err(unknown_layer(other)),
        },
    )?;
    Ok(config)
}

/// The width of LFM2's feed-forward layer: two thirds of what the file says, times a factor, rounded up; unless the file
/// says that it means what it says.
fn lfm2_inner(keys: &Keys) -> Result<usize, String> {
    let size = match keys.size_if("block_ff_dim")? {
        Some(size) => size,
        None => keys.size("intermediate_size")?,
    };
    check::size("intermediate_size", size)?;
    if !keys.flag_or("block_auto_adjust_ff_dim", true)? {
        return Ok(size);
    }
    let inner = (2.0 * size as f64 / 3.0) as usize;
    // A factor that is null means neither a factor nor rounding.
    if keys.0.get("block_ffn_dim_multiplier").is_some_and(Value::is_null) {
        return Ok(inner);
    }
    let inner = (keys.number_or("block_ffn_dim_multiplier", 1.0)? * inner as f64) as usize;
    let multiple = keys.size_or("block_multiple_of", 256)?;
    check::size("block_multiple_of", multiple)?;
    check::size("block_ffn_dim_multiplier", inner)?;
    Ok(inner.next_multiple_of(multiple))
}

fn gemma3(keys: &Keys) -> Result<Config, String> {
    let defaults = Defaults {
        key_value_heads: Some(4),
        head_dim: Some(256),
        positions: 131_072,
        epsilon: ("rms_norm_eps", 1e-6),
        tied: true,
    };
    let mut config = plain(keys, Architecture::Gemma3, &defaults)?;
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        keys.only(key, &Value::Null)?;
    }
    keys.only("use_bidirectional_attention", &json!(false))?;
    config.intermediate_size = keys.size("intermediate_size")?;
    config.attention_bias = keys.flag_or("attention_bias", false)?;
    config.output_bias = config.attention_bias;
    config.activation = keys.activation("hidden_activation", Activation::GeluTanh)?;
    (config.head_norm, config.norm_offset, config.sandwich_norms) = (true, true, true);
    config.embedding_scale = Some((config.hidden_size as f64).sqrt() as f32);
    let scalar = keys.number_or("query_pre_attn_scalar", 256.0)?;
    if !(scalar.is_finite() && scalar > 0.0) {
        return Err(format!("`query_pre_attn_scalar` is {scalar}"));
    }
    config.attention_scale = scalar.powf(-0.5) as f32;
    config.rotary = gemma3_rotary(keys, config.max_position_embeddings)?;
    let window = Some(keys.size_or("sliding_window", 4096)?);
    let pattern = match keys.size_if("sliding_window_pattern")? {
        Some(pattern) => pattern,
        None => keys.size_or("_sliding_window_pattern", 6)?,
    };
    check::size("sliding_window_pattern", pattern)?;
    let usual = |index: usize| if (index + 1).is_multiple_of(pattern) { FULL } else { SLIDING };
    config.layers = layers(keys, config.num_hidden_layers, usual, |kind| match kind {
        FULL => Ok(LayerKind::Attention { window: None, rotary: 0 }),
        SLIDING => Ok(LayerKind::Attention { window, rotary: 1 }),
        other => Err(unknown_layer(other)),
    })?;
    Ok(config)
}

/// Reads the rotary embeddings of full and of sliding layers, in this order.
fn gemma3_rotary(keys: &Keys, positions: usize) -> Result<Vec<Rotary>, String> {
    let nested = keys.object_if("rope_parameters")?.unwrap_or_default();
    if let Some(other) = nested.0.keys().find(|key| ![FULL, SLIDING].contains(&key.as_str())) {
        return Err(format!("`rope_parameters` has `{other}` where it should have one entry for each kind of layer"));
    }
    let mut full = nested.object_if(FULL)?.unwrap_or_default();
    full.0.extend(keys.object_if("rope_scaling")?.unwrap_or_default().0);
    let sliding = nested.object_if(SLIDING)?.unwrap_or_default();
    let global = keys.number_or("rope_theta", 1_000_000.0)?;
    let local = keys.number_or("rope_local_base_freq", 10_000.0)?;
    Ok(vec![rotary::read(&full, positions, global)?, rotary::read(&sliding, positions, local)?])
}

const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";
const CONV: &str = "conv";

/// Returns the kind of each layer, from `layer_types` or, without it, what is usual.
fn layers(
    keys: &Keys,
    count: usize,
    usual: impl Fn(usize) -> &'static str,
    kind: impl Fn(&str) -> Result<LayerKind, String>,
) -> Result<Vec<LayerKind>, String> {
    match keys.texts_if("layer_types")? {
        Some(list) if list.len() != count => {
            Err(format!("`layer_types` has {} entries for {count} layers", list.len()))
        }
        Some(list) => list.into_iter().map(kind).collect(),
        None => (0..count).map(|index| kind(usual(index))).collect(),
    }
}

fn unknown_layer(kind: &str) -> String {
    format!("`layer_types` has {kind}, which this family does not have")
}
