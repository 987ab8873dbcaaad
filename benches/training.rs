//! The speed of training beside that of plain matrix products: `cargo bench --bench training`.
//!
//! A figure to be read by a person, never a test. Wall time says what a user waits for; CPU time says more on a machine
//! that others use too.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that prints its figures or stops")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use luthflow::ops::{self, InputArtifact, Inputs, OpCx, Outcome, Progress};
use luthflow::spec::params::{Kind, Op};
use serde_json::{Value, json};
use tempfile::TempDir;

const HIDDEN: usize = 256;
const INNER: usize = 768;
const LAYERS: usize = 6;
const VOCABULARY: usize = 4096;
const LENGTH: usize = 512;

fn main() {
    let start = start_model();
    for letters in [100, LENGTH - 2] {
        let line = json!({"text": "a".repeat(letters)}).to_string() + "\n";
        let data = TempDir::new().unwrap();
        fs_err::write(data.path().join("data.jsonl"), line.repeat(60 * LENGTH / letters)).unwrap();
        for threads in [1, 2] {
            measure(start.path(), data.path(), letters, threads);
        }
    }
}

fn measure(start: &Path, data: &Path, letters: usize, threads: usize) {
    let peak = product_speed(threads);
    let before = cpu_seconds();
    let fields = json!({"model": "m", "data": ["d"], "sequence_len": LENGTH, "learning_rate": 1e-3});
    let (outcome, _) = run(Kind::Sft, fields, &[("model", start), ("data[0]", data)], threads);
    let spent = cpu_seconds() - before;
    let (speed, tokens) = (outcome.measured["tokens_per_second"], outcome.metrics["tokens"]);
    let weights = LAYERS * (512 * HIDDEN + HIDDEN * 256 + 3 * HIDDEN * INNER) + VOCABULARY * HIDDEN;
    let attention = 12 * LAYERS * 256 * (letters / 2);
    let work = (6 * weights + attention) as f64 / 1e9;
    let share = 100.0 * work * speed / peak;
    println!("documents of {letters} tokens, {threads} threads: {speed:.0} tokens/s, {:.0} GFLOP/s", work * speed);
    println!(
        "    {share:.0} % of the {peak:.0} GFLOP/s of a plain product; {:.0} tokens a second of CPU",
        tokens / spent
    );
}

/// Makes a model as large as that of a small real training, with the tests' tokenizer.
fn start_model() -> TempDir {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tiny");
    let tokenizer = TempDir::new().unwrap();
    fs_err::copy(fixture.join("tokenizer_config.json"), tokenizer.path().join("tokenizer_config.json")).unwrap();
    // A token far off makes the embedding as large as that of a trained tokenizer.
    let mut file: Value = serde_json::from_slice(&fs_err::read(fixture.join("tokenizer.json")).unwrap()).unwrap();
    file["model"]["vocab"]["never"] = (VOCABULARY - 1).into();
    fs_err::write(tokenizer.path().join("tokenizer.json"), file.to_string()).unwrap();
    let shape = json!({
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 64,
    });
    run(Kind::Init, json!({"tokenizer": "t", "config": shape}), &[("tokenizer", tokenizer.path())], 2).1
}

struct Silent;

impl Progress for Silent {
    fn phase(&self, _: &str, _: Option<u64>, _: &'static str) {}
    fn position(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

fn run(kind: Kind, fields: Value, inputs: &[(&str, &Path)], threads: usize) -> (Outcome, TempDir) {
    let op = Op::from_fields(kind, fields).unwrap();
    let artifact = |(slot, path): &(&str, &Path)| {
        let (name, label) = ((*slot).to_owned(), (*slot).to_owned());
        let artifact =
            InputArtifact { name, label, axes: BTreeMap::new(), path: path.to_path_buf(), digest: None, chosen: false };
        ((*slot).to_owned(), vec![artifact])
    };
    let inputs = Inputs(inputs.iter().map(artifact).collect());
    let (out, cancelled) = (TempDir::new().unwrap(), AtomicBool::new(false));
    let cx = OpCx {
        inputs: &inputs,
        out: out.path(),
        scratch: out.path(),
        checkpoint: None,
        memo: None,
        environment: &|_| None,
        threads,
        device: luthflow::ops::DeviceChoice::Cpu,
        progress: &Silent,
        cancelled: &cancelled,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let outcome = pool.install(|| ops::run(&op, &cx)).unwrap();
    (outcome, out)
}

/// Returns the speed of a product as large as those of the training, in GFLOP/s.
fn product_speed(threads: usize) -> f64 {
    let (rows, inner, columns) = (512, 256, 1536);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let x = candle_core::Tensor::ones((rows, inner), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    let y = candle_core::Tensor::ones((inner, columns), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
    pool.install(|| {
        let times = (0..50).map(|_| {
            let start = std::time::Instant::now();
            for _ in 0..4 {
                x.matmul(&y).unwrap();
            }
            start.elapsed().as_secs_f64() / 4.0
        });
        2.0 * (rows * inner * columns) as f64 / times.fold(f64::INFINITY, f64::min) / 1e9
    })
}

/// Returns the CPU time of this process, on Linux: on a machine that others use too it says more than the clock.
fn cpu_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of the whole line, in hundredths of a second.
    fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
