//! Curation as a node, on the data that the repository ships.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;
use luthflow::data::{self, Row, RowWriter};
use luthflow::ops::OpError;
use luthflow::spec::params::{Kind, Op};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::data::shipped_source;
use crate::op::{Ran, inputs, run, run_with};

/// Returns a data set of texts.
fn texts(texts: &[String]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut writer = RowWriter::create(dir.path()).unwrap();
    for text in texts {
        writer.write(&Row::Text(text.clone())).unwrap();
    }
    writer.finish().unwrap();
    dir
}

fn curate(steps: &Value, from: &[&Path]) -> Result<Ran, OpError> {
    curate_with(2, steps, from)
}

fn curate_with(threads: usize, steps: &Value, from: &[&Path]) -> Result<Ran, OpError> {
    let slots: Vec<String> = (0..from.len()).map(|i| format!("from[{i}]")).collect();
    let all: Vec<(&str, &str, &Path)> = slots.iter().zip(from).map(|(slot, path)| (slot.as_str(), "", *path)).collect();
    run_with(threads, Kind::Curate, json!({"from": slots, "steps": steps}), &inputs(&all))
}

fn rows(dir: &Path) -> Vec<String> {
    data::open(dir).unwrap().map(|row| row.unwrap().to_json()).collect()
}

/// The steps of a usual curation.
fn usual() -> Value {
    json!([
        {"normalize": {}},
        {"length": {"min_chars": 40, "max_chars": 2000}},
        {"language": {"keep": ["fr"]}},
        {"dedup": "exact"},
        {"split": {"eval": 0.05, "seed": 7}},
    ])
}

#[test]
fn the_shipped_french_data_goes_through_all_steps() {
    let novels = shipped_source("fr_novels", ".txt", None);
    let chats = shipped_source("fr_chats", ".jsonl", None);
    let english = shipped_source("en_sentences", ".txt", None);
    let ran = curate(&usual(), &[novels.path(), chats.path(), english.path(), chats.path()]).unwrap();
    insta::assert_snapshot!(ran.read("stats.json"));
    assert_eq!(rows(&ran.path().join("train")).len(), ran.count("train_rows"));
    assert_eq!(rows(&ran.path().join("eval")).len(), ran.count("eval_rows"));
    assert_eq!(ran.count("rows_out"), ran.count("train_rows") + ran.count("eval_rows"));
    assert_eq!(ran.count("rows_in"), 11_197 + 256 + 500 + 256);
}

#[test]
fn curation_is_the_same_on_any_number_of_threads() {
    let novels = shipped_source("fr_novels", ".txt", None);
    let (one, three) =
        (curate_with(1, &usual(), &[novels.path()]).unwrap(), curate_with(3, &usual(), &[novels.path()]).unwrap());
    for file in ["stats.json", "train/data.jsonl", "eval/data.jsonl"] {
        assert!(one.read(file) == three.read(file), "{file} differs");
    }
}

#[test]
fn curating_what_was_curated_changes_nothing() {
    let novels = shipped_source("fr_novels", ".txt", None);
    let steps = json!([{"normalize": {}}, {"length": {"min_chars": 10}}, {"dedup": "exact"}]);
    let once = curate(&steps, &[novels.path()]).unwrap();
    let twice = curate(&steps, &[&once.path().join("rows")]).unwrap();
    assert!(once.read("rows/data.jsonl") == twice.read("rows/data.jsonl"));
    assert!(once.count("rows_out") < once.count("rows_in"));
    assert_eq!(twice.count("rows_out"), twice.count("rows_in"));
}

#[test]
fn added_rows_move_no_other_between_the_sides_of_a_split() {
    let all: Vec<String> = (0..3000).map(|i| format!("row number {i}")).collect();
    let split = json!([{"split": {"eval": 0.2}}]);
    let side = |ran: &Ran, name: &str| rows(&ran.path().join(name)).into_iter().collect::<BTreeSet<String>>();
    let few = curate(&split, &[texts(&all[1000..2000]).path()]).unwrap();
    let many = curate(&split, &[texts(&all).path()]).unwrap();
    for name in ["train", "eval"] {
        assert!(side(&few, name).is_subset(&side(&many, name)), "{name}");
    }
    assert!(side(&many, "train").is_disjoint(&side(&many, "eval")));
    assert_eq!(side(&many, "train").len() + side(&many, "eval").len(), 3000);
}

#[test]
fn pairs_pass_through_text_steps_unharmed() {
    let pairs = shipped_source("clams_fr", ".txt", Some("clams"));
    let steps = json!([{"normalize": {"form": "nfkc"}}, {"length": {"max_chars": 500}}, {"dedup": "exact"}]);
    let ran = curate(&steps, &[pairs.path()]).unwrap();
    let (before, after) = (rows(pairs.path()), rows(&ran.path().join("rows")));
    let unique: BTreeSet<&String> = before.iter().collect();
    assert_eq!(after.iter().collect::<BTreeSet<_>>(), unique);
    assert_eq!(after.len(), unique.len());
}

