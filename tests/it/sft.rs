//! Training: against torch's AdamW, the same bytes on any number of threads, and that it learns.

use std::path::Path;

use luthflow::model::{CausalLm, Packed, Pass};
use luthflow::ops::{OpError, Outcome};
use luthflow::spec::params::Kind;
use luthflow::tensor::TensorFile;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tiny::{Golden, by_part, data_folder, fixture, gradients, model_folder, relative_error, rows, run};

/// Trains the tied model on rows, on `threads` threads.
fn train_on(lines: &str, model: &Path, out: &Path, threads: usize, settings: &Value) -> Result<Outcome, OpError> {
    let data = data_folder(lines);
    let mut fields = json!({"model": "m", "data": ["d"], "sequence_len": 128});
    fields.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    run(Kind::Sft, fields, &[("model", model), ("data[0]", data.path())], out, threads)
}

fn train(out: &Path, threads: usize, settings: &Value) -> Result<Outcome, OpError> {
    train_on(&rows(), model_folder("tied").path(), out, threads, settings)
}

fn log(out: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(out.join("log/loss.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns every file of a folder with its content.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in ["model", "log"] {
        for entry in fs_err::read_dir(dir.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            files.push((path.strip_prefix(dir).unwrap().display().to_string(), fs_err::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}

/// Twenty steps of torch on all rows: warm-up, cosine, clipping, decay, masks. Here the rows are packed, and each step
/// adds up two forward passes.
#[test]
fn training_is_that_of_torch() {
    let golden: Value = serde_json::from_slice(&fs_err::read(fixture().join("trained.json")).unwrap()).unwrap();
    let settings = &golden["settings"];
    let model = model_folder("tied");
    // In f32 all of the difference shows; bf16 would round it away.
    let path = model.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    config["dtype"] = "float32".into();
    fs_err::write(&path, config.to_string()).unwrap();
    let out = TempDir::new().unwrap();
    let outcome = train_on(
        &rows(),
        model.path(),
        out.path(),
        2,
        &json!({
            "epochs": settings["steps"], "gradient_accumulation_steps": 2, "learning_rate": settings["learning_rate"],
            "warmup_ratio": settings["warmup_ratio"], "weight_decay": settings["weight_decay"],
            "max_grad_norm": settings["max_grad_norm"], "sequence_len": 128,
        }),
    )
    .unwrap();
    let log = log(out.path());
    assert_eq!(log.len(), 20);
    let close = |a: &Value, b: &Value, allowed: f64| {
        let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
        assert!((a - b).abs() <= allowed * b.abs(), "{a} is not {b}");
    };
    for (step, line) in log.iter().enumerate() {
        close(&line["learning_rate"], &golden["log"]["learning_rate"][step], 1e-12);

        close(&line["loss"], &golden["log"]["loss"][step], 1e-5);
        close(&line["grad_norm"], &golden["log"]["grad_norm"][step], 1e-4);
        assert_eq!(line["step"], step + 1);
        assert_eq!(line["epoch"], (step + 1) as f64);
        assert_eq!((&line["tokens"], &line["trained_tokens"]), (&settings["tokens"], &settings["trained_tokens"]));
    }
    let expected = TensorFile::open(&fixture().join("trained.safetensors")).unwrap();
    let trained = CausalLm::load(&out.path().join("model")).unwrap();
    let mut worst = 0.0f64;
    for parameter in trained.parameters() {
        for (name, value) in by_part(parameter.parts(), &parameter.value()) {
            let error = relative_error(&value, &expected.get(&name).unwrap().to_f32());
            assert!(error <= 1e-5, "{name} is off by {error:.1e}");
            worst = worst.max(error);
        }
    }
    eprintln!("worst weight off by {worst:.1e}");
    let last = golden["log"]["loss"].as_array().unwrap()[18..].iter().map(|x| x.as_f64().unwrap()).sum::<f64>() / 2.0;
    assert!((outcome.metrics["final_loss"] / last - 1.0).abs() < 1e-5);
    assert_eq!((outcome.metrics["steps"], outcome.metrics["samples"], outcome.metrics["truncated"]), (20.0, 6.0, 0.0));
    assert_eq!(outcome.metrics["tokens"] as u64, 20 * settings["tokens"].as_u64().unwrap());
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    let settings = json!({"epochs": 4.0, "learning_rate": 1e-2, "seed": 3, "gradient_accumulation_steps": 2});
    let run = |threads: usize| {
        let out = TempDir::new().unwrap();
        train(out.path(), threads, &settings).unwrap();
        contents(out.path())
    };
    let one = run(1);
    let names: Vec<&str> = one.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "log/loss.jsonl",
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
    ];
    assert_eq!(names, expected);
    assert!(run(2) == one && run(3) == one);
}

#[test]
fn a_model_that_is_large_enough_for_threads_trains_alike_on_all_of_them() {
    let start = TempDir::new().unwrap();
    let shape = json!({
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32,
    });
    run(Kind::Init, json!({"tokenizer": "t", "config": shape}), &[("tokenizer", &fixture())], start.path(), 1).unwrap();
    let line = |i: usize| json!({"text": format!("{i} {}", "mots et words ".repeat(1 + i % 17))}).to_string() + "\n";
    let lines: String = (0..60).map(line).collect();
    let settings = json!({"sequence_len": 512, "max_steps": 6, "learning_rate": 1e-3, "micro_batch_size": 2});
    let run = |threads: usize| {
        let out = TempDir::new().unwrap();
        train_on(&lines, start.path(), out.path(), threads, &settings).unwrap();
        contents(out.path())
    };
    let one = run(1);
    assert!(run(2) == one && run(3) == one);
}

#[test]
fn the_seed_decides_the_order() {
    let settings = |seed: u64| json!({"epochs": 3.0, "sequence_len": 40, "seed": seed});
    let run = |seed: u64| {
        let out = TempDir::new().unwrap();
        train(out.path(), 2, &settings(seed)).unwrap();
        contents(out.path())
    };
    assert!(run(1) == run(1));
    assert!(run(1) != run(2));
}

/// The first loss is that of the same weights, and no row of a batch depends on what other rows there are: the same numbers are
/// added in f64. From then on weights differ by what `only_sums_over_rows_know_where_a_batch_is_cut` says.
#[test]
fn a_batch_in_pieces_is_the_batch() {
    let run = |settings: Value| {
        let out = TempDir::new().unwrap();
        train(out.path(), 2, &settings).unwrap();
        log(out.path())
    };
    let piecewise = run(json!({"epochs": 5.0, "sequence_len": 96, "gradient_accumulation_steps": 3}));
    let whole = run(json!({"epochs": 5.0, "sequence_len": 96, "micro_batch_size": 3}));
    assert_eq!(piecewise.len(), 5);
    for (a, b) in piecewise.iter().zip(&whole) {
        let difference = a["loss"].as_f64().unwrap() / b["loss"].as_f64().unwrap() - 1.0;
        eprintln!("off by {difference:.1e}");
        let allowed = if a["step"] == 1 { 1e-14 } else { 1e-7 };
        assert!(difference.abs() < allowed, "{a} {b}");
        assert_eq!(a["trained_tokens"], b["trained_tokens"]);
    }
}

/// Three documents together and one after the other. What a row gets and gives back is the same, bit for bit, and so is the
/// gradient of an embedding of its own, which is added up row by row. The gradient of a weight is not: it is one matrix product
/// over all rows, whose kernel adds rows up in a register and then to what is there, so that `0 + (a + b + c)` stands beside
/// `((0 + a) + b) + c`. A norm's is summed in blocks of rows, with the same result. To be equal, products would have to end with
/// each document: short ones, for samples that are packed, at a fraction of the speed.
#[test]
fn only_sums_over_rows_know_where_a_batch_is_cut() {
    let (packed, trained) = Golden::open("golden_untied.safetensors").batch();
    let mut pieces = Vec::new();
    let (mut ids, mut marks) = (packed.ids.as_slice(), trained.as_slice());
    for length in &packed.lengths {
        let mut piece = Packed::default();
        piece.push(&ids[..*length]);
        pieces.push((piece, marks[..*length].to_vec()));
        (ids, marks) = (&ids[*length..], &marks[*length..]);
    }
    assert!(pieces.len() > 2);
    let run = |batches: &[(Packed, Vec<bool>)]| {
        let mut model = crate::tiny::model("untied");
        let add =
            |(packed, trained): &(Packed, Vec<bool>)| model.add_gradients(packed, trained, Pass::plain(0.1)).unwrap();
        let loss: f64 = batches.iter().map(add).sum();
        (loss, gradients(&model))
    };
    let ((whole_loss, whole), (loss, parts)) = (run(&[(packed, trained)]), run(&pieces));
    assert!((loss / whole_loss - 1.0).abs() < 1e-14, "{loss} {whole_loss}");
    let mut worst = 0.0f64;
    for ((name, whole), (_, parts)) in whole.iter().zip(&parts) {
        let error = relative_error(parts, whole);
        let allowed = if name.contains("embed_tokens") { 0.0 } else { 5e-7 };
        assert!(error <= allowed, "{name}: {error:.1e}");
        worst = worst.max(error);
    }
    eprintln!("gradients are off by {worst:.1e}");
}

#[test]
fn a_model_learns_its_data_by_heart() {
    let start = TempDir::new().unwrap();
    let shape = json!({
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 32,
    });
    run(Kind::Init, json!({"tokenizer": "t", "config": shape}), &[("tokenizer", &fixture())], start.path(), 2).unwrap();
    let out = TempDir::new().unwrap();
    let settings = json!({"max_steps": 200, "epochs": 1000, "learning_rate": 3e-3, "sequence_len": 256});
    let outcome = train_on(&rows(), start.path(), out.path(), 2, &settings).unwrap();
    let log = log(out.path());
    let first = log[0]["loss"].as_f64().unwrap();
    assert!((first - 259f64.ln()).abs() < 0.2, "an untrained model guesses: {first}");
    // What cannot be learned by heart is which of the four texts comes: one letter in each, of 110 tokens in all.
    let least = 4.0 * 4f64.ln() / 110.0;
    let loss = outcome.metrics["final_loss"];
    assert!(loss > least - 1e-3 && loss < least + 0.02, "{loss}, where {least} is the least");
}

#[test]
fn the_trained_model_can_be_trained_again_and_keeps_its_configuration() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let start = model_folder("untied");
    train_on(&rows(), start.path(), first.path(), 1, &json!({})).unwrap();
    let trained = first.path().join("model");
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        assert_eq!(fs_err::read(trained.join(file)).unwrap(), fs_err::read(start.path().join(file)).unwrap());
    }
    train_on(&rows(), &trained, second.path(), 1, &json!({})).unwrap();
    let weights = |dir: &Path| fs_err::read(dir.join("model.safetensors")).unwrap();
    assert!(weights(&trained) != weights(start.path()) && weights(&second.path().join("model")) != weights(&trained));
}

#[test]
fn long_rows_are_cut_and_counted() {
    let out = TempDir::new().unwrap();
    let outcome = train(out.path(), 1, &json!({"sequence_len": 24})).unwrap();
    // Both chats are cut before their assistant speaks, and teach nothing.
    let metric = |name: &str| outcome.metrics[name];
    assert_eq!((metric("samples"), metric("truncated"), metric("dropped")), (4.0, 4.0, 2.0));
}

fn refusal(result: Result<Outcome, OpError>) -> String {
    let error = result.unwrap_err();
    format!("{}; {}", error.chain().join(": "), error.way_out().unwrap_or_default())
}

#[test]
fn failures_say_what_to_do() {
    let out = TempDir::new().unwrap();
    let long = refusal(train(out.path(), 1, &json!({"sequence_len": 1000})));
    assert!(long.contains("sequence_len: 256"), "{long}");
    let wild = refusal(train(out.path(), 1, &json!({"learning_rate": 1e30, "epochs": 50.0, "max_grad_norm": 0.0})));
    assert!(wild.contains("at step ") && wild.contains("lower `learning_rate`"), "{wild}");
    assert!(wild.contains("row 1 of `data[0]`"), "{wild}");
    let model = model_folder("tied");
    let pairs = r#"{"good": "le chat", "bad": "la chat"}"#;
    let pairs = refusal(train_on(pairs, model.path(), out.path(), 1, &json!({})));
    assert!(pairs.contains("`data[0]`") && pairs.contains("minimal pairs"), "{pairs}");
    let empty = refusal(train_on("", model.path(), out.path(), 1, &json!({})));
    assert!(empty.contains("no rows"), "{empty}");
}

#[test]
fn a_spike_is_told_with_its_samples_and_a_loss_that_stays_high_ends_the_training() {
    let dull = "{\"text\": \"la la la la la la\"}\n".repeat(40);
    let lines = format!("{dull}{{\"text\": \"Zyx, wvu!\"}}\n");
    let model = model_folder("tied");
    let out = TempDir::new().unwrap();
    let settings = json!({"packing": "none", "epochs": 3, "learning_rate": 3e-3});
    let outcome = train_on(&lines, model.path(), out.path(), 1, &settings).unwrap();
    let spikes: Vec<Value> = log(out.path()).into_iter().filter(|line| line.get("spike").is_some()).collect();
    assert!(!spikes.is_empty() && outcome.metrics["loss_spikes"] as usize == spikes.len(), "{spikes:?}");
    assert!(spikes.iter().all(|line| line["spike"] == json!(["row 41 of `data[0]`"])), "{spikes:?}");
    let watched = json!({"loss_watchdog_threshold": 0.5, "loss_watchdog_patience": 4, "learning_rate": 1e-9});
    let error = refusal(train(out.path(), 1, &watched.merged(&json!({"epochs": 9}))));
    assert!(error.contains("at step 4, for 4 steps above `loss_watchdog_threshold`"), "{error}");
}

/// Puts fields together.
trait Merged {
    fn merged(&self, more: &Value) -> Value;
}

impl Merged for Value {
    fn merged(&self, more: &Value) -> Value {
        let mut all = self.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    }
}

/// Bins of several samples, moments of 8 bits, orthogonal steps, rounded weights: each learns, none changes with threads.
#[test]
fn every_way_to_train_learns_and_does_not_depend_on_threads() {
    let plain = json!({"epochs": 12, "learning_rate": 2e-3, "sequence_len": 96});
    for settings in [
        json!({"packing": "multipack", "packing_bin_size": 2, "micro_batch_size": 2, "gradient_accumulation_steps": 2}),
        json!({"packing": "none", "optimizer": "adamw_8bit"}),
        json!({"optimizer": "muon", "weight_decay": 0.1}),
        json!({"bf16": true, "neftune_noise_alpha": 1.0, "label_smoothing": 0.05}),
        json!({"lr_scheduler": "wsd", "decay_ratio": 0.3, "warmup_steps": 2, "min_lr_ratio": 0.1}),
        json!({"long_samples": "split", "sequence_len": 20, "train_on_eos": "all"}),
    ] {
        let run = |threads: usize| {
            let out = TempDir::new().unwrap();
            train(out.path(), threads, &plain.merged(&settings)).unwrap();
            (log(out.path()), contents(out.path()))
        };
        let (log, one) = run(1);
        let loss = |step: usize| log[step]["loss"].as_f64().unwrap();
        assert!(loss(log.len() - 1) < 0.8 * loss(0), "{settings}: {} to {}", loss(0), loss(log.len() - 1));
        assert!(run(3).1 == one, "{settings}");
    }
}
