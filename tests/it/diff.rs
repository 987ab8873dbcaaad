//! `diff` and `runs`: what two lockfiles, or two runs, have not in common.

use crate::world::World;

#[test]
fn two_runs_and_two_lockfiles_are_compared() {
    let world = World::new();
    world.run_ok(&[]);
    std::fs::copy(world.path("pipeline.lock"), world.path("old.lock")).unwrap();
    world.edit("rate: 2.0e-3", "rate: 1.0e-3");
    world.edit("t: [0.25, 0.75]", "t: [0.25, 0.5]");
    world.run_ok(&[]);
    let files = world.run(&["diff", "old.lock", "pipeline.lock"]);
    assert_eq!(files.code, 0, "{}", files.stderr);
    for line in [
        "parameter rate: 0.002 -> 0.001\n",
        "parameter t: [0.25,0.75] -> [0.25,0.5]\n",
        "- merged[t=0.75]\n",
        "+ merged[t=0.5]\n",
        "~ sft: another key and artifact\n    learning_rate: 2e-3 -> 1e-3\n",
    ] {
        assert!(files.stdout.contains(line), "{line}: {}", files.stdout);
    }
    assert!(!files.stdout.contains("~ base"), "{}", files.stdout);
    let runs = world.json(&["runs", "--json"]);
    let runs = runs["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    assert!(runs.iter().all(|run| run["outcome"] == "done" && run["lock"] == true), "{runs:?}");
    let (new, old) = (runs[0]["id"].as_str().unwrap(), runs[1]["id"].as_str().unwrap());
    assert_eq!(world.run(&["diff", old, new]).stdout, files.stdout, "runs keep their lockfiles");
    assert!(world.run(&["runs"]).stdout.contains(new));
    let json = world.json(&["diff", "--json", old, new]);
    let sft = json["changed"].as_array().unwrap().iter().find(|node| node["node"] == "sft").unwrap();
    assert_eq!(sft["settings"][0], "learning_rate: 2e-3 -> 1e-3");
    assert!(sft["metrics"].as_array().unwrap().iter().all(|metric| metric["delta"].is_number()), "{sft}");
    let page = world.run(&["diff", "--md", old, new]).stdout;
    assert!(page.contains("| parameter | old | new |\n|---|---|---|\n| rate | 0.002 | 0.001 |"), "{page}");
    assert!(page.contains("| merged[t=0.5] | new |"), "{page}");
    // The other way round, what was new is gone.
    assert!(world.run(&["diff", "pipeline.lock", "old.lock"]).stdout.contains("+ merged[t=0.75]"));
    let same = world.run(&["diff", "old.lock", "old.lock"]);
    assert_eq!((same.stdout.as_str(), same.stderr.contains("no difference")), ("", true));
}

#[test]
fn what_is_no_run_is_told() {
    let world = World::new();
    let none = world.run(&["diff", "a", "b"]);
    assert_eq!(none.code, 2);
    assert!(none.stderr.contains("`a` is no file and no run"), "{}", none.stderr);
    assert!(world.run(&["runs"]).stderr.contains("nothing has run"));
    world.edit("vocab_size: 320", "vocab_size: 1");
    // A run that fails, and one with parameters from the command line, have their lockfiles too.
    let _ = world.run(&["run"]);
    world.edit("vocab_size: 1", "vocab_size: 320");
    assert_eq!(world.run(&["run", "--set", "rate=0.004"]).code, 0);
    let runs = world.json(&["runs", "--json"]);
    let newest = &runs["runs"][0];
    let near = newest["id"].as_str().unwrap().to_owned() + "0";
    let ran = world.run(&["diff", &near, &near]);
    assert!(ran.stderr.contains("did you mean"), "{}", ran.stderr);
    assert!(!world.path("pipeline.lock").exists() || !world.read("pipeline.lock").contains("rate: 0.004"));
    let folder = world.path("cache/runs").join(newest["id"].as_str().unwrap());
    assert!(std::fs::read_to_string(folder.join("lock.yaml")).unwrap().contains("rate: 0.004"));
}
