//! The command line as users and programs meet it: help, what each command prints, and the JSON that is promised.

use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::world::{Finished, NODES, World};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares what a command prints with the snapshot.
fn assert_prints(name: &str, world: &World, args: &[&str]) {
    let ran = world.run(args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b\d+(\.\d+)? (ms|s)\b", "[TIME]");
    let (out, err) = (world.tidy(&ran.stdout), world.tidy(&ran.stderr));
    let text = if err.is_empty() { out } else { format!("{out}\n----- stderr -----\n{err}") };
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn help_of_every_command() {
    let world = World::empty();
    assert_prints("help", &world, &["--help"]);
    let commands = [
        "run",
        "plan",
        "check",
        "status",
        "graph",
        "show",
        "explain",
        "log",
        "export",
        "lock",
        "verify",
        "diff",
        "runs",
        "provenance",
        "generate",
        "chat",
        "cache",
        "schema",
    ];
    for command in commands {
        assert_prints(&format!("help_{command}"), &world, &[command, "--help"]);
    }
    assert_prints("help_completions", &world, &["completions", "--help"]);
    let version = world.run(&["--version"]);
    assert_eq!(version.stdout, format!("luthflow {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_graph_in_two_languages() {
    let world = World::new();
    assert_prints("graph_dot", &world, &["graph"]);
    assert_prints("graph_mermaid", &world, &["graph", "--format", "mermaid"]);
    assert!(!world.path("cache").exists(), "looking makes no cache");
}

#[test]
fn plan_status_and_explain_before_and_after() {
    let world = World::new();
    assert_prints("plan_before", &world, &["plan"]);
    assert_prints("status_before", &world, &["status"]);
    assert_prints("explain_before", &world, &["explain", "english"]);
    assert!(!world.path("cache").exists(), "looking makes no cache");
    world.run_ok(&["pipeline.yaml", "english", "pairs"]);
    assert_prints("plan_halfway", &world, &["plan"]);
    assert_prints("status_halfway", &world, &["status"]);
    assert_prints("explain_fresh", &world, &["explain", "english"]);
    world.edit("- normalize: {form: nfc}", "- normalize: {form: nfkc}");
    assert_prints("explain_stale", &world, &["explain", "english"]);
    assert_prints("plan_of_one", &world, &["plan", "english"]);
}

#[test]
fn a_run_for_people() {
    let world = World::new();
    let ran = world.run(&["run", "--jobs", "1", "pipeline.yaml", "english", "pairs"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""));
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b\d+(\.\d+)? (ms|s)\b", "[TIME]");
    settings.bind(|| insta::assert_snapshot!("run", world.tidy(&ran.stderr)));
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// The shapes that programs rely on. A field may be added; one that goes or changes its meaning needs a new version.
#[test]
fn json_of_plan_show_explain_and_status() {
    let world = World::new();
    let plan = world.json(&["plan", "--json"]);
    assert_eq!(keys(&plan), ["nodes", "pipeline", "version"]);
    assert_eq!((plan["version"].as_u64(), plan["pipeline"].as_str()), (Some(1), Some("tiny")));
    let nodes = plan["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), NODES.len());
    for node in nodes {
        assert_eq!(keys(node), ["kind", "name", "reasons", "state"]);
        assert_eq!((node["state"].as_str(), strings(&node["reasons"])[0]), (Some("stale"), "never run before"));
    }
    let before = world.json(&["show", "sft", "--json"]);
    assert_eq!(before["state"], "stale");
    for field in ["key", "artifact", "path", "metrics", "size", "seconds"] {
        assert!(before[field].is_null(), "{field} of a node that never ran");
    }
    world.run_ok(&[]);
    for node in world.json(&["plan", "--json"])["nodes"].as_array().unwrap() {
        assert_eq!((node["state"].as_str(), strings(&node["reasons"]).len()), (Some("fresh"), 0), "{node}");
    }
    let show = world.json(&["show", "merged[t=0.75]", "--json"]);
    let fields = [
        "artifact", "axes", "chosen", "config", "digest", "files", "inputs", "key", "kind", "measured", "metrics",
        "name", "path", "producer", "reasons", "seconds", "size", "state", "version",
    ];
    assert_eq!(keys(&show), fields);
    assert_eq!((show["name"].as_str(), show["kind"].as_str()), (Some("merged[t=0.75]"), Some("merge")));
    assert_eq!((&show["axes"]["t"], strings(&show["inputs"]["base"])), (&Value::from(0.75), vec!["base"]));
    assert_eq!((show["config"]["method"].as_str(), show["state"].as_str()), (Some("slerp"), Some("fresh")));
    for digest in ["key", "artifact"] {
        let hex = show[digest].as_str().unwrap();
        assert!(hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()), "{digest}: {hex}");
    }
    assert!(Path::new(show["path"].as_str().unwrap()).join("model.safetensors").is_file());
    let scores = world.json(&["show", "scores_base", "--json"]);
    for metric in ["fr.bits_per_byte", "fr.bits_per_byte_stderr", "pairs.acc", "pairs.acc_stderr"] {
        assert!(scores["metrics"][metric].is_f64(), "{metric} in {scores}");
    }
    let source = world.json(&["show", "text_en", "--json"]);
    assert!(source["digest"].as_str().unwrap().starts_with("blake3:"));
    let explain = world.json(&["explain", "sft", "--json"]);
    assert_eq!(keys(&explain), ["downstream", "key_parts", "kind", "name", "reasons", "state", "version"]);
    assert_eq!(keys(&explain["key_parts"]), ["config", "format", "inputs", "kind", "version"]);
    assert_eq!(strings(&explain["downstream"]), ["merged[t=0.25]", "merged[t=0.75]", "report"]);
    let status = world.json(&["status", "--json"]);
    assert_eq!(keys(&status), ["fresh", "last_run", "lock", "pending", "pipeline", "stale", "version"]);
    assert_eq!((strings(&status["fresh"]).len(), status["lock"].as_str()), (NODES.len(), Some("agrees")));
    let log = world.json(&["log", "sft", "--json"]);
    assert_eq!(keys(&log), ["answer", "log", "node", "path"]);
    let listed = world.json(&["cache", "ls", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), NODES.len());
    assert_eq!(keys(&listed[0]), ["artifact", "key", "kind", "size"]);
}

#[test]
fn json_of_a_run() {
    let world = World::new();
    let first = world.run_ok(&[]);
    assert_eq!(keys(&first.events[0]), ["event", "nodes", "pipeline", "version"]);
    assert_eq!((&first.events[0]["event"], &first.events[0]["version"]), (&"run_started".into(), &1.into()));
    let fields = |name: &str| match name {
        "node_started" => vec!["event", "kind", "node", "reasons", "threads"],
        "node_progress" => vec!["done", "event", "node", "note", "phase", "total", "unit"],
        "node_finished" => {
            vec!["artifact", "event", "key", "kind", "measured", "metrics", "node", "path", "seconds"]
        }
        "run_finished" => vec!["event", "failed", "fetched", "fresh", "interrupted", "ran", "seconds", "skipped"],
        other => panic!("the event {other}"),
    };
    for event in &first.events[1..] {
        assert_eq!(keys(event), fields(event["event"].as_str().unwrap()), "{event}");
    }
    for node in NODES {
        let of_node = |event: &&Value| event["node"] == node && event["event"] != "node_progress";
        let events: Vec<&str> =
            first.events.iter().filter(of_node).map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["node_started", "node_finished"], "{node}");
    }
    let second = world.run_ok(&[]);
    let fresh = second.events.iter().find(|event| event["event"] == "node_fresh").unwrap();
    assert_eq!(keys(fresh), ["artifact", "event", "key", "kind", "node"]);
    assert_eq!(second.events.len(), NODES.len() + 2);
    // A failure, and what waits for it.
    world.edit("- length: {min_chars: 10}\n      - language", "- length: {min_chars: 9999}\n      - language");
    let ran = world.run(&["run", "--json", "--jobs", "1"]);
    assert_eq!(ran.code, 1);
    let failed = Finished::read(&ran);
    let event = failed.events.iter().find(|event| event["event"] == "node_failed").unwrap();
    assert_eq!(keys(event), ["error", "event", "help", "kind", "log", "node"]);
    assert!(
        Path::new(event["log"].as_str().unwrap()).is_file() || world.path(event["log"].as_str().unwrap()).is_file()
    );
    let event = failed.events.iter().find(|event| event["event"] == "node_skipped").unwrap();
    assert_eq!(keys(event), ["because", "event", "node"]);
    assert_eq!(event["because"], "french");
}

#[test]
fn completions_for_the_shells() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish"] {
        let ran = world.run(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("luthflow") && ran.stdout.contains("keep-going"), "{shell}");
    }
}

/// `INSTA_UPDATE=always cargo test --release --test it cli::` writes `pipelines/pipeline.schema.json` anew.
#[test]
fn the_committed_schema_is_what_the_program_prints() {
    let ran = World::empty().run(&["schema"]);
    let path = root().join("pipelines/pipeline.schema.json");
    if std::env::var("INSTA_UPDATE").is_ok_and(|mode| mode == "always") {
        std::fs::write(&path, &ran.stdout).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == ran.stdout,
        "pipelines/pipeline.schema.json is out of date: target/release/luthflow schema > pipelines/pipeline.schema.json"
    );
}

/// A reader that goes away ends the command, and that is no error.
#[test]
fn a_broken_pipe_is_no_error() {
    let world = World::new();
    for args in [&["schema"][..], &["plan"], &["graph"], &["plan", "--json", "--sweep", "t=0:1:0.001"]] {
        let mut command = world.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        // The pipe is closed here, with more to come.
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    }
}

#[test]
fn colour_when_it_is_wanted() {
    let world = World::new();
    let out = |args: &[&str], no_color: bool| {
        let mut command = world.command(args);
        if !no_color {
            command.env_remove("NO_COLOR");
        }
        let output = command.output().unwrap();
        [output.stdout, output.stderr].concat().contains(&0x1b)
    };
    assert!(!out(&["plan"], true), "NO_COLOR");
    assert!(!out(&["plan"], false), "no terminal");
    assert!(out(&["--color", "always", "plan"], false));
    assert!(out(&["--color", "always", "plan"], true), "an argument is stronger than the environment");
    assert!(!out(&["--color", "never", "plan"], false));
    assert!(out(&["--color", "always", "show", "nothing"], false), "errors too");
    assert!(!out(&["--color", "never", "show", "nothing"], false));
}

#[test]
fn from_another_folder_with_a_path() {
    let world = World::new();
    std::fs::create_dir(world.path("elsewhere")).unwrap();
    let file = world.path("pipeline.yaml");
    let mut command = world.command(&["run", "--json", file.to_str().unwrap(), "english"]);
    let output = command.current_dir(world.path("elsewhere")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(world.path("elsewhere/cache/objects").is_dir(), "the cache is where the command was given");
    assert!(world.path("pipeline.lock").is_file(), "the lockfile is beside the pipeline");
    // Relative, with the same cache: nothing is left to do.
    let mut command = world.command(&["run", "--json", "../pipeline.yaml", "english"]);
    let output = command.current_dir(world.path("elsewhere")).output().unwrap();
    let last = String::from_utf8(output.stdout).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(strings(&last["ran"]), Vec::<&str>::new());
    // Without a name: the pipeline that ran last.
    let mut command = world.command(&["status", "--json"]);
    let output = command.current_dir(world.path("elsewhere")).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["pipeline"], "tiny");
}

#[test]
fn a_byte_order_mark_is_no_mistake_and_a_cache_must_be_a_folder() {
    let world = World::new();
    world.write("pipeline.yaml", &format!("\u{feff}{}", world.read("pipeline.yaml")));
    assert_eq!(world.run(&["check"]).code, 0);
    world.write("file", "");
    for args in [&["plan", "--cache-dir", "file"][..], &["cache", "verify", "--cache-dir", "file"]] {
        let ran = world.run(args);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
    }
    let nowhere = world.run(&["cache", "verify", "--cache-dir", "nowhere"]);
    assert_eq!(nowhere.code, 2);
    assert!(nowhere.stderr.contains("there is no cache at nowhere"), "{}", nowhere.stderr);
    let twice = world.run(&["plan", "--sweep", "t=0.1", "--sweep", "t=0.2"]);
    assert_eq!(twice.code, 2);
    assert!(twice.stderr.contains("given twice"), "{}", twice.stderr);
}
