//! Every family of models against transformers: tiny random models in all shapes that matter, made by
//! `tests/fixtures/models/make.py`.

use std::path::{Path, PathBuf};

use candle_core::Device;
use luthflow::model::{CausalLm, Packed, Parameter, Pass};
use luthflow::tensor::TensorFile;
use serde_json::Value;

use crate::tiny::{Numbers, by_part, gradients, largest_difference, relative_error, trained_tokens};

/// Three or more of each family.
pub(crate) const CASES: [&str; 15] = [
    "qwen3-tied",
    "qwen3-bias-window",
    "qwen3-yarn",
    "qwen2-tied",
    "qwen2-window",
    "qwen2-old",
    "llama-smol",
    "llama-3-old",
    "llama-bias-linear",
    "lfm2-hybrid",
    "lfm2-bias",
    "lfm2-old",
    "gemma3-window",
    "gemma3-bias",
    "gemma3-old",
];

pub(crate) fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(case)
}

pub(crate) fn model(case: &str) -> CausalLm {
    CausalLm::load(&folder(case)).unwrap_or_else(|error| panic!("{case}: {error}"))
}

/// What transformers computed.
struct Golden(TensorFile);

impl Golden {
    fn open(case: &str) -> Self {
        Self(TensorFile::open(&folder(case).join("golden.safetensors")).unwrap())
    }

    fn get(&self, name: &str) -> Vec<f32> {
        self.0.get(name).unwrap_or_else(|| panic!("`{name}` is not in the golden file")).to_f32()
    }

    fn batch(&self) -> (Packed, Vec<bool>) {
        let ids = self.get("ids").into_iter().map(|id| id as u32).collect();
        let lengths = self.get("lengths").into_iter().map(|length| length as usize).collect();
        (Packed { ids, lengths }, self.get("trained").into_iter().map(|mark| mark > 0.0).collect())
    }
}

/// Returns the largest difference, as a share of the largest number.
fn worst(found: &[f32], expected: &[f32]) -> f32 {
    largest_difference(found, expected) / expected.iter().fold(0.0f32, |most, x| most.max(x.abs()))
}

