//! Models of every family that luthflow writes itself: fresh ones, and ones that it loaded.

use std::path::Path;

use luthflow::model::{CausalLm, Packed, ParameterKind, Pass};
use luthflow::spec::params::{Kind, Op};
use luthflow::tensor::{Dtype, model_tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::architectures::{CASES, folder, model, random_batch};
use crate::tiny::{Numbers, fixture, run};

#[test]
fn a_saved_model_has_the_tensors_it_was_loaded_from() {
    for case in CASES {
        let dir = TempDir::new().unwrap();
        model(case).save_weights(dir.path()).unwrap();
        let (before, after) = (model_tensors(&folder(case)).unwrap(), model_tensors(dir.path()).unwrap());
        assert!(before.names().eq(after.names()), "{case}");
        for name in before.names() {
            let (before, after) = (before.get(name).unwrap(), after.get(name).unwrap());
            assert_eq!((before.dtype, before.shape), (after.dtype, after.shape), "{case}: {name}");
            assert!(before.bytes == after.bytes, "{case}: {name}");
        }
    }
}

/// Where `config.json` does not say how weights are stored, they stay as they were; where it does, it decides.
#[test]
fn the_number_format_is_that_of_the_configuration_or_of_the_weights() {
    for (said, expected) in [(None, Dtype::BF16), (Some("float32"), Dtype::F32)] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("config.json");
        let mut config: Value =
            serde_json::from_slice(&fs_err::read(folder("lfm2-old").join("config.json")).unwrap()).unwrap();
        config.as_object_mut().unwrap().remove("torch_dtype");
        if let Some(said) = said {
            config["dtype"] = said.into();
        }
        fs_err::write(&path, config.to_string()).unwrap();
        fs_err::copy(folder("lfm2-old").join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
        let model = CausalLm::load(dir.path()).unwrap();
        fs_err::remove_file(dir.path().join("model.safetensors")).unwrap();
        model.save_weights(dir.path()).unwrap();
        let tensors = model_tensors(dir.path()).unwrap();
        assert!(tensors.names().all(|name| tensors.get(name).unwrap().dtype == expected));
    }
}

/// Families with settings that not all of them have, and what `model_type` says.
fn fresh_shapes() -> [(&'static str, Value, &'static str); 7] {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    });
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16});
    [
        ("qwen3", json!({"attention_bias": true, "rope_scaling": yarn}), "qwen3"),
        (
            "qwen2",
            json!({"sliding_window": 4, "layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
            "qwen2",
        ),
        ("llama", json!({"mlp_bias": true, "rope_scaling": llama3, "tie_word_embeddings": false}), "llama"),
        ("lfm2", json!({"layer_types": ["conv", "full_attention", "conv"], "conv_L_cache": 4}), "lfm2"),
        ("lfm2", json!({"conv_bias": true, "layer_types": ["conv", "conv", "full_attention"], "head_dim": 6}), "lfm2"),
        ("gemma3", json!({"sliding_window": 5, "query_pre_attn_scalar": 9, "num_hidden_layers": 7}), "gemma3_text"),
        (
            "gemma3",
            json!({
                "sliding_window": 3, "rope_local_base_freq": 500.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
                "layer_types": ["sliding_attention", "full_attention", "full_attention"], "tie_word_embeddings": false,
            }),
            "gemma3_text",
        ),
    ]
}

/// Makes a model of a family.
fn make(architecture: &str, more: &Value, out: &Path) {
    let mut shape = json!({
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
    });
    shape.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let fields = json!({"tokenizer": "t", "architecture": architecture, "config": shape, "initializer_range": 0.2});
    run(Kind::Init, fields, &[("tokenizer", &fixture())], out, 2).unwrap();
}

#[test]
fn every_family_can_be_made() {
    for (architecture, more, model_type) in fresh_shapes() {
        let dir = TempDir::new().unwrap();
        make(architecture, &more, dir.path());
        let config: Value = serde_json::from_slice(&fs_err::read(dir.path().join("config.json")).unwrap()).unwrap();
        assert_eq!(config["model_type"], model_type);
        let mut model = CausalLm::load(dir.path()).unwrap();
        for parameter in model.parameters() {
            let same = |number: f32| parameter.value().iter().all(|x| x.to_bits() == number.to_bits());
            match parameter.kind() {
                ParameterKind::Norm => assert!(same(if architecture == "gemma3" { 0.0 } else { 1.0 })),
                ParameterKind::Bias => assert!(same(0.0)),
                ParameterKind::Matrix | ParameterKind::Table | ParameterKind::Convolution => assert!(!same(0.0)),
                ParameterKind::Magnitude => panic!("only adapters have magnitudes"),
            }
        }
        let (packed, trained) = random_batch(&[9, 20], 259, &mut Numbers(1));
        assert!(model.add_gradients(&packed, &trained, Pass::plain(1.0)).unwrap() > 0.0);
        model.check_gradients().unwrap();
    }
}

/// Fresh models, with norms and biases that are not ones and zeros, and what we make of them; and the fixtures as we save
/// them. Below `target/check-models`.
#[test]
#[ignore = "for tests/fixtures/models/check.py, which opens them with transformers"]
fn write_folders_for_check_py() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/check-models");
    let _ = fs_err::remove_dir_all(&all);
    let finish = |dir: &Path, model: &CausalLm| {
        model.save_weights(dir).unwrap();
        let ids: Vec<u32> = (3..40).collect();
        let logits = model.logits(&Packed { lengths: vec![ids.len()], ids: ids.clone() }).unwrap();
        let rows: Vec<&[f32]> = logits.chunks_exact(model.config().vocab_size).collect();
        fs_err::write(dir.join("logits.json"), json!({"ids": ids, "logits": rows}).to_string()).unwrap();
    };
    let mut numbers = Numbers(4);
    for (index, (architecture, more, _)) in fresh_shapes().into_iter().enumerate() {
        let dir = all.join(format!("{architecture}-{index}"));
        fs_err::create_dir_all(&dir).unwrap();
        make(architecture, &more, &dir);
        let model = CausalLm::load(&dir).unwrap();
        for parameter in model.parameters() {
            if matches!(parameter.kind(), ParameterKind::Norm | ParameterKind::Bias) {
                parameter.update(|value, _| value.iter_mut().for_each(|x| *x += 0.3 * numbers.next()));
            }
        }
        finish(&dir, &model);
    }
    // What is stored in bf16 has the embedding's scale in bf16 here, and not in a model that transformers widens to f32.
    for case in CASES.iter().filter(|case| !case.starts_with("gemma3") || **case == "gemma3-bias") {
        let dir = all.join(case);
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::copy(folder(case).join("config.json"), dir.join("config.json")).unwrap();
        finish(&dir, &model(case));
    }
}

#[test]
fn settings_of_another_family_are_refused() {
    let shape = json!({
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "conv_L_cache": 3, "mlp_bias": true,
    });
    let fields = json!({"tokenizer": "t", "architecture": "gemma3", "config": shape});
    let op = Op::from_fields(Kind::Init, fields).unwrap();
    let mistakes: Vec<String> = op.check().into_iter().map(|mistake| format!("{mistake:?}")).collect();
    assert!(
        mistakes.len() == 2 && mistakes[0].contains("mlp_bias") && mistakes[1].contains("conv_L_cache"),
        "{mistakes:?}"
    );
}
