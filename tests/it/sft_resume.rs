//! A training that is stopped anywhere ends, when it goes on, in the bytes of one that was not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use luthflow::ops::{self, InputArtifact, Inputs, OpCx, OpError, Outcome, Progress};
use luthflow::spec::params::{Kind, Op};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tiny::{data_folder, model_folder, rows};
use crate::world::World;

/// Stops the node once it has said so much since it trains.
struct Stopper<'a> {
    trains: AtomicBool,
    left: AtomicU64,
    cancelled: &'a AtomicBool,
}

impl Stopper<'_> {
    fn heard(&self) {
        if self.trains.load(Ordering::SeqCst) && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.cancelled.store(true, Ordering::SeqCst);
        }
    }
}

impl Progress for Stopper<'_> {
    fn phase(&self, name: &str, _: Option<u64>, _: &'static str) {
        self.trains.fetch_or(name == "training", Ordering::SeqCst);
        self.heard();
    }

    fn position(&self, _: u64) {
        self.heard();
    }

    fn note(&self, _: &str) {}
}

/// A training and where it keeps its checkpoints.
struct Training {
    fields: Value,
    model: TempDir,
    data: TempDir,
    checkpoint: TempDir,
}

impl Training {
    fn new(settings: &Value) -> Self {
        let mut fields =
            json!({"model": "m", "data": ["d"], "sequence_len": 128, "epochs": 9.0, "learning_rate": 1e-2});
        fields.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let all = rows().repeat(3);
        Self { fields, model: model_folder("tied"), data: data_folder(&all), checkpoint: TempDir::new().unwrap() }
    }

    /// Runs it until it has said so much.
    fn run(&self, out: &Path, scratch: &Path, patience: u64) -> Result<Outcome, OpError> {
        let op = Op::from_fields(Kind::Sft, self.fields.clone()).unwrap();
        let input = |path: &Path| InputArtifact {
            name: "input".into(),
            label: "input".into(),
            axes: BTreeMap::new(),
            path: path.to_path_buf(),
            digest: None,
            chosen: false,
        };
        let slots = [("model", self.model.path()), ("data[0]", self.data.path())];
        let inputs = Inputs(slots.into_iter().map(|(slot, path)| (slot.to_owned(), vec![input(path)])).collect());
        let cancelled = AtomicBool::new(false);
        let cx = OpCx {
            inputs: &inputs,
            out,
            scratch,
            checkpoint: Some(self.checkpoint.path()),
            memo: None,
            environment: &|_| None,
            threads: 2,
            device: luthflow::ops::DeviceChoice::Cpu,
            progress: &Stopper { trains: false.into(), left: patience.into(), cancelled: &cancelled },
            cancelled: &cancelled,
        };
        ops::run(&op, &cx)
    }

    /// Runs it to its end, stopped again and again after having said so much; returns every file and all figures.
    fn stopped_every(&self, patience: u64) -> (BTreeMap<String, Vec<u8>>, BTreeMap<String, f64>, usize) {
        for stops in 0..1000 {
            let (out, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            match self.run(out.path(), scratch.path(), patience) {
                Ok(outcome) => {
                    let mut files = BTreeMap::new();
                    collect(out.path(), out.path(), &mut files);
                    return (files, outcome.metrics, stops);
                }
                Err(error) => assert_eq!(error.to_string(), "interrupted"),
            }
        }
        panic!("it never comes to an end");
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.insert(path.strip_prefix(root).unwrap().display().to_string(), fs_err::read(&path).unwrap());
        }
    }
}

