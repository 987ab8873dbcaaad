//! What a training, an eval and a report make of exits and branches, and who refuses them.

use std::path::Path;

use luthflow::generate::{Generator, Options, Sampling, Silent, TemplateSettings};
use luthflow::model::{CausalLm, DeviceChoice, EarlyExit, Packed};
use luthflow::ops::{OpError, Outcome};
use luthflow::spec::params::{EvalParams, Kind, SftParams};
use luthflow::tensor::model_tensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::early_exit::bits;
use crate::tiny::{data_folder, model_folder, rows, run};
use crate::world::World;

fn sft(fields: &Value, model: &Path, out: &Path, threads: usize) -> Result<Outcome, OpError> {
    let mut all = json!({"model": "m", "data": ["d"], "sequence_len": 64, "learning_rate": 1e-2, "epochs": 4.0});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let data = data_folder(&rows());
    run(Kind::Sft, all, &[("model", model), ("data[0]", data.path())], out, threads)
}

fn log(out: &Path) -> Vec<Value> {
    let text = fs_err::read_to_string(out.join("log/loss.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_training_starts_from_the_function_of_the_model_and_teaches_every_exit() {
    let start = model_folder("untied");
    for exits in [
        json!({"layers": [1, 2]}),
        json!({"layers": [2], "weights": [0.5], "head": "own", "branches": {"layers": [1, 3], "factor": 2}}),
    ] {
        let out = TempDir::new().unwrap();
        let trained = sft(&json!({"early_exit": exits, "val_set_size": 2}), start.path(), out.path(), 2).unwrap();
        let plain = TempDir::new().unwrap();
        sft(&json!({"val_set_size": 2}), start.path(), plain.path(), 2).unwrap();
        let (log, other) = (log(out.path()), log(plain.path()));
        assert_eq!(log[0]["loss"], other[0]["loss"], "the first step is that of the model alone: {exits}");
        for layer in exits["layers"].as_array().unwrap() {
            let loss = |line: &Value| line[format!("loss_exit_{layer}")].as_f64().unwrap();
            assert!(loss(log.last().unwrap()) < 0.8 * loss(&log[0]), "{exits}: {:?}", log.last());
            let metric = |name: &str| trained.metrics[&format!("{name}_exit_{layer}")];
            let tenth = log.len().div_ceil(10);
            let last = log[log.len() - tenth..].iter().map(loss).sum::<f64>() / tenth as f64;
            assert!((metric("final_loss") - last).abs() < 1e-12, "{last}");
            assert!(metric("eval_loss").is_finite());
        }
        let evaluations = fs_err::read_to_string(out.path().join("log/eval.jsonl")).unwrap();
        assert!(evaluations.lines().all(|line| line.contains("loss_exit_2")), "{evaluations}");
        // The folder is a model: as it is where there are no branches, and beside it stands the rest.
        let folder = out.path().join("model");
        let names = |dir: &Path| model_tensors(dir).unwrap().names().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(names(&folder), names(start.path()));
        let found = EarlyExit::beside(&folder).unwrap().unwrap();
        assert_eq!(json!(found.layers), exits["layers"]);
        // What was saved is what was trained, at every depth.
        let packed = Packed { ids: (0..40).map(|i| i * 7 % 256).collect(), lengths: vec![30, 10] };
        let whole = CausalLm::load_with_exits(&folder, &found, &vec![0.3; found.layers.len()]).unwrap();
        for (number, layer) in found.layers.iter().enumerate() {
            let at = CausalLm::load_at(&folder, Some(*layer)).unwrap().log_probs(&packed).unwrap();
            assert_eq!(bits(&whole.log_probs_at(&packed, Some(number)).unwrap()), bits(&at), "exit {layer}");
        }
        let [all, last] =
            [None, Some(3)].map(|exit| CausalLm::load_at(&folder, exit).unwrap().log_probs(&packed).unwrap());
        assert_eq!(bits(&whole.log_probs(&packed).unwrap()), bits(&all));
        assert_eq!(bits(&all), bits(&last));
        if found.has_branches() {
            fs_err::remove_file(folder.join("early_exit.json")).unwrap();
            let without = CausalLm::load(&folder).unwrap().log_probs(&packed).unwrap();
            assert_ne!(bits(&all), bits(&without), "branches belong to the model");
        }
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for name in ["model", "log"] {
        for entry in fs_err::read_dir(folder.join(name)).unwrap() {
            let path = entry.unwrap().path();
            found.push((path.strip_prefix(folder).unwrap().display().to_string(), fs_err::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn threads_and_computing_again_change_no_byte() {
    let start = model_folder("tied");
    let exits = json!({"layers": [1, 2], "head": "own", "branches": {"layers": [1, 2, 3], "factor": 3}});
    let give = |more: Value, threads| {
        let out = TempDir::new().unwrap();
        let mut fields = json!({"early_exit": exits, "gradient_accumulation_steps": 2});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sft(&fields, start.path(), out.path(), threads).unwrap();
        files(out.path())
    };
    let one = give(json!({}), 1);
    assert!(one.iter().any(|(name, _)| name == "model/early_exit.safetensors"));
    assert!(one == give(json!({}), 2), "threads");
    for again in [json!(true), json!("selective")] {
        assert!(one == give(json!({"gradient_checkpointing": again}), 2), "computing again, {again}");
    }
}

#[test]
fn a_model_with_exits_is_trained_on_or_they_are_left_out() {
    let start = model_folder("tied");
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let exits = json!({"layers": [1], "branches": {"layers": [2], "factor": 2}});
    sft(&json!({"early_exit": exits}), start.path(), first.path(), 2).unwrap();
    let model = first.path().join("model");
    // The same ones go on where they were.
    sft(&json!({"early_exit": exits}), &model, second.path(), 2).unwrap();
    let loss = |out: &TempDir, step: usize| log(out.path())[step]["loss_exit_1"].as_f64().unwrap();
    assert!(loss(&second, 0) < loss(&first, 0));
    // Others are refused.
    let other = json!({"early_exit": {"layers": [2], "branches": {"layers": [2], "factor": 2}}});
    let error = sft(&other, &model, TempDir::new().unwrap().path(), 2).unwrap_err();
    assert!(error.chain().iter().any(|why| why.contains("other exits or branches already")), "{error:?}");
    // Without the setting the branches, which belong to the model, are trained, and the exits go.
    let third = TempDir::new().unwrap();
    sft(&json!({}), &model, third.path(), 2).unwrap();
    let left = EarlyExit::beside(&third.path().join("model")).unwrap().unwrap();
    assert_eq!((left.layers.as_slice(), left.has_branches()), (&[][..], true));
    assert!(CausalLm::load(&third.path().join("model")).is_ok());
    // An exit that there cannot be.
    let error =
        sft(&json!({"early_exit": {"layers": [3]}}), start.path(), TempDir::new().unwrap().path(), 2).unwrap_err();
    assert!(error.chain().iter().any(|why| why.contains("3 layers")), "{error:?}");
}

#[test]
fn what_sees_the_layers_alone_refuses_branches_and_leaves_exits_out() {
    let start = model_folder("tied");
    for (exits, refused) in
        [(json!({"layers": [1]}), false), (json!({"layers": [1], "branches": {"layers": [2], "factor": 2}}), true)]
    {
        let out = TempDir::new().unwrap();
        sft(&json!({"early_exit": exits}), start.path(), out.path(), 2).unwrap();
        let model = out.path().join("model");
        let lora = json!({"lora": {"r": 2}, "max_steps": 1});
        let given = TempDir::new().unwrap();
        let merge = json!({"method": "linear", "base": "a", "models": ["b"], "parameters": {"t": 0.5}});
        let merged = run(Kind::Merge, merge, &[("base", &model), ("models[0]", start.path())], given.path(), 2);
        let export = json!({"model": "m", "format": "gguf", "type": "f16"});
        let gguf = run(Kind::Export, export, &[("model", &model)], TempDir::new().unwrap().path(), 2);
        let adapted = sft(&lora, &model, TempDir::new().unwrap().path(), 2);
        for (what, result) in [("a merge", merged), ("a GGUF file", gguf), ("an adapter", adapted)] {
            match result {
                Ok(_) => assert!(!refused, "{what} went on without the branches"),
                Err(error) => {
                    assert!(refused, "{what}: {error:?}");
                    let told = error.to_string();
                    assert!(told.contains("has branches") && told.contains(what), "{told}");
                    assert!(error.way_out().unwrap().contains("early_exit.branches"), "{error:?}");
                }
            }
        }
        assert!(refused || !given.path().join("early_exit.json").exists());
    }
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    let told = |exits: Value, more: Value| {
        let mut fields = json!({"model": "m", "data": ["d"], "early_exit": exits});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let params: SftParams = serde_json::from_value(fields).unwrap();
        let mistakes = luthflow::spec::params::Params::check(&params);
        mistakes.into_iter().map(|mistake| format!("{}: {}", mistake.field, mistake.message)).collect::<Vec<_>>()
    };
    assert_eq!(told(json!({"layers": [1, 3]}), json!({})), [""; 0]);
    for (exits, more, word) in [
        (json!({"layers": []}), json!({}), "early_exit.layers: names no layer"),
        (json!({"layers": [0]}), json!({}), "from 1"),
        (json!({"layers": [2, 1]}), json!({}), "greater than the one before"),
        (json!({"layers": [1], "weights": [0.1, 0.2]}), json!({}), "2 weights do not fit 1 exits"),
        (json!({"layers": [1], "weights": 0}), json!({}), "0 is not above 0"),
        (json!({"layers": [1], "branches": {"layers": [1], "factor": 1}}), json!({}), "between 2 and"),
        (json!({"layers": [1], "branches": {"layers": []}}), json!({}), "branches.layers: names no layer"),
        (json!({"layers": [1]}), json!({"lora": {}}), "cannot stand beside `lora`"),
        (json!({"layers": [1]}), json!({"dpo": {}}), "cannot stand beside `dpo`"),
    ] {
        let told = told(exits.clone(), more);
        assert!(told.len() == 1 && told[0].contains(word), "{exits}: {told:?}");
    }
    let eval = |exit: Value| serde_json::from_value::<EvalParams>(json!({"model": "m", "tasks": [], "exit": exit}));
    for (exit, sound) in [(json!(3), true), (json!("last"), true), (json!("first"), false), (json!(-1), false)] {
        assert_eq!(eval(exit.clone()).is_ok(), sound, "{exit}");
    }
    let named = |exit: Value| {
        let tasks = json!([{"bits_per_byte": {"name": "compute", "data": "d"}}]);
        let params: EvalParams = serde_json::from_value(json!({"model": "m", "tasks": tasks, "exit": exit})).unwrap();
        luthflow::spec::params::Params::check(&params).len()
    };
    assert_eq!((named(json!(null)), named(json!(1)), named(json!(0))), (0, 1, 2), "the name of what a token costs");
    // Nothing of it is in the keys of those who do not use it.
    let plain: SftParams = serde_json::from_value(json!({"model": "m", "data": ["d"]})).unwrap();
    assert!(!serde_json::to_string(&plain).unwrap().contains("early_exit"));
    let plain: EvalParams = serde_json::from_value(json!({"model": "m", "tasks": []})).unwrap();
    assert!(!serde_json::to_string(&plain).unwrap().contains("exit"));
}

/// The example: a training with exits and branches, its exits as an axis, and the curve in the report.
#[test]
fn the_example_draws_quality_against_depth() {
    let world = World::empty();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs_err::read_to_string(root.join("examples/early-exit/pipeline.yaml")).unwrap();
    world.write("examples/early-exit/pipeline.yaml", &text);
    fs_err::create_dir_all(world.path("pipelines")).unwrap();
    std::os::unix::fs::symlink(root.join("pipelines/data"), world.path("pipelines/data")).unwrap();
    let file = "examples/early-exit/pipeline.yaml";
    world.run_ok(&[file]);
    let show = |node: &str| world.json(&["show", file, node, "--json"]);
    let metric = |exit: usize, name: &str| show(&format!("scores[exit={exit}]"))["metrics"][name].as_f64().unwrap();
    let all = [1, 2, 4].map(|exit| [metric(exit, "compute.share"), metric(exit, "compute.flops_per_token")]);
    assert!(all[0][0] < all[1][0] && all[1][0] < all[2][0] && (all[2][0] - 1.0).abs() < 1e-12, "{all:?}");
    assert!((all[0][1] / all[2][1] - all[0][0]).abs() < 1e-12, "{all:?}");
    let bits = [1, 2, 4].map(|exit| metric(exit, "en.bits_per_byte"));
    assert!(bits.iter().all(|bits| *bits > 1.0 && *bits < 8.0), "{bits:?}");
    let report = show("report")["path"].as_str().unwrap().to_owned();
    let page = fs_err::read_to_string(Path::new(&report).join("report.html")).unwrap();
    assert!(page.contains("en (bits per byte, lower is better) over exit"), "the curve is missing");
    assert!(page.contains("compute share ("), "what it costs is missing");
    // Fewer depths are no new work but the report.
    let fewer = world.run_ok(&[file, "--sweep", "exit=1,4"]);
    assert_eq!(fewer.ran, ["report"]);
    // Who gets the model is told what belongs to it.
    assert_eq!(world.run(&["export", "-p", file, "sft", "out"]).code, 0);
    let card = world.read("out/README.md");
    assert!(card.contains("heads behind layers 1, 2") && card.contains("beside layers 1, 3"), "{card}");
    assert!(card.contains("only luthflow runs them"), "{card}");
    // An exit that nobody trained.
    let wrong = world.run(&["run", "--sweep", "exit=3", file]);
    assert_ne!(wrong.code, 0);
    assert!(wrong.stderr.contains("no exit after layer 3"), "{}", wrong.stderr);
}

/// Likelihoods and written answers of a task, at an exit and at the end: asked and kept apart.
#[test]
fn tasks_are_asked_at_an_exit() {
    let start = model_folder("tied");
    let trained = TempDir::new().unwrap();
    sft(&json!({"early_exit": {"layers": [1]}}), start.path(), trained.path(), 2).unwrap();
    let world = World::empty();
    fs_err::create_dir_all(world.path("model")).unwrap();
    for entry in fs_err::read_dir(trained.path().join("model")).unwrap() {
        let path = entry.unwrap().path();
        fs_err::copy(&path, world.path("model").join(path.file_name().unwrap())).unwrap();
    }
    let rows: Vec<String> = (0..6).map(|i| format!("{{\"q\": \"{i} und\", \"a\": \"{i}\"}}\n")).collect();
    world.write("rows.jsonl", &rows.concat());
    world.write(
        "pipeline.yaml",
        "version: 1\nsweep: {exit: [1, last]}\nnodes:\n  rows: {kind: source, dataset: rows.jsonl}\n  \
         model: {kind: source, model: model}\n  scores:\n    kind: eval\n    model: model\n    exit: ${exit}\n    \
         chat_template: false\n    max_length: 128\n    tasks:\n      - words:\n          data: rows\n          define:\n            \
         task: words\n            prompt: '{{q}}'\n            request: {generate: {gold: a, max_tokens: 6}}\n            \
         metrics: [em]\n      - likely:\n          data: rows\n          define:\n            task: likely\n            \
         prompt: '{{q}}'\n            request: {choices: {list: \"['a', 'b']\", gold: '0'}}\n            metrics: [acc]\n",
    );
    world.run_ok(&[]);
    let samples = |exit: &str, task: &str| -> Vec<Value> {
        let shown = world.json(&["show", &format!("scores[exit={exit}]"), "--json"]);
        let path = Path::new(shown["path"].as_str().unwrap()).join(format!("samples/{task}.jsonl"));
        fs_err::read_to_string(&path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for task in ["words", "likely"] {
        assert_ne!(
            samples("1", task),
            samples("last", task),
            "{task}: the store told one exit's answers for the other"
        );
    }
    // Each answers what its layers answer.
    for (name, exit) in [("1", Some(1)), ("last", None)] {
        let settings = TemplateSettings::default();
        let model = Generator::load_at(&world.path("model"), &settings, DeviceChoice::Cpu, exit).unwrap();
        let whole = CausalLm::load_at(&world.path("model"), exit).unwrap();
        let options = Options { sampling: Sampling::greedy(), max_tokens: 6, stop: Vec::new(), seed: 0, batch: 1 };
        for (row, (words, likely)) in samples(name, "words").iter().zip(&samples(name, "likely")).enumerate() {
            let prompt = model.text_prompt(&format!("{row} und")).unwrap();
            let answers = model.run(std::slice::from_ref(&prompt), &options, &mut Silent).unwrap();
            assert_eq!(words["answers"][0]["text"], json!(answers[0].text), "{name}: {words}");
            let ids = [&prompt[..], &[u32::from(b' '), u32::from(b'a')]].concat();
            let scores = whole.log_probs(&Packed { lengths: vec![ids.len()], ids: ids.clone() }).unwrap();
            let sum: f64 = scores[ids.len() - 2..].iter().map(|score| f64::from(*score)).sum();
            let told = likely["choices"][0]["sum"].as_f64().unwrap();
            assert!((sum - told).abs() <= 1e-4, "{name}: {sum} {likely}");
        }
    }
}
