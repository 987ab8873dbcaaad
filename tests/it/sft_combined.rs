//! Rules of optimization, adapters and preferences together, through the program: what a killed training comes to, and what
//! torch, PEFT and bitsandbytes make of the same (`combined.py` in `tests/fixtures/dpo`, `rules.py` in `lora-training`).

use luthflow::tensor::TensorFile;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::repository;
use crate::tiny::{data_folder, model_folder, relative_error, rows, run};
use crate::world::World;

fn fixture(name: &str) -> String {
    fs_err::read_to_string(repository().join("tests/fixtures/dpo").join(name)).unwrap()
}

/// A world with the tiny model, texts and pairs.
pub(crate) fn world(settings: &Value) -> World {
    let world = World::empty();
    world.write("texts.jsonl", &rows().repeat(4));
    world.write("pairs.jsonl", &fixture("rows.jsonl").repeat(4));
    let start = model_folder("untied");
    fs_err::create_dir(world.path("start")).unwrap();
    for entry in fs_err::read_dir(start.path()).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, world.path("start").join(path.file_name().unwrap())).unwrap();
    }
    let data = if settings.get("dpo").is_some() { "pairs" } else { "texts" };
    let mut sft = json!({
        "kind": "sft", "model": "start", "data": ["data"], "sequence_len": 128, "epochs": 30, "learning_rate": 2e-3,
        "checkpoint_steps": 4, "warmup_ratio": 0.0,
    });
    sft.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let source = json!({"kind": "source", "dataset": format!("{data}.jsonl")});
    let start = json!({"kind": "source", "model": "start"});
    let pipeline = json!({"version": 1, "nodes": {"data": source, "start": start, "sft": sft}});
    world.write("pipeline.yaml", &pipeline.to_string());
    world
}

/// Adapters large enough for moments in 8 bits.
fn lora() -> Value {
    json!({"r": 128, "lora_alpha": 128, "output": "adapter", "lora_dropout": 0.1})
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_killed_ends_in_the_same_bytes_and_learns() {
    for (name, settings) in [
        ("LoRA with 8 bits", json!({"lora": lora(), "optimizer": "adamw_8bit"})),
        ("LoRA with Muon", json!({"lora": lora(), "optimizer": "muon"})),
        ("LoRA of preferences", json!({"lora": lora(), "dpo": {}})),
        ("LoRA of preferences with 8 bits", json!({"lora": lora(), "dpo": {}, "optimizer": "adamw_8bit"})),
        ("preferences with 8 bits", json!({"dpo": {}, "optimizer": "adamw_8bit"})),
        ("preferences with Muon", json!({"dpo": {}, "optimizer": "muon"})),
    ] {
        let (killed, whole) = (world(&settings), world(&settings));
        let mut seen = 0;
        for kill in 0..2 {
            seen = crate::sft_resume::kill_once_it_trained(&killed, seen, 7 + 4 * kill);
        }
        assert!(seen > 0, "{name}: it was never killed");
        killed.run_ok(&[]);
        whole.run_ok(&[]);
        assert_eq!(killed.read("pipeline.lock"), whole.read("pipeline.lock"), "{name}");
        let shown = whole.json(&["show", "sft", "--json"]);
        let log = fs_err::read_to_string(format!("{}/log/loss.jsonl", shown["path"].as_str().unwrap())).unwrap();
        let losses: Vec<f64> =
            log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap()).collect();
        let last = losses.iter().rev().take(3).sum::<f64>() / 3.0;
        assert!(losses.len() >= 20 && last < 0.7 * losses[0], "{name}: {losses:?}");
    }
}

/// Eight bits in the moments of a rule show from the second step on. What each step's loss and gradients are told within
/// covers the rounding of f32, which Muon's iterations make larger.
#[test]
fn the_steps_are_those_of_torch_peft_and_bitsandbytes() {
    let golden: Value = serde_json::from_str(&fixture("combined.json")).unwrap();
    let settings = &golden["settings"];
    let (model, reference, data) = (model_folder("untied"), model_folder("tied"), data_folder(&fixture("rows.jsonl")));
    for (name, optimizer, adapters) in [
        ("adamw_8bit", "adamw_8bit", false),
        ("muon", "muon", false),
        ("lora-adamw_8bit", "adamw_8bit", true),
        ("lora-muon", "muon", true),
    ] {
        let mut fields = json!({
            "model": "m", "data": ["d"], "sequence_len": 128, "lr_scheduler": "constant", "warmup_ratio": 0.0,
            "epochs": settings["steps"], "learning_rate": settings["learning_rate"], "weight_decay": 0.0,
            "max_grad_norm": settings["max_grad_norm"], "gradient_accumulation_steps": 3, "packing": "none",
            "dpo": {"beta": settings["beta"], "reference": "r"}, "optimizer": optimizer,
        });
        if adapters {
            // The seed that the fixture draws A from.
            fields["seed"] = 3.into();
            fields["lora"] = json!({"r": settings["rank"], "lora_alpha": settings["rank"], "output": "adapter"});
        }
        let out = TempDir::new().unwrap();
        let inputs = [("model", model.path()), ("data[0]", data.path()), ("dpo.reference", reference.path())];
        run(luthflow::spec::params::Kind::Sft, fields, &inputs, out.path(), 2).unwrap();
        let log = fs_err::read_to_string(out.path().join("log/loss.jsonl")).unwrap();
        let expected = golden[name].as_array().unwrap();
        assert_eq!(log.lines().count(), expected.len());
        for (step, (line, expected)) in log.lines().zip(expected).enumerate() {
            let line: Value = serde_json::from_str(line).unwrap();
            for figure in ["loss", "grad_norm"] {
                let (found, expected) = (line[figure].as_f64().unwrap(), expected[figure].as_f64().unwrap());
                let apart = (found / expected - 1.0).abs();
                eprintln!("{name}, step {step}, {figure}: {apart:.1e}");
                assert!(apart <= 2e-4, "{name}, step {step}, {figure}: {found} is not {expected}");
            }
        }
    }
}

