//! Writing with a model that stops at an exit: `luthflow generate --exit` and `exit:` of `kind: generate`, beside the model cut off there.

use std::path::Path;

use luthflow::tensor::{Declared, TensorWriter, model_tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tiny::{data_folder, model_folder, rows, run};
use crate::world::World;

/// The layers before the exit.
const EXIT: usize = 2;
const PROMPTS: [&str; 3] = ["Es", "der Hund und", "a"];

/// A world with a model of three layers in `model`, trained with exits, and one of two layers in `cut`: the same as far as it goes.
fn world() -> World {
    let world = World::empty();
    let (start, data, out) = (model_folder("untied"), data_folder(&rows()), TempDir::new().unwrap());
    let fields = json!({
        "model": "m", "data": ["d"], "sequence_len": 64, "learning_rate": 1e-2, "epochs": 6.0,
        "early_exit": {"layers": [1, EXIT], "head": "own"},
    });
    run(luthflow::spec::params::Kind::Sft, fields, &[("model", start.path()), ("data[0]", data.path())], out.path(), 2)
        .unwrap();
    for name in ["model", "cut"] {
        fs_err::create_dir(world.path(name)).unwrap();
        for entry in fs_err::read_dir(out.path().join("model")).unwrap() {
            let path = entry.unwrap().path();
            fs_err::copy(&path, world.path(name).join(path.file_name().unwrap())).unwrap();
        }
    }
    cut(&world.path("cut"));
    let lines: String = PROMPTS.iter().map(|prompt| json!({"text": prompt}).to_string() + "\n").collect();
    world.write("rows.jsonl", &lines);
    world
}

/// Makes of a model folder with exits that of a plain model that ends at one.
fn cut(folder: &Path) {
    let tensors = model_tensors(folder).unwrap();
    let beside = luthflow::tensor::TensorFile::open(&folder.join("early_exit.safetensors")).unwrap();
    let mut made = Vec::new();
    for name in tensors.names() {
        let layer =
            name.strip_prefix("model.layers.").map(|rest| rest.split('.').next().unwrap().parse::<usize>().unwrap());
        let at_exit = |what: &str| beside.get(&format!("early_exit.exits.{EXIT}.{what}.weight")).unwrap();
        let view = match name {
            _ if layer.is_some_and(|layer| layer >= EXIT) => continue,
            "model.norm.weight" => at_exit("norm"),
            "lm_head.weight" => at_exit("head"),
            _ => tensors.get(name).unwrap(),
        };
        let declared = Declared { name: name.to_owned(), dtype: view.dtype, shape: view.shape.to_vec() };
        made.push((declared, view.bytes.to_vec()));
    }
    fs_err::remove_file(folder.join("early_exit.json")).unwrap();
    let declared: Vec<Declared> = made.iter().map(|(declared, _)| declared.clone()).collect();
    let new = folder.join("new.safetensors");
    let mut writer = TensorWriter::create(&new, &declared).unwrap();
    for (declared, bytes) in &made {
        writer.write(&declared.name, bytes).unwrap();
    }
    writer.finish().unwrap();
    fs_err::rename(new, folder.join("model.safetensors")).unwrap();
    let file = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&fs_err::read_to_string(&file).unwrap()).unwrap();
    config["num_hidden_layers"] = json!(EXIT);
    if let Some(types) = config["layer_types"].as_array_mut() {
        types.truncate(EXIT);
    }
    fs_err::write(file, config.to_string()).unwrap();
}

#[test]
fn the_command_writes_what_the_model_cut_off_there_writes() {
    let world = world();
    let asked = |model: &str, more: &[&str]| {
        let mut args = vec!["generate", "--model", model, "--max-tokens", "20", "--temperature", "0", "--json"];
        args.extend(PROMPTS.iter().flat_map(|prompt| ["--prompt", prompt]));
        args.extend(more);
        let told = world.json(&args);
        told["answers"].as_array().unwrap().iter().map(|answer| answer["ids"].clone()).collect::<Vec<_>>()
    };
    let (at_exit, whole) = (asked("model", &["--exit", "2"]), asked("model", &[]));
    assert_eq!(at_exit, asked("cut", &[]));
    assert_ne!(at_exit, whole);
    assert_ne!(at_exit, asked("model", &["--exit", "1"]));
    assert_eq!(asked("model", &["--exit", "3"]), whole, "the last layer is the whole model");
    let wrong = |model: &str, exit: &str| {
        let ran = world.run(&["generate", "--model", model, "--prompt", "a", "--exit", exit]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        ran.stderr
    };
    let told = wrong("model", "7");
    assert!(told.contains("no exit after layer 7; there are exits after layer 1, after layer 2, and after"), "{told}");
    let told = wrong("cut", "1");
    assert!(told.contains("no exit after layer 1; it ends after layer 2, the last, and nowhere else"), "{told}");
    assert!(wrong("model", "0").contains("no exit after layer 0"));
}

/// The pipeline that asks a model about every row, with further settings of the node.
fn pipeline(world: &World, settings: &Value) {
    let mut asked = json!({
        "kind": "generate", "from": "rows", "model": "model", "prompt": "{{text}}", "into": "answer", "keep_unfinished": true,
        "params": {"temperature": 0, "max_tokens": 20},
    });
    asked.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let source = |what: &str, name: &str| json!({"kind": "source", what: name});
    let nodes = json!({
        "rows": source("dataset", "rows.jsonl"), "model": source("model", "model"), "cut": source("model", "cut"), "asked": asked,
    });
    world.write("pipeline.yaml", &json!({"version": 1, "nodes": nodes}).to_string());
}

#[test]
fn a_node_writes_what_the_model_cut_off_there_writes() {
    let world = world();
    let answers = |settings: &Value| -> Vec<Value> {
        pipeline(&world, settings);
        world.run_ok(&[]);
        let shown = world.json(&["show", "asked", "--json"]);
        let file = Path::new(shown["path"].as_str().unwrap()).join("rows/data.jsonl");
        let text = fs_err::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["answer"].clone()).collect()
    };
    // The whole model first: its answers stand in the store that the exits are asked beside.
    let whole = answers(&json!({}));
    let at_exit = answers(&json!({"exit": 2}));
    assert_eq!(at_exit, answers(&json!({"model": "cut"})));
    assert_ne!(at_exit, whole);
    assert_eq!(answers(&json!({"exit": "last"})), whole);
    // The last layer by its number: the store has all of it.
    pipeline(&world, &json!({"exit": 3}));
    let finished = world.run_ok(&[]);
    let event =
        finished.events.iter().find(|event| event["event"] == "node_finished" && event["node"] == "asked").unwrap();
    assert_eq!(event["measured"]["answers_computed"], json!(0.0), "{event}");
    // An exit that is not there, though the store has answers of the model.
    pipeline(&world, &json!({"exit": 7}));
    let ran = world.run(&["run"]);
    assert_eq!(ran.code, 1);
    let told = ran.stdout + &ran.stderr;
    assert!(
        told.contains("no exit after layer 7; there are exits after layer 1, after layer 2, and after layer 3"),
        "{told}"
    );
    for (settings, why) in [
        (json!({"exit": 0}), "no layer is run for exit 0"),
        (json!({"exit": "first"}), "a number of layers or `last`"),
        (
            json!({"exit": 1, "model": null, "endpoint": {"url": "http://localhost:1/v1", "model": "m"}}),
            "a server knows of no exits",
        ),
    ] {
        pipeline(&world, &settings);
        let ran = world.run(&["check"]);
        assert!(ran.code == 2 && ran.stderr.contains(why), "{settings}: {}", ran.stderr);
    }
}
