//! Merges against those of MergeKit 0.1.5 and 0.1.4: `tests/fixtures/mergekit/parity`, made by `make.py`,
//! `make014.py` and `make_more.py` beside it.
//!
//! What must be equal is equal bit for bit, the file included. Three kinds of cases are not: `near` depends on functions
//! or sums of libraries that cannot be had in the same bits (Intel's arc cosine in f32, the product of two vectors in
//! `karcher`), `ties` keeps the largest of 16-bit magnitudes many of which are equal, and PyTorch's sort breaks such ties
//! in its own way, `fusion` puts a threshold through numbers that end in rounding errors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use luthflow::digest::file_digest;
use luthflow::ops::{self, InputArtifact, Inputs, OpCx, OpError, Outcome};
use luthflow::spec::params::{Compat, MergeConfig, MergeParams, Op};
use luthflow::tensor::{Dtype, ModelTensors, model_tensors};
use serde_json::Value;

pub(crate) fn parity() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mergekit/parity")
}

/// Runs a merge whose models are folders below `root`.
pub(crate) fn merge(params: MergeParams, root: &Path, out: &Path) -> Result<Outcome, OpError> {
    let mut inputs = Inputs::default();
    let own = params.models.iter().enumerate().map(|(i, model)| (model.model.0.as_str(), format!("models[{i}]")));
    let base = params.base.iter().map(|base| (base.0.as_str(), "base".to_owned()));
    for (model, slot) in params.config_models().into_iter().chain(base).chain(own) {
        let artifact = InputArtifact {
            label: model.into(),
            name: model.into(),
            axes: BTreeMap::new(),
            path: root.join(model),
            digest: None,
            chosen: false,
        };
        inputs.0.insert(slot, vec![artifact]);
    }
    run(params, &inputs, out)
}

/// Runs a merge over inputs.
pub(crate) fn run(params: MergeParams, inputs: &Inputs, out: &Path) -> Result<Outcome, OpError> {
    let cancelled = AtomicBool::new(false);
    fs_err::create_dir_all(out).unwrap();
    ops::run(
        &Op::Merge(params),
        &OpCx {
            inputs,
            out,
            scratch: out,
            checkpoint: None,
            memo: None,
            environment: &|_| None,
            threads: 2,
            device: luthflow::ops::DeviceChoice::Cpu,
            progress: &crate::op::Silent,
            cancelled: &cancelled,
        },
    )
}

fn cases() -> Vec<Value> {
    let read =
        |file: &str| -> Vec<Value> { serde_json::from_slice(&fs_err::read(parity().join(file)).unwrap()).unwrap() };
    let mut older = read("cases014.json");
    for case in &mut older {
        case["compat"] = "0.1.4".into();
    }
    read("cases.json").into_iter().chain(older).chain(read("cases_more.json")).collect()
}

fn config(case: &Value) -> MergeConfig {
    serde_json::from_value(case["config"].clone()).unwrap()
}

/// Merges a case and returns the folder, after checking that the settings are right.
fn merged(case: &Value) -> tempfile::TempDir {
    let mut params = MergeParams::of_config(config(case));
    if case["compat"] == "0.1.4" {
        params.compat = Compat::Older;
    }
    let mistakes = Op::Merge(params.clone()).check();
    assert!(mistakes.is_empty(), "{}: {mistakes:?}", case["name"]);
    let out = tempfile::tempdir().unwrap();
    merge(params, &parity(), out.path()).unwrap_or_else(|error| panic!("{}: {:?}", case["name"], error.chain()));
    out
}

fn golden(case: &Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let name = case["name"].as_str().unwrap();
    let folder = if case["compat"] == "0.1.4" { "golden014" } else { "golden" };
    let from = parity().join(folder).join(format!("{name}.safetensors"));
    fs_err::copy(from, dir.path().join("model.safetensors")).unwrap();
    dir
}

fn of_kind(kinds: &[&str]) -> Vec<Value> {
    let cases: Vec<Value> = cases().into_iter().filter(|case| kinds.iter().any(|kind| case["kind"] == *kind)).collect();
    assert!(!cases.is_empty());
    cases
}