/// Trains adapters on texts for twenty steps, and returns how far losses and trained tensors are from those of a golden file.
fn apart_on_texts(optimizer: &str, case: &str, golden: &Value, tensors: &TensorFile, of: &str) -> [f64; 2] {
    let (model, data, out) = (model_folder("tied"), data_folder(&rows()), TempDir::new().unwrap());
    let fields = json!({
        "model": "m", "data": ["d"], "sequence_len": 128, "epochs": 20, "gradient_accumulation_steps": 2,
        "learning_rate": 5e-3, "warmup_ratio": 0.15, "weight_decay": 0.1, "max_grad_norm": 0.5, "seed": 3, "optimizer": optimizer,
        "lora": {"r": golden["rank"], "lora_alpha": golden["rank"], "use_dora": case == "dora", "output": "adapter"},
    });
    let inputs = [("model", model.path()), ("data[0]", data.path())];
    run(luthflow::spec::params::Kind::Sft, fields, &inputs, out.path(), 2).unwrap();
    let log = fs_err::read_to_string(out.path().join("log/loss.jsonl")).unwrap();
    let theirs = golden[of]["loss"].as_array().unwrap();
    assert_eq!((log.lines().count(), theirs.len()), (20, 20));
    let losses = log.lines().zip(theirs).map(|(line, theirs)| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["loss"].as_f64().unwrap() / theirs.as_f64().unwrap() - 1.0).abs()
    });
    let adapter = TensorFile::open(&out.path().join("adapter/adapter_model.safetensors")).unwrap();
    let stride = golden["stride"].as_u64().unwrap() as usize;
    let prefix = format!("{of}.");
    let named: Vec<&str> = tensors.names().filter_map(|name| name.strip_prefix(&prefix)).collect();
    assert_eq!(named.len(), adapter.names().count());
    let weights = named.into_iter().map(|name| {
        let found = adapter.get(&format!("base_model.model.{name}")).unwrap().to_f32();
        let some: Vec<f32> = found.into_iter().step_by(stride).collect();
        relative_error(&some, &tensors.get(&format!("{prefix}{name}")).unwrap().to_f32())
    });
    [losses.fold(0.0, f64::max), weights.fold(0.0, f64::max)]
}

/// What is allowed is measured beside what torch differs from itself by, where its gradients are rounded otherwise. The last
/// lines are what makes this worth something: another rule is far outside.
#[test]
fn adapters_learn_texts_by_other_rules_as_in_torch_peft_and_bitsandbytes() {
    let folder = repository().join("tests/fixtures/lora-training");
    let golden: Value = serde_json::from_slice(&fs_err::read(folder.join("rules.json")).unwrap()).unwrap();
    let tensors = TensorFile::open(&folder.join("rules.safetensors")).unwrap();
    for (rule, case) in [("adamw_8bit", "lora"), ("adamw_8bit", "dora"), ("muon", "lora"), ("muon", "dora")] {
        let of = format!("{rule}-{case}");
        let [loss, weight] = apart_on_texts(rule, case, &golden, &tensors, &of);
        let noise = |figure: &str| golden[&of]["noise"][figure].as_f64().unwrap();
        let (own_loss, own_weight) = (noise("loss"), noise("weight"));
        eprintln!("{of}: loss {loss:.1e} (torch alone {own_loss:.1e}), weights {weight:.1e} ({own_weight:.1e})");
        assert!(loss <= 3.0 * own_loss && weight <= 3.0 * own_weight, "{of}: {loss:e} {weight:e}");
        let [other_loss, other_weight] = apart_on_texts("adamw", case, &golden, &tensors, &of);
        eprintln!("adamw beside {of}: loss {other_loss:.1e}, weights {other_weight:.1e}");
        assert!(
            other_loss > 10.0 * own_loss && other_weight > 10.0 * own_weight,
            "{of}: {other_loss:e} {other_weight:e}"
        );
    }
}

#[test]
fn operations_of_a_tiny_model_and_samples_are_counted() {
    let world = world(&json!({"epochs": 3, "checkpoint_steps": null}));
    let finished = world.run_ok(&[]);
    let event = |event: &&Value| event["event"] == "node_finished" && event["node"] == "sft";
    let event = finished.events.iter().find(event).unwrap();
    let (metrics, measured) = (&event["metrics"], &event["measured"]);
    let samples = metrics["samples"].as_f64().unwrap();
    assert!((measured["samples_seen"].as_f64().unwrap() - 3.0 * samples).abs() < 1e-9);
    let flops = measured["flops"].as_f64().unwrap();
    // Six for each weight that multiplies, and attention.
    assert!(flops > 6.0 * 20_000.0 * metrics["tokens"].as_f64().unwrap() && flops < 1e9, "{flops}");
    assert!((metrics["gflops"].as_f64().unwrap() / (flops / 1e9) - 1.0).abs() < 1e-12);
    assert!(measured["gflops_per_second"].as_f64().unwrap() > 0.0);
}
