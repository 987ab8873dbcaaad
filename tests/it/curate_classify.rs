//! The step `classify`: datatrove's verdicts (`fixtures/fasttext/classify.py`), and what is refused.

use std::path::Path;

use fs_err as fs;
use luthflow::ops::OpError;
use luthflow::spec::params::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::{Ran, inputs, repository, run_with};
use crate::world::World;

/// A folder with one of the small models.
fn model(name: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::copy(repository().join("tests/fixtures/fasttext").join(name), folder.path().join(name)).unwrap();
    folder
}

/// Runs steps over rows, the first of them with a model.
fn curate_with(threads: usize, steps: &Value, rows: &[Value], model: &Path) -> Result<Ran, OpError> {
    let dir = TempDir::new().unwrap();
    let lines: String = rows.iter().map(|row| row.to_string() + "\n").collect();
    fs::write(dir.path().join("data.jsonl"), lines).unwrap();
    let params = json!({"from": ["from"], "steps": steps, "columns": ["n", "score", "flags"]});
    run_with(
        threads,
        Kind::Curate,
        params,
        &inputs(&[("from[0]", "", dir.path()), ("steps[0].classify.model", "", model)]),
    )
}

fn rows(ran: &Ran) -> Vec<Value> {
    let text = ran.read("rows/data.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn numbers(ran: &Ran) -> Vec<u64> {
    rows(ran).iter().map(|row| row["n"].as_u64().unwrap()).collect()
}

fn texts(all: &[&str]) -> Vec<Value> {
    all.iter().enumerate().map(|(n, text)| json!({"text": text, "n": n})).collect()
}

/// What `check` says of a pipeline in which it finds nothing, not even an order to warn of.
const RIGHT: &str = "pipeline.yaml is right: 3 nodes\n";

const FRENCH: &str = "Elle demanda : « Peux-tu venir dîner demain ? » et il ne répondit rien.";
const ENGLISH: &str = "In this quiet way, the first fortnight of her visit soon passed away.";

fn chat(n: usize, user: &str, assistant: &str) -> Value {
    json!({"n": n, "messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]})
}

/// Which rows stay, and every score.
#[test]
fn verdicts_are_those_of_datatrove() {
    let golden: Value =
        serde_json::from_str(&fs::read_to_string(repository().join("tests/fixtures/fasttext/classify.json")).unwrap())
            .unwrap();
    let all: Vec<&str> = golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let all = texts(&all);
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!((all.len(), cases.len()), (62, 10));
    for case in cases {
        let folder = model(case["model"].as_str().unwrap());
        let mut step = json!({"model": "m", "line_end": case["line_end"]});
        let way = if case["keep"].is_null() { "remove" } else { "keep" };
        step[way] = case[way].clone();
        let kept: Vec<u64> = serde_json::from_value(case["kept"].clone()).unwrap();
        let ran = curate_with(2, &json!([{"classify": step}]), &all, folder.path()).unwrap();
        assert_eq!(numbers(&ran), kept, "{step}");

        step["mode"] = "flag".into();
        let scores = case["scores"].as_array();
        if scores.is_some() {
            step["column"] = "score".into();
        }
        let flagged = rows(&curate_with(2, &json!([{"classify": step}]), &all, folder.path()).unwrap());
        assert_eq!(flagged.len(), all.len());
        for (n, row) in (0..).zip(&flagged) {
            let flags = row["flags"].as_array().map_or(0, Vec::len);
            assert_eq!(flags == 0, kept.contains(&n), "{step}: {row}");
            if let Some(scores) = scores {
                let (score, wanted) = (row["score"].as_f64().unwrap(), scores[n as usize].as_f64().unwrap_or(0.0));
                assert!((score - wanted.min(1.0)).abs() < 2e-6, "{step}: {row}, {wanted}");
            }
        }
    }
}

#[test]
fn reasons_have_label_and_score_and_rules_are_counted() {
    let folder = model("words2.bin");
    let all = [texts(&[FRENCH, ENGLISH, " \n "]), vec![chat(3, FRENCH, ENGLISH)]].concat();
    let stats = |step: Value| -> Value {
        let ran = curate_with(2, &json!([{"classify": step}]), &all, folder.path()).unwrap();
        serde_json::from_str::<Value>(&ran.read("stats.json")).unwrap()["steps"][0].clone()
    };
    let reasons = |stats: &Value| -> Vec<String> {
        stats["dropped"].as_array().unwrap().iter().map(|row| row["reason"].as_str().unwrap().into()).collect()
    };
    let kept = stats(json!({"model": "m", "keep": {"fra_Latn": 0.9}}));
    assert_eq!(kept["rules"], json!({"empty": 1, "not_fra_Latn": 2}));
    let told = reasons(&kept);
    assert!(told[0].starts_with("`fra_Latn` has 0.0") && told[0].ends_with(", less than 0.9"), "{told:?}");
    assert_eq!(told[1], "there is no text to judge");

    let removed = stats(json!({"model": "m", "remove": {"eng_Latn": 0.9, "bre_Latn": 0.9}, "mode": "flag"}));
    assert_eq!(removed["rules"]["is_eng_Latn"], 1, "{removed}");
    assert_eq!((&removed["rows_out"], &removed["rows_flagged"]), (&json!(4), &json!(2)));
    assert!(reasons(&removed)[0].starts_with("`eng_Latn` has 0.9"), "{removed}");
    let several = stats(json!({"model": "m", "keep": {"fra_Latn": 0.9, "deu_Latn": 1}}));
    assert_eq!(several["rules"]["not_deu_Latn_or_fra_Latn"], 2);
}

/// What the roles say is judged together; flags and scores are there for later steps.
#[test]
fn roles_choose_what_is_judged_and_later_steps_read_the_score() {
    let folder = model("words2.bin");
    let all = [chat(0, FRENCH, ENGLISH), chat(1, ENGLISH, FRENCH), chat(2, FRENCH, FRENCH)];
    let kept = |step: Value, then: Value| {
        numbers(&curate_with(2, &json!([{"classify": step}, then]), &all, folder.path()).unwrap())
    };
    let any = json!({"length": {"min_chars": 1}});
    for (roles, wanted) in [(json!(["assistant"]), &[1, 2][..]), (json!(["user"]), &[0, 2]), (json!([]), &[2])] {
        let step = json!({"model": "m", "keep": {"fra_Latn": 0.9}, "roles": roles});
        assert_eq!(kept(step, any.clone()), wanted, "{roles}");
    }
    // Nobody of that role says anything.
    let nobody = json!([{"classify": {"model": "m", "remove": {"eng_Latn": 0.9}, "roles": ["system"]}}]);
    let error = curate_with(2, &nobody, &all, folder.path()).err().unwrap().to_string();
    assert!(error.contains("dropped all 3 rows") && error.contains("there is no text to judge"), "{error}");

    let scored = json!({"model": "m", "keep": {"fra_Latn": 0.9}, "mode": "flag", "column": "score"});
    assert_eq!(kept(scored.clone(), json!({"where": "score > 0.9"})), [2]);
    assert_eq!(kept(scored.clone(), json!({"where": "'not_fra_Latn' in flags"})), [0, 1]);
    assert_eq!(kept(scored, json!({"sort": {"by": "score", "descending": true}}))[0], 2);
}

#[test]
fn labels_that_the_model_lacks_are_told_before_any_row() {
    let run = |name: &str, label: &str| {
        let folder = model(name);
        let steps = json!([{"classify": {"model": "m", "keep": {label: 0.5}}}]);
        let rows = [json!({"never": "read"})];
        let error = curate_with(2, &steps, &rows, folder.path()).err().unwrap();
        let told = format!("{} / {}", error.chain().join(": "), error.way_out().unwrap_or_default());
        told.replace(&folder.path().display().to_string(), "DIR")
    };
    let told = run("words2.bin", "fra_Latin");
    assert!(told.contains("step 1 (`classify`): DIR/words2.bin has no label `fra_Latin`"), "{told}");
    assert!(told.contains("did you mean `fra_Latn`?"), "{told}");
    let all = run("words2.bin", "quality");
    assert!(all.contains("`eng_Latn`") && all.contains("`fra_Latn`"), "{all}");
    // Of many labels, only their number.
    assert!(run("output.ftz", "quality").contains("there are 300 others"));

    // No model, and what is none.
    let (empty, steps) = (TempDir::new().unwrap(), json!([{"classify": {"model": "m", "keep": {"hq": 0.5}}}]));
    let error = |folder: &Path| curate_with(2, &steps, &texts(&["a"]), folder).err().unwrap().chain().join(": ");
    assert!(error(empty.path()).contains("holds no model of fastText"), "{}", error(empty.path()));
    fs::write(empty.path().join("hq.bin"), "no model").unwrap();
    assert!(error(empty.path()).contains("hq.bin: not a"), "{}", error(empty.path()));
}

#[test]
fn settings_that_say_nothing_or_too_much_are_told_by_check() {
    let told = |fields: &str| {
        let world = World::empty();
        world.write("data/a.jsonl", "{\"text\": \"a\"}\n");
        world.write("hq/hq.bin", "a model");
        world.write(
            "pipeline.yaml",
            &format!(
                "version: 1\nnodes:\n  a: {{kind: source, dataset: data/a.jsonl}}\n  hq: {{kind: source, model: hq}}\n  \
                 kept: {{kind: curate, from: [a], steps: [classify: {{{fields}}}]}}\n"
            ),
        );
        let checked = world.run(&["check"]);
        assert_eq!(checked.code == 0, checked.stderr == RIGHT, "{}", checked.stderr);
        checked.stderr
    };
    assert_eq!(told("model: hq, keep: {hq: 0.5}, column: hq, roles: [assistant]"), RIGHT);
    for (fields, wanted) in [
        ("model: hq", "neither `keep` nor `remove` has a label"),
        ("model: hq, keep: {hq: 0.5}, remove: {cc: 0.5}", "`keep` and `remove` cannot be in one step"),
        ("model: hq, keep: {hq: 1.5}", "not between 0 and 1"),
        ("model: hq, remove: {hq: -0.1}", "not between 0 and 1"),
        ("model: hq, keep: {__label__hq: 0.5}", "write `hq`"),
        ("model: hq, keep: {hq: 0.5, math: 0.5}, column: hq", "a column holds the score of one label"),
        ("keep: {hq: 0.5}", "model"),
        ("model: nobody, keep: {hq: 0.5}", "nobody"),
    ] {
        assert!(told(fields).contains(wanted), "{fields}: {}", told(fields));
    }
}

#[test]
fn labels_are_the_same_on_any_number_of_threads() {
    let folder = model("output.ftz");
    let lines: Vec<String> = (0..300).map(|i| format!("{FRENCH} {i}\n{}", &ENGLISH[..i % 60])).collect();
    let all = texts(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let steps = json!([{"classify": {"model": "m", "keep": {"158": 0.005}, "column": "score", "mode": "flag"}}]);
    let run = |threads| curate_with(threads, &steps, &all, folder.path()).unwrap();
    let (one, three) = (run(1), run(3));
    for file in ["stats.json", "rows/data.jsonl"] {
        assert!(one.read(file) == three.read(file), "{file} differs");
    }
}

/// The guide's pipeline from its files to its rows: a model of fastText is a source like any other.
#[test]
fn the_step_of_the_guide_runs() {
    let guide = fs::read_to_string(repository().join("docs/curation.md")).unwrap();
    let block = guide.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    let block = block.into_iter().find(|block| block.contains("classify:")).unwrap();
    let world = World::empty();
    world.write("pipeline.yaml", &block.replace("hq: 0.5", "fra_Latn: 0.5").replace("200", "20"));
    let lines: String = texts(&[ENGLISH, FRENCH]).iter().map(|row| row.to_string() + "\n").collect();
    world.write("data/web.jsonl", &lines);
    world.write("models/quality/README.md", "French or not.");
    let place = world.path("models/quality/words2.bin");
    fs::write(&place, "neither").unwrap();
    let refused = world.run(&["run"]);
    assert!(refused.code != 0 && refused.stderr.contains("the model has no config.json"), "{}", refused.stderr);
    fs::copy(repository().join("tests/fixtures/fasttext/words2.bin"), &place).unwrap();
    assert_eq!(world.run(&["check"]).stderr, RIGHT);
    let ran = world.run(&["run"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let shown = world.run(&["data", "head", "good", "--json"]).stdout;
    assert!(shown.lines().count() == 1 && shown.contains("Elle demanda") && shown.contains("\"hq\":0.9"), "{shown}");
}
