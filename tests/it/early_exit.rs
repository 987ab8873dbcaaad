//! Exits and branches: against torch, the engines against each other, and what a training, an eval and a report make of them.

use std::path::{Path, PathBuf};

use candle_core::Device;
use luthflow::model::{CausalLm, EarlyExit, LanguageModel, OnDevice, Packed, Parameter, Pass};
use luthflow::ops::{OpError, Outcome};
use luthflow::spec::params::{EvalParams, Kind, SftParams};
use luthflow::tensor::{TensorFile, model_tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::architectures;
use crate::tiny::{
    Numbers, by_part, data_folder, fixture, gradients, largest_difference, model_folder, relative_error, rows, run,
    trained_tokens,
};
use crate::world::World;

/// Made by `tests/fixtures/early-exit/make.py`, and the model that each stands beside.
const CASES: [(&str, &str); 4] =
    [("qwen3", "qwen3-tied"), ("lfm2", "lfm2-hybrid"), ("gemma3", "gemma3-window"), ("plain", "llama-smol")];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/early-exit")
}

/// Returns a model folder with what stands beside the model.
fn folder((case, base): (&str, &str)) -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs_err::copy(architectures::folder(base).join(name), dir.path().join(name)).unwrap();
    }
    for name in ["early_exit.json", "early_exit.safetensors"] {
        fs_err::copy(fixtures().join(case).join(name), dir.path().join(name)).unwrap();
    }
    dir
}

struct Golden {
    tensors: TensorFile,
    exits: EarlyExit,
    weights: Vec<f32>,
    packed: Packed,
    trained: Vec<bool>,
}

impl Golden {
    fn open(case: &str) -> Self {
        let tensors = TensorFile::open(&fixtures().join(case).join("golden.safetensors")).unwrap();
        let get = |name: &str| tensors.get(name).unwrap().to_f32();
        let ids = get("ids").into_iter().map(|id| id as u32).collect();
        let lengths = get("lengths").into_iter().map(|length| length as usize).collect();
        let trained = get("trained").into_iter().map(|mark| mark > 0.0).collect();
        let exits = EarlyExit::beside(&fixtures().join(case)).unwrap().unwrap();
        Self { weights: get("weights"), exits, packed: Packed { ids, lengths }, trained, tensors }
    }

    fn get(&self, name: &str) -> Vec<f32> {
        self.tensors.get(name).unwrap_or_else(|| panic!("`{name}` is not in the golden file")).to_f32()
    }

    fn load(&self, dir: &Path) -> CausalLm {
        CausalLm::load_with_exits(dir, &self.exits, &self.weights).unwrap()
    }

    /// The depths that logits are of, the last layer first.
    fn ends(&self) -> Vec<Option<usize>> {
        std::iter::once(None).chain(self.exits.layers.iter().copied().map(Some)).collect()
    }

    fn pass(&self) -> Pass {
        Pass::plain(1.0 / trained_tokens(&self.packed, &self.trained) as f32)
    }
}

fn worst(found: &[(String, Vec<f32>)], golden: &Golden) -> f64 {
    let error = |(name, gradient): &(String, Vec<f32>)| {
        let error = relative_error(gradient, &golden.get(&format!("gradient.{name}")));
        assert!(error <= 3e-5, "the gradient of {name} is off by {error:.1e}");
        error
    };
    found.iter().map(error).fold(0.0, f64::max)
}

#[test]
fn logits_of_all_exits_are_those_of_torch() {
    for case in CASES {
        let (dir, golden) = (folder(case), Golden::open(case.0));
        for (at, exit) in golden.ends().into_iter().enumerate() {
            let model = CausalLm::load_at(dir.path(), exit).unwrap();
            let expected = golden.get(&format!("logits.{at}"));
            let size = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let fused = largest_difference(&model.logits(&golden.packed).unwrap(), &expected) / size;
            let composed = model.reference(&Device::Cpu).unwrap().logits(&golden.packed).unwrap();
            let composed = largest_difference(&composed, &expected) / size;
            eprintln!("{} at {exit:?}: off by {fused:.1e} of the largest fused, {composed:.1e} composed", case.0);
            assert!(fused <= 5e-6 && composed <= 5e-6, "{} at {exit:?}: {fused:e} {composed:e}", case.0);
        }
    }
}

