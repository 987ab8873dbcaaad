//! The real tokenizers and chat templates of Qwen3, LFM2 and SmolLM2, held against what `tokenizers` and transformers make of
//! the same texts and chats (`tests/fixtures/real`, `golden.py` beside them).
//!
//! `tests/models/fetch.sh` fetches the files; see [`crate::real`] for what happens where they are missing.

use std::path::PathBuf;

use fs_err as fs;
use luthflow::data::Tokenizer;
use serde_json::{Value, json};

use crate::op::repository;
use crate::real::{fetched, model};
use crate::templates;

fn golden(name: &str) -> Value {
    serde_json::from_slice(&fs::read(repository().join("tests/fixtures/real").join(name)).unwrap()).unwrap()
}

/// The folders that are there, by name.
pub(crate) fn folders() -> Vec<(&'static str, PathBuf)> {
    let smollm2 = model().map(|folder| ("smollm2", folder.to_owned()));
    let fetched = [("qwen3", "qwen3/tokenizer.json"), ("lfm2", "lfm2/tokenizer.json")]
        .into_iter()
        .filter_map(|(name, file)| Some((name, fetched(file)?.parent()?.to_owned())));
    fetched.chain(smollm2).collect()
}

#[test]
fn texts_become_the_ids_that_hugging_face_gives() {
    let golden = golden("tokens.json");
    let texts: Vec<&str> = golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert!(texts.len() >= 40);
    for (name, folder) in folders() {
        let tokenizer = Tokenizer::load(&folder).unwrap();
        for (text, expected) in texts.iter().zip(golden[name].as_array().unwrap()) {
            let prompt = tokenizer.encode_prompt(text).unwrap();
            let ids = tokenizer.encode_with_control(text).unwrap();
            // transformers puts a second beginning before a text that has one; here a text begins once.
            let twice = name == "lfm2" && text.starts_with("<|startoftext|>");
            let theirs: Vec<u32> = serde_json::from_value(expected["prompt"].clone()).unwrap();
            assert_eq!(prompt, theirs[usize::from(twice)..], "{name}: {text:?}");
            let literal = if expected["literal"].is_null() { json!(ids) } else { expected["literal"].clone() };
            assert_eq!(json!(tokenizer.encode(text).unwrap()), literal, "{name}: {text:?} as text alone");
            assert_eq!(tokenizer.decode(&ids).unwrap(), expected["decoded"], "{name}: {text:?}");
        }
    }
}

#[test]
fn chats_become_the_text_and_the_ids_that_transformers_gives() {
    let golden = golden("chats.json");
    let cases: Value = templates::read(&templates::fixtures().join("chats.json"));
    for (name, folder) in folders() {
        let tokenizer = Tokenizer::load(&folder).unwrap();
        let mut compared = 0;
        for case in cases.as_array().unwrap() {
            let (case_name, (chat, ending)) = (case["name"].as_str().unwrap(), templates::chat(case));
            let expected = &golden[name][case_name];
            let rendered = tokenizer.render_chat(&chat, ending);
            if expected.get("error").is_some() {
                assert!(rendered.is_err(), "{name}, {case_name}: {rendered:?} instead of {expected}");
                continue;
            }
            let text = rendered.unwrap_or_else(|error| panic!("{name}, {case_name}: {error}")).text;
            assert_eq!(text, expected["text"], "{name}, {case_name}");
            assert_eq!(json!(tokenizer.chat_ids(&chat, ending).unwrap()), expected["ids"], "{name}, {case_name}");
            compared += 1;
        }
        assert!(compared >= 14, "{name}: {compared}");
    }
}
