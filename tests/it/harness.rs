//! Evals held against the harnesses: SmolLM2-135M-Instruct asked the same rows by luthflow and by lm-evaluation-harness and
//! lighteval (`tests/fixtures/eval`, which says how they were run). The same prompts, log-likelihoods within 1e-3, the same
//! verdicts but where two choices tie.
//!
//! CI asks the first rows of each; `LUTHFLOW_ALL_ROWS=1` asks all.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::op::repository;
use crate::real::model;
use crate::world::World;

/// How many rows of each task CI asks.
const FEW: usize = 40;
/// By how much log-likelihoods may differ.
const NEAR: f64 = 1e-3;

struct Case {
    golden: &'static str,
    task: &'static str,
    profile: &'static str,
    rows: &'static str,
    more: &'static [&'static str],
    few: usize,
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What luthflow makes of some rows of the data, in their order.
fn ours(case: &Case, model: &Path, places: &[usize]) -> Vec<Value> {
    let world = World::empty();
    let fixtures = repository().join("tests/fixtures/eval/data");
    let rows = lines(&fixtures.join(case.rows));
    world.write("rows.jsonl", &places.iter().map(|place| rows[*place].to_string() + "\n").collect::<String>());
    let data = format!("{}=rows.jsonl", case.task);
    let model = model.display().to_string();
    let mut tasks = case.task;
    if case.more.contains(&"EXAMPLES") {
        // The harness was told to take the first examples; as a rule it draws some.
        let shown = world.run(&["eval", "tasks", case.task, "--profile", case.profile]);
        assert!(shown.stdout.contains("order: random"), "{}", shown.stdout);
        world.write("gsm8k.yaml", &shown.stdout.replace("order: random", "order: first"));
        tasks = "gsm8k.yaml";
    }
    let mut args = vec!["eval", "--model", &model, "--tasks", tasks, "--data", &data];
    args.extend(["--profile", case.profile, "--keep", "kept"]);
    let examples = format!("{}={}", case.task, fixtures.join("gsm8k_train.jsonl").display());
    for more in case.more {
        args.push(if *more == "EXAMPLES" { &examples } else { more });
    }
    let ran = world.run(&args);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    lines(&world.path("kept").join(format!("samples/{}.jsonl", case.task)))
}

fn numbers(list: &Value, field: &str) -> Vec<f64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|one| if field.is_empty() { one } else { &one[field] }.as_f64().unwrap())
        .collect()
}

/// Whether the two best are too near to each other to tell which is better.
fn tied(scores: &[f64]) -> bool {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted.len() > 1 && sorted[0] - sorted[1] < 2.0 * NEAR
}

fn prompt_sum(parts: &[&str]) -> String {
    let sum = Sha256::digest(parts.join("\0").as_bytes());
    let hex: Vec<String> = sum.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    hex.concat()
}

/// Returns the place of a row in the data; lighteval counts MMLU by subject.
fn place(rows: &[Value], theirs: &Value) -> usize {
    let place = usize::try_from(theirs["i"].as_u64().unwrap()).unwrap();
    let Some(subject) = theirs["subject"].as_str() else { return place };
    let mut same = rows.iter().enumerate().filter(|(_, row)| row["subject"] == subject);
    same.nth(place).unwrap().0
}

/// Compares rows that both asked, if the model is here.
fn compare(case: &Case) {
    let Some(model) = model() else { return };
    let golden = lines(&repository().join("tests/fixtures/eval").join(case.golden));
    let all = std::env::var_os("LUTHFLOW_ALL_ROWS").is_some();
    let theirs: Vec<&Value> = golden[1..].iter().take(if all { usize::MAX } else { case.few }).collect();
    let rows = lines(&repository().join("tests/fixtures/eval/data").join(case.rows));
    let places: Vec<usize> = theirs.iter().map(|theirs| place(&rows, theirs)).collect();
    let ours = ours(case, model, &places);
    assert_eq!(ours.len(), theirs.len(), "{}", case.golden);
    for (ours, theirs) in ours.iter().zip(theirs) {
        let told = format!("{} row {}: {ours}\n{theirs}", case.golden, theirs["i"]);
        if theirs["ll"].is_array() {
            likelihoods(ours, theirs, &told);
        } else {
            answers(ours, theirs, &told);
        }
    }
}

