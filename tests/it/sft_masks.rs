//! Which tokens of a chat are learned, with the real tokenizers and templates of Qwen3, LFM2 and SmolLM2: as Axolotl 0.21 learns
//! them (`tests/fixtures/training/masks.py` has the rule), and not as 0.18 did.
//!
//! See [`crate::real`] for what happens where the files are missing.

use std::ops::Range;
use std::path::Path;

use luthflow::data::{Chat, Row, Tokenizer};
use luthflow::spec::params::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::repository;
use crate::real_tokens::folders;
use crate::tiny::{data_folder, run};

/// Where the masks are others than Axolotl's, and what is learned here. Each time the answer is learned as it must be given
/// at what the prompt ends with (`<|im_start|>assistant\n`).
const OTHERWISE: [(&str, &str, &[&str]); 9] = [
    // Axolotl's placeholder gets an empty thought from the template, so `<think>\n` is in both texts and is not learned. Who
    // is to think must learn to begin.
    ("qwen3", "thought", &["<think>\nfacile\n</think>\n\n4<|im_end|>"]),
    ("qwen3", "reasoning", &["4<|im_end|>", "<think>\naussi\n</think>\n\n6<|im_end|>"]),
    // A token that reaches from the header into the answer cannot follow a prompt that ends with the header.
    ("lfm2", "spaces", &["  espaces  <|im_end|>", "lignes<|im_end|>"]),
    ("smollm2", "spaces", &[" espaces  <|im_end|>", "\nlignes<|im_end|>"]),
    // An answer without words is one all the same: it ends at once.
    ("qwen3", "says_nothing", &["<|im_end|>", "Oui.<|im_end|>"]),
    ("lfm2", "says_nothing", &["<|im_end|>", "Oui.<|im_end|>"]),
    ("smollm2", "says_nothing", &["<|im_end|>", "Oui.<|im_end|>"]),
    // The message that calls a tool without words, which these templates leave out but for its header and its end.
    ("lfm2", "tools", &["<|im_end|>", "Il fait 12°C.<|im_end|>"]),
    ("smollm2", "tools", &["<|im_end|>", "Il fait 12°C.<|im_end|>"]),
];

fn golden() -> Value {
    let file = repository().join("tests/fixtures/training/masks.json");
    serde_json::from_slice(&fs_err::read(file).unwrap()).unwrap()
}

fn row(case: &Value) -> String {
    let row = json!({"messages": case["messages"], "tools": case["tools"], "chat_template_kwargs": case["variables"]});
    row.to_string() + "\n"
}

fn chat(case: &Value) -> Chat {
    let Row::Chat(chat) = Row::from_json(&row(case)).unwrap() else { panic!("no chat") };
    chat
}

fn runs(marks: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for place in (0..marks.len()).filter(|place| marks[*place]) {
        match runs.last_mut() {
            Some(run) if run.end == place => run.end += 1,
            _ => runs.push(place..place + 1),
        }
    }
    runs
}

fn ranges(golden: &Value) -> Vec<Range<usize>> {
    let pairs: Vec<(usize, usize)> = serde_json::from_value(golden.clone()).unwrap();
    pairs.into_iter().map(|(start, end)| start..end).collect()
}

fn otherwise(tokenizer: &str, case: &str) -> Option<&'static [&'static str]> {
    OTHERWISE.iter().find(|(a, b, _)| (*a, *b) == (tokenizer, case)).map(|(_, _, texts)| *texts)
}

