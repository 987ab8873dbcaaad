//! Near-duplicates and contamination, beside datatrove and datasketch (`fixtures/near/make.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fs_err as fs;
use luthflow::ops::OpError;
use luthflow::spec::params::Kind;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::{Ran, inputs, run_with};

/// Returns a data set of lines of JSON.
fn data(lines: &[Value]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(dir.path().join("data.jsonl"), lines.join("\n") + "\n").unwrap();
    dir
}

fn fixture(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/near").join(name)).unwrap()
}

fn golden_rows() -> TempDir {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("data.jsonl"), fixture("rows.jsonl")).unwrap();
    dir
}

/// Runs steps over data sets with the names `a`, `b`, …; `others` fill the slots of the steps.
fn curate(threads: usize, steps: &Value, from: &[&Path], others: &[(&str, &Path)]) -> Result<Ran, OpError> {
    let names: Vec<String> = (0..from.len()).map(|i| format!("from[{i}]")).collect();
    let entries: Vec<Value> = ('a'..).zip(&names).map(|(name, node)| json!({"node": node, "name": name})).collect();
    let mut all: Vec<(&str, &str, &Path)> =
        names.iter().zip(from).map(|(slot, path)| (slot.as_str(), "", *path)).collect();
    all.extend(others.iter().map(|(slot, path)| (*slot, "", *path)));
    let params = json!({"from": entries, "steps": steps, "columns": ["id", "cluster", "flags"]});
    run_with(threads, Kind::Curate, params, &inputs(&all))
}

