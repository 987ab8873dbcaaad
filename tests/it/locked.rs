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

#[test]
fn the_lockfile_can_be_written_from_the_cache_alone() {
    let world = World::new();
    let early = world.run(&["lock"]);
    assert_eq!(early.code, 2);
    assert!(early.stderr.contains("16 nodes have to run") && early.stderr.contains("english"), "{}", early.stderr);
    world.run_ok(&[]);
    let lock = world.read("pipeline.lock");
    assert!(
        lock.contains("params:\n  seed: 7\n  rate: 0.002\n") || lock.contains("params:\n  rate: 0.002\n  seed: 7\n")
    );
    assert!(lock.contains("sweep:\n  t:\n  - 0.25\n  - 0.75\n"), "{lock}");
    std::fs::remove_file(world.path("pipeline.lock")).unwrap();
    assert_eq!(world.run(&["lock", "--check"]).code, 3);
    assert_eq!(world.run(&["lock"]).code, 0);
    assert_eq!(world.read("pipeline.lock"), lock, "it is the one that the run wrote");
    assert_eq!(world.run(&["lock", "--check"]).code, 0);
    // Without the results, an entry whose key still fits stands.
    assert_eq!(world.run(&["lock", "--cache-dir", "empty"]).code, 0);
    assert_eq!(world.read("pipeline.lock"), lock);
    world.edit("rate: 2.0e-3", "rate: 1.0e-3");
    let stale = world.run(&["lock", "--check"]);
    assert_eq!(stale.code, 3);
    assert!(stale.stderr.contains("sft") && !stale.stderr.contains("bpe"), "{}", stale.stderr);
    assert_eq!(world.run(&["lock"]).code, 2);
    assert_eq!(world.read("pipeline.lock"), lock, "a lockfile that would lack nodes is not written");
    let odd = world.run(&["lock", "--set", "rate=0.1"]);
    assert_eq!(odd.code, 2);
}

/// Whatever the pipeline and its lockfile were before: once `lock` has written, `lock --check` finds nothing to change.
#[test]
fn locking_twice_changes_nothing() {
    let world = World::new();
    world.run_ok(&[]);
    let edits = [
        ("t: [0.25, 0.75]", "t: [0.75, 0.25]"),
        ("name: tiny", "name: other"),
        ("t: [0.75, 0.25]", "t: [0.25]"),
        ("  report: {kind: report, over: [scores_base, scores], curves: [base.log, sft.log]}\n", ""),
        ("  pairs: ", "  # a remark\n  pairs: "),
    ];
    for (from, to) in edits {
        world.edit(from, to);
        // Gathering nodes count what they gather, so the run may have to make a report anew.
        if world.run(&["lock"]).code != 0 {
            world.run_ok(&[]);
        }
        let once = world.read("pipeline.lock");
        let check = world.run(&["lock", "--check"]);
        assert_eq!(check.code, 0, "{from} -> {to}: {}", check.stderr);
        assert_eq!(world.run(&["lock"]).code, 0);
        assert_eq!(world.read("pipeline.lock"), once, "{from} -> {to}");
        assert_eq!(world.run_ok(&[]).ran.len(), 0);
        assert_eq!(world.read("pipeline.lock"), once, "{from} -> {to}: a run writes the same");
    }
}

#[test]
fn published_tables_survive_every_rewrite() {
    let world = World::new();
    world.run_ok(&[]);
    let table = "published:\n- title: Table 1\n  source: https://example.org/paper\n  cells:\n  - node: scores_base\n    \
        metric: pairs.acc\n    value: 50\n    scale: 100\n    tolerance: 60\n";
    let text = format!("{}# by hand\n{table}", world.read("pipeline.lock"));
    world.write("pipeline.lock", &text);
    assert_eq!(world.run(&["lock", "--check"]).code, 0);
    world.run_ok(&[]);
    assert_eq!(world.read("pipeline.lock"), text, "what says the same is not written anew");
    world.edit("rate: 2.0e-3", "rate: 1.0e-3");
    world.run_ok(&[]);
    assert!(world.read("pipeline.lock").ends_with(table), "{}", world.read("pipeline.lock"));
    assert_eq!(world.run(&["run", "--locked"]).code, 0);
}

