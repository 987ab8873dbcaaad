//! How many answers are judged in a second: `cargo bench --bench judging -- [THREADS [IFEVAL.jsonl…]]`.
//!
//! IFEval's rows are those of the tests (`tests/fixtures/metrics/ifeval.jsonl`, answers of open models) or other files of the
//! same shape; mathematics is judged on the pairs of `tests/fixtures/metrics/maths`. Reading the instructions counts: an eval
//! reads them with each row. The best of several rounds, by the clock and by the time of the processor.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that prints its figures or stops")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use luthflow::metrics::ifeval::{self, Instruction, Rules};
use luthflow::metrics::maths::{self, Language, Profile};
use rayon::prelude::*;
use serde_json::Value;

const ROUNDS: usize = 7;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let threads = args.next().map_or(1, |arg| arg.parse().unwrap());
    let mut files: Vec<PathBuf> = args.map(PathBuf::from).collect();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics");
    if files.is_empty() {
        files.push(fixtures.join("ifeval.jsonl"));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let answers: Vec<Value> = files.iter().flat_map(|file| rows(file)).collect();
    let pairs = rows(&fixtures.join("maths/pairs.jsonl"));
    pool.install(|| {
        for (name, rules) in [("reference", Rules::Reference), ("native", Rules::Native)] {
            measure(&format!("IFEval, {name} rules"), &answers, "response", |row| followed(row, rules));
        }
        for (name, profile) in
            [("Luth", Profile::Luth), ("math-verify", Profile::MathVerify), ("native", Profile::Native)]
        {
            measure(&format!("mathematics, {name}"), &pairs, "pred", |row| {
                let language = if row["lang"] == "fr" { Language::French } else { Language::English };
                maths::judge(text(row, "gold"), text(row, "pred"), language, profile).correct
            });
        }
    });
}

fn rows(file: &Path) -> Vec<Value> {
    let lines = fs_err::read_to_string(file).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap()
}

fn followed(row: &Value, rules: Rules) -> bool {
    let ids = row["instruction_id_list"].as_array().unwrap().iter();
    let settings = row["kwargs"].as_array().unwrap().iter();
    let read = |(id, settings): (&Value, &Value)| {
        Instruction::read(id.as_str().unwrap(), settings.as_object().unwrap(), rules).unwrap()
    };
    let instructions: Vec<Instruction> = ids.zip(settings).map(read).collect();
    ifeval::judge(&instructions, text(row, "response")).all_strict()
}

fn measure(name: &str, rows: &[Value], answer: &str, judge: impl Fn(&Value) -> bool + Sync) {
    let (mut clock, mut processor) = (f64::INFINITY, f64::INFINITY);
    let mut right = 0;
    for _ in 0..ROUNDS {
        let (start, before) = (Instant::now(), cpu_seconds());
        right = rows.par_iter().filter(|row| judge(row)).count();
        clock = clock.min(start.elapsed().as_secs_f64());
        processor = processor.min(cpu_seconds() - before);
    }
    let count = rows.len() as f64;
    let characters = rows.iter().map(|row| text(row, answer).chars().count()).sum::<usize>() as f64 / count;
    println!(
        "{name}: {count} answers of {characters:.0} characters, {right} right: {:.0} a second, {:.0} a second of processor",
        count / clock,
        count / processor
    );
}

/// Returns the time that the process has had of all processors.
fn cpu_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
