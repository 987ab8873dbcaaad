//! `votes` of `kind: generate`: of several answers the one that was given most often, by a server and by a model of the pipeline.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use luthflow::ops::{self, DeviceChoice, OpCx, OpError, Outcome, Progress};
use luthflow::spec::params::{Kind, Op};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chat_server::{Does, Server};
use crate::generate_kind::{change, count, failure, file, lines, local, rows, world};
use crate::op::inputs;
use crate::tiny::model_folder;
use crate::world::World;

/// Self-consistency: of five answers the most frequent one.
#[test]
fn the_answer_that_was_given_most_often_is_kept_with_its_share() {
    const SAID: [[&str; 5]; 5] = [
        ["4", "4", "4", "4", "4"],
        ["5", "2", "2 of 5", "5", "I say 2"],
        ["3", "1", "1", "3", "5"],
        ["1", "2", "3", "4", "5"],
        ["1", "1", "2", "2", "2"],
    ];
    let server = Server::start(|came, _| {
        let row: usize = came.said()[came.said().len() - 1..].parse().unwrap();
        Does::Says(SAID[row][came.body["seed"].as_u64().unwrap() as usize - 10].to_owned())
    });
    let votes =
        json!({"output": "score", "votes": {"of": 5, "min_share": 0.4}, "params": {"seed": 10, "temperature": 0.7}});
    let world = world(&server, 5, &votes);
    let first = world.run_ok(&[]);
    let kept = |world: &World, column: &str| -> Vec<(u64, f64, f64)> {
        let of = |row: &Value| {
            (row["number"].as_u64().unwrap(), row["answer"].as_f64().unwrap(), row[column].as_f64().unwrap())
        };
        rows(world, "asked").iter().map(of).collect()
    };
    // Two of five and two of five: the first to be given.
    assert_eq!(kept(&world, "answer_share"), [(0, 4.0, 1.0), (1, 2.0, 0.6), (2, 3.0, 0.4), (4, 2.0, 0.6)]);
    assert_eq!(count(&first, "requests_sent"), 25);
    let stats: Value = serde_json::from_str(&file(&world, "asked", "stats.json")).unwrap();
    let figures =
        ["answers", "kept", "outvoted", "rows_undecided", "rows_out"].map(|name| stats[name].as_u64().unwrap());
    assert_eq!(figures, [25, 4, 2 + 3 + 4 + 2, 1, 4]);
    // A rule judges what was elected and no single vote, and nothing is paid for twice: not by `n` either.
    change(&world, "asked", &json!({"keep_if": "answer < 4", "votes": {"share": "agreement", "min_share": 0.0}}));
    world.run_ok(&[]);
    assert_eq!(kept(&world, "agreement"), [(1, 2.0, 0.6), (2, 3.0, 0.4), (3, 1.0, 0.2), (4, 2.0, 0.6)]);
    change(&world, "asked", &json!({"keep_if": null, "votes": null, "n": 5}));
    world.run_ok(&[]);
    assert_eq!(rows(&world, "asked")[1]["answer"], json!([5.0, 2.0, 2.0, 5.0, 2.0]));
    assert_eq!(server.seen().len(), 25);
    for (settings, why) in [
        (json!({"votes": {"of": 1}}), "from 2 to 1000"),
        (json!({"votes": {"of": 3}, "n": 2}), "one answer is kept"),
        (json!({"votes": {"of": 3}, "params": {"temperature": 0}}), "every vote is the same"),
        (json!({"votes": {"of": 3, "share": "answer"}}), "a column of its own"),
        (json!({"votes": {"of": 3, "min_share": 2}}), "a share from 0 to 1"),
    ] {
        let said = self::world(&server, 2, &settings).run(&["check"]).stderr;
        assert!(said.contains(why), "{settings}: {said}");
    }
}

/// The answer that is kept of several, and its share, as a reader would count them.
fn elected(answers: &Value) -> (Value, f64) {
    let all: Vec<&str> = answers.as_array().unwrap().iter().map(|answer| answer.as_str().unwrap().trim()).collect();
    let count = |said: &str| all.iter().filter(|other| **other == said).count();
    let most = all.iter().map(|said| count(said)).max().unwrap();
    let first = all.iter().position(|said| count(said) == most).unwrap();
    (answers[first].clone(), most as f64 / all.len() as f64)
}

#[test]
fn votes_of_a_model_of_the_pipeline_are_drawn_each_by_itself() {
    let drawn = json!({"temperature": 0.5, "max_tokens": 1});
    let (several, votes) =
        (local(&json!({"n": 6, "params": drawn}), false), json!({"votes": {"of": 6}, "params": drawn}));
    several.run_ok(&[]);
    let answers = rows(&several, "asked");
    let differ = |row: &Value| row["answer"].as_array().unwrap().iter().any(|answer| *answer != row["answer"][0]);
    assert!(answers.iter().filter(|row| differ(row)).count() > 6, "{answers:?}");
    let expected: Vec<(Value, f64)> = answers.iter().map(|row| elected(&row["answer"])).collect();
    assert!(expected.iter().any(|(_, share)| *share > 0.2 && *share < 1.0), "{expected:?}");
    // They are the answers that `n` asks for.
    change(&several, "asked", &json!({"n": null, "votes": {"of": 6}}));
    assert_eq!(count(&several.run_ok(&[]), "answers_computed"), 0);
    let kept = rows(&several, "asked").into_iter();
    let kept: Vec<(Value, f64)> =
        kept.map(|row| (row["answer"].clone(), row["answer_share"].as_f64().unwrap())).collect();
    assert_eq!(kept, expected);
    // Asked from the beginning, and by a run that had only some of the votes.
    let (fresh, resumed) = (local(&votes, false), local(&votes, false));
    assert_eq!(count(&fresh.run_ok(&[]), "answers_computed"), 72);
    change(&resumed, "asked", &json!({"votes": {"of": 2}}));
    assert_eq!(count(&resumed.run_ok(&[]), "answers_computed"), 24);
    change(&resumed, "asked", &json!({"votes": {"of": 6}}));
    assert_eq!(count(&resumed.run_ok(&[]), "answers_computed"), 48);
    for world in [&fresh, &resumed] {
        for name in ["rows/data.jsonl", "stats.json", "failures.jsonl"] {
            assert_eq!(file(world, "asked", name), file(&several, "asked", name), "{name}");
        }
    }
    // Another seed draws others.
    change(&fresh, "asked", &json!({"params": {"seed": 6}}));
    fresh.run_ok(&[]);
    assert_ne!(file(&fresh, "asked", "rows/data.jsonl"), file(&several, "asked", "rows/data.jsonl"));
}

