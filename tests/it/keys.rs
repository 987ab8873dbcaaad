//! Keys decide whether days of work are done again, so that they may not move by accident.

use std::collections::BTreeMap;

use luthflow::digest::{Digest, value_digest};
use luthflow::plan::{InputPart, Instance, KeyParts, Plan, resolve};
use luthflow::spec::{Overrides, parse};

use crate::world::{NODES, PIPELINE, World};

fn plan(text: &str) -> Plan {
    let parsed = parse(text, "keys", &Overrides::default());
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    resolve(&parsed.pipeline.unwrap()).unwrap()
}

/// The key of an instance whose every input has the content `1111…`.
fn key(plan: &Plan, instance: &Instance) -> String {
    let digest: Digest = "1".repeat(64).parse().unwrap();
    let mut inputs: BTreeMap<String, Vec<InputPart>> = BTreeMap::new();
    for slot in &instance.slots {
        let part = |from: &luthflow::plan::Artifacts| InputPart {
            digest,
            name: slot.gathers.then(|| plan.instance(from.from).name.clone()),
        };
        inputs.insert(slot.name.clone(), slot.artifacts.iter().map(part).collect());
    }
    KeyParts::new(instance, inputs).key().hex()
}

fn key_of(plan: &Plan, name: &str) -> String {
    key(plan, plan.instances().iter().find(|instance| instance.name == name).unwrap())
}

/// One instance of every kind. These may change only when a kind's `VERSION` was raised, or a setting was added that means
/// something new even where it is left out: every user's cache of that kind is then worth nothing, and the changelog says
/// so. If a key changed and neither was meant, the change is wrong, not the test.
#[test]
fn golden_keys_of_every_kind() {
    let plan = plan(PIPELINE);
    let keys: Vec<String> = ["chats", "english", "bpe", "seedling", "base", "merged[t=0.25]", "scores_base", "report"]
        .into_iter()
        .map(|name| format!("{name} {}", key_of(&plan, name)))
        .collect();
    insta::assert_snapshot!("golden_keys", keys.join("\n"));
}

/// The same through the program: sources, and what is made from them without floating point.
#[test]
fn golden_keys_as_the_program_shows_them() {
    let world = World::new();
    world.run_ok(&["pipeline.yaml", "bpe", "chats", "pairs"]);
    let mut keys = Vec::new();
    for name in ["text_en", "text_fr", "chats", "pairs", "english", "french", "bpe"] {
        let show = world.json(&["show", name, "--json"]);
        let explain = world.json(&["explain", name, "--json"]);
        let key = show["key"].as_str().unwrap();
        assert_eq!(value_digest(&explain["key_parts"]).hex(), key, "the key is the digest of what `explain` shows");
        keys.push(format!("{name} {key} {}", show["artifact"].as_str().unwrap()));
    }
    insta::assert_snapshot!("golden_keys_shown", keys.join("\n"));
}

#[test]
fn what_things_are_called_changes_no_key() {
    let (first, second) = (
        plan(PIPELINE),
        plan(
            &PIPELINE
                .replace("english", "anglais")
                .replace("bpe", "pieces")
                .replace("rate: 2.0e-3", "pace: 2.0e-3")
                .replace("${rate}", "${pace}")
                .replace("name: tiny", "name: small"),
        ),
    );
    assert_eq!(first.instances().len(), second.instances().len());
    for (first_instance, second_instance) in first.instances().iter().zip(second.instances()) {
        assert_eq!(key(&first, first_instance), key(&second, second_instance), "{}", first_instance.name);
    }
}

#[test]
fn the_order_of_fields_changes_no_key_and_that_of_lists_does() {
    let first = plan(PIPELINE);
    let fields = plan(&PIPELINE.replace(
        "{kind: merge, method: slerp, base: base, models: [sft], parameters: {t: \"${t}\"}}",
        "{parameters: {t: \"${t}\"}, models: [sft], base: base, method: slerp, kind: merge}",
    ));
    assert_eq!(key_of(&first, "merged[t=0.25]"), key_of(&fields, "merged[t=0.25]"));
    let steps = plan(&PIPELINE.replace(
        "      - normalize: {form: nfc}\n      - length: {min_chars: 10}\n",
        "      - length: {min_chars: 10}\n      - normalize: {form: nfc}\n",
    ));
    assert_ne!(key_of(&first, "english"), key_of(&steps, "english"));
    let tasks = plan(&PIPELINE.replace(
        "      - bits_per_byte: {name: fr, data: french.eval}\n      - minimal_pairs: {name: pairs, data: pairs}\n",
        "      - minimal_pairs: {name: pairs, data: pairs}\n      - bits_per_byte: {name: fr, data: french.eval}\n",
    ));
    assert_ne!(key_of(&first, "scores[t=0.25]"), key_of(&tasks, "scores[t=0.25]"));
}