#[test]
fn losses_and_gradients_are_those_of_torch() {
    for case in CASES {
        let (dir, golden) = (folder(case), Golden::open(case.0));
        let expected = golden.get("losses");
        let check = |what: &str, losses: &[f64]| {
            for (loss, expected) in losses.iter().zip(&expected) {
                assert!((loss / f64::from(*expected) - 1.0).abs() <= 1e-6, "{} {what}: {loss} {expected}", case.0);
            }
        };
        let mut model = golden.load(dir.path());
        let losses = model.add_all_gradients(&golden.packed, &golden.trained, golden.pass()).unwrap();
        check("fused", &[&[losses.last], &losses.exits[..]].concat());
        model.check_gradients().unwrap();
        let found = gradients(&model);
        let fused = worst(&found, &golden);
        // Computed again in the backward pass: the same bits.
        let mut again = golden.load(dir.path());
        let pass = Pass { recompute: true, ..golden.pass() };
        assert_eq!(again.add_all_gradients(&golden.packed, &golden.trained, pass).unwrap(), losses);
        assert!(gradients(&again) == found, "{}", case.0);
        // As a GPU trains, with and without.
        for recompute in [false, true] {
            let mut twin = golden.load(dir.path());
            twin.move_to(&Device::Cpu).unwrap();
            let pass = Pass { recompute, ..golden.pass() };
            let losses = twin.add_all_gradients(&golden.packed, &golden.trained, pass).unwrap();
            check("on a device", &[&[losses.last], &losses.exits[..]].concat());
            twin.gather_gradients().unwrap();
            worst(&gradients(&twin), &golden);
        }
        let fresh = golden.load(dir.path());
        let reference = fresh.reference(&Device::Cpu).unwrap();
        let (sum, composed) = reference.gradients(&golden.packed, &golden.trained, golden.pass()).unwrap();
        check("composed", &[sum]);
        let names = fresh.parameters().iter().zip(composed);
        let named: Vec<_> = names.flat_map(|(parameter, gradient)| by_part(parameter.parts(), &gradient)).collect();
        eprintln!("{}: gradients off by {fused:.1e} fused, {:.1e} composed", case.0, worst(&named, &golden));
    }
}

/// The weighed loss that is made smaller, from scores alone.
fn scored(model: &CausalLm, golden: &Golden) -> f64 {
    let of = |exit| -> f64 {
        let scores = model.log_probs_at(&golden.packed, exit).unwrap();
        scores.iter().zip(&golden.trained).filter(|(_, trained)| **trained).map(|(score, _)| -f64::from(*score)).sum()
    };
    let exits: f64 = golden.weights.iter().enumerate().map(|(exit, weight)| f64::from(*weight) * of(Some(exit))).sum();
    (of(None) + exits) * f64::from(golden.pass().scale)
}

fn slope(model: &CausalLm, parameter: &Parameter, direction: &[f32], golden: &Golden) -> f64 {
    // Weights drawn like these bend the loss far more than those of a training, so the step is small: at twice as much a
    // slope of `lfm2` was measured wrong by 2e-3, at four times one of `qwen3` by 3e-3.
    let (start, step) = (parameter.value().clone(), 0.0025);
    let at = |steps: f32| {
        let moved = start.iter().zip(direction).map(|(x, d)| x + steps * step * d);
        parameter.update(|value, _| value.iter_mut().zip(moved).for_each(|(value, x)| *value = x));
        scored(model, golden)
    };
    let found = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * f64::from(step));
    parameter.update(|value, _| value.copy_from_slice(&start));
    found
}