/// Cancels once the first rows are written.
struct Impatient<'a>(&'a AtomicBool, &'a AtomicU64);

impl Progress for Impatient<'_> {
    fn phase(&self, _name: &str, _total: Option<u64>, _unit: &'static str) {}
    fn position(&self, done: u64) {
        self.1.store(done, Ordering::Relaxed);
        self.0.store(true, Ordering::Relaxed);
    }
    fn note(&self, _text: &str) {}
}

/// Has the tiny model vote about the rows in a folder, into `out`.
fn voted(
    rows: &Path,
    out: &Path,
    memo: &Path,
    (cancelled, progress): (&AtomicBool, &dyn Progress),
) -> Result<Outcome, OpError> {
    let op = json!({
        "model": "model", "from": "rows", "prompt": "{{text}}", "into": "answer", "keep_unfinished": true, "votes": {"of": 2},
        "params": {"temperature": 0.5, "max_tokens": 1, "seed": 5},
    });
    let op = Op::from_fields(Kind::Generate, op).unwrap();
    let model = model_folder("tied");
    let inputs = inputs(&[("from", "", rows), ("model", "", model.path())]);
    let cx = OpCx {
        inputs: &inputs,
        out,
        scratch: out,
        checkpoint: None,
        memo: Some(memo),
        environment: &|_| None,
        threads: 1,
        device: DeviceChoice::Cpu,
        progress,
        cancelled,
    };
    ops::run(&op, &cx)
}

#[test]
fn votes_that_were_cancelled_go_on_where_they_were() {
    let folder = || TempDir::new().unwrap();
    let (rows, stopped, out, memo) = (folder(), folder(), folder(), folder());
    let lines: String = (0..270).map(|i| json!({"text": format!("n° {i}")}).to_string() + "\n").collect();
    fs_err::write(rows.path().join("data.jsonl"), lines).unwrap();
    let (cancelled, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let error = voted(rows.path(), stopped.path(), memo.path(), (&cancelled, &Impatient(&cancelled, &done))).err();
    assert_eq!(error.unwrap().to_string(), "interrupted");
    let done = done.load(Ordering::Relaxed);
    assert!(done > 0 && done < 270, "{done}");
    let run = |out: &TempDir, memo: &TempDir| {
        voted(rows.path(), out.path(), memo.path(), (&AtomicBool::new(false), &crate::op::Silent)).unwrap()
    };
    // All that was answered by then is there: the whole first block.
    let resumed = run(&out, &memo);
    assert!(resumed.measured["answers_computed"] <= 540.0 - 2.0 * 256.0, "{:?}", resumed.measured);
    let (fresh, other) = (folder(), folder());
    assert!((run(&fresh, &other).measured["answers_computed"] - 540.0).abs() < 0.5);
    for name in ["rows/data.jsonl", "stats.json", "failures.jsonl"] {
        let read = |dir: &TempDir| fs_err::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read(&out), read(&fresh), "{name}");
    }
}

#[test]
fn votes_of_a_model_that_always_says_the_same_are_refused() {
    let world = local(&json!({"votes": {"of": 3}, "params": {"temperature": null, "max_tokens": 1}}), false);
    let said = failure(&world);
    assert!(said.contains("every vote would be the same") && said.contains("params.temperature"), "{said}");
    world.write("start/generation_config.json", "{\"do_sample\": true, \"temperature\": 0.8}");
    assert_eq!(count(&world.run_ok(&[]), "answers_computed"), 36);
}

#[test]
fn an_answer_of_another_form_is_no_vote() {
    // Of row 0 the second, of row 1 all.
    let server = Server::start(|came, _| {
        let says = match (came.said(), came.body["seed"].as_u64().unwrap()) {
            ("row 0", 11) | ("row 1", _) => "perhaps",
            _ => "true",
        };
        Does::Says(says.to_owned())
    });
    let votes = json!({
        "output": "bool", "votes": {"of": 3}, "params": {"seed": 10, "temperature": 0.7}, "request": {"invalid_retries": 0},
    });
    let one = world(&server, 1, &votes);
    one.run_ok(&[]);
    assert_eq!(rows(&one, "asked"), [json!({"text": "row 0", "number": 0, "answer": true, "answer_share": 2.0 / 3.0})]);
    assert_eq!(lines(&file(&one, "asked", "failures.jsonl")), [json!({"row": 1, "sample": 1, "reason": "no answer"})]);
    let said = failure(&world(&server, 2, &votes));
    assert!(said.contains("row 2 has no answer") && said.contains("neither true nor false"), "{said}");
    // Nor is it one where a model of the pipeline answers: this one never says either.
    let said = failure(&local(&json!({"output": "bool", "votes": {"of": 3}}), false));
    assert!(said.contains("row 1 has no answer"), "{said}");
}
