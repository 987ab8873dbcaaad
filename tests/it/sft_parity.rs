//! Training beside transformers and torch, for each architecture: twenty steps of `kind: sft` on packed batches must be those
//! of a plain loop over single documents (`tests/fixtures/training/make.py`).
//!
//! Everything that turns a gradient into a changed weight takes part: masks, accumulation over batches, clipping that bites,
//! decay that leaves norms and biases out, warm-up and a schedule. In f32, so that a difference shows.

use std::path::{Path, PathBuf};

use luthflow::model::{CausalLm, Packed, Pass};
use luthflow::ops::Outcome;
use luthflow::spec::params::Kind;
use luthflow::tensor::TensorFile;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::architectures;
use crate::tiny::{by_part, data_folder, gradients, relative_error, run, trained_tokens};

const CASES: [&str; 7] =
    ["qwen3-tied", "qwen3-bias-window", "qwen2-tied", "llama-3-old", "lfm2-hybrid", "lfm2-bias", "gemma3-window"];

/// Three ways to put the same documents into forward passes.
const PACKINGS: [&str; 3] = [
    r#"{"sequence_len": 64, "micro_batch_size": 2, "gradient_accumulation_steps": 4}"#,
    r#"{"sequence_len": 48, "micro_batch_size": 1, "gradient_accumulation_steps": 32, "packing": "none"}"#,
    r#"{"sequence_len": 48, "micro_batch_size": 3, "gradient_accumulation_steps": 5, "packing": "multipack", "packing_bin_size": 4}"#,
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/training")
}

fn rows() -> String {
    fs_err::read_to_string(fixtures().join("rows.jsonl")).unwrap()
}

fn golden(case: &str) -> (Value, TensorFile) {
    let summary = fs_err::read(fixtures().join(format!("{case}.json"))).unwrap();
    let tensors = TensorFile::open(&fixtures().join(format!("{case}.safetensors"))).unwrap();
    (serde_json::from_slice(&summary).unwrap(), tensors)
}

fn tensor(tensors: &TensorFile, name: &str) -> Vec<f32> {
    tensors.get(name).unwrap_or_else(|| panic!("`{name}` is not in the golden file")).to_f32()
}