#[test]
fn gradients_are_the_slopes_of_the_weighed_loss() {
    let mut numbers = Numbers(7);
    for case in CASES {
        let (dir, golden) = (folder(case), Golden::open(case.0));
        let mut model = golden.load(dir.path());
        model.add_gradients(&golden.packed, &golden.trained, golden.pass()).unwrap();
        for parameter in model.parameters() {
            let gradient = parameter.gradient();
            let random: Vec<f32> = gradient.iter().map(|_| numbers.next()).collect();
            for direction in [gradient.clone(), random] {
                let length = direction.iter().map(|x| x * x).sum::<f32>().sqrt();
                let direction: Vec<f32> = direction.iter().map(|x| x / length).collect();
                let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
                let found = slope(&model, parameter, &direction, &golden);
                let name = &parameter.parts()[0].name;
                // Rounding allows the first term, the curvature of the loss the second.
                let allowed = 2e-4 + 1e-3 * expected.abs();
                assert!((found - expected).abs() <= allowed, "{}: {name}: {expected:e}, measured {found:e}", case.0);
            }
        }
    }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// A branch sees means of tokens: not of those to come, and not of other documents.
#[test]
fn nothing_comes_from_later_tokens_or_other_documents() {
    for case in CASES {
        let (dir, golden) = (folder(case), Golden::open(case.0));
        for exit in golden.ends() {
            let model = CausalLm::load_at(dir.path(), exit).unwrap();
            let width = model.config().vocab_size;
            let alone = |ids: &[u32]| model.logits(&Packed { ids: ids.to_vec(), lengths: vec![ids.len()] }).unwrap();
            let together = model.logits(&golden.packed).unwrap();
            let mut start = 0;
            for length in &golden.packed.lengths {
                let ids = &golden.packed.ids[start..start + length];
                let (whole, range) = (alone(ids), start * width..(start + length) * width);
                let size = whole.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                assert!(largest_difference(&whole, &together[range.clone()]) <= 1e-5 * size, "{}", case.0);
                // Other documents in the place of all others: no bit of this one changes.
                let mut others = golden.packed.clone();
                let elsewhere = |place: usize| !(start..start + length).contains(&place);
                let places = others.ids.iter_mut().enumerate().filter(|(place, _)| elsewhere(*place));
                places.for_each(|(_, id)| *id = (*id + 5) % width as u32);
                let among_others = &model.logits(&others).unwrap()[range.clone()];
                assert_eq!(bits(&together[range]), bits(among_others), "{}", case.0);
                for cut in 0..*length {
                    let mut changed = ids.to_vec();
                    changed[cut] = (changed[cut] + 1) % width as u32;
                    let other = alone(&changed);
                    assert_eq!(bits(&whole[..cut * width]), bits(&other[..cut * width]), "{} at {cut}", case.0);
                    assert_ne!(bits(&whole[cut * width..]), bits(&other[cut * width..]), "{} at {cut}", case.0);
                }
                start += length;
            }
        }
    }
}

#[test]
fn texts_that_go_on_give_the_logits_of_whole_ones_at_every_exit() {
    for case in CASES {
        let (dir, golden) = (folder(case), Golden::open(case.0));
        for exit in golden.ends() {
            let whole = CausalLm::load_at(dir.path(), exit).unwrap();
            let width = whole.config().vocab_size;
            let here = LanguageModel::load_at(dir.path(), luthflow::model::DeviceChoice::Cpu, exit).unwrap();
            let there = LanguageModel::load_composed_at(dir.path(), exit).unwrap();
            let ids: Vec<u32> = (0..41).map(|i| (i * i * 31 + i * 17 + 5) % width as u32).collect();
            let all = whole.logits(&Packed { ids: ids.clone(), lengths: vec![ids.len()] }).unwrap();
            let size = all.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for (model, same) in [(&here, true), (&there, false)] {
                let mut session = model.session();
                let (one, other) = (session.start(), session.start());
                let mut by_token = Vec::new();
                for token in &ids {
                    by_token.extend(session.feed(&[(one, &[*token])]).unwrap());
                }
                assert!(largest_difference(&by_token, &all) <= 2e-5 * size, "{} at {exit:?}", case.0);
                // In company, in pieces, and as a fork: what is kept of branches goes along.
                let mut rest = ids.as_slice();
                for piece in [3, 1, 1, 8, 2, 7] {
                    let company = session.start();
                    session.feed(&[(company, &ids[..4]), (other, &rest[..piece])]).unwrap();
                    session.end(company);
                    rest = &rest[piece..];
                }
                let fork = session.fork(other).unwrap();
                session.feed(&[(other, &ids[..3])]).unwrap();
                let last = session.feed(&[(fork, rest)]).unwrap();
                let expected = &by_token[by_token.len() - width..];
                assert!(largest_difference(&last, expected) <= 2e-5 * size, "{} at {exit:?}", case.0);
                if same {
                    assert_eq!(bits(&last), bits(expected), "{} at {exit:?}", case.0);
                }
            }
            let on_device = OnDevice::load_at(dir.path(), &Device::Cpu, exit).unwrap();
            let scores = [whole.log_probs(&golden.packed).unwrap(), on_device.log_probs(&golden.packed).unwrap()];
            assert!(largest_difference(&scores[0], &scores[1]) <= 2e-5, "{} at {exit:?}", case.0);
        }
    }
}

#[test]
fn an_exit_costs_what_it_runs() {
    let (dir, golden) = (folder(CASES[0]), Golden::open("qwen3"));
    let config = luthflow::model::Config::load(dir.path()).unwrap();
    // Of qwen3-tied, by hand: width 16, 4 and 2 heads of 8, so q 32·16, k and v 16·16 each, o 16·32.
    let feed_forward = 3 * 16 * config.intermediate_size;
    let layer = (32 * 16 + 2 * 16 * 16 + 16 * 32 + feed_forward) as f64;
    let head = (config.vocab_size * 16) as f64;
    let at = |exit| config.at_exit(exit).unwrap().flops_per_token();
    // One branch beside layer 1 and one beside layer 3, at half the rate.
    for (exit, layers) in [(Some(1), 1.5), (Some(2), 2.5), (Some(3), 4.0), (None, 4.0)] {
        assert!((at(exit) - 2.0 * (layers * layer + head)).abs() < 1e-6, "{exit:?}: {}", at(exit));
    }
    let told = config.at_exit(Some(7)).unwrap_err().to_string();
    assert!(told.contains("no exit after layer 7") && told.contains("after layer 1, after layer 2"), "{told}");
    assert_eq!(golden.exits.layers, [1, 2]);
}

#[test]
fn what_stands_beside_a_model_is_distrusted() {
    let load = |change: &dyn Fn(&Path)| {
        let dir = folder(CASES[0]);
        change(dir.path());
        let told = [CausalLm::load(dir.path()).err(), LanguageModel::load(dir.path()).err()].map(|error| {
            let error = error.expect("nothing of this is a model");
            let mut told = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                told.push_str(&inner.to_string());
                source = inner.source();
            }
            told
        });
        assert_eq!(told[0], told[1]);
        told[0].clone()
    };
    let json = |dir: &Path, from: &str, to: &str| {
        let text = fs_err::read_to_string(dir.join("early_exit.json")).unwrap();
        assert!(text.contains(from), "{text}");
        fs_err::write(dir.join("early_exit.json"), text.replace(from, to)).unwrap();
    };
    let weights = "early_exit.safetensors";
    let told = [
        load(&|dir| fs_err::remove_file(dir.join(weights)).unwrap()),
        load(&|dir| fs_err::write(dir.join(weights), [255; 64]).unwrap()),
        load(&|dir| _ = fs_err::copy(fixtures().join("lfm2").join(weights), dir.join(weights)).unwrap()),
        load(&|dir| _ = fs_err::copy(dir.join("model.safetensors"), dir.join(weights)).unwrap()),
        load(&|dir| json(dir, "\"factor\": 2", "\"factor\": 1")),
        load(&|dir| json(dir, "\"factor\": 2", "\"factor\": 18446744073709551615")),
        load(&|dir| json(dir, "\"version\": 1", "\"version\": 9")),
        load(&|dir| json(dir, "\"own_heads\": false", "\"own_heads\": false, \"more\": 1")),
        // One branch less: its weights have no place.
        load(&|dir| {
            let text = fs_err::read_to_string(dir.join("early_exit.json")).unwrap();
            let mut record: Value = serde_json::from_str(&text).unwrap();
            record["branches"]["layers"] = json!([1]);
            fs_err::write(dir.join("early_exit.json"), record.to_string()).unwrap();
        }),
    ];
    for (told, word) in told.iter().zip([
        weights,
        weights,
        "early_exit.",
        "of this name",
        "early_exit.json",
        "early_exit.json",
        "version 9",
        "more",
        "no place",
    ]) {
        assert!(told.contains(word), "{told:?} has no {word:?}");
    }
}

