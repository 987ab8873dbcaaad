//! The tiny random Qwen3 of `tests/fixtures/qwen3_tiny`, and nodes run on it through the library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use luthflow::model::{CausalLm, Packed};
use luthflow::ops::{self, InputArtifact, Inputs, OpCx, OpError, Outcome};
use luthflow::spec::params::{Kind, Op};
use luthflow::tensor::TensorFile;
use serde_json::Value;
use tempfile::TempDir;

/// The folder of the fixture.
pub(crate) fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tiny")
}

/// Loads the tied or the untied model.
pub(crate) fn model(name: &str) -> CausalLm {
    CausalLm::load(&fixture().join(name)).unwrap()
}

/// Tensors that Hugging Face transformers computed.
pub(crate) struct Golden(TensorFile);

impl Golden {
    pub(crate) fn open(file: &str) -> Self {
        Self(TensorFile::open(&fixture().join(file)).unwrap())
    }

    pub(crate) fn get(&self, name: &str) -> Vec<f32> {
        self.0.get(name).unwrap_or_else(|| panic!("`{name}` is not in the golden file")).to_f32()
    }

    /// The batch that the logits, the loss and the gradients belong to, and which tokens are trained.
    pub(crate) fn batch(&self) -> (Packed, Vec<bool>) {
        let ids = self.get("ids").into_iter().map(|id| id as u32).collect();
        let lengths = self.get("lengths").into_iter().map(|length| length as usize).collect();
        (Packed { ids, lengths }, self.get("trained").into_iter().map(|mark| mark > 0.0).collect())
    }
}

/// Returns how many trained tokens count: not the first one of a document.
pub(crate) fn trained_tokens(packed: &Packed, trained: &[bool]) -> usize {
    let mut start = 0;
    let mut count = 0;
    for length in &packed.lengths {
        count += trained[start + 1..start + length].iter().filter(|mark| **mark).count();
        start += length;
    }
    count
}

/// Returns each tensor of the model with its gradient.
pub(crate) fn gradients(model: &CausalLm) -> Vec<(String, Vec<f32>)> {
    let split =
        |parameter: &std::sync::Arc<luthflow::model::Parameter>| by_part(parameter.parts(), &parameter.gradient());
    model.parameters().iter().flat_map(split).collect()
}

/// Cuts the numbers of a parameter into those of its tensors.
pub(crate) fn by_part(parts: &[luthflow::model::Part], numbers: &[f32]) -> Vec<(String, Vec<f32>)> {
    let mut start = 0;
    let cut = |part: &luthflow::model::Part| {
        let mine = numbers[start..start + part.count()].to_vec();
        start += part.count();
        (part.name.clone(), mine)
    };
    parts.iter().map(cut).collect()
}

/// Returns `|a - b| / |b|`.
pub(crate) fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut b.iter().map(|b| f64::from(*b)))
}

/// Returns the largest difference between two lists.
pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Runs a node on `threads` threads; each input is a slot and a folder.
pub(crate) fn run(
    kind: Kind,
    fields: Value,
    inputs: &[(&str, &Path)],
    out: &Path,
    threads: usize,
) -> Result<Outcome, OpError> {
    let op = Op::from_fields(kind, fields).unwrap();
    let artifact = |(slot, path): &(&str, &Path)| {
        let artifact = InputArtifact {
            name: (*slot).into(),
            label: (*slot).into(),
            axes: BTreeMap::new(),
            path: path.to_path_buf(),
            digest: None,
            chosen: false,
        };
        ((*slot).to_owned(), vec![artifact])
    };
    let inputs = Inputs(inputs.iter().map(artifact).collect());
    let cancelled = AtomicBool::new(false);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        ops::run(
            &op,
            &OpCx {
                inputs: &inputs,
                out,
                scratch: out,
                checkpoint: None,
                memo: None,
                environment: &|_| None,
                threads,
                device: luthflow::ops::DeviceChoice::Cpu,
                progress: &crate::op::Silent,
                cancelled: &cancelled,
            },
        )
    })
}

/// Returns a model folder with the fixture's tokenizer: the tied or the untied model.
pub(crate) fn model_folder(name: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs_err::copy(fixture().join(name).join(file), dir.path().join(file)).unwrap();
    }
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        fs_err::copy(fixture().join(file), dir.path().join(file)).unwrap();
    }
    dir
}

/// Returns a data set folder with these lines.
pub(crate) fn data_folder(lines: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    fs_err::write(dir.path().join("data.jsonl"), lines).unwrap();
    dir
}

/// Returns the fixture's rows.
pub(crate) fn rows() -> String {
    fs_err::read_to_string(fixture().join("rows.jsonl")).unwrap()
}

/// A small generator of numbers between -1 and 1.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn next(&mut self) -> f32 {
        self.bits() as f32 / (1u64 << 30) as f32 - 1.0
    }
}
