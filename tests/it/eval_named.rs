//! Tasks by name and from files, through the program, on a tiny random model: what is asked, what is kept, what is told.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test would")]

use std::path::Path;
use std::process::Stdio;

use luthflow::data::{Joining, Rendered, Seam, Start, Tokenizer};
use luthflow::model::{CausalLm, Packed};
use serde_json::{Value, json};

use crate::tiny::model_folder;
use crate::world::{Finished, World};

/// Questions of the shape of ARC.
fn arc() -> String {
    let row = |i: usize, right: &str| {
        json!({
            "id": format!("q{i}"), "question": format!("What is seen at place {i} of the sky?"),
            "choices": {"text": ["the moon", "a very bright star", "rain", "the sun"], "label": ["A", "B", "C", "D"]},
            "answerKey": right,
        })
        .to_string()
    };
    (0..8).map(|i| row(i, ["A", "B", "C", "D"][i % 4]) + "\n").collect()
}

/// A world with a model and rows, and an eval with these settings.
fn world(eval: &Value) -> World {
    let world = World::empty();
    let model = model_folder("tied");
    fs_err::create_dir(world.path("model")).unwrap();
    for entry in fs_err::read_dir(model.path()).unwrap() {
        let entry = entry.unwrap();
        fs_err::copy(entry.path(), world.path("model").join(entry.file_name())).unwrap();
    }
    world.write("arc.jsonl", &arc());
    pipeline(&world, eval);
    world
}

fn pipeline(world: &World, eval: &Value) {
    let mut scores = json!({"kind": "eval", "model": "model"});
    for (name, value) in eval.as_object().unwrap() {
        scores[name] = value.clone();
    }
    let nodes = json!({
        "model": {"kind": "source", "model": "model"},
        "arc": {"kind": "source", "dataset": "arc.jsonl"},
        "scores": scores,
    });
    world.write("pipeline.yaml", &json!({"version": 1, "nodes": nodes}).to_string());
}

