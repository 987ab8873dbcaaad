//! Freshness, seen from outside: what ran, and above all what did not.

use crate::world::{NODES, World};

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn everything_runs_once_and_then_nothing() {
    let world = World::new();
    let first = world.run_ok(&[]);
    assert_eq!(sorted(first.ran.clone()), NODES);
    assert!(first.fresh.is_empty() && first.failed.is_empty() && first.skipped.is_empty());
    assert_eq!(first.why("sft"), "never run before");
    let second = world.run_ok(&[]);
    assert!(second.ran.is_empty(), "{:?}", second.ran);
    assert_eq!(sorted(second.fresh), NODES);
    let human = world.run(&["run"]);
    assert_eq!(human.code, 0);
    assert!(human.stderr.contains("16 nodes are fresh, nothing to run"), "{}", human.stderr);
}

#[test]
fn how_the_yaml_is_written_does_not_matter() {
    let world = World::new();
    world.run_ok(&[]);
    let plain = world.read("pipeline.yaml");
    // A comment, another spacing, another order of keys and of nodes, numbers written otherwise.
    let (head, nodes) = plain.split_once("nodes:\n").unwrap();
    let (first, rest) = nodes.split_once('\n').unwrap();
    let text = format!("# a comment\n{head}\nnodes:\n{rest}{first}\n")
        .replace("{t: [0.25, 0.75]", "{t: [0.25, 0.75]")
        .replace("{kind: merge, method: slerp, base: base", "{ base:   base, method: slerp, kind: merge")
        .replace("learning_rate: 1.0e-3", "learning_rate: 0.001")
        .replace("t: [0.25, 0.75]", "t: 0.25:0.75:0.5");
    world.write("pipeline.yaml", &text);
    let again = world.run_ok(&[]);
    assert!(again.ran.is_empty(), "{:?}", again.ran);
}

#[test]
fn a_new_merge_ratio_runs_that_merge_its_scores_and_the_report() {
    let world = World::new();
    world.run_ok(&[]);
    world.edit("t: [0.25, 0.75]", "t: [0.25, 0.5]");
    let again = world.run_ok(&[]);
    assert_eq!(sorted(again.ran), ["merged[t=0.5]", "report", "scores[t=0.5]"]);
    world.edit("t: [0.25, 0.5]", "t: [0.25, 0.75]");
    let back = world.run_ok(&[]);
    assert!(back.ran.is_empty(), "what was made before is still there: {:?}", back.ran);
}

