//! Models of a few thousand weights in the shape of Luth's two families: their real way of cutting text, their added tokens, their
//! templates, and a vocabulary of some hundred entries that is trained on the spot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use luthflow::spec::params::Kind;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::op::repository;
use crate::tiny;

/// What `tests/fixtures/tokenizer/shapes/make.py` took from the real tokenizers.
fn shape(family: &str) -> Value {
    let all = fs_err::read(repository().join("tests/fixtures/tokenizer/shapes/shapes.json")).unwrap();
    serde_json::from_slice::<Value>(&all).unwrap()[family].take()
}

/// The added tokens as `tokenizer.json` has them, without their numbers.
fn added_tokens(shape: &Value) -> Vec<Value> {
    let token = |token: &Value| json!({"content": token[0], "single_word": false, "lstrip": false, "rstrip": false, "normalized": token[2], "special": token[1]});
    shape["added_tokens"].as_array().unwrap().iter().map(token).collect()
}

/// Gives a trained tokenizer the shape of a family. Merges across what the family cuts apart are never used.
fn shaped(trained: &Value, family: &str) -> (Value, Value) {
    let mut shape = shape(family);
    let special = trained["added_tokens"].as_array().unwrap().iter();
    let special: BTreeSet<&str> = special.map(|token| token["content"].as_str().unwrap()).collect();
    let vocab = trained["model"]["vocab"].as_object().unwrap();
    let mut learned: Vec<(u64, &String)> = vocab.iter().map(|(token, id)| (id.as_u64().unwrap(), token)).collect();
    learned.sort_unstable();
    let learned = learned.into_iter().map(|(_, token)| token.clone()).filter(|token| !special.contains(&**token));
    let learned: Vec<String> = learned.collect();
    let in_front = shape["added_in_front"].as_u64().unwrap() as usize;
    let mut added = added_tokens(&shape);
    let names: Vec<String> = added.iter().map(|token| token["content"].as_str().unwrap().into()).collect();
    let all = names[..in_front].iter().chain(&learned).chain(&names[in_front..]);
    let ids: BTreeMap<&String, usize> = all.clone().zip(0..).collect();
    for (name, token) in names.iter().zip(&mut added) {
        token["id"] = json!(ids[name]);
    }
    let in_vocabulary = |name: &&String| shape["added_in_vocabulary"] == true || !names.contains(name);
    let vocab: Map<String, Value> = all.filter(in_vocabulary).map(|name| (name.clone(), json!(ids[name]))).collect();
    let mut model = shape["model"].take();
    model["vocab"] = Value::Object(vocab);
    model["merges"] = trained["model"]["merges"].clone();
    let whole = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": shape["normalizer"],
        "pre_tokenizer": shape["pre_tokenizer"], "post_processor": shape["post_processor"], "decoder": shape["decoder"], "model": model,
    });
    (whole, shape["config"].take())
}

fn template(family: &str) -> String {
    fs_err::read_to_string(repository().join(format!("tests/fixtures/templates/{family}.jinja"))).unwrap()
}

/// Returns the files of a random model of the family, made for a tokenizer that was trained.
pub(crate) fn files(trained: &Path, family: &str) -> Vec<(String, Vec<u8>)> {
    let trained: Value = serde_json::from_slice(&fs_err::read(trained.join("tokenizer.json")).unwrap()).unwrap();
    let (whole, mut config) = shaped(&trained, family);
    config["chat_template"] = template(family).into();
    let (tokenizer, model) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs_err::write(tokenizer.path().join("tokenizer.json"), whole.to_string()).unwrap();
    fs_err::write(tokenizer.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    let mut sizes = json!({
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 16, "max_position_embeddings": 4096,
    });
    if family == "lfm2" {
        sizes["layer_types"] = json!(["conv", "full_attention"]);
        sizes["conv_L_cache"] = json!(3);
    }
    let fields = json!({"architecture": family, "tokenizer": "t", "config": sizes});
    tiny::run(Kind::Init, fields, &[("tokenizer", tokenizer.path())], model.path(), 1).unwrap();
    // The node writes a template of its own.
    for (name, content) in [("tokenizer.json", whole.to_string()), ("tokenizer_config.json", config.to_string())] {
        fs_err::write(model.path().join(name), content).unwrap();
    }
    let mut files = BTreeMap::new();
    for entry in fs_err::read_dir(model.path()).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), fs_err::read(&path).unwrap());
    }
    files.into_iter().collect()
}

/// The smoke models have the shape of the real ones, where these are at hand (`tests/models/fetch.sh`).
#[test]
fn smoke_tokenizers_are_the_real_ones_but_for_their_vocabulary() {
    for family in ["qwen3", "lfm2"] {
        let folder = repository().join("target/test-models").join(family);
        let Ok(real) = fs_err::read(folder.join("tokenizer.json")) else {
            eprintln!("skipped: tests/models/fetch.sh fetches the tokenizer of {family}");
            continue;
        };
        let real: Value = serde_json::from_slice(&real).unwrap();
        let shape = shape(family);
        for part in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] {
            assert_eq!(shape[part], real[part], "{family} {part}");
        }
        for (setting, value) in shape["model"].as_object().unwrap() {
            assert_eq!(*value, real["model"][setting], "{family} {setting}");
        }
        let without_id = |token: &Value| {
            let mut token = token.clone();
            token.as_object_mut().unwrap().shift_remove("id");
            token
        };
        let added: Vec<Value> = real["added_tokens"].as_array().unwrap().iter().map(without_id).collect();
        assert_eq!(added_tokens(&shape), added, "{family}");
        let ids = real["added_tokens"].as_array().unwrap().iter().map(|token| token["id"].as_u64().unwrap());
        assert_eq!(shape["added_in_front"], json!(ids.filter(|id| *id < 1000).count()), "{family}");
        let first = added[0]["content"].as_str().unwrap();
        assert_eq!(shape["added_in_vocabulary"], json!(real["model"]["vocab"].get(first).is_some()), "{family}");
        let config: Value =
            serde_json::from_slice(&fs_err::read(folder.join("tokenizer_config.json")).unwrap()).unwrap();
        for (setting, value) in shape["config"].as_object().unwrap() {
            assert_eq!(*value, config[setting], "{family} {setting}");
        }
        if family == "lfm2" {
            assert_eq!(template(family), fs_err::read_to_string(folder.join("chat_template.jinja")).unwrap());
        }
    }
}
