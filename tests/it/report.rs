//! The report: one table in three forms, and a page that asks nobody for anything.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test would")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use luthflow::ops::{self, InputArtifact, Inputs, OpCx, OpError, Outcome};
use luthflow::spec::params::{InputRef, Op, ReportParams};
use serde_json::{Value, json};

/// A world of score tables and training logs.
struct World {
    dir: tempfile::TempDir,
    inputs: Inputs,
    averages: BTreeMap<String, Vec<String>>,
    made: usize,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), inputs: Inputs::default(), averages: BTreeMap::new(), made: 0 }
    }

    fn add(&mut self, slot: &str, label: &str, axes: &Value, file: &str, content: &str) {
        let path = self.dir.path().join(format!("in{}", self.made));
        self.made += 1;
        fs_err::create_dir_all(&path).unwrap();
        fs_err::write(path.join(file), content).unwrap();
        let axes: BTreeMap<String, Value> = serde_json::from_value(axes.clone()).unwrap();
        let artifact = InputArtifact {
            name: format!("node of {label}"),
            label: label.into(),
            axes,
            path,
            digest: None,
            chosen: false,
        };
        self.inputs.0.entry(slot.into()).or_default().push(artifact);
    }

    /// Adds a choice of a `select`.
    fn choose(&mut self, slot: &str, name: &str, label: &str, axes: &Value) {
        self.add(slot, label, axes, "config.json", "{}");
        let chosen = self.inputs.0.get_mut(slot).unwrap().last_mut().unwrap();
        (chosen.name, chosen.chosen) = (name.to_owned(), true);
    }

    /// Adds a model with its bits per byte in French and English and its accuracy.
    fn scores(&mut self, slot: &str, label: &str, axes: &Value, [fr, en, clams]: [f64; 3]) {
        let bits = |name: &str, value: f64| {
            json!({"name": name, "type": "bits_per_byte", "metric": "bits_per_byte", "value": value, "stderr": 0.012,
                "n": 200, "unit": "bits per byte", "higher_is_better": false})
        };
        let pairs = json!({"name": "clams", "type": "minimal_pairs", "metric": "acc", "value": clams, "stderr": 0.021,
            "n": 500, "unit": "share of pairs", "higher_is_better": true});
        let scores = json!({"version": 1, "tasks": [bits("fr", fr), bits("en", en), pairs]});
        self.add(slot, label, axes, "scores.json", &scores.to_string());
    }

    fn log(&mut self, slot: &str, label: &str, steps: u64, from: f64, to: f64) {
        let line = |step: u64| {
            let noise = ((step * 7919 % 101) as f64 / 101.0 - 0.5) * 0.4;
            let loss = to + (from - to) * (-4.0 * step as f64 / steps as f64).exp() + noise;
            format!(
                "{}\n",
                json!({"step": step, "epoch": 0.1, "loss": loss, "learning_rate": 1e-3, "grad_norm": 1.0,
                "tokens": 100, "trained_tokens": 90})
            )
        };
        let text: String = (1..=steps).map(line).collect();
        self.add(slot, label, &json!({}), "loss.jsonl", &text);
    }

    fn report(&self, title: Option<&str>, out: &str) -> Result<(Outcome, PathBuf), OpError> {
        let slots = |name: &str| (0..9).take_while(|i| self.inputs.0.contains_key(&format!("{name}[{i}]"))).count();
        let params = ReportParams {
            over: vec![InputRef::default(); slots("over")],
            curves: vec![InputRef::default(); slots("curves")],
            averages: self.averages.clone(),
            title: title.map(str::to_owned),
        };
        let out = self.dir.path().join(out);
        fs_err::create_dir_all(&out).unwrap();
        let cancelled = AtomicBool::new(false);
        let cx = OpCx {
            inputs: &self.inputs,
            out: &out,
            scratch: &out,
            checkpoint: None,
            memo: None,
            environment: &|_| None,
            threads: 1,
            device: luthflow::ops::DeviceChoice::Cpu,
            progress: &crate::op::Silent,
            cancelled: &cancelled,
        };
        ops::run(&Op::Report(params), &cx).map(|outcome| (outcome, out))
    }
}

