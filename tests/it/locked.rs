//! The lockfile: written after a run, and refused to differ from.

use crate::world::World;

#[test]
fn a_locked_run_agrees_or_refuses_before_anything_runs() {
    let world = World::new();
    let without = world.run(&["run", "--locked"]);
    assert_eq!(without.code, 2);
    assert!(without.stderr.contains("there is no lockfile"), "{}", without.stderr);
    world.run_ok(&[]);
    let lock = world.read("pipeline.lock");
    assert!(!lock.contains(&*world.root().to_string_lossy()), "a lockfile holds no path");
    // In an empty cache, the same pipeline gives the same bytes.
    let fresh = world.run_ok(&["--locked", "--cache-dir", "other"]);
    assert_eq!(fresh.ran.len(), 16);
    assert_eq!(world.read("pipeline.lock"), lock);
    world.edit("rate: 2.0e-3", "rate: 1.0e-3");
    let refused = world.run(&["run", "--locked", "--cache-dir", "third"]);
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains("`sft`"), "{}", refused.stderr);
    assert!(!world.path("third/actions").join("x").exists());
    assert_eq!(world.read("pipeline.lock"), lock, "a locked run never writes");
    let named = world.run(&["run", "--locked"]);
    assert!(named.stderr.contains("learning_rate: 2e-3 -> 1e-3"), "{}", named.stderr);
}

#[test]
fn changed_data_and_changed_nodes_are_refused_by_name() {
    let world = World::new();
    world.run_ok(&[]);
    world.write("data/en.txt", "Something else entirely.\n");
    let refused = world.run(&["run", "--locked"]);
    assert_eq!(refused.code, 3);
    assert!(refused.stderr.contains("`text_en`: the content of en.txt changed"), "{}", refused.stderr);
    let world = World::new();
    world.run_ok(&[]);
    world.edit("t: [0.25, 0.75]", "t: [0.25, 0.8]");
    let refused = world.run(&["run", "--locked"]);
    assert!(refused.stderr.contains("`merged[t=0.8]` is not in the lockfile"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("`merged[t=0.75]` is in the lockfile and not in the pipeline"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_digest_pins_a_source() {
    let world = World::new();
    let show = world.json(&["show", "text_en", "--json"]);
    let digest = show["digest"].as_str().unwrap();
    assert!(digest.starts_with("blake3:"));
    world.edit("dataset: data/en.txt,", &format!("dataset: data/en.txt, digest: \"{digest}\","));
    assert_eq!(world.run(&["check"]).code, 0);
    world.write("data/en.txt", "Something else.\n");
    let drifted = world.run(&["run"]);
    assert_eq!(drifted.code, 3);
    assert!(drifted.stderr.contains("text_en") && drifted.stderr.contains("demands"), "{}", drifted.stderr);
}

#[test]
fn a_damaged_lockfile_is_named() {
    let world = World::new();
    world.write("pipeline.lock", "version: 1\nnodes: [\n");
    let ran = world.run(&["run", "--locked"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("pipeline.lock"), "{}", ran.stderr);
}

#[test]
fn a_result_that_the_lockfile_refuses_is_not_kept() {
    let world = World::new();
    world.run_ok(&[]);
    let artifact = world.json(&["show", "bpe", "--json"])["artifact"].as_str().unwrap().to_owned();
    let lock = world.read("pipeline.lock");
    world.edit_file("pipeline.lock", &artifact, &"0".repeat(64));
    let ran = world.run(&["run", "--locked", "--json", "--cache-dir", "other", "pipeline.yaml", "bpe"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stdout.contains("the lockfile demands 0000"), "{}", ran.stdout);
    let kept = world.json(&["cache", "ls", "--json", "--cache-dir", "other"]);
    assert!(kept.as_array().unwrap().iter().all(|action| action["kind"] != "tokenizer"), "{kept}");
    // One that is in the cache already is made again rather than believed.
    let again = world.run(&["run", "--locked", "--json", "pipeline.yaml", "bpe"]);
    assert_eq!(again.code, 3);
    assert!(again.stdout.contains("its artifact is not the one in the lockfile"), "{}", again.stdout);
    world.write("pipeline.lock", &lock);
    assert_eq!(world.run(&["run", "--locked"]).code, 0);
}

#[test]
fn parameters_from_the_command_line_leave_the_lockfile_alone() {
    let world = World::new();
    world.run_ok(&[]);
    let lock = world.read("pipeline.lock");
    let ran = world.run(&["run", "--sweep", "t=0.9"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("the lockfile stays as it is"), "{}", ran.stderr);
    assert_eq!(world.read("pipeline.lock"), lock);
    // A part of the pipeline, run alone, keeps the rest of the lockfile.
    assert_eq!(world.run(&["run", "pipeline.yaml", "english"]).code, 0);
    assert_eq!(world.read("pipeline.lock"), lock);
}
