//! The snapshot of the last whole run: it saves work, and changes no answer.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::world::World;

/// Nodes of several kinds that run in milliseconds.
const PIPELINE: &str = "\
version: 1
params: {least: 10}
sweep: {most: [40, 80]}
nodes:
  few: {kind: source, dataset: more/*.txt, rows: line}
  text: {kind: source, dataset: data/en.txt, rows: line}
  short: {kind: curate, from: [few, text], steps: [{length: {min_chars: \"${least}\", max_chars: \"${most}\"}}]}
  copy: {kind: command, run: [cp, -r, \"${short}\", out], outputs: [out]}
  other: {kind: curate, from: [few], steps: [{length: {min_chars: 3}}]}
";

/// A world that ran, whose sources are old enough for their times to be trusted.
fn settled() -> World {
    let world = World::new();
    world.write("pipeline.yaml", PIPELINE);
    world.write("more/a.txt", "one line of English prose that is long enough\n");
    settle();
    world.run_ok(&[]);
    assert_eq!(snapshots(&world).len(), 1);
    world
}

/// Waits until files written now can be trusted by their times, which have a grain of two seconds.
fn settle() {
    std::thread::sleep(Duration::from_millis(2050));
}

fn snapshots(world: &World) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(world.path("cache/snapshots")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn forget(world: &World) {
    for path in snapshots(world) {
        std::fs::remove_file(path).unwrap();
    }
}

/// A run that looks at every node begins a session in the cache.
fn last_look(world: &World) -> SystemTime {
    std::fs::metadata(world.path("cache/sessions")).unwrap().modified().unwrap()
}

/// What a command prints, without how long it took.
fn said(world: &World, args: &[&str]) -> (i32, String) {
    let ran = world.run(args);
    let text = format!("{}{}", ran.stdout, ran.stderr);
    let lines = text.lines().map(|line| {
        let line = line.split("\"seconds\":").next().unwrap();
        line.split(" nothing to run (").next().unwrap().to_owned()
    });
    (ran.code, lines.collect::<Vec<_>>().join("\n"))
}

const LOOKS: [&[&str]; 7] = [
    &["plan"],
    &["plan", "--json"],
    &["status"],
    &["status", "--json"],
    &["run", "--locked", "--json"],
    &["run", "--json"],
    &["run"],
];

#[test]
fn with_and_without_it_every_command_prints_the_same() {
    let world = settled();
    for look in LOOKS {
        world.run_ok(&[]);
        let before = last_look(&world);
        let short = said(&world, look);
        assert_eq!(last_look(&world), before, "{look:?} took the long way");
        forget(&world);
        assert_eq!(short, said(&world, look), "{look:?}");
        assert_eq!(last_look(&world) != before, look[0] == "run");
    }
}

/// A change, and what it is called.
type Change<'a> = (&'a str, &'a dyn Fn(&World));

fn an_object(world: &World) -> PathBuf {
    let inside = |path: PathBuf| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> =
        inside(world.path("cache/objects")).flat_map(inside).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.remove(0)
}

/// Everything that the long way would see is seen: the answers after each change are those without a snapshot.
#[test]
fn after_any_change_the_answer_is_that_of_the_long_way() {
    let world = settled();
    let changes: [Change<'_>; 11] = [
        ("a new file that a glob matches", &|world| world.write("more/b.txt", "another line of English prose\n")),
        ("a file of a glob that is gone", &|world| std::fs::remove_file(world.path("more/b.txt")).unwrap()),
        ("other bytes of the same length", &|world| {
            let text = world.read("data/en.txt");
            world.write("data/en.txt", &text.replace("captain", "captive"));
        }),
        ("a comment", &|world| world.edit("version: 1", "version: 1 # new")),
        ("a setting", &|world| world.edit("min_chars: 3", "min_chars: 4")),
        ("a lockfile that says something else", &|world| {
            world.edit_file("pipeline.lock", "kind: curate", "kind: cured");
        }),
        ("a lockfile that is gone", &|world| std::fs::remove_file(world.path("pipeline.lock")).unwrap()),
        ("an artifact that is gone", &|world| std::fs::remove_dir_all(an_object(world)).unwrap()),
        ("a comment, and an artifact that is gone", &|world| {
            world.edit("version: 1", "version: 1 # newer");
            std::fs::remove_dir_all(an_object(world)).unwrap();
        }),
        ("an index that is gone", &|world| {
            for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
                let _ = std::fs::remove_file(world.path("cache").join(name));
            }
        }),
        ("a source that is gone", &|world| std::fs::remove_file(world.path("data/en.txt")).unwrap()),
    ];
    for (what, change) in changes {
        world.run_ok(&[]);
        settle();
        world.run_ok(&[]);
        let look = last_look(&world);
        world.run_ok(&[]);
        assert_eq!(look, last_look(&world), "before {what}: the long way");
        change(&world);
        for args in [&["plan", "--json"][..], &["status", "--json"]] {
            let kept = snapshots(&world).into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).next().unwrap();
            let short = said(&world, args);
            forget(&world);
            assert_eq!(short, said(&world, args), "{what}: {args:?}");
            std::fs::write(kept.1, kept.0).unwrap();
        }
    }
}

#[test]
fn a_damaged_one_is_none() {
    let world = settled();
    let path = snapshots(&world).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    let whole = said(&world, &["plan", "--json"]);
    for place in (0..bytes.len()).step_by(bytes.len() / 20) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 4;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(said(&world, &["plan", "--json"]), whole, "byte {place}");
        let before = last_look(&world);
        world.run_ok(&[]);
        assert_ne!(last_look(&world), before, "byte {place}: it was trusted");
    }
}

/// A node that gives other bytes each time: another pipeline with the same node may put another result on record.
#[test]
fn a_record_that_another_pipeline_replaced_counts() {
    let world = World::empty();
    let node = "  random: {kind: command, run: [cat, /proc/sys/kernel/random/uuid, /proc/uptime], outputs: [out]}\n";
    let node = node.replace("[cat, ", "[sh, -c, 'cat \"$0\" > out', ").replace(", /proc/uptime]", "]");
    let text = format!("version: 1\nnodes:\n{node}");
    world.write(
        "a.yaml",
        &format!("{text}  copy: {{kind: command, run: [cp, \"${{random.out}}\", out], outputs: [out]}}\n"),
    );
    world.write("b.yaml", &text);
    assert_eq!(world.run(&["run", "a.yaml"]).code, 0);
    assert_eq!(world.json(&["plan", "a.yaml", "--json"])["nodes"][1]["state"], "fresh");
    assert_eq!(world.run(&["run", "b.yaml", "--force", "random"]).code, 0);
    assert_eq!(world.json(&["plan", "a.yaml", "--json"])["nodes"][1]["state"], "stale");
}

/// A run that leaves something undone keeps nothing, and one with other parameters keeps its own.
#[test]
fn it_is_of_one_state() {
    let world = settled();
    world.run_ok(&["--set", "least=12"]);
    let plan = world.json(&["plan", "--set", "least=12", "--json"]);
    assert!(plan["nodes"].as_array().unwrap().iter().all(|node| node["state"] == "fresh"));
    let status = world.json(&["status", "--set", "least=12", "--json"]);
    assert_eq!(status["lock"], "differs");
    world.run_ok(&["--force", "other"]);
    world.write("pipeline.yaml", &PIPELINE.replace("min_chars: 3", "min_chars: 5"));
    world.run_ok(&["other"]);
    assert_eq!(snapshots(&world).len(), 0);
}

/// A chain as long as a large file can hold is planned without recursion, and said in the order of the file.
#[test]
fn a_long_chain_is_planned() {
    let world = World::empty();
    world.write("in.txt", "x\n");
    let mut text = "version: 1\nnodes:\n  n0: {kind: source, dataset: in.txt}\n".to_owned();
    for i in 1..20_000 {
        writeln!(text, "  n{i}: {{kind: curate, from: [n{}]}}", i - 1).unwrap();
    }
    world.write("pipeline.yaml", &text);
    let plan = world.json(&["plan", "--json"]);
    assert_eq!(plan["nodes"][19_999]["name"], "n19999");
    assert_eq!(plan["nodes"][19_999]["reasons"][0], "never run before");
}
