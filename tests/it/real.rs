//! A real model, SmolLM2-135M-Instruct, brought in from its GGUF file by luthflow itself and held against the numbers of
//! transformers (`tests/fixtures/smollm2`).
//!
//! `tests/models/fetch.sh` fetches the file. Where it is missing the tests say that they were skipped, and fail when
//! `LUTHFLOW_REQUIRE_MODELS` is set.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use luthflow::data::Tokenizer;
use luthflow::gguf::GgufFile;
use luthflow::model::{CausalLm, Packed};
use luthflow::spec::params::Kind;
use serde_json::{Value, json};

use crate::generate::with_input;
use crate::gguf::import;
use crate::op::{Ran, inputs, repository, run};
use crate::world::World;

/// The sha256 of what luthflow makes of the file, as a script on top of the packages `gguf` and `numpy` makes it too.
const F32_SUM: &str = "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd";
const BF16_SUM: &str = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b";

/// Returns a file that `tests/models/fetch.sh` fetches; nothing where it is missing.
#[expect(clippy::print_stdout, reason = "whoever reads the output of the tests must see what was left out")]
pub(crate) fn fetched(name: &str) -> Option<PathBuf> {
    let named = std::env::var_os("LUTHFLOW_TEST_MODELS").map(PathBuf::from);
    let file = repository().join(named.unwrap_or_else(|| "target/test-models".into())).join(name);
    if file.is_file() {
        return Some(file);
    }
    let missing = format!("{} is missing; run tests/models/fetch.sh", file.display());
    assert!(std::env::var_os("LUTHFLOW_REQUIRE_MODELS").is_none(), "{missing}");
    println!("skipped: {missing}");
    None
}

/// Returns the model's file; nothing where it is missing.
fn file() -> Option<PathBuf> {
    fetched("SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// Returns the model as f32, imported once for all tests.
pub(crate) fn model() -> Option<&'static Path> {
    static MODEL: OnceLock<Option<Ran>> = OnceLock::new();
    let ran = MODEL.get_or_init(|| file().map(|file| import(&file, "f32").unwrap()));
    ran.as_ref().map(Ran::path)
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(repository().join(path)).unwrap()).unwrap()
}

fn reference() -> Value {
    read("tests/fixtures/smollm2/reference.json")
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn sha256(path: &Path) -> Option<String> {
    let shown = std::process::Command::new("sha256sum").arg(path).output().ok()?;
    let text = String::from_utf8(shown.stdout).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

#[test]
fn the_import_is_bit_for_bit_that_of_the_reference() {
    let (Some(file), Some(model)) = (file(), model()) else { return };
    let half = import(&file, "bf16").unwrap();
    for (folder, expected) in [(model, F32_SUM), (half.path(), BF16_SUM)] {
        if let Some(sum) = sha256(&folder.join("model.safetensors")) {
            assert_eq!(sum, expected);
        }
    }
}

#[test]
fn log_probabilities_are_those_of_transformers() {
    let Some(folder) = model() else { return };
    let (model, reference) = (CausalLm::load(folder).unwrap(), reference());
    for (language, perplexity) in [("fr", 18.345), ("en", 6.289)] {
        let expected = &reference["res"][language];
        let ids = ids(&expected["ids"]);
        let mut packed = Packed::default();
        packed.push(&ids);
        let ours = model.log_probs(&packed).unwrap();
        let theirs: Vec<f32> = serde_json::from_value(expected["lp_full"].clone()).unwrap();
        let ours = &ours[ours.len() - theirs.len()..];
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{language}: {worst}");
        let mean = ours.iter().map(|p| f64::from(*p)).sum::<f64>() / ours.len() as f64;
        assert!(((-mean).exp() - perplexity).abs() < 5e-3, "{language}: {}", (-mean).exp());
        likeliest_agree(&model.logits(&packed).unwrap(), ids.len(), &expected["top"]);
    }
}

/// Compares the log-probabilities of the twenty likeliest tokens after the last one.
fn likeliest_agree(logits: &[f32], positions: usize, expected: &Value) {
    let last = &logits[logits.len() / positions * (positions - 1)..];
    let largest = last.iter().copied().fold(f32::MIN, f32::max);
    let total: f64 = last.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    let mut order: Vec<usize> = (0..last.len()).collect();
    order.sort_by(|a, b| last[*b].total_cmp(&last[*a]));
    let expected: Vec<(usize, f64)> = serde_json::from_value(expected.clone()).unwrap();
    for (rank, (id, theirs)) in expected.iter().enumerate() {
        let ours = f64::from(last[*id] - largest) - total.ln();
        assert!((ours - theirs).abs() < 1e-3, "token {id}: {ours} and {theirs}");
        assert!(order[..20].contains(id), "token {id}, the {rank}th");
    }
}

#[test]
fn texts_become_the_same_tokens() {
    let Some(folder) = model() else { return };
    let (tokenizer, reference) = (Tokenizer::load(folder).unwrap(), reference());
    for language in ["fr", "en"] {
        let expected = ids(&reference["res"][language]["ids"]);
        let text = tokenizer.decode(&expected).unwrap();
        assert_eq!(tokenizer.encode(&text).unwrap(), expected);
    }
    assert_eq!(tokenizer.turn_end(), Some(2));
}

#[test]
fn greedy_answers_are_those_of_transformers() {
    let Some(folder) = model() else { return };
    let (world, reference) = (World::empty(), reference());
    for (name, case) in reference["gen"].as_object().unwrap() {
        let expected = ids(&case[1]);
        world.write("prompt.txt", case[0].as_str().unwrap());
        let count = expected.len().to_string();
        let folder = folder.to_str().unwrap();
        let shown = world.json(&[
            "generate",
            "--model",
            folder,
            "--prompt",
            "@prompt.txt",
            "--max-tokens",
            &count,
            "--temperature",
            "0",
            "--json",
        ]);
        let found = ids(&shown["answers"][0]["ids"]);
        let stops = [0, 2];
        let plain = |ids: &[u32]| ids.iter().copied().filter(|id| !stops.contains(id)).collect::<Vec<_>>();
        assert_eq!(plain(&found), plain(&expected), "{name}: {shown}");
    }
}

/// A conversation through a pipeline's node, as a person has it: one question a line.
#[test]
fn a_chat_with_the_node_is_that_of_transformers() {
    let Some(file) = file() else { return };
    let talk = read("tests/fixtures/real/talk.json");
    let turns = talk.as_array().unwrap();
    let part = |turn: &Value, name: &str| turn[name].as_str().unwrap().to_owned();
    let world = World::empty();
    let pipeline = format!("version: 1\nnodes:\n  smollm: {{kind: source, model: {}, dtype: f32}}\n", file.display());
    world.write("pipeline.yaml", &pipeline);
    world.run_ok(&[]);
    let questions: String = turns.iter().map(|turn| part(turn, "question") + "\n").collect();
    let answers: String = turns.iter().map(|turn| part(turn, "answer") + "\n").collect();
    let ran = with_input(&world, &["chat", "smollm", "--temperature", "0", "--max-tokens", "48"], &questions);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, answers.as_str()), "{}", ran.stderr);
    // The same tokens too, and not only the same words.
    let question = part(&turns[0], "question");
    let once = ["generate", "smollm", "--chat", "--prompt", &question, "--temperature", "0", "--json"];
    let said = world.json(&once);
    assert_eq!(said["answers"][0]["ids"], turns[0]["ids"], "{said}");
}