/// Base, French, and the merges of both by two methods, each over five values of `t`.
fn sweep() -> World {
    let mut world = World::new();
    world.scores("over[0]", "base", &json!({}), [2.61, 1.98, 0.612]);
    world.scores("over[1]", "french", &json!({}), [1.89, 2.47, 0.741]);
    for (slot, method, bow) in [("over[2]", "linear", 0.0), ("over[3]", "slerp", 0.06)] {
        for t in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let bent = bow * t * (1.0 - t) * 4.0;
            let fr = 2.61 + (1.89 - 2.61) * (t + t * (1.0 - t) * 0.5) - bent;
            let en = 1.98 + (2.47 - 1.98) * t * t - bent / 2.0;
            world.scores(slot, &format!("{method}[t={t}]"), &json!({"t": t}), [fr, en, 0.612 + 0.129 * t + bent]);
        }
    }
    world.log("curves[0]", "base", 600, 8.2, 4.1);
    world.log("curves[1]", "french", 240, 4.9, 3.4);
    world
}

fn read(dir: &Path, name: &str) -> String {
    fs_err::read_to_string(dir.join(name)).unwrap()
}

#[test]
fn the_table_for_the_terminal() {
    let world = sweep();
    let (outcome, out) = world.report(Some("Luth in small"), "out").unwrap();
    let text = read(&out, "report.txt");
    insta::assert_snapshot!(text);
    assert!(text.lines().all(|line| line.chars().count() <= 120));
    assert_eq!(outcome.metrics["models"] as usize, 12);
}

/// A choice is no row of its own: it marks the row that it chose, wherever that is drawn. Without one, nothing changes.
#[test]
fn what_a_select_chose_is_marked() {
    let mut world = sweep();
    let (_, before) = world.report(None, "before").unwrap();
    world.choose("over[4]", "best", "slerp[t=0.75]", &json!({"t": 0.75}));
    let (outcome, out) = world.report(None, "out").unwrap();
    assert_eq!(outcome.metrics["models"] as usize, 12);
    let report: Value = serde_json::from_str(&read(&out, "report.json")).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let chosen: Vec<&Value> = rows.iter().filter(|row| !row["chosen_by"].is_null()).collect();
    assert_eq!(chosen.len(), 1);
    assert_eq!((&chosen[0]["label"], &chosen[0]["chosen_by"]), (&json!("slerp[t=0.75]"), &json!(["best"])));
    assert!(read(&out, "report.txt").contains("slerp[t=0.75] ← best"));
    assert_eq!(
        read(&out, "report.html").matches("<circle fill=\"none\"").count(),
        3 + 3,
        "each task's chart, and the overlay"
    );
    let old = read(&before, "report.json") + &read(&before, "report.html");
    assert!(!old.contains("chosen") && !old.contains("<circle fill"));
}

/// A search has instances of its own; what it found is marked where the same model stands in the sweep.
#[test]
fn what_a_search_found_is_marked_in_the_sweep() {
    let mut world = sweep();
    for (number, artifact) in world.inputs.0.get_mut("over[3]").unwrap().iter_mut().enumerate() {
        artifact.digest = Some(format!("model {number}"));
    }
    world.choose("over[4]", "found", "trial[r=0.5]", &json!({"r": 0.5}));
    world.inputs.0.get_mut("over[4]").unwrap()[0].digest = Some("model 2".into());
    let (_, out) = world.report(None, "out").unwrap();
    let text = read(&out, "report.txt");
    assert!(text.contains("slerp[t=0.5] ← found") && text.matches('←').count() == 1, "{text}");
}

/// Where there is no room for every metric, the terminal shows the first of each task and says how many more there are.
#[test]
fn many_metrics_leave_the_terminal_one_a_task() {
    let mut world = World::new();
    let score = |name: &str, metric: &str| {
        json!({"name": name, "type": "choices", "metric": metric, "value": 0.5, "stderr": 0.1, "n": 9, "unit": "share of questions",
            "higher_is_better": true})
    };
    let tasks: Vec<Value> = ["arc", "mmlu"]
        .iter()
        .flat_map(|name| ["acc_norm", "acc", "a", "b"].map(|metric| score(name, metric)))
        .collect();
    world.add("over[0]", "base", &json!({}), "scores.json", &json!({"version": 1, "tasks": tasks}).to_string());
    let (_, out) = world.report(None, "out").unwrap();
    let text = read(&out, "report.txt");
    assert!(text.contains("arc acc_norm") && text.contains("mmlu acc_norm") && !text.contains("arc acc\n"), "{text}");
    assert!(text.ends_with("6 more metrics of the same tasks: report.html, report.json\n"), "{text}");
}