fn kept(ran: &Ran) -> Vec<Value> {
    ran.read("rows/data.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Which rows of the golden set are gone.
fn removed(ran: &Ran, rows: usize) -> Vec<u64> {
    let ids: BTreeSet<u64> = kept(ran).iter().map(|row| row["id"].as_str().unwrap()[1..].parse().unwrap()).collect();
    (0..rows as u64).filter(|row| !ids.contains(row)).collect()
}

#[test]
fn datatrove_and_luthflow_remove_the_same_rows() {
    let expected: Value = serde_json::from_str(&fixture("expected.json")).unwrap();
    let rows = fixture("rows.jsonl").lines().count();
    let golden = golden_rows();
    let step = json!([{"dedup_fuzzy": {"scheme": "datatrove64", "verify": null, "short_rows": "keep", "keep": ["datatrove"]}}]);
    let ran = curate(2, &step, &[golden.path()], &[]).unwrap();
    assert_eq!(json!(removed(&ran, rows)), expected["datatrove_removed"]);
    assert_eq!(
        expected["datatrove_removed"], expected["datatrove_french_removed"],
        "its French tokenizer changes nothing here"
    );
}

#[test]
fn datasketch_and_luthflow_find_the_same_clusters() {
    let expected: Value = serde_json::from_str(&fixture("expected.json")).unwrap();
    let golden = golden_rows();
    let settings = json!({"scheme": "datasketch32", "verify": null, "short_rows": "keep", "keep": ["first"],
        "cluster": "cluster", "mode": "flag"});
    let ran = curate(2, &json!([{"dedup_fuzzy": settings}]), &[golden.path()], &[]).unwrap();
    let rows = kept(&ran);
    let roots: Vec<u64> = serde_json::from_value(expected["datasketch_roots"].clone()).unwrap();
    assert_eq!(rows.len(), roots.len());
    let mut names: BTreeMap<u64, &str> = BTreeMap::new();
    for (row, root) in rows.iter().zip(&roots) {
        let cluster = row["cluster"].as_str().unwrap();
        assert_eq!(*names.entry(*root).or_insert(cluster), cluster, "{row}");
    }
    assert_eq!(names.values().collect::<BTreeSet<_>>().len(), names.len(), "two clusters have one name");
    let flagged: Vec<u64> = (0..).zip(&rows).filter(|(_, row)| row["flags"] != json!([])).map(|(row, _)| row).collect();
    assert_eq!(json!(flagged), expected["datasketch_removed"]);
}

#[test]
fn what_goes_is_like_what_stays_and_threads_change_nothing() {
    let golden = golden_rows();
    let steps = json!([{"dedup_fuzzy": {"verify": 0.7}}]);
    let (one, three) =
        (curate(1, &steps, &[golden.path()], &[]).unwrap(), curate(3, &steps, &[golden.path()], &[]).unwrap());
    for file in ["rows/data.jsonl", "stats.json"] {
        assert!(one.read(file) == three.read(file), "{file} differs");
    }
    let stats: Value = serde_json::from_str(&one.read("stats.json")).unwrap();
    let step = &stats["steps"][0];
    insta::assert_json_snapshot!(json!([step["rows_in"], step["rows_out"], step["figures"], step["dropped"]]));
    let again = data(&kept(&one));
    let twice = curate(2, &steps, &[again.path()], &[]).unwrap();
    assert_eq!(kept(&twice).len(), kept(&one).len(), "nothing more goes the second time");
}

#[test]
fn the_best_of_alike_rows_stays() {
    let text = "Le petit garçon marchait lentement vers la maison de sa grand-mère, au bout du village";
    let (low, high) = (
        data(&[json!({"id": "l0", "text": text, "n": 1}), json!({"id": "l1", "text": format!("{text}."), "n": 5})]),
        data(&[
            json!({"id": "h0", "text": text.to_uppercase(), "n": 3}),
            json!({"id": "h1", "text": "tout autre chose", "n": 0}),
        ]),
    );
    let ids = |steps: Value, priority: i64| {
        let params = json!({"from": [{"node": "from[0]", "name": "low"}, {"node": "from[1]", "name": "high", "priority": priority}],
            "steps": steps, "columns": ["id"]});
        let slots = inputs(&[("from[0]", "", low.path()), ("from[1]", "", high.path())]);
        let ran = run_with(2, Kind::Curate, params, &slots).unwrap();
        kept(&ran).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for step in ["dedup_fuzzy", "dedup_exact"] {
        let with = |settings: Value| {
            let mut settings = settings;
            settings["normalize"] = "datatrove".into();
            json!([{step: settings}])
        };
        assert_eq!(ids(with(json!({})), 1), ["h0", "h1"], "{step}: by priority");
        assert_eq!(ids(with(json!({})), 0), ["l1", "h1"], "{step}: the longest");
        assert_eq!(ids(with(json!({"keep": ["first"]})), 0), ["l0", "h1"], "{step}: the first");
        assert_eq!(ids(with(json!({"keep": ["score", "first"], "score": "n"})), 0), ["l1", "h1"], "{step}: by score");
        assert_eq!(ids(with(json!({"keep": ["score", "first"], "score": "-n"})), 0), ["l0", "h1"], "{step}: by score");
    }
}

#[test]
fn rows_like_those_of_another_set_go() {
    let text = |i: usize| {
        format!("La phrase numéro {} parle de {} et de rien d'autre que cela", "x".repeat(i + 1), "mer ".repeat(i + 1))
    };
    let ours = data(&(0..6).map(|i| json!({"id": format!("o{i}"), "text": text(i)})).collect::<Vec<_>>());
    let theirs = data(&[json!({"text": text(2).to_uppercase()}), json!({"text": text(4)})]);
    let steps = json!([{"dedup_fuzzy": {"against": ["other"]}}]);
    let ran = curate(2, &steps, &[ours.path()], &[("steps[0].dedup_fuzzy.against[0]", theirs.path())]).unwrap();
    let ids: Vec<String> = kept(&ran).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["o0", "o1", "o3", "o5"]);
    // What is no row is told with its file and its own line, however many were read before.
    let broken = data(&[json!({"text": text(2)}), json!({"titre": "sans texte"})]);
    let slots =
        [("steps[0].dedup_fuzzy.against[0]", theirs.path()), ("steps[0].dedup_fuzzy.against[1]", broken.path())];
    let error =
        curate(2, &json!([{"dedup_fuzzy": {"against": ["one", "two"]}}]), &[ours.path()], &slots).err().unwrap();
    let place = format!("{}, line 2: there is neither", broken.path().join("data.jsonl").display());
    let said = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    assert!(said.map(ToString::to_string).any(|said| said.starts_with(&place)), "{error:?}");
}

#[test]
fn rows_that_give_an_item_away_go_with_a_report() {
    let question = "Soit f la fonction définie sur R par f(x) = 3x + 2, calculer son image en cinq";
    let chat = |user: &str, assistant: &str| json!([{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]);
    let ours = data(&[
        json!({"id": "prompt", "messages": chat(&format!("Bonjour ! {question}."), "17")}),
        json!({"id": "answer", "messages": chat("Un exercice ?", &question.to_uppercase())}),
        json!({"id": "phrase", "messages": chat("Soit f la fonction définie sur R par une autre formule que voici", "Oui.")}),
        json!({"id": "clean", "text": "Rien de tout cela ne se trouve dans ce texte, qui parle de la mer."}),
        json!({"id": "short", "text": "Quelle est la capitale du Togo, dites-moi ?"}),
    ]);
    let eval = data(&[
        json!({"question": question, "choices": ["17", "18"], "answer": "17"}),
        json!({"question": "La capitale du Togo ?", "choices": ["Lomé"], "answer": "Lomé"}),
        json!({"question": "Pourquoi donc ?", "choices": [], "answer": ""}),
    ]);
    let slot = "steps[0].decontaminate.evals[0].node";
    let with = |more: Value| {
        let mut settings = json!({"evals": [{"node": "other", "name": "maths", "fields": ["question", "choices"]}]});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        curate(2, &json!([{"decontaminate": settings}]), &[ours.path()], &[(slot, eval.path())])
    };
    let ids = |ran: &Ran| kept(ran).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let ran = with(json!({})).unwrap();
    assert_eq!(ids(&ran), ["phrase", "clean"]);
    let stats: Value = serde_json::from_str(&ran.read("stats.json")).unwrap();
    insta::assert_json_snapshot!(stats["steps"][0]);
    assert_eq!(ids(&with(json!({"method": "any_ngram"})).unwrap()), ["clean"]);
    assert_eq!(ids(&with(json!({"method": "any_ngram", "ngram": 13})).unwrap()), ["phrase", "clean"]);
    let error = with(json!({"fail_if_over": 0.3})).err().unwrap();
    assert_eq!(error.to_string(), "2 of 3 items of `maths` are in the data, which is more than `fail_if_over` allows");
}

fn decont(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decont").join(name)).unwrap()
}

/// Runs `decontaminate` over a file of `fixtures/decont`.
fn decontaminated(rows: &str, settings: &Value) -> Ran {
    let (ours, eval) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(ours.path().join("data.jsonl"), decont(rows)).unwrap();
    fs::write(eval.path().join("data.jsonl"), decont("items.jsonl")).unwrap();
    let slot = "steps[0].decontaminate.evals[0].node";
    curate(2, &json!([{"decontaminate": settings}]), &[ours.path()], &[(slot, eval.path())]).unwrap()
}

#[test]
fn datatrove_and_luthflow_find_the_same_rows_contaminated() {
    let expected: Value = serde_json::from_str(&decont("expected.json")).unwrap();
    let set = json!({"node": "other", "name": "novels", "fields": ["question"], "answer": "answer"});
    let ran = decontaminated("rows.jsonl", &json!({"evals": [set], "method": "datatrove"}));
    let left: BTreeSet<String> = kept(&ran).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let all = decont("rows.jsonl");
    let ids = all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned());
    let gone: Vec<String> = ids.filter(|id| !left.contains(id)).collect();
    assert!(gone.len() > 100, "{}", gone.len());
    assert_eq!(json!(gone), expected["datatrove"]);
    for language in ["datatrove_french", "datatrove_english"] {
        assert_eq!(expected["datatrove"], expected[language], "its tokenizers change nothing here");
    }
}

/// lm-evaluation-harness cuts as GPT-3 did, but that its last piece alone begins where it should: others begin with the
/// last character of the window before them. And a text that it has nothing against goes if it is short.
#[test]
fn texts_are_cut_as_the_janitor_cuts_them() {
    let expected: Value = serde_json::from_str(&decont("expected.json")).unwrap();
    let set = json!({"node": "other", "name": "novels", "fields": ["question"]});
    let settings = |more: Value| {
        let mut settings = json!({"evals": [set], "method": "gpt3"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    let ran = decontaminated("long.jsonl", &settings(json!({"max_pieces": 100})));
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in kept(&ran) {
        found.entry(row["id"].as_str().unwrap().into()).or_default().push(row["text"].as_str().unwrap().into());
    }
    let texts = decont("long.jsonl");
    let texts = texts.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    for row in texts {
        let (id, text) = (row["id"].as_str().unwrap(), row["text"].as_str().unwrap());
        let wanted: Vec<String> = serde_json::from_value(expected["gpt3_pieces"][id].clone()).unwrap();
        let ours = found.remove(id).unwrap_or_default();
        assert_eq!(ours.len(), wanted.len(), "{id}");
        for (ours, wanted) in ours.iter().zip(&wanted) {
            let first = wanted.chars().next().map_or(0, char::len_utf8);
            let begins = text.starts_with(wanted.as_str()) || text.ends_with(wanted.as_str());
            assert_eq!(ours, if begins { wanted } else { &wanted[first..] }, "{id}");
        }
    }
    let stats: Value = serde_json::from_str(&ran.read("stats.json")).unwrap();
    assert_eq!(stats["steps"][0]["figures"]["rows_cut"], 9, "{}", stats["steps"][0]);
    // The one with twelve items is too dirty, where ten pieces are the most; the one that is an item is gone anyway.
    let ran = decontaminated("long.jsonl", &settings(json!({})));
    let left: BTreeSet<String> = kept(&ran).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert!(!left.contains("l7") && !left.contains("l8") && left.len() == 9, "{left:?}");
}

/// Pieces of a conversation are none: one with a dirty message goes whole, whatever else it says, and so do pairs.
#[test]
fn gpt3_cuts_no_chats() {
    let item = "the harbour master counted nine grey boats before dawn and wrote their names into the ledger";
    let filler = |word: &str| format!("{word} goes on about something else that nobody has asked. ").repeat(12);
    let dirty = format!("{}{item}{}", filler("one"), filler("two"));
    let turns = |question: &str, answer: &str| json!([{"role": "user", "content": question}, {"role": "assistant", "content": answer}]);
    let rows = [
        json!({"id": "text", "text": dirty}),
        json!({"id": "asked", "messages": turns(&dirty, &filler("three"))}),
        json!({"id": "answered", "messages": turns(&filler("four"), &dirty)}),
        json!({"id": "clean", "messages": turns(&filler("five"), &filler("six"))}),
        json!({"id": "pair", "prompt": filler("seven"), "chosen": dirty, "rejected": filler("eight")}),
    ];
    let (ours, eval) = (data(&rows), data(&[json!({"question": item})]));
    let set = json!({"node": "other", "name": "harbour", "fields": ["question"]});
    let step = |mode: &str| json!([{"decontaminate": {"evals": [set], "method": "gpt3", "mode": mode}}]);
    let run = |mode: &str| {
        let slot = "steps[0].decontaminate.evals[0].node";
        curate(2, &step(mode), &[ours.path()], &[(slot, eval.path())]).unwrap()
    };
    let ran = run("drop");
    let left: Vec<String> = kept(&ran).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(left, ["text", "text", "clean"], "the text falls into two pieces");
    let stats: Value = serde_json::from_str(&ran.read("stats.json")).unwrap();
    assert_eq!(stats["steps"][0]["figures"]["rows_cut"], 1);
    assert!(kept(&ran)[2]["messages"][0]["content"].as_str().unwrap().starts_with("five"));
    // With `flag` the chats stay as they are, marked.
    let flagged: Vec<String> = kept(&run("flag"))
        .iter()
        .filter(|row| row["flags"].as_array().is_some_and(|flags| !flags.is_empty()))
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(flagged.contains(&"asked".to_owned()) && flagged.contains(&"pair".to_owned()), "{flagged:?}");
}
