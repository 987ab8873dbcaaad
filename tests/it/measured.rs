//! Steps that ask a model about rows, beside transformers and numpy: how likely a text is, and which texts mean the same. By a
//! tiny model (`fixtures/measured/make.py`), and by a real one over real texts (`real.py` there).

use luthflow::spec::params::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::{Ran, inputs, run};
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
    world.write("others.jsonl", &others());
    world.write(
        "pipeline.yaml",
        &format!(
            "version: 1\nnodes:\n  model: {{kind: source, model: model}}\n  rows: {{kind: source, dataset: rows.jsonl}}\n  \
             others: {{kind: source, dataset: others.jsonl}}\n  set: {{kind: curate, from: [rows], columns: [id, bits_per_byte, flags], steps: [{step}]}}\n"
        ),
    );
    world
}

/// The first two rows again, in another column, and one that is like none.
fn others() -> String {
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].clone();
    let first = fixture("rows.jsonl").lines().take(2).map(text).collect::<Vec<_>>();
    let rows = first.into_iter().chain([json!("☂")]);
    rows.map(|text| json!({"question": text}).to_string() + "\n").collect()
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
        ("key: prompt, template: \"{{text}}\"", "leave `key` out"),
        ("template: \" \"", "nothing in it to compare"),
        ("template: \"{{text\"", "`{{text` cannot be read"),
        ("template: \"{{text | shout}}\"", "shout"),
        ("against: [nobody]", "nobody"),
    ] {
        let said = world(&format!("dedup_semantic: {{model: model, {settings}}}")).run(&["check"]).stderr;
        assert!(said.contains(wrong), "{settings}: {said}");
    }
}

#[test]
fn a_mistake_in_a_template_is_told_with_its_place() {
    let world = world("dedup_semantic: {model: model,\n      template: \"{{text\"}");
    let said = world.run(&["check"]).stderr;
    assert!(said.contains("pipeline.yaml:7:17"), "{said}");
}

/// What a template reads, and rows of another set that is in no other form.
const READS: &str = "template: \"{{question if question is defined else text}}\"";

#[test]
fn rows_like_one_of_another_set_go_and_are_reported() {
    // Row 63 says what row 0 says.
    let with = |more: &str| {
        format!(
            "dedup_semantic: {{model: model, max_length: 200, threshold: 0.99999, {READS}, against: [others]{more}}}"
        )
    };
    let dropping = world(&with(""));
    let stats = stats_of(&dropping);
    let left: Vec<u64> = rows(&dropping).iter().map(|row| row["id"].as_u64().unwrap()).collect();
    let figures = &stats["steps"][0]["figures"];
    let nearest = figures["nearest"].as_array().unwrap();
    let wanted = json!({"against[0]": {"rows": 3, "rows_found": 2, "rows_alike": nearest.len()}});
    assert_eq!(figures["against"], wanted);
    let hits: Vec<(u64, u64)> =
        nearest.iter().map(|hit| (hit["row"].as_u64().unwrap(), hit["against_row"].as_u64().unwrap())).collect();
    assert!([(1, 1), (2, 2), (64, 1)].iter().all(|hit| hits.contains(hit)), "{hits:?}");
    assert!(hits.iter().all(|(row, _)| !left.contains(&(row - 1))), "{hits:?} {left:?}");
    let same = nearest.iter().filter(|hit| hit["text"] == hit["against_text"]);
    assert_eq!(same.filter(|hit| hit["cosine"] == 1.0).count(), 3, "{figures}");
    assert_eq!(
        stats["steps"][0]["dropped"][0]["reason"],
        "means nearly the same as row 1 of against[0] (cosine 1.0000)"
    );
    // Rows of the other set are not compared with each other, and stay out of what is written.
    assert!(stats["rows_out"] == left.len() && left.iter().all(|id| *id < 64));
    // Flagged, the report is the same.
    assert_eq!(stats_of(&world(&with(", mode: flag")))["steps"][0]["figures"], *figures);
    // Clusters that are found with the rows of the other set among them.
    let clustered = stats_of(&world(&with(", exact_rows: 1, clusters: 4")));
    assert_eq!(clustered["steps"][0]["figures"]["against"], figures["against"]);
}