#[test]
fn what_is_exported_comes_back_the_same() {
    let Some(folder) = model() else { return };
    let slots = inputs(&[("model", "model", folder)]);
    let out = run(Kind::Export, json!({"model": "m", "type": "f32"}), &slots).unwrap();
    let back = import(&out.path().join("model.gguf"), "f32").unwrap();
    for name in ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"] {
        let same = std::fs::read(folder.join(name)).unwrap() == std::fs::read(back.path().join(name)).unwrap();
        assert!(same, "{name}");
    }
    let mixed = run(Kind::Export, json!({"model": "m", "type": "q4_k_m"}), &slots).unwrap();
    let file = GgufFile::open(&mixed.path().join("model.gguf")).unwrap();
    let name = |tensor: &str| file.tensor(tensor).unwrap().0.name();
    assert_eq!((name("token_embd.weight"), name("blk.0.ffn_down.weight")), ("Q8_0", "Q6_K"));
    assert_eq!((name("blk.0.attn_q.weight"), name("blk.5.ffn_down.weight")), ("Q5_0", "Q6_K"));
    assert!(mixed.metric("bytes") < 110e6);
}

/// Luth in small: a model is trained on French for a few steps, merged with itself as it was, and still speaks. The pipeline
/// is run by the program, from the GGUF file on.
#[test]
fn a_fine_tune_merged_with_its_base_still_answers() {
    let Some(file) = file() else { return };
    let world = World::empty();
    let (file, data) = (file.display(), repository().join("pipelines/data"));
    let data = data.display();
    let pipeline = format!(
        "version: 1
nodes:
  smollm: {{kind: source, model: {file}}}
  phrases: {{kind: source, dataset: {data}/fr_sentences/*.txt, rows: line}}
  french: {{kind: curate, from: [phrases], steps: [sample: {{rows: 900, seed: 1}}, split: {{eval: 0.1}}]}}
  tuned: {{kind: sft, model: smollm, data: [french.train], max_steps: 6, sequence_len: 256, micro_batch_size: 2, \
learning_rate: 1.0e-4}}
  merged: {{kind: merge, method: slerp, base: smollm, models: [tuned], parameters: {{t: 0.5}}}}
  before: {{kind: eval, model: smollm, tasks: [bits_per_byte: {{name: fr, data: french.eval}}]}}
  after: {{kind: eval, model: merged, tasks: [bits_per_byte: {{name: fr, data: french.eval}}]}}
"
    );
    world.write("pipeline.yaml", &pipeline);
    world.run_ok(&[]);
    let score = |node: &str| world.json(&["show", node, "--json"])["metrics"]["fr.bits_per_byte"].as_f64().unwrap();
    assert!(score("after") < score("before"), "{} after {}", score("after"), score("before"));
    let arguments = ["generate", "merged", "--prompt", "The capital of France is", "--max-tokens", "8"];
    let answer = world.json(&[&arguments[..], &["--temperature", "0", "--json"]].concat());
    assert!(answer["answers"][0]["text"].as_str().unwrap().contains("Paris"), "{answer}");
}
