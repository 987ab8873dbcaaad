//! `kind: generate`, through the program: beside a server that misbehaves on purpose and counts what it is asked, and with
//! a model of the pipeline.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chat_server::{Does, Server};
use crate::tiny::model_folder;
use crate::world::{Finished, World};

const KEY: &str = "sk-not-a-real-key-1234567890";

/// A world with so many rows and a node `asked` about them.
pub(crate) fn world(server: &Server, rows: usize, settings: &Value) -> World {
    let world = World::empty();
    let line = |i: usize| json!({"text": format!("row {i}"), "number": i}).to_string() + "\n";
    world.write("rows.jsonl", &(0..rows).map(line).collect::<String>());
    let mut asked = json!({
        "kind": "generate", "from": "rows", "endpoint": {"url": server.url, "model": "m"}, "prompt": "{{text}}",
        "into": "answer", "request": {"backoff_seconds": 0.01, "concurrency": 4},
    });
    merge(&mut asked, settings);
    write(&world, &json!({"rows": {"kind": "source", "dataset": "rows.jsonl"}, "asked": asked}));
    world
}

/// Puts settings into others; `null` takes one out.
fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().unwrap() {
        match into.get_mut(name) {
            Some(old) if old.is_object() && value.is_object() => merge(old, value),
            _ if value.is_null() => drop(into.as_object_mut().unwrap().shift_remove(name)),
            _ => into[name] = value.clone(),
        }
    }
}

fn write(world: &World, nodes: &Value) {
    world.write("pipeline.yaml", &json!({"version": 1, "nodes": nodes}).to_string());
}

/// Changes the settings of a node in the pipeline file.
pub(crate) fn change(world: &World, node: &str, settings: &Value) {
    let mut pipeline: Value = serde_json::from_str(&world.read("pipeline.yaml")).unwrap();
    merge(&mut pipeline["nodes"][node], settings);
    world.write("pipeline.yaml", &pipeline.to_string());
}

fn folder(world: &World, node: &str) -> String {
    world.json(&["show", node, "--json"])["path"].as_str().unwrap().to_owned()
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn file(world: &World, node: &str, name: &str) -> String {
    fs_err::read_to_string(Path::new(&folder(world, node)).join(name)).unwrap()
}

pub(crate) fn rows(world: &World, node: &str) -> Vec<Value> {
    lines(&file(world, node, "rows/data.jsonl"))
}

fn measured(finished: &Finished, node: &str) -> BTreeMap<String, f64> {
    let of = |event: &&Value| event["event"] == "node_finished" && event["node"] == node;
    let event = finished.events.iter().find(of).expect("it ran");
    serde_json::from_value(event["measured"].clone()).unwrap()
}

pub(crate) fn failure(world: &World) -> String {
    let ran = world.run(&["run", "--json"]);
    assert_eq!(ran.code, 1, "{}\n{}", ran.stdout, ran.stderr);
    let failed = lines(&ran.stdout).into_iter().find(|event| event["event"] == "node_failed");
    let failed = failed.unwrap_or_else(|| panic!("{}", ran.stdout));
    format!(
        "{}; {}",
        failed["error"].as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect::<Vec<_>>().join(": "),
        failed["help"]
    )
}

/// A figure of this run that is a whole number.
pub(crate) fn count(finished: &Finished, figure: &str) -> u64 {
    measured(finished, "asked")[figure].round() as u64
}

#[test]
fn answers_stand_in_order_and_nothing_is_asked_twice() {
    let server = Server::start(|came, _| {
        // The later ones are the quicker ones.
        let number: u64 = came.said()[4..].parse().unwrap();
        std::thread::sleep(Duration::from_millis(60 - number.min(60)));
        Does::Says(came.said().to_uppercase())
    });
    let prices = json!({"prompt": 10.0, "completion": 20.0});
    let world = world(&server, 60, &json!({"prices": prices, "request": {"concurrency": 16}}));
    let finished = world.run_ok(&[]);
    let expected: Vec<Value> =
        (0..60).map(|i| json!({"text": format!("row {i}"), "number": i, "answer": format!("ROW {i}")})).collect();
    assert_eq!(rows(&world, "asked"), expected);
    assert_eq!(server.seen().len(), 60);
    assert!(server.seen().iter().all(|came| came.path == "/v1/chat/completions" && came.authorization.is_empty()));
    let body = server.seen()[0].body.clone();
    assert_eq!(body["model"], "m");
    assert_eq!(body.as_object().unwrap().len(), 2, "what was not set is not sent: {body}");
    let stats: Value = serde_json::from_str(&file(&world, "asked", "stats.json")).unwrap();
    let letters: u64 = (0..60).map(|i| format!("row {i}").len() as u64).sum();
    assert_eq!((&stats["rows_out"], &stats["prompt_tokens"]), (&json!(60), &json!(letters)));
    let cost = letters as f64 * 30.0 / 1e6;
    assert!((stats["cost"].as_f64().unwrap() - cost).abs() < 1e-12);
    assert_eq!((count(&finished, "requests_sent"), count(&finished, "answers_from_cache")), (60, 0));
    assert!((measured(&finished, "asked")["paid"] - cost).abs() < 1e-12);

    // Where it is asked and how fast is no part of the key.
    change(&world, "asked", &json!({"endpoint": {"url": "http://127.0.0.1:1/v1"}, "request": {"concurrency": 1}}));
    assert!(world.run_ok(&[]).ran.is_empty());
    // The same again, another node that asks the same, and a rule that came later: nobody is asked, nothing is paid.
    let artifact = file(&world, "asked", "rows/data.jsonl");
    assert_eq!(world.run_ok(&["--force", "asked"]).ran, ["asked"]);
    assert_eq!(server.seen().len(), 60);
    assert_eq!(file(&world, "asked", "rows/data.jsonl"), artifact);
    change(&world, "asked", &json!({"into": "other", "keep_matching": "5", "request": {"offline": true}}));
    let again = world.run_ok(&[]);
    assert_eq!(count(&again, "answers_from_cache"), 60);
    assert!(measured(&again, "asked")["paid"].abs() < 1e-12);
    assert_eq!(rows(&world, "asked").len(), 15);
    assert_eq!(rows(&world, "asked")[0], json!({"text": "row 5", "number": 5, "other": "ROW 5"}));
    // Nor for the question whether the same comes out.
    let verified = world.run(&["verify", "--rerun", "asked"]);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);
    // Collecting what nobody used for long does not touch what was paid for.
    assert_eq!(world.run(&["cache", "gc", "--older-than", "0s"]).code, 0);
    change(&world, "asked", &json!({"into": "third"}));
    world.run_ok(&[]);
    // Another revision is another model.
    change(&world, "asked", &json!({"endpoint": {"revision": "2"}}));
    assert!(failure(&world).contains("`offline` sends nothing"));
    assert_eq!(server.seen().len(), 60);
}

