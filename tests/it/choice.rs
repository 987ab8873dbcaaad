//! `select` and `search` through the real program, over programs whose best setting is known.

use serde_json::{Value, json};

use crate::world::World;

/// A program with a score that is best at 0.35, the search for it, and two nodes that read what it finds.
fn world() -> World {
    let world = World::empty();
    world.write(
        "score.sh",
        "awk \"BEGIN {d = $1 - $2; printf \\\"{\\\\\\\"score\\\\\\\": %.6f}\\\", 1 - d * d}\" > m.json\n",
    );
    world.write(
        "pipeline.yaml",
        r#"
version: 1
params: {t: 0.5}
nodes:
  trial: {kind: command, run: [sh, score.sh, "${t}", 0.35], files: [score.sh], outputs: [m.json], metrics: m.json}
  best: {kind: select, from: trial, by: trial.score, goal: max, search: {parameter: t, low: 0, high: 1, precision: 0.05}}
  after: {kind: command, run: [cp, "${best}/m.json", out], outputs: [out]}
  last: {kind: command, run: [cp, "${after}/out", out], outputs: [out]}
"#,
    );
    world
}

fn shown(world: &World, node: &str) -> Value {
    world.json(&["show", node, "--json"])
}

#[test]
fn a_search_over_any_program_finds_the_best_value() {
    let world = world();
    let run = world.run_ok(&[]);
    let best = shown(&world, "best");
    assert_eq!(best["chosen"]["instance"], "trial[t=0.35]");
    assert_eq!(best["chosen"]["value"], json!(1.0));
    assert_eq!(shown(&world, "trial[t=0.35]")["artifact"], best["artifact"]);
    assert!(run.ran.len() < 15, "fewer trials than values: {:?}", run.ran);
    assert!(world.run(&["show", "best"]).stdout.contains("chose trial[t=0.35] of "));
    // From the snapshot and without one.
    for args in [&["plan", "--json"][..], &["plan", "--json", "best"]] {
        let plan = world.json(args);
        let nodes = plan["nodes"].as_array().unwrap();
        let best = nodes.iter().find(|node| node["name"] == "best").unwrap();
        assert_eq!((&best["state"], &best["chosen"]["axes"]), (&json!("fresh"), &json!({"t": 0.35})));
    }
    assert!(world.run(&["plan"]).stdout.contains("chose trial[t=0.35] of "));
    assert!(world.read("pipeline.lock").contains("instance: trial[t=0.35]"));
    assert_eq!(world.run_ok(&[]).ran, [""; 0]);
    assert_eq!(world.run(&["lock", "--check"]).code, 0);
}

/// It may be a training of hours: one for each trial would be a waste.
#[test]
fn what_reads_the_best_runs_once_the_search_is_over() {
    let world = world();
    let run = world.run_ok(&[]);
    for node in ["after", "last"] {
        let starts =
            run.events.iter().filter(|event| event["event"] == "node_started" && event["node"] == node).count();
        assert_eq!(starts, 1, "{node}");
    }
    assert_eq!(run.ran.last().unwrap(), "last");
    // The values come from the command line: there is no search, and nothing waits.
    let run = world.run_ok(&["--sweep", "t=0.1,0.3"]);
    assert_eq!(shown(&world, "last")["state"], "fresh");
    assert!(run.ran.contains(&"last".to_owned()), "{:?}", run.ran);
}

#[test]
fn a_search_below_another_begins_when_that_is_over() {
    let world = world();
    let text = world.read("pipeline.yaml").replace("params: {t: 0.5}", "params: {t: 0.5, u: 1}");
    let more = r#"
  second: {kind: command, run: [sh, score.sh, "${u}", 7, "${after}/out"], files: [score.sh], outputs: [m.json], metrics: m.json}
  better: {kind: select, from: second, by: "0 - second.score", goal: min, search: {parameter: u, low: 0, high: 9, precision: 1}}
  end: {kind: command, run: [cp, "${better}/m.json", out], outputs: [out]}
"#;
    world.write("pipeline.yaml", &format!("{text}{more}"));
    let run = world.run_ok(&["end"]);
    assert_eq!(shown(&world, "best")["chosen"]["axes"], json!({"t": 0.35}));
    assert_eq!(shown(&world, "better")["chosen"]["axes"], json!({"u": 7}));
    assert_eq!(
        run.events.iter().filter(|event| event["event"] == "node_started" && event["node"] == "after").count(),
        1
    );
    assert_eq!(shown(&world, "end")["state"], "fresh");
}

#[test]
fn a_search_with_a_failed_trial_goes_no_further() {
    let world = world();
    world.edit_file("score.sh", "awk", "test $1 != 0.6 && awk");
    let ran = world.run(&["run", "--json", "--keep-going"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let run = crate::world::Finished::read(&ran);
    assert_eq!(run.failed, ["trial[t=0.6]"]);
    assert_eq!(run.skipped, ["best", "after", "last"]);
    world.edit_file("score.sh", "test $1 != 0.6 && ", "");
    assert!(world.run_ok(&[]).skipped.is_empty());
}

#[test]
fn a_metric_that_the_program_does_not_give_is_told() {
    let world = world();
    world.edit("trial.score", "trial.scor");
    let ran = world.run(&["run"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("did you mean `score`?"), "{}", ran.stderr);
}

#[test]
fn a_choice_is_verified_by_choosing_again() {
    let world = world();
    world.run_ok(&[]);
    for nodes in ["all", "best"] {
        let ran = world.run(&["verify", "--rerun", nodes]);
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.lines().any(|line| line.contains("identical") && line.ends_with("best")), "{}", ran.stdout);
    }
}

#[test]
fn what_was_chosen_can_be_exported() {
    let world = world();
    world.run_ok(&[]);
    for (name, folder) in [("best", "whole"), ("best.m.json", "one"), ("trial[t=0.35].m.json", "instance")] {
        let ran = world.run(&["export", name, folder]);
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        assert_eq!(world.read(&format!("{folder}/m.json")), "{\"score\": 1.000000}");
    }
    assert!(world.run(&["export", "best.none", "x"]).stderr.contains("has no output `none`"));
}
