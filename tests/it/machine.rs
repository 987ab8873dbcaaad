//! What nodes may have of the machine, how often they are tried, and what a run does before and after: `--dry-run`, `--watch`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::world::{Ran, World};

/// Programs that fail when they meet another one with the same device.
fn world(needs: &str) -> World {
    let world = World::empty();
    let script = "mkdir \"$PLACE/on$CUDA_VISIBLE_DEVICES\" || exit 9; sleep 0.2; rmdir \"$PLACE/on$CUDA_VISIBLE_DEVICES\"; \
                  printf %s \"$CUDA_VISIBLE_DEVICES\" > out";
    let node = |name: &str| {
        format!(
            "  {name}: {{kind: command, run: [sh, -c, '{script}', {name}], outputs: [out], pass_env: [PLACE, CUDA_VISIBLE_DEVICES], needs: {needs}}}\n"
        )
    };
    let nodes: String = ["a", "b", "c", "d"].map(node).concat();
    world.write("pipeline.yaml", &format!("version: 1\nnodes:\n{nodes}"));
    world
}

fn run(world: &World, args: &[&str]) -> Ran {
    let mut command = world.command(args);
    let out = command.env("PATH", "/usr/bin:/bin").env("PLACE", world.root()).output().unwrap();
    Ran {
        code: out.status.code().unwrap_or(-1),
        stdout: String::from_utf8(out.stdout).unwrap(),
        stderr: String::from_utf8(out.stderr).unwrap(),
    }
}

#[test]
fn two_nodes_never_have_the_same_gpu() {
    for (slots, devices) in [("gpu=1", 1), ("gpu=2", 2)] {
        let world = world("{gpu: 1}");
        let ran = run(&world, &["run", "--slots", slots, "-j", "4"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let device = |name: &str| {
            let path = world.json(&["show", name, "--json"])["path"].as_str().unwrap().to_owned();
            std::fs::read_to_string(format!("{path}/out")).unwrap()
        };
        let mut seen: Vec<String> = ["a", "b", "c", "d"].map(device).to_vec();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), devices, "{seen:?}");
    }
}

