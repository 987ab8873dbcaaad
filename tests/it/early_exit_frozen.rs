//! Exits and branches that are trained beside a model that stays as it is.

use candle_core::Device;
use luthflow::model::{Branches, CausalLm, EarlyExit, Pass, Recompute};
use luthflow::spec::params::{Kind, Params, SftParams};
use luthflow::tensor::{TensorFile, model_tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::early_exit::{CASES, Golden, bits, folder, slope};
use crate::tiny::{Numbers, data_folder, model_folder, relative_error, rows, run};

fn is_beside(name: &str) -> bool {
    name.starts_with("early_exit.")
}

/// The golden models as they are, and the first one with a branch that does not stand at the bottom.
fn cases() -> Vec<((&'static str, &'static str), Option<EarlyExit>)> {
    let higher = Branches { layers: vec![2], factor: 2 };
    let higher = EarlyExit { layers: vec![1, 2], own_heads: true, branches: Some(higher) };
    CASES.into_iter().map(|case| (case, None)).chain([(CASES[0], Some(higher))]).collect()
}

/// Loads one, with numbers in place of the zeros that branches begin with.
fn load(case: (&str, &str), golden: &Golden, other: Option<&EarlyExit>, frozen: bool) -> CausalLm {
    let dir = folder(case);
    let mut model = match other {
        None => golden.load(dir.path()),
        Some(other) => {
            fs_err::remove_file(dir.path().join("early_exit.json")).unwrap();
            fs_err::remove_file(dir.path().join("early_exit.safetensors")).unwrap();
            CausalLm::load_with_exits(dir.path(), other, &golden.weights).unwrap()
        }
    };
    let mut numbers = Numbers(3);
    let silent = |values: &[f32]| values.iter().all(|value| *value == 0.0);
    for parameter in model.parameters().iter().filter(|one| other.is_some() && silent(&one.value())) {
        parameter.update(|value, _| value.iter_mut().for_each(|value| *value = 0.2 * numbers.next()));
    }
    if frozen {
        model.freeze_backbone();
    }
    model
}

/// What is trained gets the gradients that it gets where everything is trained, and nothing else gets any.
#[test]
fn gradients_are_those_of_a_training_of_all_weights() {
    for (case, other) in cases() {
        let golden = Golden::open(case.0);
        let mut whole = load(case, &golden, other.as_ref(), false);
        let losses = whole.add_all_gradients(&golden.packed, &golden.trained, golden.pass()).unwrap();
        for recompute in [Recompute::Nothing, Recompute::FeedForward, Recompute::Layers] {
            let pass = Pass { recompute, ..golden.pass() };
            for on_device in [false, true] {
                let mut frozen = load(case, &golden, other.as_ref(), true);
                if on_device {
                    frozen.move_to(&Device::Cpu).unwrap();
                }
                let found = frozen.add_all_gradients(&golden.packed, &golden.trained, pass).unwrap();
                frozen.gather_gradients().unwrap();
                frozen.check_gradients().unwrap();
                assert!(on_device || found == losses, "{} {recompute:?}", case.0);
                for (one, all) in frozen.parameters().iter().zip(whole.parameters()) {
                    let name = &one.parts()[0].name;
                    let (gradient, expected) = (one.gradient(), all.gradient());
                    if !is_beside(name) {
                        assert!(gradient.is_empty() && !expected.is_empty(), "{}: {name}", case.0);
                    } else if on_device {
                        assert!(relative_error(&gradient, &expected) <= 3e-5, "{} {recompute:?}: {name}", case.0);
                    } else {
                        assert_eq!(bits(&gradient), bits(&expected), "{} {recompute:?}: {name}", case.0);
                    }
                }
            }
        }
        let frozen = load(case, &golden, other.as_ref(), true);
        let reference = frozen.reference(&Device::Cpu).unwrap();
        let (_, composed) = reference.gradients(&golden.packed, &golden.trained, golden.pass()).unwrap();
        let expected = whole.parameters().iter().filter(|one| is_beside(&one.parts()[0].name));
        assert_eq!(composed.len(), expected.clone().count(), "{}", case.0);
        for (gradient, all) in composed.iter().zip(expected) {
            assert!(relative_error(gradient, &all.gradient()) <= 3e-5, "{}", case.0);
        }
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    let mut numbers = Numbers(11);
    for (case, other) in cases() {
        let golden = Golden::open(case.0);
        let mut model = load(case, &golden, other.as_ref(), true);
        model.add_gradients(&golden.packed, &golden.trained, golden.pass()).unwrap();
        for parameter in model.trained_parameters() {
            let gradient = parameter.gradient();
            assert!(!gradient.is_empty(), "{}: {}", case.0, parameter.parts()[0].name);
            let direction: Vec<f32> = gradient.iter().map(|_| numbers.next()).collect();
            let length = direction.iter().map(|x| x * x).sum::<f32>().sqrt();
            let direction: Vec<f32> = direction.iter().map(|x| x / length).collect();
            let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let name = &parameter.parts()[0].name;
            let found = [4e-3, 1e-3, 2.5e-4].map(|step| slope(&model, parameter, &direction, step, &golden));
            let right = found.iter().any(|found| (found - expected).abs() <= 2e-4 + 1e-3 * expected.abs());
            assert!(right, "{}: {name}: {expected:e}, measured {found:?}", case.0);
        }
    }
}

fn fields(exits: &Value, more: &Value) -> Value {
    let mut exits = exits.clone();
    exits["freeze_backbone"] = json!(true);
    let mut fields = json!({
        "model": "m", "data": ["d"], "sequence_len": 64, "learning_rate": 1e-2, "epochs": 4.0, "early_exit": exits,
    });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fields
}

#[test]
fn the_model_comes_out_byte_for_byte_and_its_exits_learn() {
    let (start, data) = (model_folder("untied"), data_folder(&rows()));
    for (exits, more) in [
        (json!({"layers": [1, 2]}), json!({})),
        (json!({"layers": [2], "head": "own"}), json!({"gradient_checkpointing": true, "weight_decay": 0.1})),
        (json!({"layers": [1], "branches": {"layers": [2, 3], "factor": 2}}), json!({"optimizer": "muon"})),
        (json!({"layers": [2], "branches": {"layers": [1], "factor": 2}}), json!({"bf16": true})),
    ] {
        let give = |more: &Value, threads| {
            let out = TempDir::new().unwrap();
            let slots = [("model", start.path()), ("data[0]", data.path())];
            let outcome = run(Kind::Sft, fields(&exits, more), &slots, out.path(), threads).unwrap();
            (out, outcome)
        };
        let (out, outcome) = give(&more, 2);
        let model = out.path().join("model");
        let (before, after) = (model_tensors(start.path()).unwrap(), model_tensors(&model).unwrap());
        assert_eq!(before.names().collect::<Vec<_>>(), after.names().collect::<Vec<_>>());
        for name in before.names() {
            assert!(before.get(name).unwrap().bytes == after.get(name).unwrap().bytes, "{exits}: {name}");
        }
        let beside = TensorFile::open(&model.join("early_exit.safetensors")).unwrap();
        let count: usize = beside.names().map(|name| beside.get(name).unwrap().count()).sum();
        assert!((outcome.metrics["trained_parameters"] - count as f64).abs() < 0.5, "{exits}: {count}");
        let log = fs_err::read_to_string(out.path().join("log/loss.jsonl")).unwrap();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let exit = format!("loss_exit_{}", exits["layers"][0]);
        let loss = |line: &Value| line[&exit].as_f64().unwrap();
        assert!(loss(lines.last().unwrap()) < 0.95 * loss(&lines[0]), "{exits}: {} {:?}", lines[0], lines.last());
        // Neither threads nor what is computed again change a byte of what is learned.
        let mut again = more.clone();
        again["gradient_checkpointing"] = json!("selective");
        let (other, _) = give(&again, 1);
        for name in ["model/early_exit.safetensors", "model/model.safetensors", "log/loss.jsonl"] {
            let [one, two] = [&out, &other].map(|out| fs_err::read(out.path().join(name)).unwrap());
            assert!(one == two, "{exits}: {name}");
        }
    }
}

#[test]
fn what_looks_at_a_loss_that_stays_is_a_mistake() {
    let told = |exits: Value, more: Value| {
        let params: SftParams = serde_json::from_value(fields(&exits, &more)).unwrap();
        Params::check(&params).into_iter().map(|mistake| mistake.field).collect::<Vec<_>>()
    };
    let best = json!({"val_set_size": 2, "load_best_model_at_end": true, "early_stopping_patience": 1});
    assert_eq!(told(json!({"layers": [1]}), json!({"val_set_size": 2})), [""; 0]);
    assert_eq!(told(json!({"layers": [1]}), best.clone()), ["early_stopping_patience", "load_best_model_at_end"]);
    assert_eq!(told(json!({"layers": [1], "branches": {"layers": [1]}}), best), [""; 0], "branches change it");
    // Nothing of it is in the keys of those who do not use it.
    let plain = json!({"model": "m", "data": ["d"], "early_exit": {"layers": [1]}});
    let plain: SftParams = serde_json::from_value(plain).unwrap();
    assert!(!serde_json::to_string(&plain).unwrap().contains("freeze_backbone"));
}
