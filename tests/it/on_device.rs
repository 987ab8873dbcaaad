//! Models as a GPU runs them, on the one device that every machine has: all that is not the CPU's own engine is composed
//! of candle's operations, and what those compute does not depend on where.

use std::path::{Path, PathBuf};

use candle_core::Device;
use luthflow::model::{CausalLm, LanguageModel, LoraSettings, Noise, OnDevice, Packed, Pass, Recompute};
use luthflow::spec::params::Kind;
use serde_json::json;

use crate::op::{inputs, run_on};
use crate::tiny::{largest_difference, relative_error};

/// One tiny model for every shape of every family.
fn folders() -> Vec<PathBuf> {
    let all = fs_err::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")).unwrap();
    all.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

fn texts(vocabulary: usize) -> Packed {
    let mut packed = Packed::default();
    for (number, length) in [1, 9, 23, 2].into_iter().enumerate() {
        let ids: Vec<u32> = (0..length).map(|i| ((i * 31 + number * 7 + 3) % vocabulary) as u32).collect();
        packed.push(&ids);
    }
    packed
}

#[test]
fn scores_are_those_of_the_cpu_engine() {
    let folders = folders();
    assert!(folders.len() >= 15);
    for folder in folders {
        let (fused, composed) = (CausalLm::load(&folder).unwrap(), OnDevice::load(&folder, &Device::Cpu).unwrap());
        let packed = texts(fused.config().vocab_size);
        let difference = largest_difference(&fused.log_probs(&packed).unwrap(), &composed.log_probs(&packed).unwrap());
        assert!(difference <= 2e-5, "{}: {difference}", folder.display());
    }
}

/// The likeliest tokens one after the other, all texts together, the prompts in pieces.
fn continued(model: &LanguageModel, prompts: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let mut session = model.session();
    let texts: Vec<_> = prompts.iter().map(|_| session.start()).collect();
    let width = model.config().vocab_size;
    for (text, prompt) in texts.iter().zip(prompts) {
        let (begin, _) = prompt.split_at(prompt.len() / 2);
        session.feed(&[(*text, begin)]).unwrap();
    }
    let mut next: Vec<Vec<u32>> = prompts.iter().map(|prompt| prompt[prompt.len() / 2..].to_vec()).collect();
    let mut all = Vec::new();
    for _ in 0..6 {
        let entries: Vec<_> = texts.iter().copied().zip(next.iter().map(Vec::as_slice)).collect();
        let logits = session.feed(&entries).unwrap();
        let likeliest = |row: &[f32]| (0..width).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32;
        next = logits.chunks(width).map(|row| vec![likeliest(row)]).collect();
        all.push(logits);
    }
    all
}

#[test]
fn texts_go_on_as_with_the_cpu_engine() {
    for folder in folders() {
        let (here, there) = (LanguageModel::load(&folder).unwrap(), LanguageModel::load_composed(&folder).unwrap());
        let vocabulary = here.config().vocab_size as u32;
        let prompts: Vec<Vec<u32>> =
            [2u32, 17, 9].map(|length| (0..length).map(|i| (i * 13 + length) % vocabulary).collect()).into();
        for (ours, theirs) in continued(&here, &prompts).iter().zip(&continued(&there, &prompts)) {
            let largest = ours.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let difference = largest_difference(ours, theirs) / largest;
            assert!(difference <= 1e-5, "{}: {difference}", folder.display());
        }
    }
}

#[test]
fn a_long_prompt_is_cut_into_steps() {
    let folder = folders().into_iter().find(|folder| folder.ends_with("lfm2-hybrid")).unwrap();
    let longer = tempfile::tempdir().unwrap();
    for entry in fs_err::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, longer.path().join(path.file_name().unwrap())).unwrap();
    }
    let config = fs_err::read_to_string(folder.join("config.json")).unwrap();
    let changed = config.replace("\"max_position_embeddings\": 64", "\"max_position_embeddings\": 2048");
    fs_err::write(longer.path().join("config.json"), &changed).unwrap();
    assert_ne!(changed, config);
    let folder = longer.path();
    let (here, there) = (LanguageModel::load(folder).unwrap(), LanguageModel::load_composed(folder).unwrap());
    let prompt: Vec<u32> = (0..1100).map(|i| i * 7 % here.config().vocab_size as u32).collect();
    let last = |model: &LanguageModel| {
        let mut session = model.session();
        let text = session.start();
        session.feed(&[(text, &prompt)]).unwrap()
    };
    assert!(largest_difference(&last(&here), &last(&there)) <= 2e-5);
}

