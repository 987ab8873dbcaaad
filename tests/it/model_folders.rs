//! Model folders that nobody should trust: loading them ends soon, in a model or in an error that says what is wrong.
//! Nothing is allocated on the word of a file.

use std::path::Path;
use std::time::{Duration, Instant};

use luthflow::data::Tokenizer;
use luthflow::model::{CausalLm, Packed};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hostile_tokenizers::whole_folder;

const CASES: [&str; 5] = ["qwen3-bias-window", "qwen2-old", "llama-3-old", "lfm2-old", "gemma3-old"];

fn fixture(case: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(case)
}

fn read(case: &str, file: &str) -> Vec<u8> {
    fs_err::read(fixture(case).join(file)).unwrap()
}

fn config(case: &str) -> Value {
    serde_json::from_slice(&read(case, "config.json")).unwrap()
}

/// Loads a folder of these two files and asks it something; returns the error, if there was one.
fn load(config: &[u8], weights: &[u8]) -> Option<String> {
    let dir = TempDir::new().unwrap();
    fs_err::write(dir.path().join("config.json"), config).unwrap();
    fs_err::write(dir.path().join("model.safetensors"), weights).unwrap();
    load_folder(dir.path())
}

fn load_folder(dir: &Path) -> Option<String> {
    let began = Instant::now();
    let answer = CausalLm::load(dir).and_then(|model| {
        let logits = model.logits(&Packed { ids: vec![1, 2, 1], lengths: vec![3] })?;
        assert_eq!(logits.len(), 3 * model.config().vocab_size);
        Ok(())
    });
    // Generous, for a machine that does other things; what these tests are afraid of takes hours.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let error = answer.err().map(|error| error.to_string());
    if let Some(error) = &error {
        assert!(!error.is_empty() && error.len() < 2000, "{error}");
    }
    error
}

fn limits(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 500, ..ProptestConfig::default() }
}

/// What a key may be changed to.
fn values() -> Vec<Value> {
    let mut values: Vec<Value> = [
        json!(null),
        json!(true),
        json!(false),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([null]),
        json!([0]),
    ]
    .into();
    values.extend([0i64, 1, 2, 3, -1, 7, 16, 65_536, 1 << 24, (1 << 24) + 1, i64::MAX].map(Value::from));
    values.extend([0.5, -0.5, 1e-300, 1e300, 1e-45, 2.0].map(Value::from));
    values.extend(["linear", "yarn", "llama3", "gemma3_text", "lfm2", "float16", "gelu_new"].map(Value::from));
    values.push(json!({"rope_type": "yarn", "factor": 1e300, "original_max_position_embeddings": 1}));
    values.push(json!({"rope_type": "llama3", "factor": 1e-300, "low_freq_factor": 3, "high_freq_factor": 2}));
    values.push(json!({"rope_type": "linear", "factor": 1e-308, "rope_theta": 1e308}));
    values.push(json!({"full_attention": {"rope_type": "linear"}, "sliding_attention": null}));
    values.push(json!(vec!["conv"; 3]));
    values.push(json!(vec!["sliding_attention"; 4]));
    values
}

/// Keys that a file may lack and that change what it means.
const KEYS: [&str; 22] = [
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rope_local_base_freq",
    "partial_rotary_factor",
    "head_dim",
    "num_key_value_heads",
    "layer_types",
    "full_attn_idxs",
    "sliding_window",
    "sliding_window_pattern",
    "conv_L_cache",
    "conv_bias",
    "mlp_bias",
    "attention_bias",
    "block_ff_dim",
    "block_multiple_of",
    "block_ffn_dim_multiplier",
    "tie_embedding",
    "query_pre_attn_scalar",
    "max_window_layers",
    "use_sliding_window",
];

proptest! {
    #![proptest_config(limits(600))]

    #[test]
    fn any_configuration_is_read_to_an_end(
        case in select(CASES.to_vec()),
        changes in proptest::collection::vec((any::<bool>(), any::<Index>(), select(values())), 1..4),
    ) {
        let mut config = config(case);
        let keys = config.as_object_mut().unwrap();
        for (ours, index, value) in changes {
            let name = if ours { KEYS[index.index(KEYS.len())].to_owned() } else { keys.keys().nth(index.index(keys.len())).unwrap().clone() };
            keys.insert(name, value);
        }
        load(config.to_string().as_bytes(), &read(case, "model.safetensors"));
    }

    #[test]
    fn any_text_is_read_to_an_end(
        case in select(CASES.to_vec()),
        at in any::<Index>(),
        length in 0..8usize,
        with in select(vec!["", "{", "}", "[", "]", "\"", ",", ":", "-", "9", "1e999", "null", "\u{0}", "é", "\\u0000"]),
    ) {
        let mut text = read(case, "config.json");
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, with.bytes());
        load(&text, &read(case, "model.safetensors"));
    }

    #[test]
    fn any_header_is_read_to_an_end(
        case in select(CASES.to_vec()),
        edits in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut weights = read(case, "model.safetensors");
        let header = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
        for (at, byte) in edits {
            weights[at.index(header)] = byte;
        }
        load(&read(case, "config.json"), &weights);
    }

    #[test]
    fn a_torn_file_is_an_error(case in select(CASES.to_vec()), at in any::<Index>()) {
        let weights = read(case, "model.safetensors");
        let torn = &weights[..at.index(weights.len())];
        prop_assert!(load(&read(case, "config.json"), torn).is_some());
    }
}