#[test]
fn there_are_more_than_three_hundred_cases() {
    assert!(cases().len() >= 390, "{}", cases().len());
}

#[test]
fn what_can_be_exact_is_exact_to_the_last_byte_of_the_file() {
    let mut wrong = Vec::new();
    let cases = of_kind(&["exact", "ties-dense"]);
    for case in &cases {
        let out = merged(case);
        let digest = file_digest(&out.path().join("model.safetensors")).unwrap().0.hex();
        if case["blake3"] != digest.as_str() {
            wrong.push(format!("{} {}", case["name"], case["compat"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ: {wrong:?}", wrong.len(), cases.len());
}

/// Calls `look` with the name of each tensor, its type, our numbers and those of MergeKit.
fn compare(case: &Value, mut look: impl FnMut(&str, Dtype, &[f32], &[f32])) {
    let (out, golden) = (merged(case), golden(case));
    let (ours, theirs) = (model_tensors(out.path()).unwrap(), model_tensors(golden.path()).unwrap());
    assert!(ours.names().eq(theirs.names()), "{}", case["name"]);
    for name in theirs.names() {
        let (a, b) = (ours.get(name).unwrap(), theirs.get(name).unwrap());
        assert_eq!((a.dtype, a.shape), (b.dtype, b.shape), "{} {name}", case["name"]);
        look(name, a.dtype, &a.to_f32(), &b.to_f32());
    }
}

/// In 16 bits a difference is a rounding that went the other way, and rare. In f32 it is a coefficient that is one place
/// off, and every number of that tensor with it; where two terms cancel, the places of the result say nothing, so the
/// measure is the largest of the parents there, or what is usual in the tensor.
#[test]
fn what_depends_on_libraries_is_equal_to_the_last_place() {
    for case in of_kind(&["near"]) {
        let models: Vec<ModelTensors> = MergeParams::of_config(config(&case))
            .config_models()
            .into_iter()
            .map(|(name, _)| model_tensors(&parity().join(name)).unwrap())
            .collect();
        let (mut total, mut differ, mut furthest) = (0, 0, 0.0_f32);
        let mut sixteen = true;
        compare(&case, |name, dtype, ours, theirs| {
            sixteen &= dtype != Dtype::F32;
            let epsilon = match dtype {
                Dtype::F16 => 2.0_f32.powi(-10),
                Dtype::BF16 => 2.0_f32.powi(-7),
                _ => f32::EPSILON,
            };
            let parents: Vec<Vec<f32>> = models.iter().map(|model| model.get(name).unwrap().to_f32()).collect();
            let all = parents.iter().flatten().map(|number| number.abs());
            let usual = all.sum::<f32>() / (parents.len() * ours.len()) as f32;
            for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
                total += 1;
                if a.to_bits() != b.to_bits() {
                    differ += 1;
                    let largest = parents.iter().fold(usual, |most, numbers| most.max(numbers[i].abs()));
                    furthest = furthest.max((a - b).abs() / (largest * epsilon));
                }
            }
        });
        let share = f64::from(differ) / f64::from(total);
        assert!(furthest <= 4.0, "{}: by up to {furthest} places", case["name"]);
        assert!(!sixteen || share <= 0.001, "{}: {differ} of {total} differ", case["name"]);
    }
}

/// Returns the places of magnitudes that are equal to the one at a cut, and not alone there: any of them may be kept.
fn at_a_cut(case: &Value, models: &BTreeMap<String, ModelTensors>, name: &str) -> Vec<bool> {
    let config = config(case);
    let base = &models[&config.base_model.as_ref().unwrap().0];
    let base = base.get(name).unwrap();
    let dtype = base.dtype;
    let mut free = vec![false; base.count()];
    let method = config.merge_method.name();
    if method == "sce" {
        return at_a_variance(&config, models, name);
    }
    for model in config.models.as_ref().unwrap() {
        let Some(parameters) = &model.parameters else { continue };
        let number = |key: &str, or: f64| parameters.get(key).and_then(|setting| setting.0.as_f64()).unwrap_or(or);
        let mut deltas = models[&model.model.0].get(name).unwrap().to_f32();
        deltas.iter_mut().zip(base.to_f32()).for_each(|(delta, base)| *delta -= base);
        dtype.round(&mut deltas);
        if method.starts_with("della") {
            // A rank decides the chance, and equal ones in a row have each other's.
            let length = if base.shape.len() > 1 { base.shape[1] } else { base.count() };
            for (i, delta) in deltas.iter().enumerate() {
                let row = i / length * length;
                let equal = |j: &usize| deltas[*j].abs().to_bits() == delta.abs().to_bits();
                free[i] |= (row..row + length).filter(equal).count() > 1;
            }
            continue;
        }
        let mut sorted: Vec<f32> = deltas.iter().map(|delta| delta.abs()).collect();
        sorted.sort_by(f32::total_cmp);
        let count = sorted.len();
        let share = |part: f64| (part * count as f64) as usize;
        let kept = share(number("density", 1.0));
        // The ranks between which something is cut off: below the kept ones, and above them.
        let low = if config.merge_method.name() == "ties" {
            count - kept.max(1)
        } else {
            count.saturating_sub(kept).saturating_sub(share(number("gamma", 0.01)))
        };
        let high = if config.merge_method.name() == "ties" { count } else { (low + kept).min(count) };
        for cut in [low, high] {
            if cut > 0 && cut < count && sorted[cut - 1].to_bits() == sorted[cut].to_bits() {
                free.iter_mut()
                    .zip(&deltas)
                    .for_each(|(free, delta)| *free |= delta.abs().to_bits() == sorted[cut].to_bits());
            }
        }
    }
    free
}

/// By which share of a number rounding to a type changes it, at most.
fn rounding(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::BF16 => 2.0_f32.powi(-8),
        Dtype::F16 => 2.0_f32.powi(-11),
        _ => 2.0_f32.powi(-24),
    }
}

/// Returns by how much the numbers of a tensor can move when SCE chooses otherwise among equal variances.
fn moved_by_choice(
    case: &Value,
    models: &BTreeMap<String, ModelTensors>,
    name: &str,
    merged: &[f32],
    free: &[bool],
) -> f32 {
    let numbers = |model: &Value| models[model.as_str().unwrap()].get(name).unwrap().to_f32();
    let base = numbers(&case["config"]["base_model"]);
    let (mut in_question, mut surely_kept) = (0.0, 0.0);
    for model in case["config"]["models"].as_array().unwrap() {
        for (i, number) in numbers(&model["model"]).iter().enumerate() {
            let square = (number - base[i]).powi(2);
            in_question += if free[i] { square } else { 0.0 };
            surely_kept += if !free[i] && merged[i].to_bits() != base[i].to_bits() { square } else { 0.0 };
        }
    }
    let furthest = merged.iter().zip(&base).map(|(merged, base)| (merged - base).abs()).fold(0.0, f32::max);
    let dtype = models.values().next().unwrap().get(name).unwrap().dtype;
    furthest * (4.0 * rounding(dtype) + 2.0 * in_question / surely_kept)
}

/// As [`at_a_cut`], of the variances over the models by which SCE selects.
fn at_a_variance(config: &MergeConfig, models: &BTreeMap<String, ModelTensors>, name: &str) -> Vec<bool> {
    let share = config.parameters.as_ref().unwrap()["select_topk"].0.as_f64().unwrap();
    let base = models[&config.base_model.as_ref().unwrap().0].get(name).unwrap();
    let deltas: Vec<Vec<f32>> = config
        .models
        .iter()
        .flatten()
        .map(|model| {
            let mut deltas = models[&model.model.0].get(name).unwrap().to_f32();
            deltas.iter_mut().zip(base.to_f32()).for_each(|(delta, base)| *delta -= base);
            base.dtype.round(&mut deltas);
            deltas
        })
        .collect();
    let count = deltas.len() as f64;
    let mut variances: Vec<f32> = (0..base.count())
        .map(|i| {
            let mean = deltas.iter().map(|deltas| f64::from(deltas[i])).sum::<f64>() / count;
            (deltas.iter().map(|deltas| (f64::from(deltas[i]) - mean).powi(2)).sum::<f64>() / count) as f32
        })
        .collect();
    base.dtype.round(&mut variances);
    let mut sorted = variances.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let kept = (variances.iter().filter(|variance| **variance != 0.0).count() as f64 * share) as usize;
    let tied = kept > 0 && kept < sorted.len() && sorted[kept - 1].to_bits() == sorted[kept].to_bits();
    variances.iter().map(|variance| tied && variance.to_bits() == sorted[kept].to_bits()).collect()
}

/// The rescaling sums the same magnitudes whichever of equal ones are kept, but not in the same order.
#[test]
fn what_is_sparsified_is_exact_but_for_equal_magnitudes_at_the_cut() {
    let mut tied = 0;
    for case in of_kind(&["ties"]) {
        let models: BTreeMap<String, ModelTensors> = MergeParams::of_config(config(&case))
            .config_models()
            .into_iter()
            .map(|(name, _)| (name.to_owned(), model_tensors(&parity().join(name)).unwrap()))
            .collect();
        compare(&case, |name, dtype, ours, theirs| {
            let free = at_a_cut(&case, &models, name);
            // SCE weighs a model by the squares of what is kept of it: with another choice among equal variances the weights
            // are others, by the share that these have in the squares, and with them every difference.
            let chosen = case["config"]["merge_method"] == "sce" && free.contains(&true);
            let moved = if chosen { moved_by_choice(&case, &models, name, theirs, &free) } else { 0.0 };
            for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
                let same = a.to_bits() == b.to_bits();
                tied += usize::from(!same && free[i]);
                let last = if chosen { 2.0 * rounding(dtype) * b.abs() } else { 0.0 };
                let close = free[i] || (a - b).abs() <= moved + last;
                assert!(same || close, "{} {name}[{i}] {dtype}: {a} and {b}, moved by {moved}", case["name"]);
            }
        });
    }
    assert!(tied > 0, "the exception is one");
}

/// Where the models are far apart the threshold is clear; where rows hardly moved it cuts through rounding errors.
#[test]
fn arcee_fusion_takes_each_number_from_one_of_two_places() {
    for case in of_kind(&["fusion"]) {
        let base = model_tensors(&parity().join(case["config"]["base_model"].as_str().unwrap())).unwrap();
        let (mut total, mut differ) = (0, 0);
        compare(&case, |name, dtype, ours, theirs| {
            assert_eq!(dtype, Dtype::F32, "MergeKit's mask is f32");
            let base = base.get(name).unwrap().to_f32();
            for ((a, b), base) in ours.iter().zip(theirs).zip(base) {
                total += 1;
                if a.to_bits() != b.to_bits() {
                    differ += 1;
                    let of_base = |number: f32| (number - base).abs() < f32::MIN_POSITIVE;
                    assert!(of_base(*a) || of_base(*b), "{name}: {a} {b} {base}");
                }
            }
        });
        assert!(differ * 50 <= total, "{}: {differ} of {total}", case["name"]);
    }
}

#[test]
fn vocabularies_are_aligned_as_mergekit_does() {
    for case in of_kind(&["tokens"]) {
        let (out, golden) = (merged(&case), golden(&case));
        let (ours, theirs) = (model_tensors(out.path()).unwrap(), model_tensors(golden.path()).unwrap());
        let file: Value = serde_json::from_slice(&fs_err::read(out.path().join("tokenizer.json")).unwrap()).unwrap();
        let mut vocabulary: BTreeMap<&str, u64> = BTreeMap::new();
        let plain = file["model"]["vocab"].as_object().unwrap().iter();
        vocabulary.extend(plain.map(|(token, id)| (token.as_str(), id.as_u64().unwrap())));
        let added = file["added_tokens"].as_array().unwrap().iter();
        vocabulary.extend(added.map(|token| (token["content"].as_str().unwrap(), token["id"].as_u64().unwrap())));
        let wanted = case["vocabulary"].as_object().unwrap();
        assert!(
            wanted.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>().iter().eq(vocabulary.keys()),
            "{}",
            case["name"]
        );
        for name in theirs.names() {
            let (a, b) = (ours.get(name).unwrap(), theirs.get(name).unwrap());
            assert_eq!((a.dtype, a.shape), (b.dtype, b.shape), "{} {name}", case["name"]);
            if !name.contains("embed_tokens") && !name.contains("lm_head") {
                assert!(a.bytes == b.bytes, "{} {name}", case["name"]);
                continue;
            }
            let width = a.shape[1];
            // The numbers of tokens are MergeKit's chance; their rows are not.
            for (token, number) in &vocabulary {
                let (i, j) = (*number as usize * width, wanted[*token].as_u64().unwrap() as usize * width);
                assert!(a.slice(i, width) == b.slice(j, width), "{} {name} {token}", case["name"]);
            }
            for row in vocabulary.len()..a.shape[0] {
                assert!(a.slice(row * width, width) == b.slice(row * width, width), "{} padding", case["name"]);
            }
        }
        let config: Value = serde_json::from_slice(&fs_err::read(out.path().join("config.json")).unwrap()).unwrap();
        assert_eq!(config["vocab_size"], ours.get("model.embed_tokens.weight").unwrap().shape[0]);
    }
}

/// The node's own fields for what a case's configuration says; nothing where they cannot.
fn own_fields(case: &Value) -> Option<Value> {
    let config = &case["config"];
    let method = config["merge_method"].as_str().unwrap();
    let weighs_base = matches!(method, "linear" | "karcher");
    let plain = ["slices", "dtype", "out_dtype", "tokenizer", "tokenizer_source"];
    // Two of MergeKit's types of output are not taken over, and mixed types come out as the base's.
    let other_type = matches!(method, "arcee_fusion" | "ramplus_tl") && !case["name"].as_str()?.ends_with("f32");
    if case["kind"] == "refused" {
        return None;
    }
    if plain.iter().any(|key| config.get(key).is_some()) || other_type || case["name"].as_str()?.starts_with("mixed") {
        return None;
    }
    let base = config.get("base_model").filter(|_| !weighs_base);
    let models = config["models"].as_array()?.iter().filter(|model| Some(&model["model"]) != base).map(|model| {
        let mut fields = model.get("parameters").cloned().unwrap_or_else(|| serde_json::json!({}));
        fields["model"] = model["model"].clone();
        if model.get("parameters").is_some() { fields } else { model["model"].clone() }
    });
    let mut fields = serde_json::json!({"method": method, "models": models.collect::<Vec<_>>()});
    for (name, value) in [("base", base), ("parameters", config.get("parameters"))] {
        if let Some(value) = value {
            fields[name] = value.clone();
        }
    }
    Some(fields)
}

#[test]
fn own_fields_give_what_a_configuration_gives() {
    let mut methods = std::collections::BTreeSet::new();
    for case in cases().iter().filter(|case| case.get("compat").is_none()) {
        let Some(fields) = own_fields(case) else { continue };
        let params: MergeParams = serde_json::from_value(fields.clone()).unwrap();
        let mistakes = Op::Merge(params.clone()).check();
        assert!(mistakes.is_empty(), "{fields}: {mistakes:?}");
        let out = tempfile::tempdir().unwrap();
        merge(params, &parity(), out.path()).unwrap_or_else(|error| panic!("{fields}: {:?}", error.chain()));
        let wanted = merged(case);
        let read = |dir: &Path| fs_err::read(dir.join("model.safetensors")).unwrap();
        assert!(read(out.path()) == read(wanted.path()), "{}", case["name"]);
        methods.insert(case["config"]["merge_method"].as_str().unwrap().to_owned());
    }
    assert_eq!(methods.len(), 20, "{methods:?}");
}

/// What MergeKit refuses while it merges is refused before anything is written.
#[test]
fn what_mergekit_refuses_is_refused() {
    let cases = of_kind(&["refused"]);
    assert!(cases.len() > 8);
    for case in cases {
        let params = MergeParams::of_config(config(&case));
        let out = tempfile::tempdir().unwrap();
        let error = merge(params, &parity(), out.path()).err();
        assert!(error.is_some(), "{}", case["name"]);
        assert!(!out.path().join("model.safetensors").exists(), "{}", case["name"]);
    }
}