/// An order to compute on a GPU is carried out or refused.
#[test]
fn what_cannot_run_on_a_gpu_says_so() {
    let experts =
        json!([{"source_model": "a", "positive_prompts": ["a"]}, {"source_model": "b", "positive_prompts": ["b"]}]);
    let moe = json!({"base_model": "m", "experts": experts});
    for (kind, fields) in [(Kind::Moe, moe)] {
        for device in ["cuda:0", "metal"] {
            let error = run_on(device.parse().unwrap(), 1, kind, fields.clone(), &inputs(&[])).err().unwrap();
            let expected = format!("runs on the CPU only, and not on {device}");
            assert!(error.to_string().contains(&expected), "{error}");
            assert!(error.way_out().unwrap().contains("--device auto"), "{error:?}");
        }
        // Nothing is refused where nothing was ordered: what is missing now is the model.
        let error = run_on("auto".parse().unwrap(), 1, kind, fields, &inputs(&[])).err().unwrap();
        assert!(!error.to_string().contains("CPU"), "{error}");
    }
}

/// A training on a device that this program was not built for fails before it reads anything.
#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_is_not_to_be_had_is_told_first() {
    let fields = json!({"model": "m", "data": ["d"]});
    let error = run_on("cuda:0".parse().unwrap(), 1, Kind::Sft, fields, &inputs(&[])).err().unwrap();
    assert!(error.to_string().contains("built without `cuda`"), "{error}");
    assert!(error.way_out().unwrap().contains("--features cuda"), "{error:?}");
}

/// Two batches, each with noise; on the device with and without computing layers again, beside the CPU's own engine.
#[test]
fn training_passes_are_those_of_the_cpu_engine() {
    for folder in folders() {
        for adapters in [false, true] {
            let load = || {
                let mut model = CausalLm::load(&folder).unwrap();
                if adapters {
                    let settings = LoraSettings { rank: 2, scale: 2.0, dropout: 0.0, dora: false, seed: 1 };
                    model.attach(settings, |_| true);
                    // B begins at zero, and A would get no gradient.
                    for adapter in model.adapters() {
                        for parameter in adapter.parameters() {
                            parameter.update(|value, _| {
                                value.iter_mut().enumerate().for_each(|(i, x)| *x += (i % 7) as f32 / 50.0 - 0.05);
                            });
                        }
                    }
                }
                model
            };
            let packed = texts(load().config().vocab_size);
            let trained: Vec<bool> = (0..packed.ids.len()).map(|place| place % 3 != 1).collect();
            let noise = Some(Noise { alpha: 2.0, seed: 9 });
            let run = |device: bool, recompute: Recompute| {
                let mut model = load();
                if device {
                    model.move_to(&Device::Cpu).unwrap();
                }
                let pass = Pass { smoothing: 0.1, noise, recompute, ..Pass::plain(0.03) };
                let sum: f64 = (0..2).map(|_| model.add_gradients(&packed, &trained, pass).unwrap()).sum();
                let weighed = &mut |log_probs: &[f32]| log_probs.iter().map(|log_prob| log_prob.exp()).collect();
                model.add_weighed_gradients(&packed, &trained, pass, weighed).unwrap();
                model.gather_gradients().unwrap();
                let gradients = model.trained_parameters().iter().map(|one| one.gradient()).collect::<Vec<_>>();
                // The device gets to know what changed.
                for parameter in model.trained_parameters() {
                    parameter.update(|value, _| value.iter_mut().for_each(|x| *x *= 1.01));
                }
                model.spread_weights().unwrap();
                (sum, gradients, model.log_probs(&packed).unwrap())
            };
            let (sum, gradients, scores) = run(false, Recompute::Nothing);
            for recompute in [Recompute::Nothing, Recompute::FeedForward, Recompute::Layers] {
                let (other, others, other_scores) = run(true, recompute);
                assert!((sum / other - 1.0).abs() < 1e-5, "{}: {sum} {other}", folder.display());
                for (a, b) in gradients.iter().zip(&others) {
                    let error = relative_error(b, a);
                    // Of 1e-6 and less where it was looked at; GELU's derivative has six digits in candle.
                    assert!(error <= 5e-5, "{}, {adapters} {recompute:?}: {error:.1e}", folder.display());
                }
                assert!(largest_difference(&scores, &other_scores) <= 5e-5, "{}", folder.display());
            }
        }
    }
}
