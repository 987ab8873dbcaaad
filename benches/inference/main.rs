//! The speed of inference: `cargo bench --bench inference -- MODEL_FOLDER [PROMPT [NEW [THREADS]]]`.
//!
//! Prints, for one text and for eight, how fast a prompt is read and how fast it is continued, beside what the machine can
//! do: the speed of a plain matrix product and that of reading memory. `bench.sh` runs others beside it. Each figure is the
//! best of several, as other work on the machine only ever slows one down.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that prints its figures or stops")]

use std::path::Path;
use std::time::Instant;

use luthflow::model::{LanguageModel, SequenceId};
use rayon::prelude::*;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let folder = args.next().expect("the folder of a model");
    let mut number = |default: usize| args.next().map_or(default, |arg| arg.parse().unwrap());
    let (prompt, new, threads) =
        (number(512), number(128), number(std::thread::available_parallelism().unwrap().into()));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| measure(Path::new(&folder), prompt, new, threads));
}

fn measure(folder: &Path, prompt: usize, new: usize, threads: usize) {
    let start = Instant::now();
    let model = LanguageModel::load(folder).unwrap();
    let opened = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut session = model.session();
    let text = session.start();
    session.feed(&[(text, &[1])]).unwrap();
    let first = start.elapsed().as_secs_f64();
    println!("{}: opened in {opened:.3} s, first token after {first:.3} s", folder.display());
    let runs = [1, 8].map(|batch| (batch, run(&model, batch, prompt, new)));
    // Before the machine is measured, which takes memory of its own.
    let (memory, weights) = (memory(), bytes(folder));
    let kept = 8.0 * (prompt + new) as f64 * kept_bytes(&model);
    println!(
        "memory at its most: {:.1} MB, {:.1} of it the program's own; weights {:.1} MB, keys and values {:.1} MB: {:.1} % of both",
        memory.peak / 1e6,
        memory.own / 1e6,
        weights / 1e6,
        kept / 1e6,
        100.0 * memory.peak / (weights + kept)
    );
    let (peak, bandwidth) = (product_speed(threads), read_speed(threads));
    println!("machine, {threads} threads: products {peak:.0} GFLOP/s, reading {bandwidth:.1} GB/s");
    for (batch, (prefill, decode, reading, busy)) in runs {
        let [linear, all] = prompt_flops(&model, prompt).map(|flops| 100.0 * flops * prefill / 1e9 / peak);
        let read = weights * decode / f64::from(batch) / 1e9;
        println!(
            "batch {batch}: prompt {prefill:.0} tokens/s ({linear:.0} % of the product in linear layers, {all:.0} % with attention), \
             new {decode:.1} tokens/s ({read:.1} GB/s of weights, {:.0} % of reading), CPU ms a token: {:.2} prompt, {:.2} new",
            100.0 * read / bandwidth,
            1e3 * reading,
            1e3 * busy
        );
    }
}

/// Returns tokens a second of the prompt and of what follows it, and CPU seconds for each of either.
fn run(model: &LanguageModel, batch: u32, prompt: usize, new: usize) -> (f64, f64, f64, f64) {
    let batch = batch as usize;
    let [mut prefill, mut decode, mut reading, mut busy] = [f64::INFINITY; 4];
    let vocabulary = model.config().vocab_size;
    for round in 0..3 {
        let mut session = model.session();
        let texts: Vec<SequenceId> = (0..batch).map(|_| session.start()).collect();
        let tokens: Vec<u32> = (0..prompt).map(|i| ((i * 7919 + round * 31) % vocabulary) as u32).collect();
        let entries: Vec<(SequenceId, &[u32])> = texts.iter().map(|text| (*text, tokens.as_slice())).collect();
        let (start, before) = (Instant::now(), cpu_seconds());
        let mut logits = session.feed(&entries).unwrap();
        prefill = prefill.min(start.elapsed().as_secs_f64());
        reading = reading.min((cpu_seconds() - before) / (prompt * batch) as f64);
        let (start, before, mut best) = (Instant::now(), cpu_seconds(), f64::INFINITY);
        for _ in 0..new {
            let next: Vec<[u32; 1]> = logits.chunks_exact(vocabulary).map(|row| [likeliest(row)]).collect();
            let entries: Vec<(SequenceId, &[u32])> =
                texts.iter().zip(&next).map(|(text, token)| (*text, token.as_slice())).collect();
            let step = Instant::now();
            logits = session.feed(&entries).unwrap();
            best = best.min(step.elapsed().as_secs_f64());
        }
        decode = decode.min(start.elapsed().as_secs_f64());
        busy = busy.min((cpu_seconds() - before) / (new * batch) as f64);
        println!("  round {round}: best step {:.2} ms ({:.1} tokens/s)", 1e3 * best, batch as f64 / best);
    }
    ((batch * prompt) as f64 / prefill, (batch * new) as f64 / decode, reading, busy)
}