#[test]
fn a_learning_rate_runs_the_training_and_what_reads_it_and_says_why() {
    let world = World::new();
    world.run_ok(&[]);
    let again = world.run_ok(&["--set", "rate=1e-3"]);
    assert_eq!(
        sorted(again.ran.clone()),
        ["merged[t=0.25]", "merged[t=0.75]", "report", "scores[t=0.25]", "scores[t=0.75]", "sft"]
    );
    assert_eq!(again.why("sft"), "learning_rate: 2e-3 -> 1e-3");
    assert_eq!(again.why("merged[t=0.25]"), "models[0]: the content of sft changed");
    // The plan says the same before anything runs.
    let plan = world.json(&["plan", "--json", "--set", "rate=5e-4"]);
    let sft = plan["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "sft").unwrap();
    assert_eq!(sft["state"], "stale");
    assert_eq!(sft["reasons"][0], "learning_rate: 1e-3 -> 5e-4");
    let merged = plan["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "merged[t=0.25]").unwrap();
    assert_eq!((merged["state"].as_str(), merged["reasons"][0].as_str()), (Some("pending"), Some("waits for sft")));
}

#[test]
fn equal_bytes_upstream_stop_the_wave() {
    let world = World::new();
    world.run_ok(&[]);
    // A line that is dropped for its length: the source changes, the curated rows do not.
    let text = world.read("data/en.txt") + "short\n";
    world.write("data/en.txt", &text);
    let again = world.run_ok(&[]);
    assert_eq!(sorted(again.ran.clone()), ["english", "text_en"]);
    assert_eq!(again.why("english"), "from[0]: the content of text_en changed");
}

#[test]
fn a_forced_node_runs_and_its_equal_bytes_leave_the_rest_fresh() {
    let world = World::new();
    world.run_ok(&[]);
    let again = world.run_ok(&["--force", "base"]);
    assert_eq!(again.ran, ["base"]);
    assert_eq!(again.why("base"), "forced");
}

#[test]
fn results_do_not_depend_on_threads_or_jobs() {
    let (one, many) = (World::new(), World::new());
    one.run_ok(&["--threads", "1", "--jobs", "1"]);
    many.run_ok(&["--threads", "3", "--jobs", "4"]);
    assert_eq!(one.read("pipeline.lock"), many.read("pipeline.lock"));
}

#[test]
fn targets_bring_only_what_they_are_made_from() {
    let world = World::new();
    let first = world.run_ok(&["pipeline.yaml", "english"]);
    assert_eq!(sorted(first.ran), ["english", "text_en"]);
    let second = world.run_ok(&["pipeline.yaml", "merged[t=0.75]"]);
    assert!(second.ran.contains(&"merged[t=0.75]".to_owned()));
    assert!(!second.ran.contains(&"merged[t=0.25]".to_owned()));
    assert!(second.fresh.contains(&"english".to_owned()));
}

#[test]
fn a_failed_node_is_reported_and_costs_only_what_reads_it() {
    let world = World::new();
    // No row is that long: the curate node fails when it runs.
    world.edit(
        "  french:\n    kind: curate\n    from: [text_fr]\n    steps:\n      - length: {min_chars: 10}",
        "  french:\n    kind: curate\n    from: [text_fr]\n    steps:\n      - length: {min_chars: 100000}",
    );
    let ran = world.run(&["run", "--json", "--keep-going"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let finished = crate::world::Finished::read(&ran);
    assert_eq!(finished.failed, ["french"]);
    assert!(finished.ran.contains(&"english".to_owned()));
    assert!(finished.skipped.contains(&"sft".to_owned()) && finished.skipped.contains(&"report".to_owned()));
    let human = world.run(&["run"]);
    assert_eq!(human.code, 1);
    assert!(human.stderr.contains("failed  french:"), "{}", human.stderr);
}

#[test]
fn show_explain_status_log_and_export_tell_of_a_node() {
    let world = World::new();
    world.run_ok(&[]);
    let show = world.json(&["show", "sft", "--json"]);
    assert_eq!(show["state"], "fresh");
    assert_eq!(show["key"].as_str().unwrap().len(), 64);
    let path = std::path::PathBuf::from(show["path"].as_str().unwrap());
    assert!(path.join("model/model.safetensors").is_file() && path.join("log/loss.jsonl").is_file());
    assert!(show["metrics"]["steps"].as_f64().is_some_and(|steps| steps > 0.0), "{show}");
    let explain = world.run(&["explain", "merged[t=0.25]"]);
    assert!(explain.stdout.starts_with("fresh  merged[t=0.25]: its key is in the cache"), "{}", explain.stdout);
    let status = world.json(&["status", "--json"]);
    assert_eq!(status["lock"], "agrees");
    assert_eq!(status["stale"].as_array().unwrap().len(), 0);
    assert_eq!(world.run(&["log", "sft"]).code, 0);
    assert_eq!(world.run(&["export", "merged[t=0.75]", "out"]).code, 0);
    assert!(world.path("out/config.json").is_file());
    let again = world.run(&["export", "merged[t=0.75]", "out"]);
    assert_eq!(again.code, 2);
    assert!(again.stderr.contains("is not empty"), "{}", again.stderr);
    assert_eq!(world.run(&["export", "sft.log", "curve"]).code, 0);
    assert!(world.path("curve/loss.jsonl").is_file());
    let many = world.run(&["show", "merged"]);
    assert_eq!(many.code, 2);
    assert!(many.stderr.contains("merged[t=0.25]"), "{}", many.stderr);
}

#[test]
fn a_swept_field_may_name_a_node() {
    let world = World::new();
    world.edit("params: {seed: 7", "params: {seed: 7, which: sft");
    world.edit("  t: [0.25, 0.75]\n", "  t: [0.25, 0.75]\n  scored: [seedling, sft]\n");
    world.edit("model: base, max_length: 64", "model: \"${scored}\", max_length: 64");
    let first = world.run_ok(&[]);
    assert!(first.ran.contains(&"scores_base[scored=seedling]".to_owned()), "{:?}", first.ran);
    let show = world.json(&["show", "scores_base[scored=sft]", "--json"]);
    assert_eq!(show["inputs"]["model"][0], "sft");
}

#[test]
fn files_with_odd_names_and_odd_files_are_understood() {
    let world = World::new();
    world.write("data/odd [1] é.txt", &world.read("data/en.txt"));
    world.edit("dataset: data/en.txt", "dataset: \"data/odd [1] é.txt\"");
    assert_eq!(world.run(&["check"]).code, 0);
    world.edit("dataset: \"data/odd [1] é.txt\"", "dataset: /dev/zero");
    let device = world.run(&["check"]);
    assert_eq!(device.code, 2);
    assert!(device.stderr.contains("is not a regular file"), "{}", device.stderr);
    world.edit("dataset: /dev/zero", "dataset: data/nothing*.txt");
    let missing = world.run(&["run", "--json"]);
    assert_eq!(
        (missing.code, missing.stdout.as_str()),
        (2, ""),
        "a mistake in the pipeline ends a run before it begins"
    );
}

#[test]
fn a_source_that_changes_under_a_run_is_not_kept_under_the_old_key() {
    let world = World::new();
    // Long enough to hash and copy that the other source still waits when it is overwritten.
    world.write("data/en.txt", &"A line that is long enough to stay.\n".repeat(1_500_000));
    let mut child = world
        .command(&["run", "--json", "--jobs", "1", "pipeline.yaml", "text_en", "text_fr"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    while let Some(Ok(line)) = lines.next() {
        if line.contains("run_started") {
            break;
        }
    }
    let french = world.read("data/fr.txt");
    world.write("data/fr.txt", "Autre chose.\n");
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let code = child.wait().unwrap().code();
    world.write("data/fr.txt", &french);
    // Whichever came first, the look or the edit: what is kept under a key is what the key was made of.
    assert!(code == Some(1) || code == Some(0), "{rest:?}");
    let show = world.json(&["show", "text_fr", "--json"]);
    if show["state"] == "fresh" {
        let path = std::path::Path::new(show["path"].as_str().unwrap()).join("files/fr.txt");
        assert_eq!(std::fs::read_to_string(path).unwrap(), french);
    } else {
        assert!(rest.iter().any(|line| line.contains("changed while it was brought in")), "{rest:?}");
    }
}