#[test]
fn what_the_machine_does_not_have_is_told_and_costs_only_that_node() {
    let world = world("{gpu: 1}");
    let text = world.read("pipeline.yaml").replacen("needs: {gpu: 1}", "needs: {gpu: 3}", 1);
    world.write("pipeline.yaml", &text);
    let ran = run(&world, &["run", "--slots", "gpu=2", "--keep-going"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("it needs gpu 3, and there is 2 here"), "{}", ran.stderr);
    assert!(ran.stderr.contains("3 ran"), "{}", ran.stderr);
    let ran = run(&world, &["run", "--slots", "gpus=2"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("there is no resource `gpus`"), "{}", ran.stderr);
}

#[test]
fn memory_is_a_slot_too() {
    let world = world("{memory: 6GB}");
    // Without a device of their own, two at once would meet in the same place.
    let ran = run(&world, &["run", "--slots", "memory=10GB", "-j", "4"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = run(&self::world("{memory: 6GB}"), &["run", "--slots", "memory=5GB"]);
    assert!(ran.stderr.contains("it needs memory 6.0 GB, and there is 5.0 GB here"), "{}", ran.stderr);
}

#[test]
fn a_node_says_itself_how_often_it_is_tried_and_how_long_it_may_take() {
    let world = World::empty();
    world.write(
        "pipeline.yaml",
        "version: 1\nnodes:\n  it: {kind: command, run: [sh, -c, 'echo x >> \"$PLACE/tries\"; test $(wc -l < \"$PLACE/tries\") -ge 3 && touch out'], outputs: [out], pass_env: [PLACE], retries: 2}\n  slow: {kind: command, run: [sleep, 30], outputs: [out], timeout: 300ms}\n",
    );
    let began = Instant::now();
    let ran = run(&world, &["run", "--keep-going"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(world.read("tries").lines().count(), 3);
    assert!(ran.stderr.contains("new try 2 of 2 in 2.0 s"), "{}", ran.stderr);
    assert!(ran.stderr.contains("it took longer than its timeout of 0.3 s"), "{}", ran.stderr);
    assert!(began.elapsed() < Duration::from_secs(25));
    assert_eq!(run(&world, &["run", "it"]).code, 0, "how it is run is no part of its key");
    assert_eq!(world.read("tries").lines().count(), 3);
}

#[test]
fn a_dry_run_says_what_the_run_then_does() {
    let world = World::new();
    world.run_ok(&[]);
    world.edit("rate: 2.0e-3", "rate: 1.0e-3");
    let dry = world.run(&["run", "--dry-run", "--json"]);
    assert_eq!((dry.code, &dry.stdout), (0, &world.run(&["plan", "--json"]).stdout));
    let plan: serde_json::Value = serde_json::from_str(&dry.stdout).unwrap();
    let states = plan["nodes"].as_array().unwrap().clone();
    let named = |state: &str| -> Vec<String> {
        let found = states.iter().filter(|node| node["state"] == state);
        found.map(|node| node["name"].as_str().unwrap().to_owned()).collect()
    };
    let (fresh, stale) = (named("fresh"), named("stale"));
    let ran = world.run_ok(&[]);
    assert!(stale.iter().all(|node| ran.ran.contains(node)), "{stale:?}");
    assert!(fresh.iter().all(|node| ran.fresh.contains(node)), "{fresh:?}");
    let forced = world.run(&["run", "-n", "--force", "english"]);
    assert!(forced.stdout.contains("english") && forced.stdout.contains("forced"), "{}", forced.stdout);
    assert!(world.run_ok(&[]).ran.is_empty(), "a dry run runs nothing");
}

#[test]
fn a_watched_pipeline_runs_again_when_something_changes() {
    let world = World::empty();
    world.write("data/a.txt", "one\n");
    world.write(
        "pipeline.yaml",
        "version: 1\nnodes:\n  text: {kind: source, dataset: data/*.txt}\n  copy: {kind: command, run: [cp, -r, '${text}/files', out], outputs: [out]}\n",
    );
    let mut command = world.command(&["run", "--watch", "--json"]);
    command.env("PATH", "/usr/bin:/bin").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut next = || loop {
        let event: serde_json::Value = serde_json::from_str(&lines.next().expect("it goes on")).unwrap();
        if event["event"] == "run_finished" {
            return event["ran"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect::<Vec<_>>();
        }
    };
    assert_eq!(next(), ["text", "copy"]);
    world.write("data/a.txt", "two\n");
    assert_eq!(next(), ["text", "copy"]);
    world.write("data/b.txt", "a new file that the glob matches\n");
    assert_eq!(next(), ["text", "copy"]);
    let text = world.read("pipeline.yaml");
    world.write("pipeline.yaml", &text.replace("kind: command", "kind: comand"));
    std::thread::sleep(Duration::from_millis(1500));
    world.write("pipeline.yaml", &text.replace("[cp, -r,", "[cp, -R,"));
    assert_eq!(next(), ["copy"], "a mistake is no reason to give up");
    let interrupt = std::process::Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
    assert!(interrupt.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_run_takes_from_the_remote_store_what_it_does_not_have() {
    let first = World::new();
    first.run_ok(&[]);
    let store = tempfile::tempdir().unwrap();
    let url = format!("file://{}", store.path().display());
    let pushed = first.run(&["cache", "push", "--remote", &url]);
    assert_eq!(pushed.code, 0, "{}", pushed.stderr);
    let second = World::new();
    let ran = second.run_ok(&["--remote", &url]);
    assert!(ran.ran.is_empty(), "{:?}", ran.ran);
    let last = ran.events.last().unwrap();
    assert_eq!(last["fetched"].as_array().unwrap().len(), crate::world::NODES.len());
    assert_eq!(second.read("pipeline.lock"), first.read("pipeline.lock"));
    assert_eq!(second.run(&["cache", "verify"]).code, 0);
    // Frozen means no network, and here nothing else has it.
    let third = World::new();
    third.write("pipeline.lock", &first.read("pipeline.lock"));
    let frozen = third.run_ok(&["--frozen", "--remote", &url]);
    assert_eq!(frozen.ran.len(), crate::world::NODES.len());
}