#[test]
fn every_setting_changes_its_key() {
    let first = plan(PIPELINE);
    for (node, from, to) in [
        ("chats", "data/chats.jsonl}", "data/chats.jsonl, format: jsonl}"),
        ("english", "min_chars: 10", "min_chars: 11"),
        ("bpe", "vocab_size: 320", "vocab_size: 321"),
        ("seedling", "hidden_size: 32", "hidden_size: 34"),
        ("base", "max_steps: 4", "max_steps: 5"),
        ("merged[t=0.25]", "method: slerp", "method: linear"),
        ("scores_base", "max_length: 64, tasks: [{", "max_length: 65, tasks: [{"),
        ("report", "curves: [base.log, sft.log]", "title: x, curves: [base.log, sft.log]"),
    ] {
        let text = PIPELINE.replacen(from, to, 1);
        assert_ne!(text, PIPELINE, "{from}");
        assert_ne!(key_of(&first, node), key_of(&plan(&text), node), "{to}");
    }
    let defaults = plan(&PIPELINE.replace("vocab_size: 320", "vocab_size: 320, min_frequency: 2"));
    assert_eq!(key_of(&first, "bpe"), key_of(&defaults, "bpe"), "a default that is written out is the default");
}

/// fastText's labels are made by the second reader. Its number stands in the keys of what reads a model, and in no other.
#[test]
fn a_new_reader_of_models_changes_the_keys_of_its_nodes_alone() {
    let config = |detector: &str| {
        let plan = plan(&format!(
            "version: 1\nnodes:\n  m: {{kind: source, model: lid}}\n  rows: {{kind: source, dataset: a.txt, rows: line}}\n  \
             kept: {{kind: curate, from: [rows], steps: [{{language: {{keep: [fr]{detector}}}}}]}}\n"
        ));
        let kept = plan.instances().iter().find(|instance| instance.name == "kept").unwrap();
        let parts = KeyParts::new(kept, BTreeMap::new());
        (parts.version, parts.config["steps"].to_string())
    };
    assert_eq!(config(""), (2, r#"[{"language":{"keep":["fr"]}}]"#.to_owned()));
    assert_eq!(config(", detector: lingua"), (2, r#"[{"language":{"keep":["fr"],"detector":"lingua"}}]"#.to_owned()));
    let wanted = r#"[{"language":{"keep":["fr"],"detector":"fasttext/2"}}]"#;
    assert_eq!(config(", detector: fasttext, model: m"), (2, wanted.to_owned()));
}

/// A classifier is known by its content, and labels by their names: their order is nobody's choice.
#[test]
fn a_classifier_stands_in_keys_by_its_labels() {
    let config = |step: &str| {
        let plan = plan(&format!(
            "version: 1\nnodes:\n  m: {{kind: source, model: hq}}\n  rows: {{kind: source, dataset: a.txt, rows: line}}\n  \
             kept: {{kind: curate, from: [rows], steps: [{{classify: {{model: m, {step}}}}}]}}\n"
        ));
        let kept = plan.instances().iter().find(|instance| instance.name == "kept").unwrap();
        let parts = KeyParts::new(kept, BTreeMap::new());
        (parts.version, parts.config["steps"].to_string())
    };
    let wanted = r#"[{"classify":{"keep":{"hq":0.5,"math":0.9}}}]"#;
    assert_eq!(config("keep: {math: 0.9, hq: 0.5}, line_end: space, mode: drop"), (2, wanted.to_owned()));
    let wanted = r#"[{"classify":{"remove":{"spam":1.0},"roles":["assistant"],"line_end":"nothing","column":"spam","mode":"flag"}}]"#;
    let step = "remove: {spam: 1}, mode: flag, column: spam, line_end: nothing, roles: [assistant]";
    assert_eq!(config(step), (2, wanted.to_owned()));
}

/// The same, by what runs.
#[test]
fn names_and_places_run_nothing_again() {
    let world = World::new();
    world.run_ok(&[]);
    // Another folder, another file name, the same cache.
    let moved = World::new();
    let cache = world.path("cache");
    std::fs::rename(moved.path("pipeline.yaml"), moved.path("other.yaml")).unwrap();
    let there = moved.run_ok(&["other.yaml", "--cache-dir", cache.to_str().unwrap()]);
    assert_eq!((there.ran.len(), there.fresh.len()), (0, NODES.len()), "{:?}", there.ran);
    // Other names.
    let text = world.read("pipeline.yaml").replace("english", "anglais").replace("seedling", "seed_model");
    world.write("pipeline.yaml", &text);
    assert_eq!(world.run_ok(&[]).ran, Vec::<String>::new());
    // The names of models stand in the report, and only there.
    world.write("pipeline.yaml", &text.replace("merged", "mixed"));
    assert_eq!(world.run_ok(&[]).ran, ["report"]);
    // The order of the data is part of the training.
    world.write("pipeline.yaml", &text.replace("[french.train, chats]", "[chats, french.train]"));
    let swapped = world.run_ok(&[]);
    assert!(swapped.ran.contains(&"sft".to_owned()) && !swapped.ran.contains(&"base".to_owned()), "{:?}", swapped.ran);
}