#[test]
fn a_sample_is_drawn_across_blocks_and_keeps_the_order() {
    let all: Vec<String> = (0..9000).map(|i| format!("{i:05}")).collect();
    let ran = curate(&json!([{"sample": {"rows": 50}}, {"length": {"min_chars": 1}}]), &[texts(&all).path()]).unwrap();
    let kept = rows(&ran.path().join("rows"));
    assert_eq!(kept.len(), 50);
    assert!(kept.is_sorted());
    let stats: Value = serde_json::from_str(&ran.read("stats.json")).unwrap();
    assert_eq!(stats["steps"][0]["rows_in"], 9000);
    assert_eq!(stats["steps"][0]["rows_out"], 50);
    assert_eq!(stats["steps"][1]["rows_in"], 50);
}

#[test]
fn the_step_that_empties_the_data_is_named() {
    let data = texts(&["une phrase courte".into(), "une autre".into()]);
    let steps = json!([{"normalize": {}}, {"length": {"min_chars": 1000}}, {"dedup": "exact"}]);
    let error = curate(&steps, &[data.path()]).err().unwrap();
    let expected = "step 2 (`length`) dropped all 2 rows: `une phrase courte`: 17 characters are too few";
    assert_eq!(error.to_string(), expected);
    let error = curate(&json!([{"split": {"eval": 0.000_001}}]), &[data.path()]).err().unwrap();
    assert!(error.to_string().contains("no row for `eval`"), "{error}");
    let empty = texts(&[]);
    let error = curate(&json!([]), &[empty.path()]).err().unwrap();
    assert!(error.to_string().contains("the inputs hold no rows"), "{error}");
}

#[test]
fn a_broken_row_stops_the_curation_with_its_line() {
    let data = texts(&["a".into()]);
    let path = data.path().join("data.jsonl");
    fs::write(&path, fs::read_to_string(&path).unwrap() + "{\"text\": 1}\n").unwrap();
    let error = curate(&json!([]), &[data.path()]).err().unwrap();
    assert!(error.to_string().contains("data.jsonl, line 2"), "{error}");
}

#[test]
fn an_interrupted_node_stops() {
    use std::sync::atomic::AtomicBool;

    use luthflow::ops::{self, OpCx};
    use luthflow::spec::params::Op;

    let data = texts(&["a".into()]);
    let op = Op::from_fields(Kind::Curate, json!({"from": ["a"]})).unwrap();
    let out = TempDir::new().unwrap();
    let inputs = inputs(&[("from[0]", "", data.path())]);
    let cancelled = AtomicBool::new(true);
    let cx = OpCx {
        inputs: &inputs,
        out: out.path(),
        scratch: out.path(),
        checkpoint: None,
        memo: None,
        environment: &|_| None,
        threads: 1,
        device: luthflow::ops::DeviceChoice::Cpu,
        progress: &crate::op::Silent,
        cancelled: &cancelled,
    };
    assert_eq!(ops::run(&op, &cx).err().unwrap().to_string(), "interrupted");
}

#[test]
fn chats_are_curated_message_by_message() {
    let chats = shipped_source("fr_chats", ".jsonl", None);
    let ran = run(
        Kind::Curate,
        json!({"from": ["a"], "steps": [{"normalize": {}}]}),
        &inputs(&[("from[0]", "", chats.path())]),
    )
    .unwrap();
    let before: Vec<Row> = data::open(chats.path()).unwrap().map(|row| row.unwrap()).collect();
    let after: Vec<Row> = data::open(&ran.path().join("rows")).unwrap().map(|row| row.unwrap()).collect();
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        let (Row::Chat(before), Row::Chat(after)) = (before, after) else { panic!("not a chat") };
        let roles = |chat: &[luthflow::data::Message]| chat.iter().map(|m| m.role.clone()).collect::<Vec<_>>();
        assert_eq!(roles(&before.messages), roles(&after.messages));
    }
}

#[test]
fn a_sample_of_no_rows_is_a_mistake() {
    let mistakes = |rows: usize| {
        let fields = json!({"from": ["a"], "steps": [{"normalize": {}}, {"sample": {"rows": rows}}]});
        let found = Op::from_fields(Kind::Curate, fields).unwrap().check();
        found.into_iter().map(|mistake| mistake.field).collect::<Vec<_>>()
    };
    assert_eq!(mistakes(1), [""; 0]);
    assert_eq!(mistakes(0), ["steps[1].sample.rows"]);
}