#[test]
fn masks_are_those_of_axolotl() {
    let golden = golden();
    for (name, folder) in folders() {
        let tokenizer = Tokenizer::load(&folder).unwrap();
        let (mut equal, end) = (0, tokenizer.turn_end().unwrap());
        for (case_name, case) in golden["cases"].as_object().unwrap() {
            let expected = &golden[name][case_name];
            let tokens = tokenizer.encode_chat(&chat(case)).unwrap();
            let found = runs(&tokens.assistant);
            assert_eq!(tokens.ids.len() as u64, expected["tokens"], "{name}, {case_name}");
            for turn in &found {
                assert_eq!(tokens.ids[turn.end - 1], end, "{name}, {case_name}: a turn has no end that is learned");
            }
            let texts: Vec<String> =
                found.iter().map(|run| tokenizer.decode(&tokens.ids[run.clone()]).unwrap()).collect();
            if let Some(expected_texts) = otherwise(name, case_name) {
                assert_eq!(texts, expected_texts, "{name}, {case_name}");
                assert_ne!(found, ranges(&expected["turn"]), "{name}, {case_name} needs no exception");
            } else if case_name != "left_out" {
                // That some messages are left out is the training's business, below.
                assert_eq!(
                    found,
                    ranges(&expected["turn"]),
                    "{name}, {case_name}: {texts:?}, not {}",
                    expected["text"]
                );
                equal += 1;
            }
        }
        assert!(equal >= 12, "{name}: {equal}");
    }
}

/// Axolotl 0.18 learned the user's header and not how an answer begins, in every turn of Qwen3's but the last.
#[test]
fn masks_are_not_shifted() {
    let golden = golden();
    for (name, folder) in folders() {
        let case = &golden["cases"]["two_turns"];
        let expected = &golden[name]["two_turns"];
        let found = runs(&Tokenizer::load(&folder).unwrap().encode_chat(&chat(case)).unwrap().assistant);
        assert_eq!(found, ranges(&expected["turn"]), "{name}");
        assert_eq!(found == ranges(&expected["shifted"]), name != "qwen3", "{name}");
    }
}

/// Returns the tokens and the trained tokens of each chat, from the log of a training in which each is a step.
fn trained(model: &Path, rows: &str, settings: &Value) -> Vec<(u64, u64)> {
    let (data, out) = (data_folder(rows), TempDir::new().unwrap());
    let mut fields = json!({"model": "m", "data": ["d"], "packing": "none", "epochs": 1.0, "sequence_len": 512});
    fields.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    run(Kind::Sft, fields, &[("model", model), ("data[0]", data.path())], out.path(), 2).unwrap();
    let log = fs_err::read_to_string(out.path().join("log/loss.jsonl")).unwrap();
    let figures = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["tokens"].as_u64().unwrap(), line["trained_tokens"].as_u64().unwrap())
    };
    let mut found: Vec<(u64, u64)> = log.lines().map(figures).collect();
    found.sort_unstable();
    found
}

/// `train_on: last`, `train_on_eos: none` and messages that are left out, through trainings of a model of one thin layer.
#[test]
fn a_training_learns_as_many_tokens_as_axolotl_would() {
    let golden = golden();
    let shape = json!({"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": 8});
    for (name, folder) in folders() {
        let model = TempDir::new().unwrap();
        let init = json!({"tokenizer": "t", "config": shape});
        run(Kind::Init, init, &[("tokenizer", &folder)], model.path(), 2).unwrap();
        for file in ["tokenizer_config.json", "chat_template.jinja"] {
            let (from, to) = (folder.join(file), model.path().join(file));
            if from.is_file() {
                fs_err::write(to, fs_err::read(from).unwrap()).unwrap();
            } else if to.is_file() {
                fs_err::remove_file(to).unwrap();
            }
        }
        let cases: Vec<(&String, &Value)> =
            golden["cases"].as_object().unwrap().iter().filter(|(case, _)| otherwise(name, case).is_none()).collect();
        for (settings, column) in
            [(json!({}), "turn"), (json!({"train_on": "last"}), "last"), (json!({"train_on_eos": "none"}), "no_eos")]
        {
            let lines: String = cases.iter().map(|(_, case)| row(case)).collect();
            let expected = cases.iter().map(|(case, _)| {
                let expected = &golden[name][case.as_str()];
                let count = ranges(&expected[column]).into_iter().map(|run| run.len() as u64).sum();
                (expected["tokens"].as_u64().unwrap(), count)
            });
            let mut expected: Vec<(u64, u64)> = expected.collect();
            expected.sort_unstable();
            assert_eq!(trained(model.path(), &lines, &settings), expected, "{name}, {settings}");
        }
    }
}
