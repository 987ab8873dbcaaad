//! Evals held against the harnesses: SmolLM2-135M-Instruct asked the same rows by luthflow and by lm-evaluation-harness and
//! lighteval (`tests/fixtures/eval`, which says how they were run). The same prompts, log-likelihoods within 1e-3, the same
//! verdicts but where two choices tie.
//!
//! CI asks the first rows of each; `LUTHFLOW_ALL_ROWS=1` asks all. Rows that may not be passed on are read from the folder that
//! `LUTHFLOW_RESTRICTED_ROWS` names (`benches/evaluation/data.py` cuts them); without it those tests say that they were skipped.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
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

fn fixtures() -> PathBuf {
    repository().join("tests/fixtures/eval/data")
}

/// Returns the file with the rows of a case; nothing where it may not be passed on and nobody said where it is.
#[expect(clippy::print_stdout, reason = "whoever reads the output of the tests must see what was left out")]
fn rows_of(case: &Case) -> Option<PathBuf> {
    let Some(name) = case.rows.strip_prefix("restricted/") else { return Some(fixtures().join(case.rows)) };
    let folder = std::env::var_os("LUTHFLOW_RESTRICTED_ROWS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: {name} may not be passed on; LUTHFLOW_RESTRICTED_ROWS names no folder");
    }
    Some(folder?.join(name))
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What luthflow makes of some rows of the data, in their order.
fn ours(case: &Case, model: &Path, places: &[usize]) -> Vec<Value> {
    let world = World::empty();
    let fixtures = fixtures();
    let rows = lines(&rows_of(case).expect("rows that are here"));
    world.write("rows.jsonl", &places.iter().map(|place| rows[*place].to_string() + "\n").collect::<String>());
    let data = format!("{}=rows.jsonl", case.task);
    let model = model.display().to_string();
    let mut tasks = case.task;
    if case.more.contains(&"EXAMPLES") {
        // The harness was told to take the first examples; as a rule it draws some.
        let shown = world.run(&["eval", "tasks", case.task, "--profile", case.profile]);
        assert!(shown.stdout.contains("order: random"), "{}", shown.stdout);
        let turns =
            if case.more.contains(&"--chat-template") { "order: first\n  as_turns: true" } else { "order: first" };
        world.write("gsm8k.yaml", &shown.stdout.replace("order: random", turns));
        tasks = "gsm8k.yaml";
    }
    let mut more = case.more;
    if let ["TASK", task] = more {
        world.write("task.yaml", task);
        (tasks, more) = ("task.yaml", &[]);
    }
    let mut args = vec!["eval", "--model", &model, "--tasks", tasks, "--data", &data];
    args.extend(["--profile", case.profile, "--keep", "kept"]);
    let examples = format!("{}={}", case.task, fixtures.join("gsm8k_train.jsonl").display());
    let of_mmlu = format!("mmlu={}", fixtures.join("mmlu_dev.jsonl").display());
    args.extend(more.iter().map(|more| match *more {
        "EXAMPLES" => examples.as_str(),
        "EXAMPLES OF MMLU" => of_mmlu.as_str(),
        more => more,
    }));
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
    if let Some(model) = model() {
        compare_with(case, model);
    }
}