#[test]
fn no_case_is_forgotten() {
    let mut found: Vec<String> = fs_err::read_dir(folder(""))
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let mut expected = CASES.to_vec();
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn logits_are_those_of_transformers() {
    for case in CASES {
        let (model, golden) = (model(case), Golden::open(case));
        let (packed, _) = golden.batch();
        let expected = golden.get("logits");
        let fused = worst(&model.logits(&packed).unwrap(), &expected);
        let composed = worst(&model.reference(&Device::Cpu).unwrap().logits(&packed).unwrap(), &expected);
        eprintln!("{case}: logits off by {fused:.1e} fused, {composed:.1e} composed");
        assert!(fused <= 1e-5 && composed <= 1e-5, "{case}: {fused} {composed}");
    }
}

#[test]
fn hidden_states_are_those_of_transformers_layer_by_layer() {
    for case in CASES {
        let (model, golden) = (model(case), Golden::open(case));
        let states = model.hidden_states(&golden.batch().0).unwrap();
        assert_eq!(states.len(), model.config().num_hidden_layers + 1);
        for (layer, state) in states.iter().enumerate() {
            let error = worst(state, &golden.get(&format!("hidden.{layer}")));
            assert!(error <= 1e-5, "{case}: what layer {layer} gets is off by {error:.1e}");
        }
    }
}

#[test]
fn loss_and_gradients_are_those_of_transformers() {
    for case in CASES {
        let (mut model, golden) = (model(case), Golden::open(case));
        let (packed, trained) = golden.batch();
        let count = trained_tokens(&packed, &trained);
        let scale = 1.0 / count as f32;
        let loss = model.add_gradients(&packed, &trained, Pass::plain(scale)).unwrap() / count as f64;
        let expected = f64::from(golden.get("loss")[0]);
        assert!((loss / expected - 1.0).abs() <= 1e-6, "{case}: loss {loss}, transformers has {expected}");
        model.check_gradients().unwrap();
        let (_, composed) =
            model.reference(&Device::Cpu).unwrap().gradients(&packed, &trained, Pass::plain(scale)).unwrap();
        let composed = model.parameters().iter().zip(&composed).flat_map(|(p, g)| by_part(p.parts(), g));
        let mut most = 0.0f64;
        for ((tensor, fused), (_, composed)) in gradients(&model).into_iter().zip(composed) {
            let expected = golden.get(&format!("gradient.{tensor}"));
            for (engine, found) in [("fused", fused), ("composed", composed)] {
                let error = relative_error(&found, &expected);
                // Scores don't change when all keys of a head move alike, so the gradient of a key's bias is all rounding.
                let nothing = tensor.ends_with("k_proj.bias") && largest_difference(&found, &expected) < 1e-6;
                assert!(error <= 2e-5 || nothing, "{case}: {engine}: the gradient of {tensor} is off by {error:.1e}");
                most = if nothing { most } else { most.max(error) };
            }
        }
        eprintln!("{case}: worst gradient off by {most:.1e}");
    }
}

/// The likeliest token after each prefix, computed anew for every token: what generation with a cache must give too.
#[test]
fn greedy_tokens_are_those_of_transformers() {
    for case in CASES {
        let model = model(case);
        let text = fs_err::read_to_string(folder(case).join("greedy.json")).unwrap();
        let golden: Value = serde_json::from_str(&text).unwrap();
        let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
        for (prompt, expected) in golden["prompts"].as_array().unwrap().iter().zip(golden["greedy"].as_array().unwrap())
        {
            let (mut all, expected) = (ids(prompt), ids(expected));
            let start = all.len();
            for _ in &expected {
                let logits = model.logits(&Packed { lengths: vec![all.len()], ids: all.clone() }).unwrap();
                let row = &logits[logits.len() - model.config().vocab_size..];
                all.push((0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32);
            }
            assert_eq!(all[start..], expected, "{case}");
        }
    }
}

pub(crate) fn random_batch(lengths: &[usize], vocabulary: u64, numbers: &mut Numbers) -> (Packed, Vec<bool>) {
    let mut packed = Packed::default();
    for length in lengths {
        packed.push(&(0..*length).map(|_| (numbers.bits() % vocabulary) as u32).collect::<Vec<_>>());
    }
    let trained = packed.ids.iter().map(|_| !numbers.bits().is_multiple_of(3)).collect();
    (packed, trained)
}

/// Lengths around the sizes of blocks: of rows (32) and of queries (128), with windows that begin inside and outside.
#[test]
fn the_two_engines_agree_on_long_documents() {
    for case in ["qwen3-bias-window", "lfm2-bias", "lfm2-old", "gemma3-window", "gemma3-bias"] {
        let mut model = model(case);
        let (packed, trained) = random_batch(&[5, 1, 128, 2, 129, 31, 300], 67, &mut Numbers(3));
        let scale = 1.0 / trained_tokens(&packed, &trained) as f32;
        let sum = model.add_gradients(&packed, &trained, Pass::plain(scale)).unwrap();
        let (expected, gradients) =
            model.reference(&Device::Cpu).unwrap().gradients(&packed, &trained, Pass::plain(scale)).unwrap();
        assert!((sum / expected - 1.0).abs() <= 1e-6, "{case}: {sum} {expected}");
        for (parameter, gradient) in model.parameters().iter().zip(gradients) {
            let found = parameter.gradient();
            let error = relative_error(&found, &gradient);
            assert!(error <= 2e-5, "{case}: {} is off by {error:.1e}", parameter.parts()[0].name);
        }
    }
}

#[test]
fn packing_changes_nothing() {
    for case in CASES {
        let (packed, trained) = random_batch(&[7, 1, 70, 2, 33, 3], 67, &mut Numbers(9));
        let (mut together, mut apart) = (model(case), model(case));
        let sum = together.add_gradients(&packed, &trained, Pass::plain(0.01)).unwrap();
        let logits = together.logits(&packed).unwrap();
        let (mut apart_sum, mut start) = (0.0, 0);
        for length in &packed.lengths {
            let document = Packed { ids: packed.ids[start..start + length].to_vec(), lengths: vec![*length] };
            apart_sum += apart.add_gradients(&document, &trained[start..start + length], Pass::plain(0.01)).unwrap();
            let alone = apart.logits(&document).unwrap();
            let error = worst(&logits[start * 67..(start + length) * 67], &alone);
            assert!(error <= 1e-5, "{case}: the document at {start} is off by {error:.1e}");
            start += length;
        }
        assert!((sum / apart_sum - 1.0).abs() <= 1e-6, "{case}");
        for ((name, a), (_, b)) in gradients(&together).into_iter().zip(gradients(&apart)) {
            let error = relative_error(&a, &b);
            let nothing = name.ends_with("k_proj.bias") && largest_difference(&a, &b) < 1e-6;
            assert!(error <= 1e-5 || nothing, "{case}: {name}: {error:.1e}");
        }
    }
}

/// The control of the test above, for what only convolutions have: a document taken for the end of the one before it
/// gives its first tokens another past.
#[test]
fn a_convolution_that_crosses_a_document_shows() {
    let model = model("lfm2-hybrid");
    let (packed, _) = random_batch(&[40, 40], 67, &mut Numbers(10));
    let apart = model.hidden_states(&packed).unwrap();
    let joined = model.hidden_states(&Packed { ids: packed.ids, lengths: vec![80] }).unwrap();
    // The first layer is a convolution over three tokens, so only two of the second document see another past there.
    let (apart, joined) = (&apart[1], &joined[1]);
    assert_eq!(apart[..40 * 16], joined[..40 * 16]);
    assert!(largest_difference(&apart[40 * 16..42 * 16], &joined[40 * 16..42 * 16]) > 0.1);
    assert_eq!(apart[42 * 16..], joined[42 * 16..]);
}

/// The slope of the loss along a direction in one parameter: see `model.rs`, where it is explained.
fn measured_slope(
    model: &CausalLm,
    parameter: &Parameter,
    direction: &[f32],
    step: f32,
    batch: &(Packed, Vec<bool>),
) -> f64 {
    let start = parameter.value().clone();
    let at = |distance: f32| {
        let moved = start.iter().zip(direction).map(|(start, direction)| start + distance * direction);
        let moved: Vec<f32> = moved.collect();
        parameter.update(|value, _| value.copy_from_slice(&moved));
        let scores = model.log_probs(&batch.0).unwrap();
        let sum: f64 = scores.iter().zip(&batch.1).filter(|(_, trained)| **trained).map(|(s, _)| -f64::from(*s)).sum();
        sum / trained_tokens(&batch.0, &batch.1) as f64
    };
    let slope = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * f64::from(step));
    parameter.update(|value, _| value.copy_from_slice(&start));
    slope
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    for case in ["llama-bias-linear", "lfm2-bias", "gemma3-window"] {
        let mut model = model(case);
        let batch = Golden::open(case).batch();
        let count = trained_tokens(&batch.0, &batch.1);
        model.add_gradients(&batch.0, &batch.1, Pass::plain(1.0 / count as f32)).unwrap();
        let mut numbers = Numbers(5);
        for parameter in model.parameters() {
            let gradient = parameter.gradient();
            let random: Vec<f32> = gradient.iter().map(|_| numbers.next()).collect();
            for direction in [&gradient, &random] {
                let length = direction.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-3);
                let direction: Vec<f32> = direction.iter().map(|x| x / length).collect();
                let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
                // Where the loss is steep it is also bent.
                let step = 0.02 / (2.0 * expected.abs()).max(1.0) as f32;
                let found = measured_slope(&model, parameter, &direction, step, &batch);
                let allowed = 2e-5 + 1e-3 * expected.abs();
                let name = &parameter.parts()[0].name;
                assert!((found - expected).abs() <= allowed, "{case}: {name}: {expected:e}, measured {found:e}");
            }
        }
    }
}

/// A real model beside what transformers made of it: `LUTHFLOW_MODEL` is its folder, `LUTHFLOW_GOLDEN` a file with `ids` and
/// `lp_full`, the logarithm of the probability of each token but the first, for some texts below `res`.
#[test]
#[ignore = "needs the weights of a real model"]
fn log_probs_of_a_real_model_are_those_of_transformers() {
    let variable = |name: &str| PathBuf::from(std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set")));
    let model = CausalLm::load(&variable("LUTHFLOW_MODEL")).unwrap();
    let golden: Value = serde_json::from_slice(&fs_err::read(variable("LUTHFLOW_GOLDEN")).unwrap()).unwrap();
    for (text, golden) in golden["res"].as_object().unwrap() {
        let ids: Vec<u32> = serde_json::from_value(golden["ids"].clone()).unwrap();
        let expected: Vec<f32> = serde_json::from_value(golden["lp_full"].clone()).unwrap();
        let found = model.log_probs(&Packed { lengths: vec![ids.len()], ids }).unwrap();
        let error = largest_difference(&found[1..], &expected);
        eprintln!("{text}: {} log-probabilities, off by {error:.1e} at most", expected.len());
        assert!(error <= 1e-3, "{text}: {error}");
    }
}
