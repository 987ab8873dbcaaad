//! Killed at random instants: the run with all it started, its scheduler alone, a worker, a program of the user; and a disk
//! that is full. What was said to be finished stays finished, nothing wrong is kept, and the next run goes on.
//!
//! [`crate::crash`] kills runs of real nodes; these are so small that each of their steps is hit many times.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::oracle::Dice;
use crate::world::World;

const PIPELINE: &str = "\
version: 1
nodes:
  rows: {kind: source, dataset: rows.txt, rows: line}
  long: {kind: curate, from: [rows], steps: [{length: {min_chars: 3}}]}
  a: {kind: command, run: [sh, -c, 'sleep 0.01; cat \"$1\" > out', x, '${rows}/files/rows.txt'], outputs: [out]}
  b: {kind: command, run: [sh, -c, 'head -c 40000 /dev/zero > out'], outputs: [out]}
  c: {kind: command, run: [sh, -c, 'sleep 0.02; cat \"$1\" \"$2\" > out', x, '${a}/out', '${b}/out'], outputs: [out]}
  d: {kind: command, run: [sh, -c, 'mkdir out; cp \"$1\" out/1; cp \"$2\" out/2', x, '${c}/out', '${long}/data.jsonl'], outputs: [out]}
";

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    /// The run and all that it started, at once.
    All,
    /// Only the process that the user started.
    Scheduler,
    /// One that runs a node.
    Worker,
    /// One that a node of the user's runs.
    Program,
}

fn world() -> World {
    let world = World::empty();
    world.write("pipeline.yaml", PIPELINE);
    world.write("rows.txt", &"a line of some length\nab\n".repeat(300));
    world
}

/// The lockfile of a run that nobody disturbs.
fn reference() -> String {
    let world = world();
    world.run_ok(&[]);
    world.read("pipeline.lock")
}

#[test]
fn a_killed_run_loses_nothing_that_was_finished() {
    kill_often(Victim::All, 90);
}

#[test]
fn the_workers_of_a_killed_scheduler_end_by_themselves() {
    kill_often(Victim::Scheduler, 80);
}

#[test]
fn a_killed_worker_costs_its_node() {
    kill_often(Victim::Worker, 70);
}

#[test]
fn a_killed_program_costs_its_node() {
    kill_often(Victim::Program, 70);
}

fn kill_often(victim: Victim, times: usize) {
    let (reference, world) = (reference(), world());
    let mut dice = Dice::new(times as u64);
    let (mut killed, mut rounds) = (0, 0);
    while killed < times {
        rounds += 1;
        assert!(rounds < 20 * times, "the runs are over before they can be killed: {killed} of {rounds}");
        let mut child = world.command(&["run", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.next() % 180_000));
        let hit = strike(victim, &mut child, &mut dice);
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap().code();
        // It was over just before.
        let missed = code == Some(0) && matches!(victim, Victim::All | Victim::Scheduler);
        if !hit || missed {
            std::fs::remove_dir_all(world.path("cache")).unwrap();
            continue;
        }
        killed += 1;
        let context = format!("{victim:?}, kill {killed}: {code:?} {said}");
        match victim {
            Victim::All | Victim::Scheduler => {
                assert_eq!(code, None, "{context}");
                nobody_is_left(&world, &context);
            }
            // It may have been done already.
            Victim::Worker | Victim::Program => assert!(matches!(code, Some(0 | 1)), "{context}"),
        }
        sound(&world, &said, &context);
        if dice.one_in(3) {
            converges(&world, &reference, &context);
            std::fs::remove_dir_all(world.path("cache")).unwrap();
        }
    }
    converges(&world, &reference, "at the end");
}

/// Kills, and says whether there was something to kill.
fn strike(victim: Victim, child: &mut Child, dice: &mut Dice) -> bool {
    let family = |child: &Child| {
        let all = parents();
        let workers = children(&all, child.id());
        let programs: Vec<u32> = workers.iter().flat_map(|worker| children(&all, *worker)).collect();
        (workers, programs)
    };
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        let (workers, programs) = family(child);
        let whom = match victim {
            Victim::All => [&[child.id()][..], &workers, &programs].concat(),
            Victim::Scheduler => vec![child.id()],
            Victim::Worker if workers.is_empty() => continue,
            Victim::Worker => vec![*dice.pick(&workers)],
            Victim::Program if programs.is_empty() => continue,
            Victim::Program => vec![*dice.pick(&programs)],
        };
        for process in whom {
            // One that was just over is no longer there.
            let _ = kill_process(Pid::from_raw(process as i32).unwrap(), Signal::KILL);
        }
        return true;
    }
}

/// The parent of every process.
fn parents() -> BTreeMap<u32, u32> {
    let names =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let parent = |process: u32| -> Option<(u32, u32)> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        // One that is over and not yet waited for cannot be killed.
        let alive = fields.next()? != "Z";
        alive.then_some((process, fields.next()?.parse().ok()?))
    };
    names.filter_map(parent).collect()
}

