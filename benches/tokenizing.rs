//! The speed of tokenizing chats beside that of `tokenizers` alone, and of packing:
//! `cargo bench --bench tokenizing -- MODEL_FOLDER ROWS.jsonl [THREADS]`.
//!
//! A figure to be read by a person, never a test. The rival gets the chats as text already, from the same template, and only
//! makes ids of it (`encode_batch`); luthflow starts from the rows, renders each, and finds which tokens are learned. Both take
//! turns, and the best of several rounds counts, by the clock and by the time of the processor: on a machine that others use
//! too the second says more.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that prints its figures or stops")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use luthflow::data::{Chat, Ending, Row, Tokenizer};
use luthflow::ops::{self, InputArtifact, Inputs, OpCx, Progress};
use luthflow::spec::params::{Kind, Op};
use rayon::prelude::*;
use serde_json::json;
use tempfile::TempDir;

const ROUNDS: usize = 8;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (folder, rows) = (args.next().expect("the folder of a model"), args.next().expect("a file of chats"));
    let threads = args.next().map_or(1, |arg| arg.parse().unwrap());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| compare(Path::new(&folder), Path::new(&rows)));
    pool.install(measure_packing);
}

fn compare(folder: &Path, rows: &Path) {
    let tokenizer = Tokenizer::load(folder).unwrap();
    let rival = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    let lines = fs_err::read_to_string(rows).unwrap();
    let rows: Vec<Row> = lines.lines().map(|line| Row::from_json(line).unwrap()).collect();
    let chats: Vec<&Chat> =
        rows.iter().filter_map(|row| if let Row::Chat(chat) = row { Some(chat) } else { None }).collect();
    // As many copies as make a round last long enough to be measured.
    let chats: Vec<&Chat> = chats.iter().copied().cycle().take(chats.len() * 4).collect();
    let texts: Vec<String> =
        chats.iter().map(|chat| tokenizer.render_chat(chat, Ending::Whole).unwrap().text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // What is said alone: with the names of control tokens in it, prose goes another way.
    let said = |chat: &&Chat| chat.messages.iter().map(|message| message.content.text() + "\n").collect::<String>();
    let prose: Vec<String> = chats.iter().map(said).collect();
    let prose: Vec<&str> = prose.iter().map(String::as_str).collect();
    let batch = |texts: &[&str]| {
        let encodings = rival.encode_batch(texts.to_vec(), false).unwrap();
        encodings.iter().map(|encoding| encoding.get_ids().len()).sum::<usize>()
    };
    let render = |chat: &&Chat| tokenizer.render_chat(chat, Ending::Whole).unwrap().text.len();
    let ways: [(&str, &dyn Fn() -> usize); 5] = [
        ("tokenizers' encode_batch, chats as text", &|| batch(&texts)),
        ("luthflow, chats from rows to ids and marks", &|| {
            chats.par_iter().map(|chat| tokenizer.encode_chat(chat).unwrap().ids.len()).sum()
        }),
        ("luthflow, of that making text (in letters)", &|| chats.par_iter().map(render).sum()),
        ("tokenizers' encode_batch, prose", &|| batch(&prose)),
        ("luthflow, prose", &|| prose.par_iter().map(|text| tokenizer.encode(text).unwrap().len()).sum()),
    ];
    let mut best = [(f64::INFINITY, f64::INFINITY, 0); 5];
    for _ in 0..ROUNDS {
        for ((_, way), best) in ways.iter().zip(&mut best) {
            let (start, before) = (Instant::now(), cpu_seconds());
            let count = way();
            let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - before);
            *best = (best.0.min(wall), best.1.min(cpu), count);
        }
    }
    for ((name, _), (wall, cpu, count)) in ways.iter().zip(best) {
        let rate = |seconds: f64| count as f64 / seconds / 1e6;
        println!("{name}: {count}, {:.2} million/s, {:.2} a second of CPU", rate(wall), rate(cpu));
    }
}

/// Times the phases of a training of one step.
#[derive(Default)]
struct Phases(Mutex<Vec<(String, Instant)>>);

impl Progress for Phases {
    fn phase(&self, name: &str, _: Option<u64>, _: &'static str) {
        self.0.lock().unwrap().push((name.to_owned(), Instant::now()));
    }
    fn position(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

/// Packs ten million tokens of the tests' tokenizer, a letter each, in documents of 20 to 1500.
fn measure_packing() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qwen3_tiny");
    let (model, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for file in ["tied/config.json", "tied/model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs_err::copy(fixture.join(file), model.path().join(file.trim_start_matches("tied/"))).unwrap();
    }
    let config = model.path().join("config.json");
    let mut settings: serde_json::Value = serde_json::from_slice(&fs_err::read(&config).unwrap()).unwrap();
    settings["max_position_embeddings"] = 4096.into();
    fs_err::write(&config, settings.to_string()).unwrap();
    let length = |i: usize| 20 + (i * i * 37 + i * 101) % 1480;
    let lines: String = (0..14_000).map(|i| json!({"text": "a".repeat(length(i))}).to_string() + "\n").collect();
    fs_err::write(data.path().join("data.jsonl"), lines).unwrap();
    let tokens: usize = (0..14_000).map(|i| length(i) + 2).sum();
    for packing in ["best_fit", "multipack"] {
        let seconds = packing_seconds(model.path(), data.path(), packing);
        println!(
            "packing {tokens} tokens in 14000 samples, {packing}: {:.0} million tokens/s",
            tokens as f64 / seconds / 1e6
        );
    }
}

fn packing_seconds(model: &Path, data: &Path, packing: &str) -> f64 {
    let fields = json!({
        "model": "m", "data": ["d"], "sequence_len": 2048, "max_steps": 1, "epochs": 1.0, "packing": packing,
    });
    let op = Op::from_fields(Kind::Sft, fields).unwrap();
    let artifact = |slot: &str, path: &Path| {
        let (name, label, path) = (slot.to_owned(), slot.to_owned(), PathBuf::from(path));
        (slot.to_owned(), vec![InputArtifact { name, label, axes: BTreeMap::new(), path, digest: None, chosen: false }])
    };
    let inputs = Inputs([artifact("model", model), artifact("data[0]", data)].into());
    let (out, cancelled, phases) = (TempDir::new().unwrap(), AtomicBool::new(false), Phases::default());
    let cx = OpCx {
        inputs: &inputs,
        out: out.path(),
        scratch: out.path(),
        checkpoint: None,
        memo: None,
        environment: &|_| None,
        threads: rayon::current_num_threads(),
        device: luthflow::ops::DeviceChoice::Cpu,
        progress: &phases,
        cancelled: &cancelled,
    };
    ops::run(&op, &cx).unwrap();
    let phases = phases.0.into_inner().unwrap();
    let start = phases.iter().find(|(name, _)| name == "packing").unwrap().1;
    let end = phases.iter().find(|(name, _)| name == "training").unwrap().1;
    (end - start).as_secs_f64()
}

/// Returns the CPU time of this process, on Linux, in steps of a hundredth of a second.
fn cpu_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
