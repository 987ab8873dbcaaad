//! Preferences: beside torch, and what is refused.

use std::path::Path;

use luthflow::ops::{OpError, Outcome};
use luthflow::spec::params::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::repository;
use crate::tiny::{data_folder, model_folder, run};

fn fixture(name: &str) -> String {
    fs_err::read_to_string(repository().join("tests/fixtures/dpo").join(name)).unwrap()
}

fn train(
    lines: &str,
    settings: &Value,
    reference: Option<&Path>,
    out: &Path,
    threads: usize,
) -> Result<Outcome, OpError> {
    let (model, data) = (model_folder("tied"), data_folder(lines));
    let mut fields =
        json!({"model": "m", "data": ["d"], "sequence_len": 128, "lr_scheduler": "constant", "warmup_ratio": 0.0});
    fields.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let mut inputs = vec![("model", model.path()), ("data[0]", data.path())];
    inputs.extend(reference.map(|path| ("dpo.reference", path)));
    run(Kind::Sft, fields, &inputs, out, threads)
}

fn log(out: &Path, name: &str) -> Vec<Value> {
    let text = fs_err::read_to_string(out.join("log").join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn preferences_are_learned_as_in_torch() {
    let golden: Value = serde_json::from_str(&fixture("golden.json")).unwrap();
    let settings = &golden["settings"];
    let reference = model_folder("untied");
    for (name, smoothing) in [("plain", 0.0), ("smoothed", 0.1)] {
        let out = TempDir::new().unwrap();
        let fields = json!({
            "epochs": settings["steps"], "learning_rate": settings["learning_rate"],
            "max_grad_norm": settings["max_grad_norm"], "gradient_accumulation_steps": 3, "packing": "none",
            "dpo": {"beta": settings["beta"], "label_smoothing": smoothing, "reference": "r"},
        });
        train(&fixture("rows.jsonl"), &fields, Some(reference.path()), out.path(), 2).unwrap();
        let log = log(out.path(), "loss.jsonl");
        assert_eq!(log.len(), 5);
        for (step, line) in log.iter().enumerate() {
            for (figure, allowed) in
                [("loss", 1e-5), ("grad_norm", 1e-4), ("reward_margin", 1e-4), ("reward_accuracy", 1e-9)]
            {
                let (found, expected) = (line[figure].as_f64().unwrap(), golden[name][step][figure].as_f64().unwrap());
                let close = (found - expected).abs() <= allowed * expected.abs().max(1.0);
                assert!(close, "{name}, step {step}, {figure}: {found} is not {expected}");
            }
        }
    }
}

#[test]
fn the_model_itself_is_the_reference_and_packing_changes_nothing() {
    let run = |settings: Value, threads: usize| {
        let out = TempDir::new().unwrap();
        let mut fields = json!({"epochs": 8, "learning_rate": 2e-3, "dpo": {"beta": 0.5}});
        fields.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        train(&fixture("rows.jsonl"), &fields, None, out.path(), threads).unwrap();
        (log(out.path(), "loss.jsonl"), fs_err::read(out.path().join("model/model.safetensors")).unwrap())
    };
    let apart = run(json!({"packing": "none", "gradient_accumulation_steps": 3}), 1);
    let together = run(json!({"sequence_len": 250}), 2);
    // What starts as its own reference has no margin: the loss is that of a coin.
    assert!((apart.0[0]["loss"].as_f64().unwrap() - 2f64.ln()).abs() < 1e-9);
    assert!(apart.0[7]["loss"].as_f64().unwrap() < 0.5 && apart.0[7]["reward_accuracy"] == 1.0);
    for (a, b) in apart.0.iter().zip(&together.0) {
        assert!((a["loss"].as_f64().unwrap() / b["loss"].as_f64().unwrap() - 1.0).abs() < 1e-4, "{a} {b}");
    }
    assert!(run(json!({"sequence_len": 250}), 1).1 == together.1, "threads change nothing");
    let held_out = TempDir::new().unwrap();
    let settings = json!({"epochs": 4, "dpo": {}, "val_set_size": 1});
    let outcome = train(&fixture("rows.jsonl"), &settings, None, held_out.path(), 1).unwrap();
    assert_eq!((outcome.metrics["samples"], outcome.metrics["eval_samples"]), (2.0, 1.0));
    let last = log(held_out.path(), "eval.jsonl").pop().unwrap();
    assert_eq!(last["pairs"], 1.0);
    assert_eq!(last["loss"], outcome.metrics["eval_loss"]);
}

#[test]
fn what_is_no_preference_is_refused() {
    let out = TempDir::new().unwrap();
    let refusal = |lines: &str, settings: &Value| {
        let error = train(lines, settings, None, out.path(), 1).unwrap_err();
        error.chain().join(": ")
    };
    let text = refusal("{\"text\": \"a\"}\n", &json!({"dpo": {}}));
    assert_eq!(text, "cannot train on `data[0]`: it holds other rows than pairs of answers, which `dpo` is about");
    let pairs = refusal(&fixture("rows.jsonl"), &json!({}));
    assert_eq!(pairs, "cannot train on `data[0]`: it holds pairs of answers, which are learned with `dpo`");
    let same = refusal("{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}\n", &json!({"dpo": {}}));
    assert_eq!(same, "cannot train on `data[0]`: it holds a pair whose answers are the same");
    let long = json!({"dpo": {}, "sequence_len": 20, "long_samples": "error"});
    let long = refusal(&fixture("rows.jsonl"), &long);
    assert!(long.contains("row 1") && long.contains("more than `sequence_len`"), "{long}");
}