/// A checkpoint has weights and two moments of what is trained, and of nothing else.
#[test]
fn what_is_frozen_is_in_no_checkpoint() {
    let exits = json!({"layers": [1, 2], "branches": {"layers": [3], "factor": 2}, "freeze_backbone": true});
    let training = Training::new(&json!({"early_exit": exits}));
    let (out, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    training.run(out.path(), scratch.path(), 5).unwrap_err();
    let kept = fs_err::read_dir(training.checkpoint.path()).unwrap();
    let kept = kept.map(|entry| entry.unwrap().path()).find(|path| path.join("state.json").is_file()).unwrap();
    let tensors = luthflow::tensor::TensorFile::open(&kept.join("tensors.safetensors")).unwrap();
    let count: usize = tensors.names().map(|name| tensors.get(name).unwrap().count()).sum();
    let (out, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let trained = training.run(out.path(), scratch.path(), u64::MAX).unwrap().metrics["trained_parameters"];
    assert!((count as f64 - 3.0 * trained).abs() < 0.5, "{count} {trained}");
}

#[test]
fn a_training_that_goes_on_ends_in_the_same_bytes() {
    for settings in [
        json!({}),
        json!({
            "gradient_accumulation_steps": 2, "packing": "multipack", "packing_bin_size": 3, "micro_batch_size": 2,
            "gradient_checkpointing": "selective",
        }),
        json!({"bf16": true, "neftune_noise_alpha": 5.0, "label_smoothing": 0.1, "gradient_checkpointing": true}),
        json!({"val_set_size": 0.2, "evals_per_epoch": 2, "load_best_model_at_end": true, "save_strategy": "epoch"}),
        json!({
            "lora": {"r": 3, "lora_dropout": 0.2, "use_dora": true}, "val_set_size": 0.2, "load_best_model_at_end": true,
            "save_strategy": "epoch",
        }),
        json!({
            "early_exit": {"layers": [1, 2], "head": "own", "branches": {"layers": [2], "factor": 2}}, "val_set_size": 0.2,
            "load_best_model_at_end": true, "save_strategy": "epoch",
        }),
        json!({
            "early_exit": {"layers": [1, 2], "head": "own", "branches": {"layers": [3], "factor": 2}, "freeze_backbone": true},
            "val_set_size": 0.2, "load_best_model_at_end": true, "save_strategy": "epoch",
        }),
        json!({"val_set_size": 4, "eval_steps": 3, "early_stopping_patience": 1, "learning_rate": 0.3, "epochs": 30}),
    ] {
        let (files, metrics, stops) = Training::new(&settings).stopped_every(u64::MAX);
        assert_eq!(stops, 0);
        for patience in [8, 13, 21] {
            let stopped = Training::new(&settings);
            let (again, metrics_again, stops) = stopped.stopped_every(patience);
            assert!(stops > 0, "{settings}: it was never stopped");
            assert_eq!(files.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>(), "{settings}");
            let other = files.iter().find(|(name, bytes)| again[*name] != **bytes);
            assert!(other.is_none(), "{settings}, after {stops} stops: {} differs", other.unwrap().0);
            assert_eq!(metrics, metrics_again, "{settings}");
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let settings = json!({"epochs": 6.0});
    let (files, ..) = Training::new(&settings).stopped_every(u64::MAX);
    for damage in ["flip", "cut", "state"] {
        let training = Training::new(&settings);
        let (out, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        training.run(out.path(), scratch.path(), 20).unwrap_err();
        let kept = fs_err::read_dir(training.checkpoint.path()).unwrap().next().unwrap().unwrap().path();
        let (tensors, state) = (kept.join("tensors.safetensors"), kept.join("state.json"));
        let mut bytes = fs_err::read(&tensors).unwrap();
        match damage {
            "flip" => {
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                fs_err::write(&tensors, bytes).unwrap();
            }
            "cut" => fs_err::write(&tensors, &bytes[..bytes.len() / 2]).unwrap(),
            _ => fs_err::write(&state, "{").unwrap(),
        }
        let (again, ..) = training.stopped_every(u64::MAX);
        assert!(again == files, "{damage}");
    }
}

const PIPELINE: &str = "\
version: 1
nodes:
  data:
    kind: source
    dataset: data.jsonl
  start:
    kind: source
    model: start
  sft:
    kind: sft
    model: start
    data: [data]
    sequence_len: 128
    epochs: 60
    learning_rate: 1e-2
    checkpoint_steps: 5
";

/// Runs the pipeline until a node has taken more than `seen` steps, and kills all of it. Returns a number of steps that
/// the next run is to go further than, or this one again where it did not get so far.
#[cfg(target_os = "linux")]
pub(crate) fn kill_once_it_trained(world: &World, seen: u64, further: u64) -> u64 {
    let mut child = world.command(&["run", "--json"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let trained = |line: String| {
        let event: Value = serde_json::from_str(&line).unwrap();
        let done = if event["phase"] == "training" { event["done"].as_u64().unwrap_or(0) } else { 0 };
        (done > seen).then_some(done)
    };
    let done = lines.find_map(|line| trained(line.ok()?));
    let workers = crate::crash::children_of(child.id());
    child.kill().unwrap();
    for worker in workers {
        crate::crash::send("KILL", worker);
    }
    child.wait().unwrap();
    // Later each time, or it would begin anew for ever.
    done.map_or(seen, |done| done + further)
}

/// The program itself, killed with all it has started.
#[test]
#[cfg(target_os = "linux")]
fn a_training_killed_at_random_steps_ends_in_the_same_bytes() {
    killed_at_random_steps(PIPELINE);
}

/// Exits and branches with their moments stand in checkpoints too.
#[test]
#[cfg(target_os = "linux")]
fn a_training_of_exits_and_branches_killed_at_random_steps_ends_in_the_same_bytes() {
    let exits = "    early_exit: {layers: [1, 2], head: own, branches: {layers: [1, 3], factor: 2}}\n";
    killed_at_random_steps(&format!("{PIPELINE}{exits}"));
}

/// Kills a training of this pipeline six times and lets it end, beside one that is left alone.
#[cfg(target_os = "linux")]
fn killed_at_random_steps(pipeline: &str) {
    let world = |killed: bool| {
        let world = World::empty();
        world.write("data.jsonl", &rows().repeat(10));
        let start = model_folder("tied");
        fs_err::create_dir(world.path("start")).unwrap();
        for entry in fs_err::read_dir(start.path()).unwrap() {
            let path = entry.unwrap().path();
            fs_err::copy(&path, world.path("start").join(path.file_name().unwrap())).unwrap();
        }
        world.write("pipeline.yaml", pipeline);
        let mut seen = 0;
        for kills in 0..if killed { 6 } else { 0 } {
            seen = kill_once_it_trained(&world, seen, 7 + 5 * kills);
        }
        world.run_ok(&[]);
        let checkpoints = fs_err::read_dir(world.path("cache/checkpoints")).map_or(0, Iterator::count);
        assert_eq!(checkpoints, 0, "what is done needs no checkpoint");
        (world.read("pipeline.lock"), seen)
    };
    let (killed, seen) = world(true);
    assert!(seen > 0);
    assert_eq!(killed, world(false).0);
}

#[test]
fn the_models_of_epochs_are_outputs_and_what_is_left_of_a_killed_training_is_collected() {
    let world = World::empty();
    world.write("data.jsonl", &rows().repeat(4));
    let start = model_folder("tied");
    fs_err::create_dir(world.path("start")).unwrap();
    for entry in fs_err::read_dir(start.path()).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, world.path("start").join(path.file_name().unwrap())).unwrap();
    }
    let merge = "  both: {kind: merge, method: linear, base: sft.epoch1, models: [sft.epoch2], parameters: {t: 0.5}}\n";
    world.write("pipeline.yaml", &format!("{PIPELINE}{merge}"));
    let wrong = world.run(&["check"]);
    assert_eq!(wrong.code, 2, "without `save_strategy: epoch` there is no such output");
    assert!(wrong.stderr.contains("epoch1"), "{}", wrong.stderr);
    world.edit("epochs: 60", "epochs: 3\n    save_strategy: epoch");
    world.run_ok(&[]);
    let path = |node: &str| world.json(&["show", node, "--json"])["path"].as_str().unwrap().to_owned();
    let sft = path("sft");
    let weights = |folder: &str| fs_err::read(Path::new(&sft).join(folder).join("model.safetensors")).unwrap();
    assert!(weights("epoch1") != weights("epoch2") && weights("epoch2") != weights("model"));
    assert!(!Path::new(&sft).join("epoch3").exists(), "the last epoch is the model itself");
    // As a kill leaves it.
    let left = world.path("cache/checkpoints").join("0".repeat(64)).join("abc");
    fs_err::create_dir_all(left.join("step-000000001")).unwrap();
    assert_eq!(world.run(&["cache", "gc"]).code, 0);
    assert!(left.exists(), "somebody may still go on with it");
    assert_eq!(world.run(&["cache", "gc", "--older-than", "0s"]).code, 0);
    assert!(!left.exists());
}
