//! What is left after a run is killed at any instant, and after an artifact rots.

use std::process::{Child, Stdio};

use crate::world::{NODES, World};

/// Kills the process group-less way a machine's out-of-memory killer does: this process, at this instant.
#[test]
fn killed_at_random_instants_the_next_run_goes_on_and_the_cache_is_whole() {
    let reference = World::new();
    let began = std::time::Instant::now();
    reference.run_ok(&[]);
    let whole_run = began.elapsed();
    let world = World::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut killed = 0;
    for attempt in 0..200 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut child = world.command(&["run", "--json"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole_run.mul_f64((state % 1000) as f64 / 1000.0));
        let over = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if !world.path("cache").is_dir() {
            // On a busy machine it may not have begun.
            continue;
        }
        killed += i32::from(!over);
        let verify = world.run(&["cache", "verify"]);
        assert_eq!(verify.code, 0, "after kill {killed}: {}{}", verify.stdout, verify.stderr);
        // Begin from nothing now and then, so that every part of a run is hit.
        if over || attempt % 4 == 3 {
            std::fs::remove_dir_all(world.path("cache")).unwrap();
        }
        if killed == 20 {
            break;
        }
    }
    assert_eq!(killed, 20, "the runs were over before they could be killed");
    let last = world.run_ok(&[]);
    assert_eq!(last.ran.len() + last.fresh.len(), NODES.len());
    assert_eq!(world.read("pipeline.lock"), reference.read("pipeline.lock"));
    assert_eq!(world.run(&["cache", "verify"]).code, 0);
    // What a killed run leaves goes with the first writer that comes after its processes, and one may still be dying.
    let leftovers = || std::fs::read_dir(world.path("cache/staging")).map_or(0, Iterator::count);
    let swept = (0..50).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(if leftovers() == 0 { 0 } else { 100 }));
        world.run_ok(&["--force", NODES[0]]);
        leftovers() == 0
    });
    assert!(swept, "a run leaves no half-made folder behind");
}

#[test]
fn an_interrupted_run_stops_and_the_next_one_goes_on() {
    let (world, mut child, lines) = in_the_middle_of_a_training();
    send("INT", child.id());
    let last = lines.map_while(Result::ok).last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["event"], "run_finished");
    assert_eq!(last["interrupted"], true);
    assert!(last["skipped"].as_array().unwrap().iter().any(|name| name == "base"));
    world.edit("max_steps: 100000, epochs: 900, seed", "max_steps: 4, seed");
    let next = world.run_ok(&[]);
    assert!(next.fresh.contains(&"english".to_owned()), "what was done before the interruption is kept");
}

#[test]
fn a_rotten_artifact_is_noticed_and_made_again_and_never_served() {
    let world = World::new();
    world.run_ok(&[]);
    let lock = world.read("pipeline.lock");
    let path = world.json(&["show", "sft", "--json"])["path"].as_str().unwrap().to_owned();
    let file = std::path::Path::new(&path).join("model/model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut permissions = std::fs::metadata(&file).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a temporary folder of this test")]
    permissions.set_readonly(false);
    std::fs::set_permissions(&file, permissions).unwrap();
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(world.run(&["cache", "verify"]).code, 3, "verify finds the flipped bit");
    // Something that reads the model has to run: it must not read the rotten bytes.
    let again = world.run_ok(&["--sweep", "t=0.5"]);
    assert!(again.ran.contains(&"sft".to_owned()), "{:?}", again.ran);
    assert!(again.ran.contains(&"merged[t=0.5]".to_owned()));
    world.run_ok(&[]);
    assert_eq!(world.read("pipeline.lock"), lock);
}

#[test]
#[cfg(target_os = "linux")]
fn a_worker_that_is_killed_costs_one_node() {
    let (_world, mut child, lines) = in_the_middle_of_a_training();
    for worker in children_of(child.id()) {
        send("KILL", worker);
    }
    let lines: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(lines.iter().any(|line| line.contains("was ended by signal 9 (SIGKILL)")), "{lines:?}");
}

type Lines = std::io::Lines<std::io::BufReader<std::process::ChildStdout>>;

/// Starts a run whose `base` trains for very long, and returns once it does.
fn in_the_middle_of_a_training() -> (World, Child, Lines) {
    let world = World::new();
    world.edit("max_steps: 4, seed", "max_steps: 100000, epochs: 900, seed");
    let mut child = world.command(&["run", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    while let Some(Ok(line)) = lines.next() {
        if line.contains("node_progress") && line.contains("\"base\"") {
            break;
        }
    }
    (world, child, lines)
}

/// Sends a signal. The shell's own `kill` is there even where the program is not.
pub(crate) fn send(signal: &str, process: u32) {
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status().unwrap();
    assert!(sent.success());
}

/// The processes whose parent is `parent`, from `/proc`.
#[cfg(target_os = "linux")]
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let processes =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let parent_of = |process: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    processes.filter(|process| parent_of(*process) == Some(parent)).collect()
}