fn children(all: &BTreeMap<u32, u32>, parent: u32) -> Vec<u32> {
    all.iter().filter(|(_, own)| **own == parent).map(|(process, _)| *process).collect()
}

/// Waits until no process works in the world any more: workers notice that nobody wants them.
fn nobody_is_left(world: &World, context: &str) {
    let root = world.root().canonicalize().unwrap();
    let began = Instant::now();
    let at_work =
        |process: &u32| std::fs::read_link(format!("/proc/{process}/cwd")).is_ok_and(|place| place.starts_with(&root));
    loop {
        let left: Vec<u32> = parents().into_keys().filter(at_work).collect();
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{left:?} live on: {context}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The cache is right, and what was told to be finished is fresh.
fn sound(world: &World, said: &str, context: &str) {
    let verify = world.run(&["cache", "verify"]);
    // Killed before there was a cache.
    let none = verify.stderr.contains("there is no cache at");
    assert!(verify.code == 0 || none, "{context}: {}{}", verify.stdout, verify.stderr);
    let plan = world.json(&["plan", "--json"]);
    let state = |name: &Value| -> String {
        let node = plan["nodes"].as_array().unwrap().iter().find(|node| node["name"] == *name).unwrap();
        node["state"].as_str().unwrap().to_owned()
    };
    for event in said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if event["event"] == "node_finished" || event["event"] == "node_fresh" {
            assert_eq!(state(&event["node"]), "fresh", "{}: {context}", event["node"]);
        }
    }
}

fn converges(world: &World, reference: &str, context: &str) {
    let ran = world.run(&["run", "--json"]);
    assert_eq!(ran.code, 0, "{context}: {}{}", ran.stdout, ran.stderr);
    assert_eq!(world.read("pipeline.lock"), reference, "{context}");
    let verify = world.run(&["cache", "verify"]);
    assert_eq!(verify.code, 0, "{context}: {}{}", verify.stdout, verify.stderr);
    let left = std::fs::read_dir(world.path("cache/staging")).map_or(0, Iterator::count);
    // A run that has nothing to do writes nothing, and sweeps nothing.
    let idle = ran.stdout.contains("\"ran\":[]");
    assert!(idle || left == 0, "half made things are left: {context}");
}

/// A file system that is as big as is asked for, unmounted at the end.
pub(crate) struct Disk(std::path::PathBuf);

impl Disk {
    pub(crate) fn mount(place: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir(&place).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"]).arg(&place).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(place))
    }

    pub(crate) fn resize(&self, kilobytes: usize) {
        let size = format!("remount,size={kilobytes}k");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up_at_any_point_loses_nothing() {
    let (reference, world) = (reference(), world());
    let Some(disk) = Disk::mount(world.path("cache")) else {
        println!("skipped: only root can mount a small file system");
        return;
    };
    let (mut refused, mut finished) = (0, 0);
    for kilobytes in (16..).step_by(8) {
        disk.resize(kilobytes);
        // The history of so many failures would fill the disk before the results do.
        let _ = std::fs::remove_dir_all(world.path("cache/runs"));
        let ran = world.run(&["run", "--json"]);
        let context = format!("with {kilobytes} kB: {} {}{}", ran.code, ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{context}");
        if ran.code == 0 {
            break;
        }
        refused += 1;
        assert!(matches!(ran.code, 1 | 70), "{context}");
        let why = format!("{}{}", ran.stdout, ran.stderr).to_lowercase();
        assert!(why.contains("no space left") || why.contains("failed with exit status"), "{context}");
        sound(&world, &ran.stdout, &context);
        finished += ran.stdout.matches("node_finished").count();
        assert!(kilobytes < 4096, "{context}");
    }
    assert!(refused >= 10 && finished >= 3, "{refused} refused, {finished} finished");
    disk.resize(8192);
    converges(&world, &reference, "with space");
}

/// As with the disk, for the size of each file: another system call fails.
#[test]
fn a_limit_on_the_size_of_files_loses_nothing() {
    let (reference, world) = (reference(), world());
    let mut refused = 0;
    for blocks in (0..).step_by(5) {
        let program = world.command(&["run", "--json"]);
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut limited = world.command(&[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).arg(program.get_program()).args(program.get_args());
        shell.current_dir(world.root()).env_clear();
        shell.envs(limited.env("X", "").get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = shell.output().unwrap();
        let (code, said) = (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let context = format!("with {blocks} blocks: {code:?} {said}{told}");
        assert!(!told.contains("panicked"), "{context}");
        if code == Some(0) {
            break;
        }
        refused += 1;
        assert!(matches!(code, Some(1 | 70)), "{context}");
        // What a program of the user met is told in its log.
        let why = format!("{said}{told}").to_lowercase();
        assert!(why.contains("file too large") || why.contains("failed with exit status"), "{context}");
        sound(&world, &said, &context);
        assert!(blocks < 4000, "{context}");
    }
    assert!(refused >= 3, "{refused} refused");
    converges(&world, &reference, "without a limit");
}
