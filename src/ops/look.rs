//! What can be found out in a moment about this machine and about a model in one file, for estimates.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::{DeviceChoice, OpError};
use crate::data::{Format, SourceManifest};
use crate::gguf::{self, GgufFile};
use crate::model::matrix::{Matrix, MatrixMut, Threads, Write, product};
use crate::spec::params::{RowRange, SourceParams};

/// How long each of the two speeds is measured.
const WHILE: Duration = Duration::from_millis(600);
/// Rows and columns of the matrices: large enough to leave every cache, small enough to be there at once.
const SIDE: usize = 1024;
/// The same on a GPU.
const SIDE_ON_GPU: usize = 4096;
/// Numbers that are copied, more than caches hold.
const NUMBERS: usize = 1 << 25;

/// The most bytes of rows that are counted.
const MOST_BYTES: u64 = 32 << 20;

/// How fast a device is.
#[derive(Debug, Clone, PartialEq)]
pub struct Speeds {
    /// What it is, in words.
    pub about: String,
    /// Operations a second of a matrix product, in the numbers that luthflow trains with there.
    pub flops: f64,
    /// Bytes of memory read or written a second.
    pub bandwidth: f64,
    /// Whether it is the CPU.
    pub is_host: bool,
}

/// Measures the device that a run would take, a matrix product and a copy in memory, in little more than a second.
pub fn speeds(choice: DeviceChoice) -> Result<Speeds, OpError> {
    let device = choice.open().map_err(|error| {
        let help = error.help().unwrap_or_default().to_owned();
        OpError::new(error.to_string()).help(help)
    })?;
    if !device.is_cpu() {
        return on_gpu(&device).map_err(|error| OpError::caused("the device cannot be measured", error));
    }
    let threads = rayon::current_num_threads();
    let many = if threads == 1 { "" } else { "s" };
    let about = format!("CPU, {threads} thread{many}");
    Ok(Speeds { about, flops: product_speed(), bandwidth: copying_speed(), is_host: true })
}

/// Returns the operations a second of the fastest of some products.
fn product_speed() -> f64 {
    let numbers: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 7) as f32).collect();
    let mut out = vec![0.0; SIDE * SIDE];
    let operations = 2.0 * (SIDE * SIDE * SIDE) as f64;
    fastest(|| {
        let (left, right) = (Matrix::new(&numbers, SIDE), Matrix::new(&numbers, SIDE).t());
        product(MatrixMut::new(&mut out, SIDE), Write::Replace, left, right, Threads::Pool);
        std::hint::black_box(&out);
        operations
    })
}

/// Returns the bytes a second that a copy reads and writes.
fn copying_speed() -> f64 {
    let numbers = vec![1.0f32; NUMBERS];
    let mut copy = vec![0.0f32; NUMBERS];
    let part = NUMBERS.div_ceil(rayon::current_num_threads() * 4);
    fastest(|| {
        copy.par_chunks_mut(part).zip(numbers.par_chunks(part)).for_each(|(to, from)| to.copy_from_slice(from));
        std::hint::black_box(&copy);
        2.0 * (NUMBERS * 4) as f64
    })
}

/// Returns how much is done in a second, at best.
fn fastest(mut work: impl FnMut() -> f64) -> f64 {
    let begin = Instant::now();
    let mut best = 0.0f64;
    while begin.elapsed() < WHILE {
        let start = Instant::now();
        let done = work();
        best = best.max(done / start.elapsed().as_secs_f64().max(1e-9));
    }
    best
}

fn on_gpu(device: &Device) -> candle_core::Result<Speeds> {
    let about = if device.is_cuda() { "CUDA GPU of this machine" } else { "Metal GPU of this machine" };
    let x = Tensor::ones((SIDE_ON_GPU, SIDE_ON_GPU), DType::BF16, device)?;
    // Kernels are compiled and loaded at first.
    x.matmul(&x)?;
    device.synchronize()?;
    let mut failed = None;
    let mut measure = |work: &dyn Fn() -> candle_core::Result<Tensor>, amount: f64| {
        fastest(|| {
            let done = work().and_then(|_| device.synchronize());
            failed = failed.take().or(done.err());
            amount
        })
    };
    let operations = 2.0 * (SIDE_ON_GPU as f64).powi(3);
    let flops = measure(&|| x.matmul(&x), operations);
    let many = Tensor::ones(NUMBERS, DType::F32, device)?;
    // Read and written.
    let bandwidth = measure(&|| many.affine(2.0, 0.0), 2.0 * (NUMBERS * 4) as f64);
    match failed {
        Some(error) => Err(error),
        None => Ok(Speeds { about: about.to_owned(), flops, bandwidth, is_host: false }),
    }
}

/// Says whether a file that is called so is packed, and says nothing by its length about the text in it.
pub fn is_packed(name: &str) -> bool {
    Format::is_packed(name)
}

/// Counts the rows of a data set: of files on this machine, or of those of a source in the folder `dir`. Nothing if that
/// would take long, or cannot be done.
pub fn rows(params: &SourceParams, files: &[(String, PathBuf)], dir: Option<&Path>) -> Option<u64> {
    let manifest = super::source::manifest(params);
    let mut left = MOST_BYTES;
    let mut count = 0_u64;
    for (name, path) in files {
        let path = dir.map_or_else(|| path.clone(), |dir| SourceManifest::file_path(dir, name));
        // How many rows a Parquet file has stands at its end.
        if path.extension().is_none_or(|end| end != "parquet") {
            left = left.checked_sub(fs_err::metadata(&path).ok()?.len())?;
        }
        count = count.checked_add(manifest.open_file(name, &path).ok()?.skip_rows(u64::MAX).ok()?)?;
    }
    let range = params.range.unwrap_or(RowRange { from: 0, to: None });
    Some(count.min(range.to.unwrap_or(count)).saturating_sub(range.from))
}

/// Returns what `config.json` will say of a model that is one file; nothing for what cannot be read so.
pub fn configuration(path: &Path) -> Option<Map<String, Value>> {
    if !gguf::is_gguf(path).ok()? {
        return None;
    }
    let file = GgufFile::open(path).ok()?;
    gguf::configuration(&file).ok()?.as_object().cloned()
}