#[test]
fn rows_that_say_the_same_are_asked_about_once() {
    let server = Server::echo();
    let world = world(&server, 50, &json!({"prompt": "{{number % 3}}", "request": {"concurrency": 8}}));
    world.run_ok(&[]);
    assert_eq!(server.seen().len(), 3);
    assert_eq!(rows(&world, "asked")[49]["answer"], "1");
}

#[test]
fn a_server_that_misbehaves_is_asked_again() {
    let server = Server::start(|came, before| {
        let answer = Does::Says(came.said().to_uppercase());
        if before > 0 {
            return answer;
        }
        match came.said() {
            "row 0" => Does::Refuses(429, "retry-after: 1\r\n", "{}".into()),
            "row 1" => Does::Refuses(500, "", "<html>".into()),
            "row 2" => Does::Cuts,
            "row 3" => Does::Dozes(Duration::from_secs(3)),
            "row 4" => Does::Babbles("{\"choices\": [{"),
            "row 5" => Does::Babbles("{\"choices\": []}"),
            "row 6" => Does::Refuses(503, "", String::new()),
            "row 7" => Does::Ends("ROW".into(), "length"),
            _ => answer,
        }
    });
    let world = world(&server, 12, &json!({"request": {"timeout_seconds": 1.0}}));
    let finished = world.run_ok(&[]);
    let numbers: Vec<i64> = rows(&world, "asked").iter().map(|row| row["number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11], "an answer that was cut off is left out");
    assert!(rows(&world, "asked").iter().all(|row| row["answer"] == format!("ROW {}", row["number"])));
    let failures = lines(&file(&world, "asked", "failures.jsonl"));
    assert_eq!(failures, [json!({"row": 8, "sample": 0, "reason": "finish_reason length"})]);
    assert_eq!(count(&finished, "requests_retried"), 7);
    assert_eq!(server.seen().len(), 19);
    // Who is told to wait waits, and sends nothing else meanwhile that was not under way.
    let seen = server.seen();
    let first: Vec<_> = seen.iter().filter(|came| came.said() == "row 0").collect();
    assert!(first[1].at - first[0].at >= Duration::from_millis(950));
}

#[test]
fn answers_of_the_wrong_form_are_asked_for_anew_and_then_given_up() {
    let server = Server::start(|came, before| match (came.said(), before) {
        ("row 0", 0) => Does::Says("[1]".into()),
        ("row 1", _) => Does::Says("{\"a\": true}".into()),
        ("row 2", 0) => Does::Says("Sure! Here it is".into()),
        _ => Does::Says("```json\n[\"x\", \"y\"]\n```".into()),
    });
    let schema = json!({"type": "array", "items": {"type": "string"}});
    let settings = json!({"output": {"json_schema": schema}, "on_error": "drop", "max_failed": 0.3, "request": {"invalid_retries": 1}});
    let world = world(&server, 4, &settings);
    world.run_ok(&[]);
    let numbers: Vec<Value> = rows(&world, "asked").iter().map(|row| row["number"].clone()).collect();
    assert_eq!(numbers, [0, 2, 3]);
    assert_eq!(rows(&world, "asked")[0]["answer"], json!(["x", "y"]));
    assert_eq!(server.seen()[0].body["response_format"]["json_schema"]["schema"], schema);
    assert_eq!(
        lines(&file(&world, "asked", "failures.jsonl")),
        [json!({"row": 2, "sample": 0, "reason": "no answer"})]
    );
    assert_eq!(server.seen().len(), 4 + 3);
    // What is of no use is not kept: with another try it may be.
    change(&world, "asked", &json!({"into": "list"}));
    world.run_ok(&[]);
    assert_eq!(server.seen().len(), 7 + 2);
    change(&world, "asked", &json!({"max_failed": 0.2}));
    assert!(failure(&world).contains("1 of 4 rows have no answer, more than `max_failed: 0.2`: no answer (1)"));
    change(&world, "asked", &json!({"on_error": "fail"}));
    let said = failure(&world);
    assert!(said.contains("row 2 has no answer") && said.contains("schema"), "{said}");
}

#[test]
fn a_key_goes_to_the_server_and_nowhere_else() {
    let server = Server::start(|came, _| {
        if came.authorization == format!("Bearer {KEY}") {
            Does::Says("ok".into())
        } else {
            let said = format!("{{\"error\": {{\"message\": \"wrong key {}\"}}}}", came.authorization);
            Does::Refuses(401, "", said)
        }
    });
    let world = world(&server, 3, &json!({"endpoint": {"key_env": "SERVICE_KEY"}}));
    let run = |key: Option<&str>| {
        let mut command = world.command(&["run", "--json"]);
        command.envs(key.map(|key| ("SERVICE_KEY", key)));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    let (code, said) = run(None);
    assert!(code == Some(1) && said.contains("`SERVICE_KEY` is not set") && server.seen().is_empty(), "{said}");
    let (code, said) = run(Some("sk-another-and-wrong-key"));
    assert!(code == Some(1) && said.contains("status 401: wrong key Bearer ***"), "{said}");
    assert!(!said.contains("another-and-wrong") && said.contains("key_env"), "{said}");
    assert!(server.seen().len() <= 3, "what is refused is not tried again");
    let (code, said) = run(Some(KEY));
    assert_eq!(code, Some(0), "{said}");
    // With all answers there no key is needed.
    change(&world, "asked", &json!({"into": "other"}));
    assert_eq!(run(None).0, Some(0));
    let mut folders = vec![world.root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs_err::read(&path).unwrap();
            for secret in ["not-a-real-key", "another-and-wrong"] {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "the key stands in {}", path.display());
            }
        }
    }
    change(&world, "asked", &json!({"system": "${env:SERVICE_KEY:-none}"}));
    let ran = world.run(&["check"]);
    assert!(ran.code == 2 && ran.stderr.contains("cannot stand in a setting"), "{}", ran.stderr);
}

#[test]
fn a_redirect_is_not_followed() {
    let server = Server::start(|_, _| Does::Refuses(307, "location: http://127.0.0.1:1/\r\n", String::new()));
    let said = failure(&world(&server, 2, &json!({})));
    assert!(said.contains("status 307") && said.contains("endpoint.url"), "{said}");
}

#[test]
fn nobody_there_and_a_model_that_is_not() {
    let mut gone = Server::echo();
    gone.url = "http://127.0.0.1:9/v1".into();
    let said = failure(&world(&gone, 2, &json!({"request": {"retries": 1}})));
    assert!(said.contains("cannot be reached"), "{said}");
    let server = Server::start(|_, _| Does::Refuses(404, "", "{\"error\": {\"message\": \"no model m\"}}".into()));
    let said = failure(&world(&server, 2, &json!({"on_error": "drop", "max_failed": 1.0})));
    assert!(said.contains("status 404: no model m") && said.contains("endpoint.model"), "{said}");
    let long = Server::start(|_, _| Does::Refuses(400, "", "{\"error\": {\"message\": \"too long\"}}".into()));
    let said = failure(&world(&long, 2, &json!({})));
    assert!(said.contains("has no answer: the server answers with status 400: too long"), "{said}");
}

/// A kill in the middle, with requests under way: what was answered is never asked again.
#[test]
#[cfg(target_os = "linux")]
fn a_killed_run_goes_on_and_pays_nothing_twice() {
    let server = Server::start(|came, _| {
        let number: usize = came.said()[4..].parse().unwrap();
        if number >= 30 { Does::Hangs } else { Does::Says(came.said().to_uppercase()) }
    });
    let world = world(&server, 50, &json!({}));
    let mut child = world.command(&["run", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    // Rows are told as written once their answers are in the store.
    let done = lines.find_map(|line| {
        let event: Value = serde_json::from_str(&line.ok()?).ok()?;
        (event["phase"] == "asking" && event["done"].as_u64()? >= 30).then_some(())
    });
    assert!(done.is_some());
    let workers = crate::crash::children_of(child.id());
    child.kill().unwrap();
    for worker in workers {
        crate::crash::send("KILL", worker);
    }
    child.wait().unwrap();
    let before = server.answered();
    assert_eq!(before.len(), 30);
    server.let_go();
    let finished = world.run_ok(&[]);
    assert_eq!(count(&finished, "answers_from_cache"), 30);
    assert_eq!(count(&finished, "requests_sent"), 20);
    let expected: Vec<String> = (0..50).map(|i| format!("ROW {i}")).collect();
    assert_eq!(rows(&world, "asked").iter().map(|row| row["answer"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    // What hung when the asker died was let go into nothing, and had to be asked again; nothing else.
    for came in server.seen() {
        let number: usize = came.said()[4..].parse().unwrap();
        assert!(number >= 30 || server.answered()[&came.body.to_string()] == 1, "row {number} was paid for twice");
    }
}

#[test]
fn a_budget_ends_a_run_and_the_next_one_goes_on() {
    let server = Server::echo();
    let world = world(&server, 10, &json!({"request": {"budget": {"requests": 4}}}));
    let said = failure(&world);
    assert!(said.contains("the budget of 4 requests is spent") && said.contains("request.budget"), "{said}");
    assert_eq!(server.seen().len(), 4);
    change(&world, "asked", &json!({"request": {"budget": {"requests": 100}}}));
    world.run_ok(&[]);
    assert_eq!(server.seen().len(), 10);
    assert!(server.answered().values().all(|count| *count == 1));
}

#[test]
fn forms_rules_and_several_answers() {
    let server = Server::start(|came, _| {
        let seed = came.body["seed"].as_u64().unwrap_or(0);
        Does::Says(match came.body["messages"][0]["content"].as_str().unwrap() {
            "judge" => if came.said().ends_with('3') { "**False**" } else { "True." }.into(),
            "score" => format!("I'd say {} of 5", seed % 5 + 1),
            other => panic!("{other}"),
        })
    });
    let messages =
        |system: &str| json!([{"role": "system", "content": system}, {"role": "user", "content": "Q: {{text}}"}]);
    let judged = json!({
        "prompt": null, "messages": messages("judge"), "output": "bool", "keep_if": "answer and number < 6",
        "params": {"temperature": 0.0, "max_tokens": 10, "stop": ["\n"], "extra": {"chat_template_kwargs": {"enable_thinking": false}}},
    });
    let world = world(&server, 10, &judged);
    let mut pipeline: Value = serde_json::from_str(&world.read("pipeline.yaml")).unwrap();
    let mut scored = pipeline["nodes"]["asked"].clone();
    merge(
        &mut scored,
        &json!({
            "from": "asked", "messages": messages("score"), "output": "score", "into": "scores", "n": 4, "keep_if": "answer >= 3",
            "params": {"seed": 2}, "limit": 2,
        }),
    );
    pipeline["nodes"]["scored"] = scored;
    world.write("pipeline.yaml", &pipeline.to_string());
    world.run_ok(&[]);
    let numbers: Vec<Value> = rows(&world, "asked").iter().map(|row| row["number"].clone()).collect();
    assert_eq!(numbers, [0, 1, 2, 4, 5]);
    assert_eq!(rows(&world, "asked")[0]["answer"], true);
    // Seeds 2 to 5, so scores 3, 4, 5 and 1.
    assert_eq!(rows(&world, "scored").len(), 2);
    assert_eq!(rows(&world, "scored")[1]["scores"], json!([3.0, 4.0, 5.0]));
    let body = server.seen()[0].body.clone();
    assert_eq!(body["chat_template_kwargs"], json!({"enable_thinking": false}));
    assert_eq!((&body["max_tokens"], &body["stop"]), (&json!(10), &json!(["\n"])));
}

/// The tiny model of the fixtures, with a world of rows.
pub(crate) fn local(settings: &Value, reversed: bool) -> World {
    let world = World::empty();
    let mut lines: Vec<String> = (0..12).map(|i| json!({"text": format!("n° {i}")}).to_string() + "\n").collect();
    if reversed {
        lines.reverse();
    }
    world.write("rows.jsonl", &lines.concat());
    fs_err::create_dir(world.path("start")).unwrap();
    for entry in fs_err::read_dir(model_folder("tied").path()).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, world.path("start").join(path.file_name().unwrap())).unwrap();
    }
    let mut asked = json!({
        "kind": "generate", "from": "rows", "model": "start", "prompt": "{{text}}", "into": "answer", "keep_unfinished": true,
        "params": {"temperature": 1.0, "max_tokens": 12, "seed": 5},
    });
    merge(&mut asked, settings);
    let rows = json!({"kind": "source", "dataset": "rows.jsonl"});
    write(&world, &json!({"rows": rows, "start": {"kind": "source", "model": "start"}, "asked": asked}));
    world
}

#[test]
fn a_model_of_the_pipeline_answers_by_what_it_is_asked_alone() {
    let (world, turned) = (local(&json!({"n": 2}), false), local(&json!({"n": 2}), true));
    let finished = world.run_ok(&[]);
    turned.run_ok(&[]);
    assert_eq!(count(&finished, "answers_computed"), 24);
    let mut backwards = rows(&turned, "asked");
    backwards.reverse();
    let answers = rows(&world, "asked");
    assert_eq!(answers, backwards);
    assert!(answers.iter().all(|row| row["answer"].as_array().unwrap().len() == 2));
    let texts: std::collections::BTreeSet<String> = answers.iter().map(|row| row["answer"].to_string()).collect();
    assert!(texts.len() > 6, "{texts:?}");
    // From the store, and computed once more.
    let said =
        |answers: &[Value], column: &str| -> Vec<Value> { answers.iter().map(|row| row[column].clone()).collect() };
    change(&world, "asked", &json!({"into": "other"}));
    assert_eq!(count(&world.run_ok(&[]), "answers_computed"), 0);
    assert_eq!(said(&rows(&world, "asked"), "other"), said(&answers, "answer"));
    fs_err::remove_dir_all(world.path("cache/memo/answers")).unwrap();
    change(&world, "asked", &json!({"into": "third"}));
    assert_eq!(count(&world.run_ok(&[]), "answers_computed"), 24);
    assert_eq!(said(&rows(&world, "asked"), "third"), said(&answers, "answer"));
    change(&world, "asked", &json!({"params": {"seed": 6}}));
    world.run_ok(&[]);
    assert_ne!(said(&rows(&world, "asked"), "third"), said(&answers, "answer"));
}

#[test]
fn mistakes_are_told_before_anything_is_asked() {
    let server = Server::echo();
    let said = failure(&world(&server, 2, &json!({"prompt": "{{nothing}}"})));
    assert!(said.contains("`prompt` cannot be filled from row 1"), "{said}");
    for (settings, why) in [
        (json!({"endpoint": null}), "nobody is there to answer"),
        (json!({"model": "rows"}), "not both"),
        (json!({"prompt": null}), "nothing to say"),
        (json!({"endpoint": {"url": "localhost:80"}}), "no address of a server"),
        (json!({"endpoint": {"url": "http://me:secret@localhost/v1"}}), "does not belong in here"),
        (json!({"params": {"extra": {"temperature": 1}}}), "`temperature` has a place of its own"),
        (json!({"params": {"extra": {"stream": true}}}), "not as a stream"),
        (json!({"n": 0}), "from 1 to 1000"),
        (json!({"request": {"concurrency": 0}}), "from 1 to 4096"),
        (json!({"output": "list"}), "`output` cannot be `list`"),
    ] {
        let ran = world(&server, 2, &settings).run(&["check"]);
        assert!(ran.code == 2 && ran.stderr.contains(why), "{settings}: {}", ran.stderr);
    }
    assert!(server.seen().is_empty());
}