fn likeliest(row: &[f32]) -> u32 {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best as u32
}

/// Returns how many operations a token of a prompt takes: in linear layers, and in attention too. What is not computed
/// does not count: the output layer and most of the last layer see the last token alone, and no token sees a later one.
fn prompt_flops(model: &LanguageModel, prompt: usize) -> [f64; 2] {
    let c = model.config();
    let input = (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim * c.hidden_size;
    let layer = input + c.num_attention_heads * c.head_dim * c.hidden_size + 3 * c.hidden_size * c.intermediate_size;
    let linear = 2.0 * ((c.num_hidden_layers - 1) * layer + input) as f64;
    let seen = (c.num_hidden_layers * c.num_attention_heads * c.head_dim * (prompt + 1)) as f64 / 2.0;
    [linear, linear + 4.0 * seen]
}

/// Returns how many bytes are kept of a token.
fn kept_bytes(model: &LanguageModel) -> f64 {
    let c = model.config();
    (c.num_hidden_layers * 2 * c.num_key_value_heads * c.head_dim * 4) as f64
}

fn bytes(folder: &Path) -> f64 {
    let files = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let weights = files.filter(|path| path.extension().is_some_and(|end| end == "safetensors"));
    weights.map(|path| fs_err::metadata(path).unwrap().len() as f64).sum()
}

/// Returns the speed of a product as large as those of a prompt, in GFLOP/s.
fn product_speed(threads: usize) -> f64 {
    let (rows, inner, columns) = (512, 576, 1536);
    let (a, b) = (vec![0.5f32; rows * inner], vec![0.25f32; inner * columns]);
    let a = candle_core::Tensor::from_vec(a, (rows, inner), &candle_core::Device::Cpu).unwrap();
    let b = candle_core::Tensor::from_vec(b, (inner, columns), &candle_core::Device::Cpu).unwrap();
    assert_eq!(rayon::current_num_threads(), threads);
    let times = (0..200).map(|_| {
        let start = Instant::now();
        a.matmul(&b).unwrap();
        start.elapsed().as_secs_f64()
    });
    2.0 * (rows * inner * columns) as f64 / times.fold(f64::INFINITY, f64::min) / 1e9
}

/// Returns how fast memory is read, in GB/s, in pieces of 16 MB of half a gigabyte.
fn read_speed(threads: usize) -> f64 {
    let numbers = vec![1u64; 1 << 26];
    let sum = |part: &[u64]| {
        let mut sums = [0u64; 32];
        for chunk in part.chunks_exact(32) {
            sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum ^= x);
        }
        sums.iter().sum::<u64>()
    };
    let times = (0..6).flat_map(|_| {
        numbers.chunks_exact(1 << 21).map(|piece| {
            let start = Instant::now();
            std::hint::black_box(piece.par_chunks(piece.len().div_ceil(threads)).map(sum).sum::<u64>());
            start.elapsed().as_secs_f64()
        })
    });
    f64::from(1 << 24) / times.fold(f64::INFINITY, f64::min) / 1e9
}

/// Returns the CPU time of this process, on Linux.
fn cpu_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of the whole line, in hundredths of a second.
    fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The memory of this process in bytes: at its most, with the files it has mapped, and without them now.
struct Memory {
    peak: f64,
    own: f64,
}

/// Returns the memory of this process, on Linux.
fn memory() -> Memory {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok()).unwrap_or_default() * 1024.0
    };
    Memory { peak: of("VmHWM"), own: of("RssAnon") }
}
