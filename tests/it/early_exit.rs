//! Exits and branches of models: against torch, and the engines against each other.

use std::path::{Path, PathBuf};

use candle_core::Device;
use luthflow::model::{CausalLm, EarlyExit, LanguageModel, OnDevice, Packed, Parameter, Pass, Recompute};
use luthflow::tensor::TensorFile;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::architectures;
use crate::tiny::{Numbers, by_part, gradients, largest_difference, relative_error, trained_tokens};

/// Made by `tests/fixtures/early-exit/make.py`, and the model that each stands beside.
pub(crate) const CASES: [(&str, &str); 4] =
    [("qwen3", "qwen3-tied"), ("lfm2", "lfm2-hybrid"), ("gemma3", "gemma3-window"), ("plain", "llama-smol")];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/early-exit")
}

/// Returns a model folder with what stands beside the model.
pub(crate) fn folder((case, base): (&str, &str)) -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs_err::copy(architectures::folder(base).join(name), dir.path().join(name)).unwrap();
    }
    for name in ["early_exit.json", "early_exit.safetensors"] {
        fs_err::copy(fixtures().join(case).join(name), dir.path().join(name)).unwrap();
    }
    dir
}

pub(crate) struct Golden {
    tensors: TensorFile,
    exits: EarlyExit,
    pub(crate) weights: Vec<f32>,
    pub(crate) packed: Packed,
    pub(crate) trained: Vec<bool>,
}

impl Golden {
    pub(crate) fn open(case: &str) -> Self {
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

    pub(crate) fn load(&self, dir: &Path) -> CausalLm {
        CausalLm::load_with_exits(dir, &self.exits, &self.weights).unwrap()
    }

    /// The depths that logits are of, the last layer first.
    fn ends(&self) -> Vec<Option<usize>> {
        std::iter::once(None).chain(self.exits.layers.iter().copied().map(Some)).collect()
    }

    pub(crate) fn pass(&self) -> Pass {
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
        for recompute in [Recompute::FeedForward, Recompute::Layers] {
            let mut again = golden.load(dir.path());
            let pass = Pass { recompute, ..golden.pass() };
            assert_eq!(again.add_all_gradients(&golden.packed, &golden.trained, pass).unwrap(), losses);
            assert!(gradients(&again) == found, "{}", case.0);
        }
        // As a GPU trains, with and without.
        for recompute in [Recompute::Nothing, Recompute::FeedForward, Recompute::Layers] {
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

pub(crate) fn slope(model: &CausalLm, parameter: &Parameter, direction: &[f32], step: f32, golden: &Golden) -> f64 {
    let start = parameter.value().clone();
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
                let name = &parameter.parts()[0].name;
                let allowed = 2e-4 + 1e-3 * expected.abs();
                // A long step sees how the loss bends (embeddings of `plain` are so small that norms bend it sharply), a short
                // one how f32 rounds it: one of them must be right.
                let steps = [4e-3, 1e-3, 2.5e-4];
                let found = steps.map(|step| slope(&model, parameter, &direction, step, &golden));
                let right = found.iter().any(|found| (found - expected).abs() <= allowed);
                assert!(right, "{}: {name}: {expected:e}, measured {found:?}", case.0);
            }
        }
    }
}

pub(crate) fn bits(numbers: &[f32]) -> Vec<u32> {
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
