//! Models as a GPU runs them, on the one device that every machine has: all that is not the CPU's own engine is composed
//! of candle's operations, and what those compute does not depend on where.

use std::path::{Path, PathBuf};

use candle_core::Device;
use luthflow::model::{CausalLm, LanguageModel, OnDevice, Packed};
use luthflow::spec::params::Kind;
use serde_json::json;

use crate::op::{inputs, run_on};
use crate::tiny::largest_difference;

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
    let sft = json!({"model": "m", "data": ["d"]});
    let experts =
        json!([{"source_model": "a", "positive_prompts": ["a"]}, {"source_model": "b", "positive_prompts": ["b"]}]);
    let moe = json!({"base_model": "m", "experts": experts});
    for (kind, fields) in [(Kind::Sft, sft), (Kind::Moe, moe)] {
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
