//! Training of adapters: against PEFT 0.21.2 (`tests/fixtures/lora-training`, made by `make.py` there) and candle's own gradients;
//! what stays as it is, what does not depend on how it is computed, and what comes out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use luthflow::model::{CausalLm, LoraSettings, Packed, Pass};
use luthflow::ops::{OpError, Outcome};
use luthflow::spec::params::{Kind, Op};
use luthflow::tensor::{TensorFile, model_tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tiny::{
    Golden, Numbers, data_folder, fixture, largest_difference, model_folder, relative_error, rows, run, trained_tokens,
};
use crate::world::World;

const RANK: usize = 2;
const ALPHA: f64 = 3.0;
const SEED: u64 = 3;
const BATCH_SEED: u64 = 99;
const MODELS: [&str; 2] = ["qwen3", "lfm2"];
const CASES: [&str; 3] = ["lora", "rslora", "dora"];

fn fixtures() -> PathBuf {
    crate::op::repository().join("tests/fixtures/lora-training")
}

fn golden(model: &str, case: &str) -> (TensorFile, Value) {
    let path = |end: &str| fixtures().join(format!("{model}-{case}.{end}"));
    let figures = serde_json::from_slice(&fs_err::read(path("json")).unwrap()).unwrap();
    (TensorFile::open(&path("safetensors")).unwrap(), figures)
}

/// SplitMix64, once more: the number at a place of a stream.
fn bits(seed: u64, place: u64) -> u64 {
    const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    mix(mix(seed.wrapping_add(GAMMA)).wrapping_add(place.wrapping_mul(GAMMA)))
}

fn even(seed: u64, place: usize) -> f32 {
    (bits(seed, place as u64) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

fn settings(case: &str) -> LoraSettings {
    let rank = RANK as f64;
    let scale = ALPHA / if case == "rslora" { rank.sqrt() } else { rank };
    LoraSettings { rank: RANK, scale: scale as f32, dropout: 0.25, dora: case == "dora", seed: SEED }
}

/// Returns a model with adapters in which nothing is zero.
fn disturbed(model: &str, case: &str) -> CausalLm {
    let mut model =
        CausalLm::load(&if model == "qwen3" { fixture().join("tied") } else { fixtures().join("lfm2") }).unwrap();
    model.attach(settings(case), |_| true);
    for (number, adapter) in model.adapters().enumerate() {
        for parameter in adapter.parameters() {
            let up = parameter.parts()[0].name.ends_with("lora_B.weight");
            let magnitude = parameter.parts()[0].name.ends_with("magnitude_vector");
            parameter.update(|value, _| {
                for (place, value) in value.iter_mut().enumerate() {
                    if up {
                        *value = 0.1 * even(bits(77, number as u64), place);
                    } else if magnitude {
                        *value *= 1.0 + 0.1 * even(bits(78, number as u64), place);
                    }
                }
            });
        }
    }
    model
}

/// The fourth row of the fixture, as its chat template renders it.
fn chat() -> (Packed, Vec<bool>) {
    let row: Value = serde_json::from_str(rows().lines().nth(3).unwrap()).unwrap();
    let (mut packed, mut ids, mut trained) = (Packed::default(), Vec::new(), Vec::new());
    for message in row["messages"].as_array().unwrap() {
        let mut add = |text: &str, mark: bool| {
            ids.extend(text.bytes().map(u32::from));
            trained.resize(ids.len(), mark);
        };
        let (role, content) = (message["role"].as_str().unwrap(), message["content"].as_str().unwrap());
        // Bytes 1 and 2 stand for the special tokens until they are put in.
        add("\u{1}", false);
        add(&format!("{role}\n"), false);
        add(content, role == "assistant");
        add("\u{2}", role == "assistant");
        add("\n", false);
    }
    for id in &mut ids {
        *id = match *id {
            1 => 257,
            2 => 258,
            byte => byte,
        };
    }
    packed.push(&ids);
    (packed, trained)
}

/// Holds loss and gradients against PEFT's and against candle's.
fn assert_gradients(model: &str, case: &str, kind: &str, batch: (Packed, Vec<bool>), dropout: Option<u64>) -> f64 {
    let (tensors, figures) = golden(model, case);
    let mut lm = disturbed(model, case);
    let (packed, trained) = batch;
    let count = trained_tokens(&packed, &trained) as f64;
    let pass = Pass { dropout, ..Pass::plain((1.0 / count) as f32) };
    let (expected, composed) = lm.reference(&Device::Cpu).unwrap().gradients(&packed, &trained, pass).unwrap();
    let loss = lm.add_gradients(&packed, &trained, pass).unwrap();
    let wanted = figures[if kind == "dropped" { "loss_dropped" } else { "loss" }].as_f64().unwrap();
    let place = format!("{model}, {case}, {kind}");
    assert!((loss / count / wanted - 1.0).abs() <= 2e-6, "{place}: {} is not {wanted}", loss / count);
    assert!((loss / expected - 1.0).abs() <= 2e-6, "{place}: {loss} is not {expected}");
    assert_eq!(composed.len(), tensors.names().filter(|name| name.starts_with(kind)).count());
    let mut worst = 0.0f64;
    for (parameter, composed) in lm.trained_parameters().iter().zip(composed) {
        let name = &parameter.parts()[0].name;
        let theirs = tensors.get(&format!("{kind}.{name}")).unwrap().to_f32();
        for (who, theirs) in [("PEFT", theirs), ("candle", composed)] {
            let error = relative_error(&parameter.gradient(), &theirs);
            assert!(error <= 1e-5, "{place}: {name} is {error:.1e} off {who}'s");
            worst = worst.max(error);
        }
    }
    let frozen = lm.parameters().iter().all(|parameter| parameter.gradient().is_empty());
    assert!(frozen, "{place}: a weight that is frozen has a gradient");
    lm.check_gradients().unwrap();
    worst
}

#[test]
fn gradients_are_those_of_peft_and_of_candle() {
    let mut worst = 0.0f64;
    for (model, case) in MODELS.iter().flat_map(|model| CASES.map(|case| (*model, case))) {
        let batch = Golden::open("golden_tied.safetensors").batch();
        worst = worst.max(assert_gradients(model, case, "gradient", batch, None));
        worst = worst.max(assert_gradients(model, case, "dropped", chat(), Some(BATCH_SEED)));
    }
    eprintln!("worst gradient off by {worst:.1e}");
}

/// Returns the folder of a model with the fixture's tokenizer.
fn folder(model: &str) -> TempDir {
    let dir = model_folder("tied");
    if model == "lfm2" {
        for file in ["config.json", "model.safetensors"] {
            fs_err::copy(fixtures().join("lfm2").join(file), dir.path().join(file)).unwrap();
        }
    }
    dir
}

fn train_in(out: &Path, model: &Path, threads: usize, more: &Value, lora: &Value) -> Result<Outcome, OpError> {
    let data = data_folder(&rows());
    let mut fields = json!({"model": "m", "data": ["d"], "sequence_len": 128, "lora": lora});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run(Kind::Sft, fields, &[("model", model), ("data[0]", data.path())], out, threads)
}

fn train(model: &Path, more: &Value, lora: &Value) -> (TempDir, Outcome) {
    let out = TempDir::new().unwrap();
    let outcome = train_in(out.path(), model, 2, more, lora).unwrap_or_else(|error| panic!("{:?}", error.chain()));
    (out, outcome)
}

fn log(out: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(out.join("log/loss.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Twenty steps of AdamW with warm-up, cosine, clipping and decay, from the A that the seed gives.
#[test]
fn training_is_that_of_peft() {
    let mut worst = 0.0f64;
    for (model, case) in MODELS.iter().flat_map(|model| CASES.map(|case| (*model, case))) {
        let (tensors, figures) = golden(model, case);
        let start = folder(model);
        let more = json!({
            "epochs": 20, "gradient_accumulation_steps": 2, "learning_rate": 5e-3, "warmup_ratio": 0.15,
            "weight_decay": 0.1, "max_grad_norm": 0.5, "seed": SEED,
        });
        let lora = json!({
            "r": RANK, "lora_alpha": ALPHA, "use_rslora": case == "rslora", "use_dora": case == "dora", "output": "adapter",
        });
        let (out, outcome) = train(start.path(), &more, &lora);
        let log = log(out.path());
        assert_eq!(log.len(), 20);
        for (step, line) in log.iter().enumerate() {
            for (field, allowed) in [("loss", 1e-5), ("grad_norm", 1e-4)] {
                let (ours, theirs) = (line[field].as_f64().unwrap(), figures["log"][field][step].as_f64().unwrap());
                assert!(
                    (ours / theirs - 1.0).abs() <= allowed,
                    "{model}, {case}, step {step}: {field} {ours} {theirs}"
                );
            }
        }
        let ours = TensorFile::open(&out.path().join("adapter/adapter_model.safetensors")).unwrap();
        let mut numbers = 0;
        for name in tensors.names().filter_map(|name| name.strip_prefix("trained.")) {
            let found = ours.get(&format!("base_model.model.{name}")).unwrap();
            let theirs = tensors.get(&format!("trained.{name}")).unwrap();
            assert_eq!(found.shape, theirs.shape);
            let error = relative_error(&found.to_f32(), &theirs.to_f32());
            assert!(error <= 3e-5, "{model}, {case}: {name} is off by {error:.1e}");
            worst = worst.max(error);
            numbers += found.count();
        }
        assert_eq!(ours.names().count(), tensors.names().filter(|name| name.starts_with("trained.")).count());
        assert_eq!(outcome.metrics["trained_parameters"] as usize, numbers);
    }
    eprintln!("worst number of an adapter off by {worst:.1e}");
}

#[test]
fn an_adapter_changes_nothing_before_it_learns() {
    let (packed, _) = Golden::open("golden_tied.safetensors").batch();
    for (model, case) in MODELS.iter().flat_map(|model| CASES.map(|case| (*model, case))) {
        let start = folder(model);
        let plain = CausalLm::load(start.path()).unwrap();
        let mut adapted = CausalLm::load(start.path()).unwrap();
        adapted.attach(settings(case), |_| true);
        let difference = largest_difference(&adapted.logits(&packed).unwrap(), &plain.logits(&packed).unwrap());
        assert!(difference <= 1e-5, "{model}, {case}: {difference}");
        assert_eq!(adapted.logits_without_adapters(&packed).unwrap(), plain.logits(&packed).unwrap());
        let composed = adapted.reference(&Device::Cpu).unwrap().logits(&packed).unwrap();
        assert!(largest_difference(&composed, &plain.logits(&packed).unwrap()) <= 1e-4, "{model}, {case}");
    }
}

fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().display().to_string(), fs_err::read(&path).unwrap());
            }
        }
    }
    found
}

/// A model that is large enough for work to be shared out among threads.
#[test]
fn threads_and_recomputing_change_no_byte() {
    let start = TempDir::new().unwrap();
    let shape = json!({
        "hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 24,
    });
    run(Kind::Init, json!({"tokenizer": "t", "config": shape}), &[("tokenizer", &fixture())], start.path(), 1).unwrap();
    for lora in [
        json!({"r": 5}),
        json!({"r": 5, "lora_dropout": 0.2, "target_modules": ["q_proj", "v_proj", "layers.1.mlp.up_proj"]}),
        json!({"r": 5, "lora_dropout": 0.2, "use_dora": true}),
        json!({"r": 5, "use_dora": true, "use_rslora": true, "target_modules": ["k_proj", "down_proj"]}),
    ] {
        let run = |threads: usize, recompute: Value| {
            let out = TempDir::new().unwrap();
            let more = json!({
                "epochs": 3, "learning_rate": 1e-2, "micro_batch_size": 2, "gradient_checkpointing": recompute,
                "gradient_accumulation_steps": 2, "neftune_noise_alpha": 2.0,
            });
            train_in(out.path(), start.path(), threads, &more, &lora).unwrap();
            files_below(out.path())
        };
        let one = run(1, json!(false));
        assert_eq!(one.keys().filter(|name| name.starts_with("model/")).count(), 5, "{:?}", one.keys());
        for (threads, recompute) in [(2, json!(false)), (3, json!(true)), (1, json!(true)), (2, json!("selective"))] {
            assert!(run(threads, recompute.clone()) == one, "{lora}, {threads}, {recompute}");
        }
    }
}

#[test]
fn dropout_follows_the_seed() {
    let start = folder("qwen3");
    let adapter = |seed: u64, dropout: f64| {
        let lora = json!({"lora_dropout": dropout, "output": "adapter", "target_modules": ["q_proj"]});
        let (out, _) = train(start.path(), &json!({"seed": seed, "epochs": 2, "learning_rate": 1e-2}), &lora);
        fs_err::read(out.path().join("adapter/adapter_model.safetensors")).unwrap()
    };
    assert!(adapter(1, 0.3) == adapter(1, 0.3));
    assert!(adapter(1, 0.3) != adapter(2, 0.3) && adapter(1, 0.3) != adapter(1, 0.0));
}

/// Returns the tied model with its weights in f32.
fn in_f32() -> TempDir {
    let (from, to) = (model_folder("tied"), model_folder("tied"));
    let mut config: Value = serde_json::from_slice(&fs_err::read(from.path().join("config.json")).unwrap()).unwrap();
    config["dtype"] = "float32".into();
    fs_err::write(from.path().join("config.json"), config.to_string()).unwrap();
    fs_err::write(to.path().join("config.json"), config.to_string()).unwrap();
    CausalLm::load(from.path()).unwrap().save_weights(to.path()).unwrap();
    to
}

#[test]
fn a_merged_model_is_the_model_with_its_adapter() {
    for (start, apart) in [(in_f32(), 1e-5), (model_folder("tied"), 2e-2)] {
        for case in CASES {
            let more = json!({"epochs": 15, "learning_rate": 1e-2});
            let lora =
                |output: &str| json!({"use_rslora": case == "rslora", "use_dora": case == "dora", "output": output});
            let (merged, outcome) = train(start.path(), &more, &lora("merged"));
            let (difference, learned) = (outcome.metrics["merge_difference"], outcome.metrics["adapter_difference"]);
            assert!(difference <= apart && learned > 0.1, "{case}: {difference:.1e} {learned:.1e}");
            // The same bytes as by another node, of the adapter that the same training gives.
            let (adapter, _) = train(start.path(), &more, &lora("adapter"));
            let applied = TempDir::new().unwrap();
            let inputs = [("model", start.path()), ("adapter", &adapter.path().join("adapter"))];
            run(Kind::ApplyLora, json!({"model": "m", "adapter": "a"}), &inputs, applied.path(), 2).unwrap();
            assert!(files_below(&merged.path().join("model")) == files_below(applied.path()), "{case}");
        }
    }
}

#[test]
fn what_is_not_chosen_stays_as_it_is() {
    let start = folder("lfm2");
    let lora = json!({"target_modules": ["conv.in_proj", "w2"], "use_dora": true});
    let (out, _) = train(start.path(), &json!({"epochs": 10, "learning_rate": 1e-2}), &lora);
    let (before, after) = (model_tensors(start.path()).unwrap(), model_tensors(&out.path().join("model")).unwrap());
    assert!(before.names().eq(after.names()));
    for name in before.names() {
        let same = before.get(name).unwrap().bytes == after.get(name).unwrap().bytes;
        assert_eq!(same, !(name.ends_with("conv.in_proj.weight") || name.ends_with("w2.weight")), "{name}");
    }
}

#[test]
fn weights_rounded_to_16_bits_are_trained_beside() {
    let (start, more) = (in_f32(), json!({"epochs": 10, "learning_rate": 1e-2, "bf16": true}));
    let (out, outcome) = train(start.path(), &more, &json!({"output": "adapter"}));
    assert!(outcome.metrics["final_loss"] < log(out.path())[0]["loss"].as_f64().unwrap() - 0.5);
    let (_, merged) = train(start.path(), &more, &json!({}));
    assert!(merged.metrics["merge_difference"] < 2e-2);
}

const PIPELINE: &str = "\
version: 1
nodes:
  data: {kind: source, dataset: data.jsonl}
  start: {kind: source, model: start}
  lora:
    kind: sft
    model: start
    data: [data]
    sequence_len: 128
    epochs: 3
    save_strategy: epoch
    val_set_size: 0.2
    load_best_model_at_end: true
    learning_rate: 1e-2
    lora: {r: 4, lora_alpha: 8, output: adapter}
  first: {kind: apply_lora, model: start, adapter: lora.epoch1}
  last: {kind: apply_lora, model: start, adapter: lora}
  merged:
    kind: sft
    model: start
    data: [data]
    sequence_len: 128
    epochs: 2
    save_strategy: epoch
    lora: {target_modules: [q_proj, v_proj], use_dora: true}
  both: {kind: merge, method: linear, models: [{model: merged, weight: 1}, {model: merged.epoch1, weight: 1}, {model: first, weight: 2}, {model: last, weight: 1}]}
";

#[test]
fn adapters_and_merged_models_go_on_in_a_pipeline() {
    let world = World::empty();
    world.write("data.jsonl", &rows().repeat(3));
    fs_err::create_dir(world.path("start")).unwrap();
    for (name, bytes) in files_below(model_folder("tied").path()) {
        fs_err::write(world.path("start").join(name), bytes).unwrap();
    }
    world.write("pipeline.yaml", PIPELINE);
    world.run_ok(&[]);
    assert_eq!(world.run(&["export", "lora", "out"]).code, 0);
    let config: Value = serde_json::from_str(&world.read("out/adapter_config.json")).unwrap();
    assert_eq!((&config["peft_type"], &config["r"], &config["lora_alpha"]), (&json!("LORA"), &json!(4), &json!(8)));
    let names = json!(["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]);
    assert_eq!(config["target_modules"], names);
    world.edit("output: adapter", "output: merged");
    let refused = world.run(&["check"]);
    assert!(refused.stderr.contains("`lora.epoch1`") && refused.stderr.contains("LoRA adapter"), "{}", refused.stderr);
}

#[test]
fn mistakes_are_named_with_their_way_out() {
    let mistakes = |lora: Value| {
        let op = Op::from_fields(Kind::Sft, json!({"model": "m", "data": ["d"], "lora": lora})).unwrap();
        op.check().into_iter().map(|mistake| format!("{}: {}", mistake.field, mistake.message)).collect::<Vec<_>>()
    };
    assert!(mistakes(json!({})).is_empty());
    assert!(mistakes(json!({"target_modules": "all-linear", "lora_dropout": 0.99, "r": 1})).is_empty());
    let found = mistakes(json!({"r": 0, "lora_alpha": -1, "lora_dropout": 1.0, "target_modules": []}));
    let fields: Vec<&str> = found.iter().filter_map(|text| text.split(':').next()).collect();
    assert_eq!(fields, ["lora.r", "lora.lora_alpha", "lora.lora_dropout", "lora.target_modules"], "{found:?}");
    let world = World::empty();
    let node = "{kind: sft, model: m, data: [d], lora: {r: 0, target_modules: all, use_rs_lora: true}}";
    world.write("pipeline.yaml", &format!("version: 1\nnodes:\n  tuned: {node}\n"));
    let said = world.run(&["check"]).stderr;
    for text in ["a rank of 0 trains nothing", "`all-linear` or a list of names", "unknown field `use_rs_lora`"] {
        assert!(said.contains(text), "{text}: {said}");
    }
    world.write(
        "pipeline.yaml",
        "version: 1\nnodes:\n  tuned:\n    kind: sft\n    model: m\n    data: [d]\n    lora:\n",
    );
    assert!(world.run(&["check"]).stderr.contains("`lora`"), "nothing is no setting");
    for unknown in ["q_prj", "lm_head", "embed_tokens", "layers.7.self_attn.q_proj"] {
        let (out, start) = (TempDir::new().unwrap(), model_folder("untied"));
        let lora = json!({"target_modules": ["k_proj", unknown]});
        let error = train_in(out.path(), start.path(), 1, &json!({}), &lora).unwrap_err();
        let (message, help) = (error.chain().join(": "), error.way_out().unwrap_or_default().to_owned());
        assert!(message.contains(&format!("`{unknown}`")), "{message}");
        assert!(help.contains("`q_proj`") && help.contains("`down_proj`") && !help.contains("lm_head"), "{help}");
    }
}

#[test]
fn frozen_weights_cost_no_gradients() {
    let mut numbers = Numbers(1);
    let mut packed = Packed::default();
    packed.push(&(0..40).map(|_| (numbers.bits() % 259) as u32).collect::<Vec<_>>());
    let mut model = disturbed("qwen3", "lora");
    let all: usize = model.parameters().iter().map(|parameter| parameter.value().len()).sum();
    let before: Vec<Vec<f32>> = model.parameters().iter().map(|parameter| parameter.value().clone()).collect();
    let flops = model.training_flops(&[40], 39);
    model.add_gradients(&packed, &[true; 40], Pass::plain(0.1)).unwrap();
    let gradients =
        model.parameters().iter().chain(model.trained_parameters()).map(|parameter| parameter.gradient().len());
    let gradients: usize = gradients.sum();
    let trained: usize = model.trained_parameters().iter().map(|parameter| parameter.value().len()).sum();
    assert!(gradients == trained && trained * 4 < all, "{gradients} {trained} {all}");
    assert!(model.parameters().iter().zip(before).all(|(parameter, before)| *parameter.value() == before));
    let plain = CausalLm::load(&fixture().join("tied")).unwrap();
    let full = plain.training_flops(&[40], 39);
    assert!(flops < 0.85 * full && flops > 0.6 * full, "{flops} {full}");
}
