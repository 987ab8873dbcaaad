//! A checkpoint is only for what may go wrong: one that cannot be written must not be what goes wrong.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::instants::Disk;
use crate::sft_combined::world;
use crate::world::{Finished, Ran, World};

fn settings() -> Value {
    json!({"checkpoint_steps": 3, "checkpoint_minutes": 0})
}

/// What an undisturbed run comes to.
fn reference() -> String {
    let world = world(&settings());
    let finished = world.run_ok(&[]);
    assert_eq!(measured(&finished, "failed_checkpoints"), Value::Null);
    world.read("pipeline.lock")
}

fn measured(finished: &Finished, figure: &str) -> Value {
    let of = |event: &&Value| event["event"] == "node_finished" && event["node"] == "sft";
    finished.events.iter().find(of).expect("the training finished")["measured"][figure].clone()
}

fn steps(world: &World) -> u64 {
    let shown = world.json(&["show", "sft", "--json"]);
    shown["metrics"]["steps"].as_f64().unwrap() as u64
}

fn checkpoints(world: &World) -> Vec<PathBuf> {
    let below = |folder: PathBuf| -> Vec<PathBuf> {
        fs_err::read_dir(folder).map(|all| all.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
    };
    below(world.path("cache/checkpoints")).into_iter().flat_map(below).flat_map(below).collect()
}

/// A limit on the size of a file stands in for a full disk: weights fit, weights with their moments do not.
#[cfg(unix)]
#[test]
fn a_training_none_of_whose_checkpoints_can_be_written_ends_as_it_would() {
    let reference = reference();
    let world = world(&settings());
    let program = world.command(&["run", "--json"]);
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 700; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(world.root())
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout.contains("\"event\":\"node_warned\"") && ran.stdout.contains("cannot write a checkpoint"),
        "{}",
        ran.stdout
    );
    let finished = Finished::read(&ran);
    // Each time it was due, not once for all and not at every step; the last step is the end itself.
    assert_eq!(measured(&finished, "failed_checkpoints"), json!(((steps(&world) - 1) / 3) as f64));
    assert_eq!(world.read("pipeline.lock"), reference);
    assert_eq!(checkpoints(&world), Vec::<PathBuf>::new());
}

/// A disk with room for one checkpoint and no second beside it: the first one stays, and a kill loses what came after it.
#[cfg(target_os = "linux")]
#[test]
fn the_last_checkpoint_stays_and_the_next_is_tried_again() {
    let reference = reference();
    let world = world(&settings());
    fs_err::create_dir(world.path("cache")).unwrap();
    let Some(disk) = Disk::mount(world.path("cache/checkpoints")) else {
        println!("skipped: only root can mount a small file system");
        return;
    };
    disk.resize(1000);
    let seen = crate::sft_resume::kill_once_it_trained(&world, 10, 0);
    assert!(seen > 10);
    let kept = checkpoints(&world);
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    assert!(kept.iter().map(name).any(|name| name == "step-000000003"), "{kept:?}");
    assert!(!kept.iter().map(name).any(|name| name.starts_with("step-") && name != "step-000000003"), "{kept:?}");
    let ran = world.run(&["run", "--json"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("goes on after step 3"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("\"event\":\"node_warned\"") && ran.stdout.contains("cannot write a checkpoint"),
        "{}",
        ran.stdout
    );
    assert_eq!(world.read("pipeline.lock"), reference);
    drop(ran);

    // With room again, the next one is written.
    let world = crate::sft_combined::world(&settings());
    fs_err::create_dir(world.path("cache")).unwrap();
    let Some(disk) = Disk::mount(world.path("cache/checkpoints")) else { return };
    let seen = crate::sft_resume::kill_once_it_trained(&world, 10, 0);
    assert!(seen > 10 && checkpoints(&world).iter().all(|path| name(path) == "unfinished"));
    disk.resize(8000);
    let seen = crate::sft_resume::kill_once_it_trained(&world, 20, 0);
    assert!(seen > 20 && checkpoints(&world).iter().any(|path| name(path).starts_with("step-")));
    world.run_ok(&[]);
    assert_eq!(world.read("pipeline.lock"), reference);
}