fn sft(fields: &Value, model: &Path, out: &Path, threads: usize) -> Result<Outcome, OpError> {
    let mut all = json!({"model": "m", "data": ["d"], "sequence_len": 64, "learning_rate": 1e-2, "epochs": 4.0});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let data = data_folder(&rows());
    run(Kind::Sft, all, &[("model", model), ("data[0]", data.path())], out, threads)
}

fn log(out: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(out.join("log/loss.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_training_starts_from_the_function_of_the_model_and_teaches_every_exit() {
    let start = model_folder("untied");
    for exits in [
        json!({"layers": [1, 2]}),
        json!({"layers": [2], "weights": [0.5], "head": "own", "branches": {"layers": [1, 3], "factor": 2}}),
    ] {
        let out = TempDir::new().unwrap();
        sft(&json!({"early_exit": exits, "val_set_size": 2}), start.path(), out.path(), 2).unwrap();
        let plain = TempDir::new().unwrap();
        sft(&json!({"val_set_size": 2}), start.path(), plain.path(), 2).unwrap();
        let (log, other) = (log(out.path()), log(plain.path()));
        assert_eq!(log[0]["loss"], other[0]["loss"], "the first step is that of the model alone: {exits}");
        for layer in exits["layers"].as_array().unwrap() {
            let loss = |line: &Value| line[format!("loss_exit_{layer}")].as_f64().unwrap();
            assert!(loss(log.last().unwrap()) < 0.8 * loss(&log[0]), "{exits}: {:?}", log.last());
        }
        let evaluations = fs_err::read_to_string(out.path().join("log/eval.jsonl")).unwrap();
        assert!(evaluations.lines().all(|line| line.contains("loss_exit_2")), "{evaluations}");
        // The folder is a model: as it is where there are no branches, and beside it stands the rest.
        let folder = out.path().join("model");
        let names = |dir: &Path| model_tensors(dir).unwrap().names().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(names(&folder), names(start.path()));
        let found = EarlyExit::beside(&folder).unwrap().unwrap();
        assert_eq!(json!(found.layers), exits["layers"]);
        // What was saved is what was trained, at every depth.
        let packed = Packed { ids: (0..40).map(|i| i * 7 % 256).collect(), lengths: vec![30, 10] };
        let whole = CausalLm::load_with_exits(&folder, &found, &vec![0.3; found.layers.len()]).unwrap();
        for (number, layer) in found.layers.iter().enumerate() {
            let at = CausalLm::load_at(&folder, Some(*layer)).unwrap().log_probs(&packed).unwrap();
            assert_eq!(bits(&whole.log_probs_at(&packed, Some(number)).unwrap()), bits(&at), "exit {layer}");
        }
        let [all, last] =
            [None, Some(3)].map(|exit| CausalLm::load_at(&folder, exit).unwrap().log_probs(&packed).unwrap());
        assert_eq!(bits(&whole.log_probs(&packed).unwrap()), bits(&all));
        assert_eq!(bits(&all), bits(&last));
        if found.has_branches() {
            fs_err::remove_file(folder.join("early_exit.json")).unwrap();
            let without = CausalLm::load(&folder).unwrap().log_probs(&packed).unwrap();
            assert_ne!(bits(&all), bits(&without), "branches belong to the model");
            let note = fs_err::read_to_string(out.path().join("model/config.json")).unwrap();
            assert!(!note.is_empty());
        }
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for name in ["model", "log"] {
        for entry in fs_err::read_dir(folder.join(name)).unwrap() {
            let path = entry.unwrap().path();
            found.push((path.strip_prefix(folder).unwrap().display().to_string(), fs_err::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn threads_and_computing_again_change_no_byte() {
    let start = model_folder("tied");
    let exits = json!({"layers": [1, 2], "head": "own", "branches": {"layers": [1, 2, 3], "factor": 3}});
    let give = |more: Value, threads| {
        let out = TempDir::new().unwrap();
        let mut fields = json!({"early_exit": exits, "gradient_accumulation_steps": 2});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sft(&fields, start.path(), out.path(), threads).unwrap();
        files(out.path())
    };
    let one = give(json!({}), 1);
    assert!(one.iter().any(|(name, _)| name == "model/early_exit.safetensors"));
    assert!(one == give(json!({}), 2), "threads");
    assert!(one == give(json!({"gradient_checkpointing": true}), 2), "computing again");
}

#[test]
fn a_model_with_exits_is_trained_on_or_they_are_left_out() {
    let start = model_folder("tied");
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let exits = json!({"layers": [1], "branches": {"layers": [2], "factor": 2}});
    sft(&json!({"early_exit": exits}), start.path(), first.path(), 2).unwrap();
    let model = first.path().join("model");
    // The same ones go on where they were.
    sft(&json!({"early_exit": exits}), &model, second.path(), 2).unwrap();
    let loss = |out: &TempDir, step: usize| log(out.path())[step]["loss_exit_1"].as_f64().unwrap();
    assert!(loss(&second, 0) < loss(&first, 0));
    // Others are refused.
    let other = json!({"early_exit": {"layers": [2], "branches": {"layers": [2], "factor": 2}}});
    let error = sft(&other, &model, TempDir::new().unwrap().path(), 2).unwrap_err();
    assert!(error.chain().iter().any(|why| why.contains("other exits or branches already")), "{error:?}");
    // Without the setting the branches, which belong to the model, are trained, and the exits go.
    let third = TempDir::new().unwrap();
    sft(&json!({}), &model, third.path(), 2).unwrap();
    let left = EarlyExit::beside(&third.path().join("model")).unwrap().unwrap();
    assert_eq!((left.layers.as_slice(), left.has_branches()), (&[][..], true));
    assert!(CausalLm::load(&third.path().join("model")).is_ok());
    // An exit that there cannot be.
    let error =
        sft(&json!({"early_exit": {"layers": [3]}}), start.path(), TempDir::new().unwrap().path(), 2).unwrap_err();
    assert!(error.chain().iter().any(|why| why.contains("3 layers")), "{error:?}");
}

#[test]
fn what_sees_the_layers_alone_refuses_branches_and_leaves_exits_out() {
    let start = model_folder("tied");
    for (exits, refused) in
        [(json!({"layers": [1]}), false), (json!({"layers": [1], "branches": {"layers": [2], "factor": 2}}), true)]
    {
        let out = TempDir::new().unwrap();
        sft(&json!({"early_exit": exits}), start.path(), out.path(), 2).unwrap();
        let model = out.path().join("model");
        let lora = json!({"lora": {"r": 2}, "max_steps": 1});
        let given = TempDir::new().unwrap();
        let merge = json!({"method": "linear", "base": "a", "models": ["b"], "parameters": {"t": 0.5}});
        let merged = run(Kind::Merge, merge, &[("base", &model), ("models[0]", start.path())], given.path(), 2);
        let export = json!({"model": "m", "format": "gguf", "type": "f16"});
        let gguf = run(Kind::Export, export, &[("model", &model)], TempDir::new().unwrap().path(), 2);
        let adapted = sft(&lora, &model, TempDir::new().unwrap().path(), 2);
        for (what, result) in [("a merge", merged), ("a GGUF file", gguf), ("an adapter", adapted)] {
            match result {
                Ok(_) => assert!(!refused, "{what} went on without the branches"),
                Err(error) => {
                    assert!(refused, "{what}: {error:?}");
                    let told = error.to_string();
                    assert!(told.contains("has branches") && told.contains(what), "{told}");
                    assert!(error.way_out().unwrap().contains("early_exit.branches"), "{error:?}");
                }
            }
        }
        assert!(refused || !given.path().join("early_exit.json").exists());
    }
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    let told = |exits: Value, more: Value| {
        let mut fields = json!({"model": "m", "data": ["d"], "early_exit": exits});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let params: SftParams = serde_json::from_value(fields).unwrap();
        let mistakes = luthflow::spec::params::Params::check(&params);
        mistakes.into_iter().map(|mistake| format!("{}: {}", mistake.field, mistake.message)).collect::<Vec<_>>()
    };
    assert_eq!(told(json!({"layers": [1, 3]}), json!({})), [""; 0]);
    for (exits, more, word) in [
        (json!({"layers": []}), json!({}), "early_exit.layers: names no layer"),
        (json!({"layers": [0]}), json!({}), "from 1"),
        (json!({"layers": [2, 1]}), json!({}), "greater than the one before"),
        (json!({"layers": [1], "weights": [0.1, 0.2]}), json!({}), "2 weights do not fit 1 exits"),
        (json!({"layers": [1], "weights": 0}), json!({}), "0 is not above 0"),
        (json!({"layers": [1], "branches": {"layers": [1], "factor": 1}}), json!({}), "between 2 and"),
        (json!({"layers": [1], "branches": {"layers": []}}), json!({}), "branches.layers: names no layer"),
        (json!({"layers": [1]}), json!({"lora": {}}), "cannot stand beside `lora`"),
        (json!({"layers": [1]}), json!({"dpo": {}}), "cannot stand beside `dpo`"),
    ] {
        let told = told(exits.clone(), more);
        assert!(told.len() == 1 && told[0].contains(word), "{exits}: {told:?}");
    }
    let eval = |exit: Value| serde_json::from_value::<EvalParams>(json!({"model": "m", "tasks": [], "exit": exit}));
    for (exit, sound) in [(json!(3), true), (json!("last"), true), (json!("first"), false), (json!(-1), false)] {
        assert_eq!(eval(exit.clone()).is_ok(), sound, "{exit}");
    }
    // Nothing of it is in the keys of those who do not use it.
    let plain: SftParams = serde_json::from_value(json!({"model": "m", "data": ["d"]})).unwrap();
    assert!(!serde_json::to_string(&plain).unwrap().contains("early_exit"));
    let plain: EvalParams = serde_json::from_value(json!({"model": "m", "tasks": []})).unwrap();
    assert!(!serde_json::to_string(&plain).unwrap().contains("exit"));
}

/// The example: a training with exits and branches, its exits as an axis, and the curve in the report.
#[test]
fn the_example_draws_quality_against_depth() {
    let world = World::empty();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs_err::read_to_string(root.join("examples/early-exit/pipeline.yaml")).unwrap();
    world.write("examples/early-exit/pipeline.yaml", &text);
    fs_err::create_dir_all(world.path("pipelines")).unwrap();
    std::os::unix::fs::symlink(root.join("pipelines/data"), world.path("pipelines/data")).unwrap();
    let file = "examples/early-exit/pipeline.yaml";
    world.run_ok(&[file]);
    let show = |node: &str| world.json(&["show", file, node, "--json"]);
    let metric = |exit: usize, name: &str| show(&format!("scores[exit={exit}]"))["metrics"][name].as_f64().unwrap();
    let all = [1, 2, 4].map(|exit| [metric(exit, "compute.share"), metric(exit, "compute.flops_per_token")]);
    assert!(all[0][0] < all[1][0] && all[1][0] < all[2][0] && (all[2][0] - 1.0).abs() < 1e-12, "{all:?}");
    assert!((all[0][1] / all[2][1] - all[0][0]).abs() < 1e-12, "{all:?}");
    let bits = [1, 2, 4].map(|exit| metric(exit, "en.bits_per_byte"));
    assert!(bits.iter().all(|bits| *bits > 1.0 && *bits < 8.0), "{bits:?}");
    let report = show("report")["path"].as_str().unwrap().to_owned();
    let page = fs_err::read_to_string(Path::new(&report).join("report.html")).unwrap();
    assert!(page.contains("en (bits per byte, lower is better) over exit"), "the curve is missing");
    assert!(page.contains("over exit</title>") || page.contains("compute ("), "what it costs is missing");
    // Fewer depths are no new work but the report.
    let fewer = world.run_ok(&[file, "--sweep", "exit=1,4"]);
    assert_eq!(fewer.ran, ["report"]);
    // Who gets the model is told what belongs to it.
    assert_eq!(world.run(&["export", "-p", file, "sft", "out"]).code, 0);
    let card = world.read("out/README.md");
    assert!(card.contains("heads behind layers 1, 2") && card.contains("beside layers 1, 3"), "{card}");
    assert!(card.contains("only luthflow runs them"), "{card}");
    // An exit that nobody trained.
    let wrong = world.run(&["run", "--sweep", "exit=3", file]);
    assert_ne!(wrong.code, 0);
    assert!(wrong.stderr.contains("no exit after layer 3"), "{}", wrong.stderr);
}

/// Likelihoods and written answers of a task, at an exit and at the end: asked and kept apart.
#[test]
fn tasks_are_asked_at_an_exit() {
    let start = model_folder("tied");
    let trained = TempDir::new().unwrap();
    sft(&json!({"early_exit": {"layers": [1]}}), start.path(), trained.path(), 2).unwrap();
    let world = World::empty();
    fs_err::create_dir_all(world.path("model")).unwrap();
    for entry in fs_err::read_dir(trained.path().join("model")).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, world.path("model").join(path.file_name().unwrap())).unwrap();
    }
    world.write("rows.jsonl", &(0..6).map(|i| format!("{{\"q\": \"{i} und\", \"a\": \"{i}\"}}\n")).collect::<String>());
    world.write(
        "pipeline.yaml",
        "version: 1\nsweep: {exit: [1, last]}\nnodes:\n  rows: {kind: source, dataset: rows.jsonl}\n  \
         model: {kind: source, model: model}\n  scores:\n    kind: eval\n    model: model\n    exit: ${exit}\n    \
         chat_template: false\n    max_length: 128\n    tasks:\n      - words:\n          data: rows\n          define:\n            \
         task: words\n            prompt: '{{q}}'\n            request: {generate: {gold: a, max_tokens: 6}}\n            \
         metrics: [em]\n      - likely:\n          data: rows\n          define:\n            task: likely\n            \
         prompt: '{{q}}'\n            request: {choices: {list: \"[' a', ' b']\", gold: '0'}}\n            metrics: [acc]\n",
    );
    world.run_ok(&[]);
    let samples = |exit: &str, task: &str| {
        let shown = world.json(&["show", &format!("scores[exit={exit}]"), "--json"]);
        let path = Path::new(shown["path"].as_str().unwrap()).join(format!("samples/{task}.jsonl"));
        fs_err::read_to_string(&path).unwrap_or_else(|error| panic!("{error}"))
    };
    for task in ["words", "likely"] {
        assert_ne!(
            samples("1", task),
            samples("last", task),
            "{task}: the store told one exit's answers for the other"
        );
    }
    // The exit answers what its layers answer.
    let model = LanguageModel::load_at(&world.path("model"), luthflow::model::DeviceChoice::Cpu, Some(1)).unwrap();
    assert_eq!(model.config().layers.len(), 1);
    assert!(fixture().is_dir());
}
