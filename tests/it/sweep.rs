//! Sweeps, what `select` and `search` make of them, and their names on the command line, as the plan shows them.

use std::collections::BTreeMap;

use luthflow::plan::resolve;
use luthflow::spec::{Overrides, parse};
use serde_json::{Value, json};

use crate::world::World;

const HEAD: &str = "version: 1\nparams: {fixed: 3}\n";

const NODES: &str = "\
nodes:
  text: {kind: source, dataset: data/en.txt}
  left: {kind: curate, from: [text], steps: [length: {min_chars: \"${a}\"}]}
  both: {kind: curate, from: [left], steps: [length: {min_chars: \"${b}\"}]}
";

fn world(sweep: &str) -> World {
    let world = World::new();
    world.write("pipeline.yaml", &format!("{HEAD}sweep: {sweep}\n{NODES}"));
    world
}

fn planned(world: &World, args: &[&str]) -> Vec<String> {
    let args: Vec<&str> = ["plan", "--json"].iter().chain(args).copied().collect();
    let plan = world.json(&args);
    let nodes = plan["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).filter(|name| name != "text").collect()
}

fn wrong(world: &World, args: &[&str]) -> String {
    let args: Vec<&str> = std::iter::once("check").chain(args.iter().copied()).collect();
    let ran = world.run(&args);
    assert_eq!(ran.code, 2, "{}{}", ran.stdout, ran.stderr);
    world.tidy(&ran.stderr)
}

#[test]
fn zipped_parameters_move_together() {
    let world = world("{a: [1, 1, 2], b: [10, 20, 30], zip: [a, b]}");
    // `a` alone has two values.
    assert_eq!(planned(&world, &[]), ["left[a=1]", "left[a=2]", "both[a=1,b=10]", "both[a=1,b=20]", "both[a=2,b=30]"]);
    assert_eq!(planned(&world, &["--set", "a=5"]), ["left", "both[b=10]", "both[b=20]", "both[b=30]"]);
    let told = wrong(&world, &["--sweep", "a=1,2"]);
    assert!(told.contains("`a` has 2 and `b` has 3 values"), "{told}");
}

#[test]
fn zip_and_exclude_on_the_command_line() {
    let world = world("{a: [1, 2], b: [10, 20]}");
    assert_eq!(planned(&world, &[]).len(), 2 + 4);
    assert_eq!(planned(&world, &["--zip", "a,b"]), ["left[a=1]", "left[a=2]", "both[a=1,b=10]", "both[a=2,b=20]"]);
    assert_eq!(
        planned(&world, &["--exclude", "a=1,b=20", "--exclude", "a=2,b=10.0"]),
        ["left[a=1]", "left[a=2]", "both[a=1,b=10]", "both[a=2,b=20]"]
    );
    for (args, why) in [
        (["--zip", "a,c"], "`c` is no swept parameter"),
        (["--zip", "a"], "two parameters or more"),
        (["--zip", "a,fixed"], "`fixed` is no swept parameter"),
        (["--exclude", "a=3"], "`a` is never `3`"),
        (["--exclude", "c=3"], "`c` is no swept parameter"),
        (["--exclude", "a"], "write `--exclude name=value`"),
    ] {
        let told = wrong(&world, &args);
        assert!(told.contains(why), "{args:?}: {told}");
    }
}

#[test]
fn exclusions_reach_only_what_all_their_parameters_reach() {
    let world = world("{a: [1, 2], b: [10, 20], exclude: [{a: 1, b: 20}]}");
    assert_eq!(planned(&world, &[]), ["left[a=1]", "left[a=2]", "both[a=1,b=10]", "both[a=2,b=10]", "both[a=2,b=20]"]);
    // Another sweep than the file's may leave an exclusion without a point.
    assert_eq!(planned(&world, &["--sweep", "b=30,40"]).len(), 2 + 4);
    assert_eq!(planned(&world, &["--set", "a=1"]), ["left", "both[b=10]"]);
    assert_eq!(planned(&world, &["--set", "a=2"]), ["left", "both[b=10]", "both[b=20]"]);
}

#[test]
fn combinations_that_cannot_be() {
    for (sweep, why) in [
        ("{a: [1, 2], b: [1, 2], zip: [[a, c]]}", "`c` is no swept parameter"),
        ("{a: [1, 2], b: [1, 2], zip: [[a, fixed]]}", "`fixed` is no swept parameter"),
        ("{a: [1, 2], b: [1, 2, 3], zip: [[a, b]]}", "`a` has 2 and `b` has 3 values"),
        ("{a: [1, 1], b: [2, 2], zip: [[a, b]]}", "the combination `1, 2` stands twice"),
        ("{a: [1, 2], b: [1, 2], zip: [[a, b], [b, a]]}", "stands twice"),
        ("{a: [1, 2], b: [1, 2], zip: a}", "needs two parameters or more"),
        ("{a: [1, 1], b: [1, 2]}", "the value `1` stands twice"),
        ("{a: [1, 2], b: [1, 2], exclude: [{a: 3}]}", "`a` is never `3`"),
        ("{a: [1, 2], b: [1, 2], exclude: [{aa: 1}]}", "`aa` is no swept parameter"),
        ("{a: [1, 2], b: [1, 2], exclude: [{a: [1, 2]}]}", "one value each"),
        ("{a: [1, 2], b: [1, 2], zip: [[a, b]], exclude: [{a: 1, b: 2}]}", "leaves out nothing"),
        ("{a: [\"${env:A:-1}\"], b: [1, 2]}", "the values of an axis are plain"),
    ] {
        let told = wrong(&world(sweep), &[]);
        assert!(told.contains(why), "{sweep}: {told}");
    }
    let world = World::new();
    world.edit("params: {seed: 7,", "params: {zip: 3, seed: 7,");
    assert!(wrong(&world, &[]).contains("a parameter cannot be called `zip`"));
}

/// The tiny pipeline with a `select` over its merges; `more` is added to it.
fn selecting(more: &str) -> World {
    let world = World::new();
    let select = format!("  best: {{kind: select, from: merged, by: scores.fr.bits_per_byte, goal: min{more}}}\n");
    world.edit("  report:", &format!("{select}  report:"));
    world
}

#[test]
fn a_select_gathers_and_has_the_outputs_of_what_it_chooses_from() {
    let world = selecting("");
    world.edit("  report:", "  final: {kind: eval, model: best, max_length: 64, tasks: [{minimal_pairs: {name: p, data: pairs}}]}\n  report:");
    world.edit("over: [scores_base, scores]", "over: [scores_base, scores, best, final]");
    let plan = planned(&world, &[]);
    assert!(plan.contains(&"best".to_owned()) && plan.contains(&"final".to_owned()), "{plan:?}");
    let shown: Value = world.json(&["show", "--json", "best"]);
    assert_eq!(shown["inputs"]["from"], json!(["merged[t=0.25]", "merged[t=0.75]"]));
    assert_eq!(shown["inputs"]["by.0"], json!(["scores[t=0.25]", "scores[t=0.75]"]));
    // What is read from it is checked by what it chooses from.
    world.edit("model: best", "model: best.log");
    assert!(wrong(&world, &[]).contains("`best` has no output `log`"));
    world.edit("model: best.log", "model: bpe");
    world.edit("data: [french.train, chats]", "data: [best]");
    let told = wrong(&world, &[]);
    assert!(told.contains("`best` is a model, and a dataset is needed here"), "{told}");
}

#[test]
fn a_select_of_trainings_has_their_log() {
    let world = World::new();
    world.edit("t: [0.25, 0.75]", "t: [0.25, 0.75]\n  steps: [2, 4]");
    world.edit("learning_rate: \"${rate}\", max_steps: 4}", "learning_rate: \"${rate}\", max_steps: \"${steps}\"}");
    world.edit("  report:", "  tried: {kind: eval, model: sft, max_length: 64, tasks: [{bits_per_byte: {name: fr, data: french.eval}}]}\n  best: {kind: select, from: sft, by: tried.fr.bits_per_byte, goal: min}\n  report:");
    world.edit("curves: [base.log, sft.log]", "curves: [base.log, best.log]");
    assert!(planned(&world, &[]).contains(&"best".to_owned()));
}

#[test]
fn selects_that_cannot_choose() {
    let world = selecting("");
    world.edit("by: scores.fr", "by: scroes.fr");
    let told = wrong(&world, &[]);
    assert!(told.contains("unknown node `scroes`") && told.contains("did you mean `scores`?"), "{told}");
    let world = selecting("");
    world.edit("t: [0.25, 0.75]", "t: [0.25, 0.75]\n  length: [32, 64]");
    world.edit("    model: merged\n    max_length: 64", "    model: merged\n    max_length: \"${length}\"");
    let told = wrong(&world, &[]);
    assert!(
        told.contains("`scores` has several instances for each of `merged`: it also depends on `length`"),
        "{told}"
    );
}

#[test]
fn a_search_makes_an_axis() {
    let world = selecting(", search: {parameter: t, low: 0, high: 1, precision: 0.05}");
    assert!(wrong(&world, &[]).contains("the parameter `t` is swept, so it cannot be searched"));
    world.edit("sweep:\n  t: [0.25, 0.75]\n", "");
    world.edit("params: {seed: 7,", "params: {t: 0.5, seed: 7,");
    let merges = |args: &[&str]| {
        let plan = planned(&world, args);
        plan.into_iter().filter(|name| name.starts_with("merged")).collect::<Vec<_>>()
    };
    assert_eq!(merges(&[]), ["merged[t=0.4]", "merged[t=0.6]"]);
    assert_eq!(merges(&["--set", "t=0.3"]), ["merged"]);
    assert_eq!(merges(&["--sweep", "t=0,1"]), ["merged[t=0]", "merged[t=1]"]);
    world.edit("parameter: t,", "parameter: seed,");
    let told = wrong(&world, &[]);
    assert!(!told.contains("panicked"), "{told}");
    world.edit("parameter: seed,", "parameter: tt,");
    assert!(wrong(&world, &[]).contains("`merged` does not depend on the parameter `tt`"));
}

/// What a search has tried comes from outside, and keeps the values' types.
#[test]
fn the_trials_of_a_search_are_handed_in() {
    let world = selecting(", search: {parameter: steps, low: 2, high: 8, precision: 2}");
    world.edit("learning_rate: \"${rate}\", max_steps: 4}", "learning_rate: \"${rate}\", max_steps: \"${steps}\"}");
    let text = world.read("pipeline.yaml");
    let trials = BTreeMap::from([("steps".to_owned(), vec![json!(2), json!(8)])]);
    let parsed = parse(&text, "x", &Overrides { trials, ..Overrides::default() });
    assert_eq!(parsed.diagnostics, []);
    let pipeline = parsed.pipeline.unwrap();
    assert_eq!(pipeline.searches.len(), 1);
    assert_eq!((pipeline.searches[0].0.as_str(), pipeline.searches[0].1.parameter.as_str()), ("best", "steps"));
    let plan = resolve(&pipeline).unwrap();
    let names = |node: &str| -> Vec<String> {
        plan.instances().iter().filter(|i| i.node == node).map(|i| i.name.clone()).collect()
    };
    assert_eq!(names("sft"), ["sft[steps=2]", "sft[steps=8]"]);
    assert_eq!(names("best"), ["best"]);
    let select = plan.instances().iter().find(|instance| instance.node == "best").unwrap();
    assert_eq!(select.slots[0].artifacts.len(), 4, "two merges of two trainings");
}

#[test]
fn points_and_patterns_are_names_everywhere() {
    let world = World::new();
    let all = |name: &str| planned(&world, &[name]).into_iter().filter(|n| n.starts_with("merged")).collect::<Vec<_>>();
    assert_eq!(all("merged[t=*]"), ["merged[t=0.25]", "merged[t=0.75]"]);
    assert_eq!(all("merged[t=0.7?]"), ["merged[t=0.75]"]);
    for command in ["show", "explain"] {
        assert_eq!(world.run(&[command, "merged[t=0.250]"]).code, 0, "{command}");
        assert_eq!(world.run(&[command, "merged[t=*5]"]).code, 2, "{command}: it means two");
        assert_eq!(world.run(&[command, "merged[t=*.25]"]).code, 0, "{command}");
    }
    for command in ["plan", "status"] {
        assert_eq!(world.run(&[command, "+merged[t=*.25]"]).code, 0, "{command}");
    }
    for (command, name) in [("log", "merged[t=0.25]"), ("export", "merged[t=0.25]")] {
        let ran = world
            .run(&[command, name, "out"].into_iter().take(if command == "log" { 2 } else { 3 }).collect::<Vec<_>>());
        assert!(ran.stderr.contains("merged[t=0.25]"), "{command}: {}", ran.stderr);
    }
}