/// Twelve benchmarks do not stand side by side on a terminal: their words stay whole in three blocks, each with every model.
#[test]
fn many_tasks_are_blocks_one_below_the_other() {
    let mut world = World::new();
    let names = [
        "ifeval-fr",
        "gpqa-diamond-fr",
        "mmlu-fr",
        "math-500-fr",
        "arc-challenge-fr",
        "hellaswag-fr",
        "ifeval",
        "gpqa-diamond",
        "mmlu",
        "math-500",
        "arc-challenge",
        "hellaswag",
    ];
    for (slot, model, value) in [("over[0]", "base", 0.5), ("over[1]", "merged", 0.25)] {
        let score = |name: &&str| {
            json!({"name": name, "type": "choices", "metric": "acc", "value": value, "stderr": 0.1, "n": 9,
            "unit": "share of questions", "higher_is_better": true})
        };
        let tasks: Vec<Value> = names.iter().map(score).collect();
        world.add(slot, model, &json!({}), "scores.json", &json!({"version": 1, "tasks": tasks}).to_string());
    }
    let (_, out) = world.report(None, "out").unwrap();
    let text = read(&out, "report.txt");
    assert!(names.iter().all(|name| text.split_whitespace().any(|word| word == *name)), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    let count = |word: &str| text.lines().filter(|line| line.trim_start().starts_with(word)).count();
    assert_eq!((count("model"), count("base"), count("merged")), (3, 3, 3), "{text}");
    assert_eq!(text.matches("0.50 ± 0.10 *").count(), 12, "{text}");
}

/// A mean counts each task once, its error is that of independent scores, and all of them have one unit.
#[test]
fn averages_are_columns_like_others() {
    let average = |name: &str, of: &[&str]| (name.to_owned(), of.iter().map(|task| (*task).to_owned()).collect());
    let mut world = sweep();
    world.averages = BTreeMap::from([average("both", &["fr", "en"])]);
    let (outcome, out) = world.report(None, "out").unwrap();
    assert_eq!(outcome.metrics["tasks"] as usize, 4);
    let report: Value = serde_json::from_str(&read(&out, "report.json")).unwrap();
    assert_eq!(report["tasks"][3]["metric"], "mean of fr, en");
    let cell = &report["rows"][0]["scores"][3];
    assert_eq!((&cell["value"], &cell["n"]), (&json!(f64::midpoint(2.61, 1.98)), &json!(400)));
    let error = cell["stderr"].as_f64().unwrap();
    assert!((error - 0.012 / 2f64.sqrt()).abs() < 1e-12, "{error}");
    let told = |world: &World| world.report(None, "wrong").unwrap_err().to_string();
    world.averages = BTreeMap::from([average("all", &["fr", "clams"])]);
    insta::assert_snapshot!(told(&world), @"`averages.all`: `fr` in bits per byte (lower is better) and `clams` in share of pairs (higher is better) have no mean");
    world.averages = BTreeMap::from([average("all", &["fr", "english"])]);
    insta::assert_snapshot!(told(&world), @"`averages.all`: no model has a score `english`; there are fr.bits_per_byte, en.bits_per_byte, clams.acc");
    world.averages = BTreeMap::from([average("en", &["fr"])]);
    insta::assert_snapshot!(told(&world), @"`averages.en`: there is a column `en` already");
}

#[test]
fn the_json_holds_every_score_and_names_the_best() {
    let world = sweep();
    let (_, out) = world.report(None, "out").unwrap();
    let report: Value = serde_json::from_str(&read(&out, "report.json")).unwrap();
    assert_eq!(report["version"], 1);
    assert_eq!(report["tasks"][2]["higher_is_better"], true);
    let best = |task: usize| -> Vec<&str> {
        let rows = report["rows"].as_array().unwrap().iter();
        rows.filter(|row| row["scores"][task]["best"] == true).map(|row| row["label"].as_str().unwrap()).collect()
    };
    assert_eq!(best(0), ["french", "linear[t=1]", "slerp[t=1]"], "the least bits per byte, all three of them");
    assert_eq!(best(2), ["slerp[t=0.75]"], "the greatest accuracy");
    assert_eq!(report["rows"][4]["axes"]["t"], 0.5);
    assert_eq!(report["rows"][4]["scores"][0]["n"], 200);
    assert_eq!(report["curves"][1]["points"].as_array().unwrap().len(), 240);
}

#[test]
fn the_page_shows_every_number_and_asks_for_nothing() {
    let world = sweep();
    let (_, out) = world.report(Some("Luth in small"), "out").unwrap();
    let page = read(&out, "report.html");
    // Left there to be looked at.
    fs_err::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html"), &page).unwrap();
    for needed in ["<title>Luth in small</title>", "slerp[t=0.25]", "2.610", "Training loss", "fr, slerp"] {
        assert!(page.contains(needed), "{needed}");
    }
    for asking in ["http://", "https://", "src=", "url(", "<script", "@import", "<link"] {
        assert!(!page.contains(asking), "{asking}");
    }
    // Overlay, three tasks, two trainings.
    assert_eq!(page.matches("class=\"chart\"").count(), 6);
    assert!(!page.contains("NaN") && !page.contains("inf\""));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let world = sweep();
    let (_, one) = world.report(None, "one").unwrap();
    let (_, two) = world.report(None, "two").unwrap();
    for name in ["report.txt", "report.json", "report.html"] {
        assert_eq!(read(&one, name), read(&two, name), "{name}");
    }
}

#[test]
fn foreign_text_stays_text() {
    let mut world = World::new();
    let evil = "<script>alert('x')</script>\"\u{1b}[31m";
    world.scores("over[0]", evil, &json!({}), [2.0, 3.0, 0.5]);
    for t in [0, 1] {
        world.scores("over[1]", &format!("{evil}[t={t}]"), &json!({"t": t, "m": evil}), [2.0, 3.0, 0.5]);
    }
    world.log("curves[0]", evil, 20, 5.0, 4.0);
    let (_, out) = world.report(Some(evil), "out").unwrap();
    assert!(!read(&out, "report.html").contains("<script"));
    assert!(!read(&out, "report.html").contains("alert('"));
    assert!(!read(&out, "report.txt").contains('\u{1b}'));
}

#[test]
fn little_is_drawn_as_little() {
    let mut world = World::new();
    world.scores("over[0]", "alone", &json!({}), [2.0, 3.0, 0.5]);
    let (_, out) = world.report(None, "out").unwrap();
    let page = read(&out, "report.html");
    assert!(!page.contains("★") && !page.contains("class=\"chart\""), "nothing is best and nothing is swept");

    // A sweep without models outside it has curves, and nothing to measure an overlay on.
    let mut world = World::new();
    for t in [0.2, 0.4] {
        world.scores("over[0]", &format!("m[t={t}]"), &json!({"t": t}), [2.0, 3.0 + t, 0.5]);
    }
    let (_, out) = world.report(None, "out").unwrap();
    let page = read(&out, "report.html");
    assert_eq!(page.matches("class=\"chart\"").count(), 3);
}

#[test]
fn what_cannot_be_read_is_named() {
    let mut world = World::new();
    world.add("over[0]", "m", &json!({}), "scores.json", r#"{"version":9,"tasks":[]}"#);
    let error = world.report(None, "out").unwrap_err();
    assert!(error.chain().join(": ").contains("version 9"), "{:?}", error.chain());

    let mut world = World::new();
    world.scores("over[0]", "m", &json!({}), [2.0, 3.0, 0.5]);
    world.add("curves[0]", "m", &json!({}), "loss.jsonl", "{\"step\":1,\"loss\":2.0}\n{\"step\":2,\"loss\":null}\n");
    let error = world.report(None, "out").unwrap_err();
    assert!(error.to_string().contains("line 2 of"), "{error}");
}
