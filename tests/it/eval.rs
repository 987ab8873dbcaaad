//! Scoring a real model on real rows: the scores are those of the log-probabilities the model gives.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test would")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use luthflow::data::Tokenizer;
use luthflow::model::{CausalLm, Packed};
use luthflow::ops::{self, InputArtifact, Inputs, OpCx, OpError, Outcome};
use luthflow::spec::params::{BitsPerByte, EvalParams, InputRef, Kind, MinimalPairs, Op, Task};
use serde_json::Value;

const TEXTS: [&str; 3] = ["Il était une fois un roi.", "Once upon a time there was a king.", "naïve ☃"];
const PAIRS: [(&str, &str); 2] = [("The cats sleep.", "The cats sleeps."), ("Le roi dort.", "Le roi dorment.")];

/// A model folder with weights and a tokenizer.
fn model(dir: &Path) -> PathBuf {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tiny");
    let model = dir.join("model");
    fs_err::create_dir_all(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs_err::write(model.join(name), fs_err::read(fixture.join("tied").join(name)).unwrap()).unwrap();
    }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs_err::write(model.join(name), fs_err::read(fixture.join(name)).unwrap()).unwrap();
    }
    model
}

fn evaluate(model: &Path, dir: &Path, max_length: usize, threads: usize) -> Result<(Outcome, Value), OpError> {
    let write = |name: &str, rows: Vec<Value>| {
        let data = dir.join(name);
        fs_err::create_dir_all(&data).unwrap();
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        fs_err::write(data.join("data.jsonl"), lines.join("\n") + "\n").unwrap();
        data
    };
    let texts = write("texts", TEXTS.iter().map(|text| serde_json::json!({"text": text})).collect());
    let pairs = write("pairs", PAIRS.iter().map(|(good, bad)| serde_json::json!({"good": good, "bad": bad})).collect());
    let tasks = vec![
        Task::BitsPerByte(BitsPerByte { name: "texts".into(), data: InputRef::default(), limit: None }),
        Task::MinimalPairs(MinimalPairs { name: "pairs".into(), data: InputRef::default(), limit: None }),
    ];
    let mut inputs = Inputs::default();
    for (slot, path) in [("model".to_owned(), model), (tasks[0].slot(0), &texts), (tasks[1].slot(1), &pairs)] {
        let artifact = InputArtifact {
            name: slot.clone(),
            label: slot.clone(),
            axes: BTreeMap::new(),
            path: path.to_owned(),
            digest: None,
            chosen: false,
        };
        inputs.0.insert(slot, vec![artifact]);
    }
    let out = dir.join("out");
    fs_err::create_dir_all(&out).unwrap();
    let cancelled = AtomicBool::new(false);
    let cx = OpCx {
        inputs: &inputs,
        out: &out,
        scratch: &out,
        checkpoint: None,
        memo: None,
        environment: &|_| None,
        threads,
        device: luthflow::ops::DeviceChoice::Cpu,
        progress: &crate::op::Silent,
        cancelled: &cancelled,
    };
    let plain: EvalParams = serde_json::from_value(serde_json::json!({"model": "m", "tasks": []})).unwrap();
    let op = Op::Eval(EvalParams { tasks, max_length, ..plain });
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let outcome = pool.install(|| ops::run(&op, &cx))?;
    let scores = serde_json::from_slice(&fs_err::read(out.join("scores.json")).unwrap()).unwrap();
    Ok((outcome, scores))
}

/// What the model says about a text that stands alone behind the token that begins a document.
fn alone(model: &CausalLm, tokenizer: &Tokenizer, text: &str) -> f64 {
    let mut ids = vec![tokenizer.document_start()];
    ids.extend(tokenizer.encode(text).unwrap());
    let lengths = vec![ids.len()];
    model.log_probs(&Packed { ids, lengths }).unwrap().iter().map(|log_prob| f64::from(*log_prob)).sum()
}

#[test]
fn scores_are_those_of_the_texts_one_by_one() {
    let world = tempfile::tempdir().unwrap();
    let model = model(world.path());
    let (outcome, scores) = evaluate(&model, world.path(), 256, 2).unwrap();
    let (lm, tokenizer) = (CausalLm::load(&model).unwrap(), Tokenizer::load(&model).unwrap());
    let log_prob = |text: &str| alone(&lm, &tokenizer, text);

    let bytes: usize = TEXTS.iter().map(|text| text.len()).sum();
    let bits: f64 = TEXTS.iter().map(|text| -log_prob(text) / std::f64::consts::LN_2).sum();
    let value = outcome.metrics["texts.bits_per_byte"];
    assert!((value - bits / bytes as f64).abs() < 1e-5, "{value} {}", bits / bytes as f64);
    let found = PAIRS.iter().filter(|(good, bad)| log_prob(good) > log_prob(bad)).count();
    assert!((outcome.metrics["pairs.acc"] - found as f64 / PAIRS.len() as f64).abs() < 1e-12);

    assert_eq!(scores["version"], 1);
    assert_eq!(scores["tasks"][0]["type"], "bits_per_byte");
    assert_eq!(scores["tasks"][0]["n"], 3);
    assert_eq!(scores["tasks"][1]["metric"], "acc");
    assert_eq!(scores["tasks"][0]["value"].as_f64(), Some(value), "the file and the metrics agree");
    assert!(
        outcome.metrics.contains_key("texts.bits_per_byte_stderr") && outcome.metrics.contains_key("pairs.acc_stderr")
    );
    assert!(outcome.measured["tokens_per_second"] > 0.0);
}

#[test]
fn threads_leave_no_trace_in_the_scores() {
    let world = tempfile::tempdir().unwrap();
    let model = model(world.path());
    let scores = [1, 2, 5].map(|threads| evaluate(&model, world.path(), 32, threads).unwrap().1.to_string());
    assert!(scores.windows(2).all(|pair| pair[0] == pair[1]), "{scores:?}");
}

#[test]
fn a_pass_longer_than_the_model_knows_is_refused_with_the_way_out() {
    let world = tempfile::tempdir().unwrap();
    let model = model(world.path());
    assert!(evaluate(&model, world.path(), 256, 1).is_ok());
    let error = evaluate(&model, world.path(), 257, 1).unwrap_err();
    assert!(error.to_string().contains("`max_length` is 257, the model is made for 256 positions"), "{error}");
    assert_eq!(error.way_out(), Some("set `max_length: 256` or less"));
}

#[test]
fn a_folder_that_is_no_model_is_named() {
    let world = tempfile::tempdir().unwrap();
    let error = evaluate(&world.path().join("nothing"), world.path(), 32, 1).unwrap_err();
    assert!(error.to_string().contains("cannot use the model `model`"), "{error}");
}

#[test]
fn a_limit_of_no_rows_is_a_mistake() {
    let mistakes = |limit: usize| {
        let tasks = serde_json::json!([
            {"bits_per_byte": {"name": "a", "data": "d"}},
            {"minimal_pairs": {"name": "b", "data": "d", "limit": limit}},
        ]);
        let fields = serde_json::json!({"model": "m", "tasks": tasks});
        let found = Op::from_fields(Kind::Eval, fields).unwrap().check();
        found.into_iter().map(|mistake| mistake.field).collect::<Vec<_>>()
    };
    assert_eq!(mistakes(1), [""; 0]);
    assert_eq!(mistakes(0), ["tasks[1].minimal_pairs.limit"]);
}