#[test]
fn locked_and_frozen_come_from_the_environment_too() {
    let world = World::new();
    world.run_ok(&[]);
    let lock = world.read("pipeline.lock");
    world.edit("rate: 2.0e-3", "rate: 1.0e-3");
    for (flag, variable) in [("--locked", "LUTHFLOW_LOCKED"), ("--frozen", "LUTHFLOW_FROZEN")] {
        assert_eq!(world.run(&["run", flag]).code, 3, "{flag}");
        let output = world.command(&["run"]).env(variable, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{variable}");
        let output = world.command(&["lock"]).env(variable, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(variable) && said.contains("lock --check"), "{said}");
        let output = world.command(&["lock", "--check"]).env(variable, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{variable}");
    }
    assert_eq!(world.run(&["lock", "--frozen"]).code, 2);
    assert_eq!(world.read("pipeline.lock"), lock);
    // Set to nothing or to 0, they mean nothing.
    for value in ["", "0", "false"] {
        let output = world.command(&["run"]).env("LUTHFLOW_LOCKED", value).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{value:?}");
    }
}

/// Two branches: one trains otherwise, one adds an evaluation. Merged as git does it, nothing but the report is to be run.
#[test]
fn two_lockfiles_are_merged_node_by_node() {
    let world = World::new();
    world.edit("  report: {kind: report, over: [scores_base, scores], curves: [base.log, sft.log]}\n", "");
    world.run_ok(&[]);
    let (pipeline, base) = (world.read("pipeline.yaml"), world.read("pipeline.lock"));
    world.edit("rate: 2.0e-3", "rate: 1.0e-3");
    world.run_ok(&[]);
    let ours = world.read("pipeline.lock");
    world.write("pipeline.yaml", &pipeline);
    let extra = "  more: {kind: eval, model: base, max_length: 64, tasks: [{minimal_pairs: {name: p, data: pairs}}]}\n";
    world.write("pipeline.yaml", &format!("{pipeline}{extra}"));
    world.run_ok(&[]);
    let theirs = world.read("pipeline.lock");
    for (name, text) in [("base", &base), ("ours", &ours), ("theirs", &theirs)] {
        world.write(name, text);
    }
    let merged = world.run(&["lock", "--merge", "base", "ours", "theirs"]);
    assert_eq!(merged.code, 0, "{}", merged.stderr);
    world.edit("rate: 2.0e-3", "rate: 1.0e-3");
    world.write("pipeline.lock", &world.read("ours"));
    assert_eq!(world.run(&["lock", "--check"]).code, 0, "{}", world.run(&["lock", "--check"]).stderr);
    // Both sides changed the same node.
    world.write("ours", &ours);
    world.write("theirs", &ours.replace("rate: 0.001", "rate: 0.003"));
    let conflict = world.run(&["lock", "--merge", "base", "ours", "theirs"]);
    assert_eq!(conflict.code, 1);
    assert!(conflict.stderr.contains("parameter `rate`"), "{}", conflict.stderr);
    assert_eq!(world.read("ours"), ours, "ours stands");
    world.write("theirs", "<<<<<<< ours\n");
    assert_eq!(world.run(&["lock", "--merge", "base", "ours", "theirs"]).code, 2);
}

mod foreign {
    use luthflow::spec::lock::Lock;
    use proptest::prelude::*;
    use proptest::sample::Index;

    const QUICKSTART: &str = include_str!("../../pipelines/quickstart.lock");

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// A lockfile with bytes changed is read or refused, never more; what is read can be written and read again.
        #[test]
        fn a_changed_lockfile_is_read_or_refused(
            edits in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4),
            start in any::<Index>(),
        ) {
            let lines: Vec<&str> = QUICKSTART.lines().collect();
            // The head and some nodes: all of it would only be slower.
            let from = start.index(lines.len() - 80).max(19);
            let from = (from..lines.len()).find(|at| lines[*at].starts_with("  ") && !lines[*at].starts_with("   ")).unwrap();
            let mut bytes = lines[..19].iter().chain(&lines[from..]).take(90).fold(String::new(), |text, line| text + line + "\n").into_bytes();
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(lock) = Lock::read(&text) {
                let again = Lock::read(&lock.write().unwrap()).unwrap();
                prop_assert!(again.says_the_same(&lock));
            }
        }
    }
}

#[test]
fn many_differences_are_counted() {
    let world = World::empty();
    world.write(
        "pipeline.yaml",
        "version: 1\nsweep: {i: [0]}\nnodes:\n  a: {kind: command, run: [sh, -c, 'echo ${i} > out'], outputs: [out]}\n",
    );
    world.run_ok(&[]);
    world.edit("[0]", "1:100:1");
    let ran = world.run(&["run", "--locked"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    // The instance that is gone counts too.
    assert!(ran.stderr.contains("and 81 more") && ran.stderr.lines().count() < 30, "{}", ran.stderr);
}