/// Returns a model folder that is computed and saved in f32, whatever it is stored in.
fn start(case: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let source = architectures::folder(case);
    fs_err::copy(source.join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let mut config: Value = serde_json::from_slice(&fs_err::read(source.join("config.json")).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("torch_dtype");
    config["dtype"] = "float32".into();
    fs_err::write(dir.path().join("config.json"), config.to_string()).unwrap();
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs_err::copy(fixtures().join(file), dir.path().join(file)).unwrap();
    }
    dir
}

/// Trains on rows as the golden summary says and `packing` packs.
fn train(case: &str, lines: &str, settings: &Value, packing: &str, out: &Path) -> Outcome {
    let (model, data) = (start(case), data_folder(lines));
    let mut fields = json!({"model": "m", "data": ["d"], "epochs": 20.0});
    let packing: Value = serde_json::from_str(packing).unwrap();
    for more in [settings, &packing] {
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    run(Kind::Sft, fields, &[("model", model.path()), ("data[0]", data.path())], out, 2).unwrap()
}

fn log(out: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(out.join("log/loss.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the greatest relative error of the trained weights, a tensor at a time.
fn worst_weight(out: &Path, tensors: &TensorFile) -> (String, f64) {
    let trained = CausalLm::load(&out.join("model")).unwrap();
    let values = trained.parameters().iter().flat_map(|parameter| by_part(parameter.parts(), &parameter.value()));
    let errors = values.map(|(name, value)| {
        let expected = tensor(tensors, &format!("weight.{name}"));
        let error = relative_error(&value, &expected);
        (name, error)
    });
    errors.max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap()
}

/// Compares a column of the log; returns the greatest relative error.
fn worst_figure(log: &[Value], golden: &Value, name: &str) -> f64 {
    let expected = golden["log"][name].as_array().unwrap();
    assert_eq!(log.len(), expected.len());
    let error =
        |(line, expected): (&Value, &Value)| (line[name].as_f64().unwrap() / expected.as_f64().unwrap() - 1.0).abs();
    log.iter().zip(expected).map(error).fold(0.0, f64::max)
}

#[test]
fn twenty_steps_of_each_architecture_are_those_of_transformers() {
    for case in CASES {
        let (golden, tensors) = golden(case);
        for packing in PACKINGS {
            let out = TempDir::new().unwrap();
            let outcome = train(case, &rows(), &golden["settings"], packing, out.path());
            // The document of one token has nothing to learn.
            assert_eq!((outcome.metrics["dropped"], outcome.metrics["steps"]), (1.0, 20.0), "{case}");
            assert_eq!(json!(outcome.metrics["samples"] as u64), golden["samples"]);
            let log = log(out.path());
            for line in &log {
                assert_eq!((&line["tokens"], &line["trained_tokens"]), (&golden["tokens"], &golden["trained_tokens"]));
            }
            let [loss, norm, rate] =
                ["loss", "grad_norm", "learning_rate"].map(|name| worst_figure(&log, &golden, name));
            let (name, weight) = worst_weight(out.path(), &tensors);
            let noise = golden["noise"]["weight"].as_f64().unwrap();
            eprintln!(
                "{case}: loss {loss:.1e}, norm {norm:.1e}, weights {weight:.1e} ({name}; torch alone {noise:.1e})"
            );
            assert!(loss <= 1e-6 && norm <= 1e-4 && rate <= 1e-12, "{case} {packing}: {loss:e} {norm:e} {rate:e}");
            assert!(weight <= 2e-5, "{case} {packing}: {name} is off by {weight:.1e}");
        }
    }
}

/// What makes the test above worth something: the settings bite, and what they leave out is left out.
#[test]
fn the_golden_trainings_clip_decay_and_learn() {
    for case in CASES {
        let (golden, _) = golden(case);
        let column = |name: &str| -> Vec<f64> { serde_json::from_value(golden["log"][name].clone()).unwrap() };
        let (loss, limit) = (column("loss"), golden["settings"]["max_grad_norm"].as_f64().unwrap());
        assert!(column("grad_norm").iter().all(|norm| *norm > limit), "{case}");
        assert!(loss[19] < 0.85 * loss[0], "{case}");
        let mut left: Vec<String> = serde_json::from_value(golden["not_decayed"].clone()).unwrap();
        let model = CausalLm::load(&architectures::folder(case)).unwrap();
        let spared = model.parameters().iter().filter(|parameter| !parameter.kind().decays());
        let mut ours: Vec<String> = spared.flat_map(|p| p.parts().iter().map(|part| part.name.clone())).collect();
        ours.sort();
        left.sort();
        assert_eq!(ours, left, "{case}");
    }
}

/// Returns the documents that are learned from, as tokens with marks.
fn documents() -> Vec<(Vec<u32>, Vec<bool>)> {
    let ids = |words: &str| words.split_whitespace().map(|word| word[1..].parse().unwrap()).collect::<Vec<u32>>();
    let document = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        if let Some(text) = row["text"].as_str() {
            let ids = [vec![1], ids(text), vec![1]].concat();
            let trained = vec![true; ids.len()];
            return (ids, trained);
        }
        let (mut all, mut trained) = (Vec::new(), Vec::new());
        for message in row["messages"].as_array().unwrap() {
            all.append(&mut ids(message["content"].as_str().unwrap()));
            trained.resize(all.len(), message["role"] == "assistant");
        }
        (all, trained)
    };
    rows().lines().map(document).collect()
}

/// Adds up the gradients of batches of `together` documents each.
fn first_gradients(case: &str, together: usize) -> (f64, Vec<(String, Vec<f32>)>) {
    let dir = start(case);
    let mut model = CausalLm::load(dir.path()).unwrap();
    // Here the document of one token is there too: it must change nothing for its neighbours.
    let batches: Vec<(Packed, Vec<bool>)> = documents()
        .chunks(together)
        .map(|documents| {
            let (mut packed, mut trained) = (Packed::default(), Vec::new());
            for (ids, marks) in documents {
                packed.push(ids);
                trained.extend_from_slice(marks);
            }
            (packed, trained)
        })
        .collect();
    let count: usize = batches.iter().map(|(packed, trained)| trained_tokens(packed, trained)).sum();
    let pass = Pass::plain(1.0 / count as f32);
    let losses = batches.iter().map(|(packed, trained)| model.add_gradients(packed, trained, pass).unwrap());
    let loss = losses.sum::<f64>() / count as f64;
    (loss, gradients(&model))
}

#[test]
fn the_gradients_of_the_first_step_are_those_of_transformers() {
    for case in CASES {
        let (golden, tensors) = golden(case);
        for together in [1, 5, 19] {
            let (loss, gradients) = first_gradients(case, together);
            let expected = golden["log"]["loss"][0].as_f64().unwrap();
            assert!((loss / expected - 1.0).abs() <= 1e-6, "{case}: loss {loss}, transformers has {expected}");
            let mut worst = 0.0f64;
            for (name, found) in gradients {
                let error = relative_error(&found, &tensor(&tensors, &format!("gradient.{name}")));
                assert!(error <= 2e-5, "{case}: the gradient of {name} is off by {error:.1e}");
                worst = worst.max(error);
            }
            eprintln!("{case}, {together} documents together: gradients off by {worst:.1e}");
        }
    }
}

/// The control: documents that see each other, as LFM2's did in trainers whose convolution reads on over the border, give
/// another training. Each row here is two documents of the golden one, joined.
#[test]
fn documents_that_leak_are_another_training() {
    for case in ["lfm2-hybrid", "qwen3-tied"] {
        let (golden, tensors) = golden(case);
        let lines: Vec<Value> = rows().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (chats, texts): (Vec<_>, Vec<_>) = lines.iter().partition(|row| row["text"].is_null());
        let joined = chats.chunks(2).map(|pair| {
            let messages: Vec<&Value> = pair.iter().flat_map(|row| row["messages"].as_array().unwrap()).collect();
            json!({"messages": messages}).to_string() + "\n"
        });
        let lines: String = joined.chain(texts.iter().map(|row| format!("{row}\n"))).collect();
        let out = TempDir::new().unwrap();
        let packing = r#"{"sequence_len": 64, "micro_batch_size": 2, "gradient_accumulation_steps": 4}"#;
        train(case, &lines, &golden["settings"], packing, out.path());
        let (loss, weight) = (worst_figure(&log(out.path()), &golden, "loss"), worst_weight(out.path(), &tensors).1);
        assert!(loss > 1e-3 && weight > 1e-2, "{case}: {loss:e} {weight:e}");
    }
}