fn likelihoods(ours: &Value, theirs: &Value, told: &str) {
    let prompt = ours["prompt"].as_str().unwrap();
    let choices = ours["choices"].as_array().unwrap();
    if !prompt.contains(" | ") {
        let parts: Vec<&str> = choices.iter().flat_map(|choice| [prompt, choice["text"].as_str().unwrap()]).collect();
        assert_eq!(prompt_sum(&parts), theirs["sha"].as_str().unwrap(), "other prompts: {told}");
    }
    let (sums, expected) = (numbers(&ours["choices"], "sum"), numbers(&theirs["ll"], ""));
    assert_eq!(sums.len(), expected.len(), "{told}");
    for (sum, expected) in sums.iter().zip(&expected) {
        assert!((sum - expected).abs() < NEAR, "{sum} and {expected}: {told}");
    }
    let characters = choices.iter().map(|choice| choice["text"].as_str().unwrap().trim_start().chars().count() as f64);
    let weighed: Vec<f64> = sums.iter().zip(characters).map(|(sum, length)| sum / length).collect();
    for (metric, scores) in [("acc", &sums), ("acc_norm", &weighed)] {
        let (Some(ours), Some(theirs)) = (ours["values"][metric].as_f64(), theirs[metric].as_f64()) else { continue };
        let margin =
            if metric == "acc" { tied(scores) } else { tied(&scores.iter().map(|s| s * 30.0).collect::<Vec<_>>()) };
        assert!((ours - theirs).abs() < 1e-9 || margin, "{metric}: {told}");
    }
}

fn answers(ours: &Value, theirs: &Value, told: &str) {
    let prompt = ours["prompt"].as_str().unwrap();
    assert_eq!(prompt_sum(&[prompt]), theirs["sha"].as_str().unwrap(), "another prompt: {told}");
    assert_eq!(ours["answers"][0]["text"], theirs["text"], "{told}");
    for (name, value) in ours["values"].as_object().unwrap() {
        let theirs = name_of(name).iter().find_map(|name| theirs.get(*name));
        let Some(expected) = theirs.filter(|expected| !expected.is_array()) else { continue };
        let number =
            |value: &Value| value.as_f64().or_else(|| value.as_bool().map(|b| f64::from(u8::from(b)))).unwrap();
        assert!((number(value) - number(expected)).abs() < 1e-9, "{name}: {told}");
    }
}

/// What the harnesses call a score.
fn name_of(ours: &str) -> [&str; 2] {
    match ours {
        "prompt_strict" => ["prompt_level_strict_acc"; 2],
        "prompt_loose" => ["prompt_level_loose_acc"; 2],
        "strict_match" => ["exact_match:strict-match"; 2],
        "flexible_extract" => ["exact_match:flexible-extract"; 2],
        "maths" => ["math_pass@1:1_samples", "math_fr_pass@1:1_samples"],
        same => [same; 2],
    }
}

macro_rules! cases {
    ($($name:ident: $golden:literal, $task:literal, $profile:literal, $rows:literal, $few:expr, [$($more:literal),*];)*) => {
        $(
            #[test]
            fn $name() {
                compare(&Case {
                    golden: $golden, task: $task, profile: $profile, rows: $rows, more: &[$($more),*], few: $few,
                });
            }
        )*
    };
}

cases! {
    arc: "lm_eval/arc_challenge.jsonl", "arc-challenge", "lm-eval", "arc_challenge.jsonl", FEW, [];
    mmlu: "lm_eval/mmlu.jsonl", "mmlu", "lm-eval", "mmlu.jsonl", FEW, [];
    hellaswag: "lm_eval/hellaswag.jsonl", "hellaswag", "lm-eval", "hellaswag.jsonl", FEW, [];
    clams: "lm_eval/clams_fr.jsonl", "multiblimp-fr", "lm-eval", "clams_fr.jsonl", FEW, [];
    xwinograd: "lm_eval/xwinograd_fr.jsonl", "xwinograd-fr", "lm-eval", "xwinograd_fr.jsonl", FEW, [];
    gsm8k: "lm_eval/gsm8k.jsonl", "gsm8k", "lm-eval", "gsm8k.jsonl", 6, ["--examples", "EXAMPLES", "--max-tokens", "256"];
    luth_arc: "lighteval/arc_challenge.jsonl", "arc-challenge", "luth", "arc_challenge.jsonl", FEW, [];
    luth_mmlu: "lighteval/mmlu.jsonl", "mmlu", "luth", "mmlu.jsonl", FEW, [];
    luth_mmlu_french: "lighteval/mmlu_fr_exams.jsonl", "mmlu-fr", "luth", "exams_fr_mmmlu.jsonl", FEW, [];
    luth_hellaswag_french: "lighteval/hellaswag_fr.jsonl", "hellaswag-fr", "luth", "hellaswag.jsonl", 24, ["--max-tokens", "32"];
    luth_hellaswag: "lighteval/hellaswag.jsonl", "hellaswag", "luth", "hellaswag.jsonl", 20, [];
    luth_arc_french: "lighteval/exams_fr.jsonl", "arc-challenge-fr", "luth", "exams_fr.jsonl", 15, [];
    luth_ifeval: "lighteval/ifeval.jsonl", "ifeval", "luth", "ifeval.jsonl", 4, ["--max-tokens", "256"];
    luth_math: "lighteval/math_500.jsonl", "math-500", "luth", "math_500.jsonl", 4, ["--max-tokens", "256"];
    ifeval_french: "lm_eval/ifeval_fr.jsonl", "ifeval-fr", "lm-eval", "ifeval_fr.jsonl", 6, ["--max-tokens", "256"];
}
