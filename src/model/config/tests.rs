//! What the readers make of keys, spelled in every way that is in use.

use serde_json::{Value, json};

use super::*;

fn base() -> Value {
    json!({
        "model_type": "qwen3", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 12, "head_dim": 4,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rope_theta": 5000.0, "torch_dtype": "bfloat16",
    })
}

fn read(change: impl FnOnce(&mut Value)) -> Result<Config, String> {
    let mut value = base();
    change(&mut value);
    Config::from_keys(value.as_object().unwrap().clone())
}

#[expect(clippy::needless_pass_by_value, reason = "called with literals")]
fn family(model_type: &str, more: Value) -> Result<Config, String> {
    read(|value| {
        value["model_type"] = model_type.into();
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    })
}

#[test]
fn both_spellings_are_read() {
    let old = read(|_| {}).unwrap();
    assert_eq!((old.rotary[0].theta.to_bits(), old.dtype), (5000f64.to_bits(), Dtype::BF16));
    let new = read(|value| {
        value["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 7000.0});
        value["dtype"] = json!("float16");
    });
    assert_eq!(new.map(|c| (c.rotary[0].theta.to_bits(), c.dtype)), Ok((7000f64.to_bits(), Dtype::F16)));
}

#[test]
fn what_cannot_be_run_is_refused() {
    for (key, value, word) in [
        ("model_type", json!("mamba"), "qwen3, qwen2, llama, lfm2, gemma3_text"),
        ("rope_scaling", json!({"rope_type": "dynamic", "factor": 4.0}), "dynamic"),
        ("rope_scaling", json!({"rope_type": "linear"}), "`factor`"),
        ("rope_scaling", json!({"rope_type": "linear", "factor": 0.0}), "above zero"),
        ("rope_scaling", json!({"type": "yarn", "factor": "x"}), "not a number"),
        ("rope_scaling", json!({"rope_type": "default", "partial_rotary_factor": 0.5}), "partial_rotary_factor"),
        ("rope_parameters", json!({"full_attention": {"rope_type": "default"}}), "one for all"),
        ("rope_theta", json!(0.0), "above zero"),
        ("layer_types", json!(["full_attention", "sliding_attention"]), "use_sliding_window"),
        ("layer_types", json!(["full_attention"]), "1 entries for 2 layers"),
        ("layer_types", json!(["full_attention", "linear_attention"]), "linear_attention"),
        ("num_key_value_heads", json!(3), "divide"),
        ("head_dim", json!(5), "even"),
        ("hidden_size", json!(0), "hidden_size"),
        ("hidden_size", json!(-8), "hidden_size"),
        ("hidden_size", json!(8.0), "hidden_size"),
        ("vocab_size", json!(u64::MAX), "vocab_size"),
        ("num_hidden_layers", json!(1_000_000), "4096"),
        ("hidden_act", json!("gelu"), "hidden_act"),
        ("dtype", json!("int8"), "int8"),
        ("quantization_config", json!({"bits": 4}), "quantization_config"),
        ("rms_norm_eps", json!(-1e-6), "eps"),
        ("tie_word_embeddings", json!("yes"), "tie_word_embeddings"),
    ] {
        let error = read(|config| config[key] = value).unwrap_err();
        assert!(error.contains(word), "{key}: {error}");
    }
    for (more, word) in [
        (json!({"final_logit_softcapping": 30.0}), "final_logit_softcapping"),
        (json!({"use_bidirectional_attention": true}), "use_bidirectional_attention"),
        (json!({"rope_parameters": {"rope_theta": 1.0}}), "rope_theta"),
        (json!({"query_pre_attn_scalar": 0}), "query_pre_attn_scalar"),
        (json!({"sliding_window": 0}), "sliding_window"),
        (json!({"sliding_window_pattern": 0}), "sliding_window_pattern"),
    ] {
        let error = family("gemma3_text", more).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0});
    for (model_type, more) in [
        ("qwen3", json!({})),
        ("qwen3", json!({"attention_bias": true, "rope_scaling": yarn})),
        ("qwen3", json!({"use_sliding_window": true, "sliding_window": 5, "max_window_layers": 1})),
        ("qwen2", json!({"head_dim": 2})),
        ("qwen2", json!({"head_dim": 6, "tie_word_embeddings": true})),
        ("llama", json!({"attention_bias": true, "mlp_bias": true, "rope_scaling": llama3})),
        ("llama", json!({"rope_scaling": {"type": "linear", "factor": 2.5}})),
        ("lfm2", json!({"full_attn_idxs": [1], "conv_bias": true, "conv_L_cache": 4})),
        ("lfm2", json!({"layer_types": ["conv", "conv"], "block_auto_adjust_ff_dim": false})),
        ("gemma3_text", json!({"sliding_window": 3, "sliding_window_pattern": 2, "query_pre_attn_scalar": 10})),
        ("gemma3_text", json!({"layer_types": ["full_attention", "sliding_attention"], "rope_local_base_freq": 9.0})),
    ] {
        let config = family(model_type, more).unwrap();
        let written = config.to_json(0.02, 7, Some(9));
        assert_eq!(Config::from_keys(written.as_object().unwrap().clone()), Ok(config), "{model_type}");
    }
}

/// The widths that the published models have: facts/sft.md, checked against their numbers of parameters.
#[test]
fn lfm2_means_another_width_than_it_says() {
    for (said, meant) in [(6656, 4608), (10_240, 6912), (12_288, 8192)] {
        let config = family("lfm2", json!({"block_ff_dim": said, "full_attn_idxs": [0]})).unwrap();
        assert_eq!(config.intermediate_size, meant);
    }
    let multiplied = family("lfm2", json!({"block_ffn_dim_multiplier": 1.3, "block_multiple_of": 8})).unwrap();
    assert_eq!(multiplied.intermediate_size, 16);
    let neither = family("lfm2", json!({"intermediate_size": 100, "block_ffn_dim_multiplier": null})).unwrap();
    assert_eq!(neither.intermediate_size, 66);
}

#[test]
fn gemma_has_two_rotary_embeddings_in_both_spellings() {
    let old =
        json!({"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    let new = json!({
        "rope_theta": null,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    });
    let (old, new) = (family("gemma3_text", old).unwrap(), family("gemma3_text", new).unwrap());
    assert_eq!(old, new);
    assert_eq!(old.rotary[0].scaling, Scaling::Linear { factor: 8.0 });
    assert_eq!(old.rotary[1], Rotary { theta: 1e4, scaling: Scaling::None });
}