fn samples(world: &World, task: &str) -> Vec<Value> {
    let folder = world.json(&["show", "scores", "--json"])["path"].as_str().unwrap().to_owned();
    let text = fs_err::read_to_string(Path::new(&folder).join(format!("samples/{task}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn digest(world: &World) -> String {
    world.json(&["show", "scores", "--json"])["artifact"].to_string()
}

fn measured(finished: &Finished, name: &str) -> f64 {
    let of = |event: &&Value| event["event"] == "node_finished" && event["node"] == "scores";
    finished.events.iter().find(of).expect("it ran")["measured"][name].as_f64().unwrap()
}

/// What `check` finds wrong.
fn wrong(world: &World) -> String {
    let ran = world.run(&["check", "pipeline.yaml"]);
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    world.tidy(&ran.stderr)
}

/// Why the eval failed.
fn failure(world: &World) -> String {
    let ran = world.run(&["run", "--json"]);
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    let failed = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let failed = failed.into_iter().find(|event| event["event"] == "node_failed").unwrap();
    failed.to_string()
}

#[test]
fn choices_are_as_likely_as_the_model_finds_them() {
    let world = world(&json!({"tasks": [{"arc-challenge": {"data": "arc"}}]}));
    world.run_ok(&[]);
    let rows = samples(&world, "arc-challenge");
    assert_eq!(rows.len(), 8);
    let (model, tokenizer) =
        (CausalLm::load(&world.path("model")).unwrap(), Tokenizer::load(&world.path("model")).unwrap());
    for row in &rows {
        let prompt = row["prompt"].as_str().unwrap();
        assert!(prompt.starts_with("Question: What is seen") && prompt.ends_with("\nAnswer:"), "{prompt}");
        for choice in row["choices"].as_array().unwrap() {
            let joining = Joining { seam: Seam::Offset, start: Start::Once };
            let context = Rendered::plain(prompt.to_owned(), true, &tokenizer);
            let (context, continuation) =
                tokenizer.joined_ids(&context, choice["text"].as_str().unwrap(), joining).unwrap();
            let ids = [context.clone(), continuation].concat();
            let log_probs = model.log_probs(&Packed { lengths: vec![ids.len()], ids }).unwrap();
            let sum: f64 = log_probs[context.len()..].iter().map(|log_prob| f64::from(*log_prob)).sum();
            assert!((choice["sum"].as_f64().unwrap() - sum).abs() < 1e-4, "{choice} {sum}");
        }
    }
    let table = world.json(&["show", "scores", "--json"]);
    let metrics = &table["metrics"];
    let right = rows.iter().filter(|row| row["values"]["acc"] == 1.0).count() as f64;
    assert_eq!(metrics["arc-challenge.acc"].as_f64(), Some(right / 8.0));
    assert!(metrics["arc-challenge.acc_norm_stderr"].is_number(), "{table}");
}

#[test]
fn nothing_is_asked_twice_and_nothing_else_decides_the_bytes() {
    let tasks = json!([{"arc-challenge": {"data": "arc", "shots": 2, "examples": "arc"}}]);
    let world = world(&json!({"tasks": tasks}));
    let first = world.run_ok(&["--threads", "1"]);
    assert!(measured(&first, "requests_computed") > 0.0);
    let before = digest(&world);
    // Another task with the same questions asks nothing either.
    pipeline(
        &world,
        &json!({"tasks": [{"arc-challenge": {"data": "arc", "shots": 2, "examples": "arc", "name": "b", "limit": 3}}]}),
    );
    assert!(measured(&world.run_ok(&[]), "requests_computed").abs() < 0.5);
    // Anew, with other threads: the same bytes.
    fs_err::remove_dir_all(world.path("cache")).unwrap();
    pipeline(&world, &json!({"tasks": tasks, "batch": 3}));
    assert!(measured(&world.run_ok(&["--threads", "2"]), "requests_computed") > 0.0);
    assert_eq!(digest(&world), before);
}

#[test]
fn a_profile_changes_what_is_asked() {
    let world = world(&json!({"profile": "luth", "tasks": [{"arc-challenge": {"data": "arc", "limit": 1}}]}));
    world.run_ok(&[]);
    let prompt = samples(&world, "arc-challenge")[0]["prompt"].as_str().unwrap().to_owned();
    insta::assert_snapshot!(prompt, @r"
    <|im_start|>system
    You are a helpful assistant.<|im_end|>
    <|im_start|>user
    Question: What is seen at place 0 of the sky?
    Answer:<|im_end|>
    <|im_start|>assistant
    ");
    let settings = json!({"profile": "lm-eval", "tasks": [{"arc-challenge": {"data": "arc", "limit": 1, "shots": 1, "examples": "arc"}}]});
    pipeline(&world, &settings);
    world.run_ok(&[]);
    let prompt = samples(&world, "arc-challenge")[0]["prompt"].as_str().unwrap().to_owned();
    insta::assert_snapshot!(prompt, @r"
    Question: What is seen at place 1 of the sky?
    Answer: a very bright star

    Question: What is seen at place 0 of the sky?
    Answer:
    ");
}

const TALK: &str = r#"
task: talk
about: A question, and another one after its answer
prompt: "{{question}}"
request:
  generate: {max_tokens: 6, gold: "'x'", then: "['And then?']", temperature: 0.8, samples: 2}
metrics: [em, {metric: em, name: "em@2", pass_at: 2}]
"#;

#[test]
fn a_task_file_asks_in_turns_and_draws_several_answers() {
    let eval = json!({"seed": 7, "tasks": [{"talk.yaml": {"data": "arc", "limit": 3}}]});
    let world = world(&eval);
    world.write("talk.yaml", TALK);
    world.run_ok(&[]);
    let rows = samples(&world, "talk");
    assert_eq!(rows.len(), 3);
    for row in &rows {
        let answers = row["answers"].as_array().unwrap();
        assert_eq!(answers.len(), 2);
        assert!(answers.iter().all(|answer| answer["before"].as_array().unwrap().len() == 1), "{row}");
        assert!(answers.iter().all(|answer| answer["tokens"].as_u64().unwrap() <= 6));
    }
    let texts =
        |row: &Value| row["answers"].as_array().unwrap().iter().map(|a| a["text"].to_string()).collect::<Vec<_>>();
    assert!(rows.iter().any(|row| texts(row)[0] != texts(row)[1]), "both answers are drawn alike: {rows:?}");
    let before = digest(&world);
    fs_err::remove_dir_all(world.path("cache")).unwrap();
    pipeline(&world, &json!({"seed": 7, "batch": 1, "tasks": [{"talk.yaml": {"data": "arc", "limit": 3}}]}));
    world.run_ok(&[]);
    assert_eq!(digest(&world), before, "how many answers are written at once decides nothing");
}

#[test]
fn another_metric_needs_no_model() {
    let world = world(&json!({"tasks": [{"talk.yaml": {"data": "arc", "limit": 3}}]}));
    world.write("talk.yaml", TALK);
    assert!(measured(&world.run_ok(&[]), "requests_computed") > 0.0);
    let before = samples(&world, "talk");
    world.write("talk.yaml", &TALK.replace("[em, ", "[f1, em, "));
    let again = world.run_ok(&[]);
    assert!(measured(&again, "requests_computed").abs() < 0.5);
    let after = samples(&world, "talk");
    assert_eq!(
        before.iter().map(|row| &row["answers"]).collect::<Vec<_>>(),
        after.iter().map(|row| &row["answers"]).collect::<Vec<_>>()
    );
    assert!(after.iter().all(|row| row["values"]["f1"].is_number()));
}

/// Long answers to many rows, so that there is an instant to kill it at.
const LONG: &str = r#"
task: long
prompt: "{{question}} {{id}}"
request:
  generate: {max_tokens: 160, gold: "'x'", temperature: 1.0}
metrics: [em]
"#;

#[test]
fn a_killed_eval_goes_on_with_what_it_has() {
    let rows: String =
        (0..60).map(|i| json!({"id": i, "question": format!("Say something about {i}")}).to_string() + "\n").collect();
    let settings = json!({"batch": 4, "tasks": [{"long.yaml": {"data": "arc"}}]});
    let made = || {
        let world = world(&settings);
        world.write("arc.jsonl", &rows);
        world.write("long.yaml", LONG);
        world
    };
    let undisturbed = made();
    let whole = undisturbed.run_ok(&[]);
    let all = measured(&whole, "requests_computed");
    let (world, mut kept) = (made(), 0.0);
    for _ in 0..20 {
        let mut child = world.command(&["run"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        // As soon as some answers are on the disk.
        let store = world.path("cache/memo/answers/evals.sqlite");
        let begun = std::time::Instant::now();
        while fs_err::metadata(&store).map_or(0, |found| found.len()) < 30_000 && begun.elapsed().as_secs() < 20 {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let finished = world.run_ok(&[]);
        if finished.ran.iter().any(|node| node == "scores") {
            kept = measured(&finished, "requests_known");
            assert!((kept + measured(&finished, "requests_computed") - all).abs() < 0.5);
            if kept > 0.0 {
                break;
            }
        }
        fs_err::remove_dir_all(world.path("cache")).unwrap();
    }
    assert!(kept > 0.0, "it was over before it could be killed");
    assert_eq!(digest(&world), digest(&undisturbed));
}

#[test]
fn mistakes_of_a_task_file_are_told_where_they_are() {
    let world = world(&json!({"tasks": ["talk.yaml"]}));
    world.write("talk.yaml", &TALK.replace("about:", "abuot:").replace("[em,", "[emm,"));
    insta::assert_snapshot!(wrong(&world));
    world.write("talk.yaml", TALK);
    insta::assert_snapshot!(wrong(&world));
}

#[test]
fn what_cannot_be_asked_is_told() {
    let cases = [
        json!({"tasks": ["arc-chalenge"]}),
        json!({"tasks": [{"arc-challenge": {"language": "xx", "data": "arc"}}]}),
        json!({"tasks": [{"arc-challenge": {"data": "arc", "limti": 3}}]}),
        json!({"tasks": [{"arc-challenge": {"data": "arc", "max_tokens": 3}}, {"arc-challenge": {"data": "arc", "limit": 0}}]}),
        json!({"profile": "luht", "tasks": ["arc-challenge"]}),
    ];
    let world = world(&cases[0]);
    let told: Vec<String> = cases
        .iter()
        .map(|case| {
            pipeline(&world, case);
            wrong(&world)
        })
        .collect();
    insta::assert_snapshot!(told.join("\n----\n"));
    pipeline(&world, &json!({"tasks": [{"arc-challenge": {"data": "arc"}}]}));
    world.write(
        "arc.jsonl",
        &arc().replace("\"D\",\"", "\"E\",\"").replace("\"answerKey\":\"D\"", "\"answerKey\":\"Z\""),
    );
    assert!(failure(&world).contains("row 4"), "{}", failure(&world));
    world.write("arc.jsonl", "{\"question\": \"a\"}\n");
    let failed = failure(&world);
    assert!(failed.contains("let.gold") && failed.contains("its columns are question"), "{failed}");
}