/// Puts an object into a safetensors header.
fn with_header(weights: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&weights[8..8 + length]).unwrap();
    change(&mut header);
    let text = header.to_string();
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &weights[8 + length..]].concat()
}

#[test]
fn tensors_must_be_those_of_the_family() {
    for case in CASES {
        let (config, weights) = (read(case, "config.json"), read(case, "model.safetensors"));
        assert_eq!(load(&config, &weights), None, "{case}");
        let renamed = with_header(&weights, |header| {
            let header = header.as_object_mut().unwrap();
            let norm =
                header.keys().find(|name| name.ends_with("norm.weight") && !name.contains("layers")).unwrap().clone();
            let place = header.remove(&norm).unwrap();
            header.insert("model.surprise.weight".into(), place);
        });
        let error = load(&config, &renamed).unwrap();
        assert!(error.contains("`model.surprise.weight` has no place in this"), "{case}: {error}");
        let flat = with_header(&weights, |header| {
            let table = &mut header["model.embed_tokens.weight"]["shape"];
            let count = table[0].as_u64().unwrap() * table[1].as_u64().unwrap();
            *table = json!([count]);
        });
        let error = load(&config, &flat).unwrap();
        assert!(
            error.contains("`model.embed_tokens.weight` is of shape") && error.contains("config.json asks for"),
            "{error}"
        );
    }
}

#[test]
fn sizes_that_the_weights_do_not_have_cost_nothing() {
    for (key, value) in
        [("vocab_size", 1 << 24), ("hidden_size", 1 << 24), ("intermediate_size", 1 << 24), ("num_hidden_layers", 4096)]
    {
        for case in ["qwen3-bias-window", "llama-3-old"] {
            let mut config = config(case);
            config[key] = value.into();
            config.as_object_mut().unwrap().remove("layer_types");
            let error = load(config.to_string().as_bytes(), &read(case, "model.safetensors")).unwrap();
            assert!(error.contains("config.json asks for") || error.contains("is missing"), "{case}: {key}: {error}");
        }
    }
    let huge = format!("{{\"model_type\": \"{}\"}}", "x".repeat(2 << 20));
    assert!(load(huge.as_bytes(), &[]).unwrap().contains("more than the 1048576"));
    let deep = "[".repeat(500_000);
    assert!(load(deep.as_bytes(), &[]).is_some());
}

#[test]
fn an_index_stays_in_its_folder() {
    let dir = TempDir::new().unwrap();
    fs_err::create_dir(dir.path().join("model")).unwrap();
    let folder = dir.path().join("model");
    fs_err::copy(fixture("qwen2-old").join("config.json"), folder.join("config.json")).unwrap();
    fs_err::copy(fixture("qwen2-old").join("model.safetensors"), dir.path().join("outside.safetensors")).unwrap();
    for name in ["../outside.safetensors", "/etc/passwd", "..\\outside.safetensors", ".", ""] {
        let index = json!({"weight_map": {"model.norm.weight": name}});
        fs_err::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
        let error = load_folder(&folder).unwrap();
        assert!(error.contains("not a plain file name"), "{name}: {error}");
    }
    // The same file inside, under any name, is a model.
    fs_err::copy(fixture("qwen2-old").join("model.safetensors"), folder.join("part.safetensors")).unwrap();
    let file = luthflow::tensor::TensorFile::open(&folder.join("part.safetensors")).unwrap();
    let map: serde_json::Map<String, Value> =
        file.names().map(|name| (name.to_owned(), "part.safetensors".into())).collect();
    fs_err::write(folder.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    assert_eq!(load_folder(&folder), None);
}

#[test]
fn frequencies_that_old_checkpoints_store_are_passed_over() {
    let weights = read("llama-3-old", "model.safetensors");
    let mut more = with_header(&weights, |header| {
        let end =
            header.as_object().unwrap().values().filter_map(|tensor| tensor["data_offsets"][1].as_u64()).max().unwrap();
        let place = json!({"dtype": "F32", "shape": [6], "data_offsets": [end, end + 24]});
        header["model.layers.0.self_attn.rotary_emb.inv_freq"] = place;
    });
    more.extend_from_slice(&[0; 24]);
    assert_eq!(load(&read("llama-3-old", "config.json"), &more), None);
}

/// A pipe that nobody writes into is not waited for.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_file() {
    for (name, index) in [
        ("config.json", false),
        ("model.safetensors", false),
        ("part.safetensors", true),
        ("model.safetensors.index.json", false),
        ("tokenizer.json", false),
        ("tokenizer_config.json", false),
        ("chat_template.jinja", false),
    ] {
        let dir = whole_folder();
        let pipe = dir.path().join(name);
        let _ = fs_err::remove_file(&pipe);
        if index {
            fs_err::remove_file(dir.path().join("model.safetensors")).unwrap();
            let list = json!({"weight_map": {"model.norm.weight": name}});
            fs_err::write(dir.path().join("model.safetensors.index.json"), list.to_string()).unwrap();
        }
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (model, tokenizer) = (load_folder(dir.path()), Tokenizer::load(dir.path()).map(drop));
        let needed = ["config.json", "model.safetensors", "part.safetensors"].contains(&name);
        assert_eq!(model.is_some(), needed, "{name}: {model:?}");
        assert_eq!(tokenizer.is_err(), name == "tokenizer.json", "{name}: {tokenizer:?}");
    }
}