#[test]
fn a_template_that_finds_no_column_names_the_row() {
    let fails = |settings: &str| {
        let ran = world(&format!("dedup_semantic: {{model: model, max_length: 200, {settings}}}")).run(&["run"]);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        // Terminals break lines where they like.
        ran.stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    };
    let said = fails("template: \"{{title}}\"");
    assert!(said.contains("rows.jsonl, line 1") && said.contains("`id`, `text`"), "{said}");
    let said = fails("template: \"{{text}}\", against: [others]");
    assert!(said.contains("others.jsonl, line 1") && said.contains("`question`"), "{said}");
    let said = fails("against: [others]");
    assert!(said.contains("others.jsonl, line 1"), "{said}");
}

/// What is left of real texts by a model, with what is told about them.
fn by_real_model(model: &std::path::Path, settings: &Value) -> Ran {
    let [rows, others] = ["real_rows.jsonl", "real_against.jsonl"].map(|name| {
        let folder = TempDir::new().unwrap();
        fs_err::write(folder.path().join("data.jsonl"), fixture(name)).unwrap();
        folder
    });
    let mut slots = vec![("from[0]", "", rows.path()), ("steps[0].dedup_semantic.model", "", model)];
    if settings.get("against").is_some() {
        slots.push(("steps[0].dedup_semantic.against[0]", "", others.path()));
    }
    let params = json!({"from": ["rows"], "steps": [{"dedup_semantic": settings}], "columns": ["id"]});
    run(Kind::Curate, params, &inputs(&slots)).unwrap()
}

#[test]
fn a_real_model_finds_alike_what_transformers_and_numpy_find() {
    let Some(model) = crate::real::model() else { return };
    let expected: Value = serde_json::from_str(&fixture("real_expected.json")).unwrap();
    for (name, more) in [
        ("plain", json!({})),
        ("against", json!({"template": "{{titre}} : {{text}}", "against": ["others"]})),
        ("plain", json!({"exact_rows": 1, "clusters": 1})),
    ] {
        let wanted: Vec<(u64, u64, u64, f64)> = serde_json::from_value(expected[name]["gone"].clone()).unwrap();
        let mut settings = json!({
            "model": "model", "max_length": expected["max_length"], "keep": ["longest", "first"],
            "threshold": expected[name]["threshold"],
        });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let ran = by_real_model(model, &settings);
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap();
        let left: Vec<u64> = ran.read("rows/data.jsonl").lines().map(id).collect();
        let gone: Vec<u64> =
            (0..fixture("real_rows.jsonl").lines().count() as u64).filter(|row| !left.contains(row)).collect();
        assert_eq!(gone, wanted.iter().map(|(row, ..)| *row).collect::<Vec<_>>(), "{name}");
        let stats: Value = serde_json::from_str(&ran.read("stats.json")).unwrap();
        let cosine_of = |row: u64| wanted.iter().find(|(wanted, ..)| *wanted == row).unwrap();
        for sample in stats["steps"][0]["dropped"].as_array().unwrap() {
            let reason = sample["reason"].as_str().unwrap();
            let (_, other, like, cosine) = cosine_of(sample["row"].as_u64().unwrap() - 1);
            let place = if *other == 1 { "against[0]" } else { "from[0]" };
            assert!(reason.contains(&format!("row {} of {place} ", like + 1)), "{name}: {reason}");
            let said: f64 = reason.split("cosine ").nth(1).unwrap().trim_end_matches(')').parse().unwrap();
            assert!((said - cosine).abs() < 1e-3, "{name}: {reason}, {cosine}");
        }
        let nearest = stats["steps"][0]["figures"]["nearest"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(nearest.len(), wanted.iter().filter(|(_, other, ..)| *other == 1).count());
        for hit in nearest {
            let (.., like, cosine) = cosine_of(hit["row"].as_u64().unwrap() - 1);
            assert_eq!(hit["against_row"].as_u64(), Some(like + 1));
            assert!((hit["cosine"].as_f64().unwrap() - cosine).abs() < 1e-3, "{hit}: {cosine}");
        }
    }
}
