//! Published models, as their folders describe them, against what transformers makes of them: the number of parameters,
//! the layers with full attention, and the frequencies of rotary embeddings (`tests/fixtures/published`).

use serde_json::{Value, json};

use super::{Config, LayerKind};
use crate::model::parameter::Part;
use crate::model::parameters_of;

fn published() -> Vec<Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/published/configs.json");
    serde_json::from_slice(&fs_err::read(file).unwrap()).unwrap()
}

fn config(keys: &Value) -> Result<Config, String> {
    Config::from_keys(keys.as_object().unwrap().clone())
}

#[test]
fn published_models_have_the_shape_that_transformers_gives_them() {
    let models = published();
    assert!(models.len() >= 30);
    for model in models {
        let config = config(&model["config"]).unwrap_or_else(|error| panic!("{}: {error}", model["name"]));
        let count: usize = parameters_of(&config).iter().flat_map(|outline| &outline.parts).map(Part::count).sum();
        assert_eq!(json!(count), model["parameters"], "{}", model["name"]);
        let full = |kind: &&LayerKind| matches!(kind, LayerKind::Attention { window: None, .. });
        assert_eq!(json!(config.layers.iter().filter(full).count()), model["full_layers"], "{}", model["name"]);
        for (ours, theirs) in config.rotary.iter().zip(model["rotary"].as_array().unwrap()) {
            let close = |a: f64, b: &Value| (a / b.as_f64().unwrap() - 1.0).abs() < 2e-6;
            let frequencies: Vec<f32> = ours.frequencies(config.head_dim).into_iter().step_by(7).collect();
            let expected = theirs["frequencies"].as_array().unwrap();
            assert_eq!(frequencies.len(), expected.len(), "{}", model["name"]);
            for (ours, theirs) in frequencies.iter().zip(expected) {
                assert!(close(f64::from(*ours), theirs), "{}: {ours} {theirs}", model["name"]);
            }
            assert!(close(f64::from(ours.factor()), &theirs["factor"]), "{}", model["name"]);
        }
        let written = config_of_written(&config);
        assert_eq!(written, config, "{}: what is written is read back", model["name"]);
    }
}

fn config_of_written(config: &Config) -> Config {
    self::config(&config.to_json(0.02, 0, None)).unwrap()
}

/// What is published beside these and not of their kind is refused in words that say what it is.
#[test]
fn what_belongs_to_no_family_is_refused_by_name() {
    let base = published().into_iter().find(|model| model["name"] == "Llama-3.2-1B").unwrap()["config"].clone();
    for (key, value, part) in [
        ("model_type", json!("gemma3"), "`gemma3_text`"),
        ("model_type", json!("smollm3"), "`model_type` is smollm3"),
        ("model_type", json!("qwen3_moe"), "`model_type` is qwen3_moe"),
        ("model_type", json!("lfm2_moe"), "`model_type` is lfm2_moe"),
        ("rope_scaling", json!({"type": "dynamic", "factor": 2.0}), "dynamic"),
        ("rope_scaling", json!({"rope_type": "longrope", "factor": 2.0}), "longrope"),
        ("hidden_act", json!("gelu"), "gelu"),
        ("quantization_config", json!({"quant_method": "awq"}), "quantization_config"),
    ] {
        let mut keys = base.clone();
        keys[key] = value;
        let error = config(&keys).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}