fn compare_with(case: &Case, model: &Path) {
    let Some(rows) = rows_of(case) else { return };
    let rows = lines(&rows);
    let golden = lines(&repository().join("tests/fixtures/eval").join(case.golden));
    let all = std::env::var_os("LUTHFLOW_ALL_ROWS").is_some();
    let theirs: Vec<&Value> = golden[1..].iter().take(if all { usize::MAX } else { case.few }).collect();
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
    mmlu_five: "lm_eval/mmlu_5shot.jsonl", "mmlu", "lm-eval", "mmlu.jsonl", 12, ["--shots", "5", "--examples", "EXAMPLES OF MMLU"];
    hellaswag: "lm_eval/hellaswag.jsonl", "hellaswag", "lm-eval", "hellaswag.jsonl", FEW, [];
    clams: "lm_eval/clams_fr.jsonl", "multiblimp-fr", "lm-eval", "clams_fr.jsonl", FEW, [];
    xwinograd: "lm_eval/xwinograd_fr.jsonl", "xwinograd-fr", "lm-eval", "xwinograd_fr.jsonl", FEW, [];
    gsm8k: "lm_eval/gsm8k.jsonl", "gsm8k", "lm-eval", "gsm8k.jsonl", 6, ["--examples", "EXAMPLES", "--max-tokens", "256"];
    arc_chat: "lm_eval/arc_challenge_chat.jsonl", "arc-challenge", "lm-eval", "arc_challenge.jsonl", FEW, ["--chat-template", "true"];
    gsm8k_chat: "lm_eval/gsm8k_chat.jsonl", "gsm8k", "lm-eval", "gsm8k.jsonl", 2, ["--chat-template", "true", "--examples", "EXAMPLES"];
    arc_french: "lm_eval/arc_challenge_fr.jsonl", "arc-challenge-fr", "lm-eval", "restricted/arc_challenge_fr.jsonl", FEW, [];
    luth_arc_translated: "lighteval/arc_challenge_fr.jsonl", "arc-challenge-fr", "luth", "restricted/arc_challenge_fr.jsonl", FEW, [];
    luth_mmlu_translated: "lighteval/mmlu_fr.jsonl", "mmlu-fr", "luth", "restricted/mmlu_fr.jsonl", FEW, [];
    luth_math_french: "lighteval/math_500_fr.jsonl", "math-500-fr", "luth", "math_500.jsonl", 2, ["--max-tokens", "256"];
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

/// lm-eval's `m_mmlu_fr` as a task file of a user's.
#[test]
fn mmlu_french_by_a_task_file() {
    const TASK: &str = "
task: m_mmlu_fr
about: MMLU in French, translated by Okapi
source: {dataset: rows.jsonl}
let:
  place: index_of(['A', 'B', 'C', 'D'], answer)
prompt: |-
  {{instruction.strip()}}
  A. {{option_a}}
  B. {{option_b}}
  C. {{option_c}}
  D. {{option_d}}
  Answer:
request: {choices: {texts: [A, B, C, D], gold: place}}
metrics: [acc]
";
    compare(&Case {
        golden: "lm_eval/m_mmlu_fr.jsonl",
        task: "m_mmlu_fr",
        profile: "lm-eval",
        rows: "restricted/m_mmlu_fr.jsonl",
        more: &["TASK", TASK],
        few: FEW,
    });
}

/// Where the right answer stands is drawn, row by row through both languages: the prompts of all rows that lighteval asked.
#[test]
fn answers_of_gpqa_are_put_where_lighteval_puts_them() {
    let Some(model) = model() else { return };
    for (golden, task, rows, skip) in
        [("gpqa", "gpqa-diamond", "gpqa.jsonl", 0), ("gpqa_fr", "gpqa-diamond-fr", "gpqa_fr.jsonl", 50)]
    {
        let world = World::empty();
        let shown = world.run(&["eval", "tasks", task, "--profile", "luth"]);
        // The set has 198 rows, and here are fifty.
        world.write("gpqa.yaml", &shown.stdout.replace("skip: 198", &format!("skip: {skip}")));
        let data = format!("gpqa-diamond={}", fixtures().join(rows).display());
        let model = model.display().to_string();
        let args = ["eval", "--model", &model, "--tasks", "gpqa.yaml", "--data", &data, "--profile", "luth"];
        let ran = world.run(&[&args[..], &["--max-tokens", "1", "--keep", "kept"]].concat());
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        let ours = lines(&world.path("kept/samples/gpqa-diamond.jsonl"));
        let theirs = lines(&repository().join(format!("tests/fixtures/eval/lighteval/{golden}.jsonl")));
        assert_eq!(ours.len(), 50);
        let golds: Vec<&str> = theirs[0]["golds"].as_array().unwrap().iter().map(letter).collect();
        let put: Vec<&str> = ours.iter().map(|row| row["gold"].as_str().unwrap()).collect();
        assert_eq!(put, golds, "{task}");
        for theirs in &theirs[1..] {
            let row = &ours[usize::try_from(theirs["i"].as_u64().unwrap()).unwrap()];
            assert_eq!(prompt_sum(&[row["prompt"].as_str().unwrap()]), theirs["sha"].as_str().unwrap(), "{row}");
        }
    }
}

fn letter(place: &Value) -> &'static str {
    ["A", "B", "C", "D"][usize::try_from(place.as_u64().unwrap()).unwrap()]
}

/// A tokenizer that puts its first token before every text, and a chat template that has it too: as with Luth's LFM2, the
/// first token stands there twice.
#[test]
fn luth_arc_twice_begun() {
    let Some(model) = model() else { return };
    let world = World::empty();
    fs_err::create_dir(world.path("model")).unwrap();
    for entry in fs_err::read_dir(model).unwrap() {
        let entry = entry.unwrap();
        fs_err::hard_link(entry.path(), world.path("model").join(entry.file_name()))
            .or_else(|_| fs_err::copy(entry.path(), world.path("model").join(entry.file_name())).map(drop))
            .unwrap();
    }
    let path = world.path("model/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    let token = "<|im_start|>";
    let of_text = json!({"Sequence": {"id": "A", "type_id": 0}});
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": token, "type_id": 0}}, of_text],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [1], "tokens": [token]}},
    });
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, tokenizer.to_string()).unwrap();
    let path = world.path("model/tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    config["add_bos_token"] = json!(true);
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, config.to_string()).unwrap();
    let case = Case {
        golden: "lighteval/arc_challenge_bos.jsonl",
        task: "arc-challenge",
        profile: "luth",
        rows: "arc_challenge.jsonl",
        more: &[],
        few: FEW,
    };
    compare_with(&case, &world.path("model"));
}
