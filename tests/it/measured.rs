//! Steps that ask a model about rows, beside transformers and numpy (`fixtures/measured/make.py`): how likely a text is, and which
//! texts mean the same.

use serde_json::{Value, json};

use crate::tiny::model_folder;
use crate::world::World;

fn fixture(name: &str) -> String {
    fs_err::read_to_string(format!("{}/tests/fixtures/measured/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The golden rows and the tiny model, with one step.
fn world(step: &str) -> World {
    let world = World::empty();
    let model = model_folder("tied");
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        world.write(&format!("model/{name}"), "");
        fs_err::copy(model.path().join(name), world.path("model").join(name)).unwrap();
    }
    world.write("rows.jsonl", &fixture("rows.jsonl"));
    world.write(
        "pipeline.yaml",
        &format!(
            "version: 1\nnodes:\n  model: {{kind: source, model: model}}\n  rows: {{kind: source, dataset: rows.jsonl}}\n  \
             set: {{kind: curate, from: [rows], columns: [id, bits_per_byte, flags], steps: [{step}]}}\n"
        ),
    );
    world
}

fn rows(world: &World) -> Vec<Value> {
    let shown = world.run(&["data", "head", "set", "-n", "1000", "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    shown.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn perplexity_is_that_of_transformers() {
    let world = world("perplexity: {model: model, max_length: 128}");
    world.run_ok(&[]);
    let expected: Value = serde_json::from_str(&fixture("expected.json")).unwrap();
    let wanted: Vec<f64> = serde_json::from_value(expected["bits"].clone()).unwrap();
    let found = rows(&world);
    assert_eq!(found.len(), wanted.len());
    for (row, wanted) in found.iter().zip(wanted) {
        let bits = row["bits_per_byte"].as_f64().unwrap();
        assert!((bits - wanted).abs() < 1e-4, "{row}: {wanted}");
    }
}

/// The rows that SemDeDup's rule drops, and how much each is like one that stays.
fn gone(settings: &str) -> (Vec<u64>, World) {
    let world = world(&format!("dedup_semantic: {{model: model, max_length: 200, keep: [longest, first]{settings}}}"));
    world.run_ok(&[]);
    let left: Vec<u64> = rows(&world).iter().map(|row| row["id"].as_u64().unwrap()).collect();
    let all = fixture("rows.jsonl").lines().count() as u64;
    ((0..all).filter(|id| !left.contains(id)).collect(), world)
}

#[test]
fn rows_that_mean_the_same_are_those_of_transformers_and_numpy() {
    let expected: Value = serde_json::from_str(&fixture("expected.json")).unwrap();
    let semantic = &expected["semantic"];
    let threshold = semantic["threshold"].as_f64().unwrap();
    let wanted: Vec<(u64, u64, f64)> = serde_json::from_value(semantic["gone"].clone()).unwrap();
    let ids: Vec<u64> = wanted.iter().map(|(row, ..)| *row).collect();
    let (found, all) = gone(&format!(", threshold: {threshold}"));
    assert_eq!(found, ids);
    // The cosines that are shown are numpy's.
    let flagged = world(&format!(
        "dedup_semantic: {{model: model, max_length: 200, keep: [longest, first], threshold: {threshold}, mode: flag}}"
    ));
    let stats = stats_of(&flagged);
    let step = &stats["steps"][0];
    assert_eq!(step["figures"], json!({"clusters": 1, "rows_alike": ids.len(), "rows_without_tokens": 0}));
    let dropped = step["dropped"].as_array().unwrap();
    assert_eq!(dropped.len(), 5);
    for sample in dropped {
        let reason = sample["reason"].as_str().unwrap();
        let cosine: f64 = reason.split("cosine ").nth(1).unwrap().trim_end_matches(')').parse().unwrap();
        let number = sample["row"].as_u64().unwrap() - 1;
        let (.., wanted) = wanted.iter().find(|(row, ..)| *row == number).unwrap();
        assert!((cosine - wanted).abs() < 2e-4, "{reason}: {wanted}");
    }
    // One cluster for all is no other rule than none; many clusters find some of the pairs and no others.
    assert_eq!(gone(&format!(", threshold: {threshold}, exact_rows: 1, clusters: 1")).0, ids);
    let (some, _) = gone(&format!(", threshold: {threshold}, exact_rows: 1, clusters: 6, seed: 4"));
    assert!(some.len() > ids.len() / 2 && some.iter().all(|row| ids.contains(row)), "{some:?}");
    assert!(all.run_ok(&[]).ran.is_empty(), "it is in the cache");
}

/// Runs a pipeline and returns the receipt of `set`.
fn stats_of(world: &World) -> Value {
    world.run_ok(&[]);
    let shown = world.json(&["show", "set", "--json"]);
    let text = shown.to_string();
    let folder = shown["path"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned();
    serde_json::from_str(&fs_err::read_to_string(format!("{folder}/stats.json")).unwrap()).unwrap()
}

#[test]
fn settings_that_make_no_sense_are_mistakes() {
    for (settings, wrong) in [
        ("threshold: 0", "a likeness is above 0"),
        ("max_length: 1", "2 or more"),
        ("clusters: 0", "at least one cluster"),
        ("keep: [datatrove]", "is a rule of `dedup_fuzzy`"),
        ("keep: [score], score: \"1 +\"", "cannot be read"),
    ] {
        let said = world(&format!("dedup_semantic: {{model: model, {settings}}}")).run(&["check"]).stderr;
        assert!(said.contains(wrong), "{settings}: {said}");
    }
}
