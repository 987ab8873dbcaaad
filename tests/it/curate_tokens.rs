//! Token counts of curation steps, beside tokenizing what each step leaves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use fs_err as fs;
use luthflow::data::{self, Ending, Record, Row, Tokenizer};
use luthflow::ops::{self, OpCx, Progress};
use luthflow::spec::params::{Kind, Op};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::op::{Ran, inputs, run_with};
use crate::tiny::model_folder;
use crate::world::World;

/// Columns that are no row yet, chats and texts, with what each step below is against.
fn rows() -> TempDir {
    let mut lines: Vec<Value> = Vec::new();
    for i in 0..60 {
        let accent = if i % 3 == 0 { "e\u{301}" } else { "é" };
        let answer = format!("R{accent}ponse {i} : la mer est grise{}", " et le vent se lève".repeat(i % 5));
        lines.push(match i % 4 {
            0 => json!({"id": i, "text": answer}),
            1 => json!({"id": i, "said": answer}),
            2 => json!({"id": i, "messages": [{"role": "user", "content": "Quoi ?"}, {"role": "assistant", "content": answer}]}),
            _ => json!({"id": i, "prompt": "Et la mer ?", "chosen": answer, "rejected": "Je ne sais pas."}),
        });
    }
    let dir = TempDir::new().unwrap();
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(dir.path().join("data.jsonl"), lines.join("\n") + "\n").unwrap();
    dir
}

fn steps() -> Vec<Value> {
    vec![
        json!({"rename": {"said": "text"}}),
        json!({"where": "id != 7"}),
        json!({"normalize": {}}),
        json!({"matches": {"pattern": "vent", "mode": "flag"}}),
        json!({"rename": {"id": "number"}}),
        json!({"length": {"min_chars": 40}}),
        json!({"shuffle": {"seed": 3}}),
        json!({"replace": {"pattern": "grise", "with": "grise ou verte"}}),
        json!({"sample": {"rows": 20}}),
    ]
}

fn curate(threads: usize, data: &Path, steps: &[Value], tokenizer: Option<&Path>) -> Ran {
    let mut params = json!({"from": ["data"], "steps": steps, "columns": ["id", "number", "flags"]});
    let mut slots = vec![("from[0]", "", data)];
    if let Some(tokenizer) = tokenizer {
        params["tokenizer"] = json!("model");
        slots.push(("tokenizer", "", tokenizer));
    }
    run_with(threads, Kind::Curate, params, &inputs(&slots)).unwrap()
}

fn stats(ran: &Ran) -> Value {
    serde_json::from_str(&ran.read("stats.json")).unwrap()
}

/// Tokenizes a row by itself.
fn tokens(tokenizer: &Tokenizer, row: &Row) -> u64 {
    let chat = |chat| tokenizer.chat_ids(chat, Ending::Whole).unwrap().len();
    (match row {
        Row::Chat(one) => chat(one),
        Row::Preference(both) => chat(&both.chosen).max(chat(&both.rejected)),
        row => tokenizer.encode(&row.text()).unwrap().len() + 1,
    }) as u64
}

/// The tokens of every row of a data set, by its number, and what it says.
fn counted(tokenizer: &Tokenizer, dir: &Path) -> BTreeMap<u64, (u64, String)> {
    let of = |record: Result<Record, _>| {
        let mut record: Record = record.unwrap();
        let id = ["id", "number"].into_iter().find_map(|name| record.0.remove(name)?.as_u64()).unwrap();
        let row = record.take_row().ok();
        (id, row.map_or((0, String::new()), |row| (tokens(tokenizer, &row), row.to_json())))
    };
    data::open_records(dir).unwrap().map(of).collect()
}

#[test]
fn every_step_counts_the_tokens_of_what_it_takes_and_leaves() {
    let (data, model) = (rows(), model_folder("tied"));
    let tokenizer = Tokenizer::load(model.path()).unwrap();
    let all = steps();
    let found = stats(&curate(2, data.path(), &all, Some(model.path())));
    let sum = |rows: &BTreeMap<u64, (u64, String)>| rows.values().map(|(tokens, _)| tokens).sum::<u64>();
    let mut before = counted(&tokenizer, data.path());
    let mut changes = 0;
    for (i, step) in found["steps"].as_array().unwrap().iter().enumerate() {
        // What the first steps leave when no others follow, tokenized anew.
        let after = counted(&tokenizer, &curate(2, data.path(), &all[..=i], None).path().join("rows"));
        let changed = after.iter().filter(|(id, (_, said))| before.get(*id).is_some_and(|(_, had)| had != said));
        let changed = changed.map(|(_, (tokens, _))| tokens).sum::<u64>();
        assert_eq!(step["tokens_in"], sum(&before), "{i}: {step}");
        assert_eq!(step["tokens_out"], sum(&after), "{i}: {step}");
        // A step that only renames columns changes rows, and nothing that they say.
        if step["step"] != "rename" {
            assert_eq!(step["tokens_changed"], changed, "{i}: {step}");
        }
        assert_eq!(step["rows_refused"], Value::Null);
        changes += u64::from(changed > 0);
        before = after;
    }
    assert_eq!(changes, 3, "rename, normalize and replace");
    assert!(before.len() == 20 && sum(&before) > 0);
}

/// Three sources, one of them empty of rows that stay, with steps that count and without any.
#[test]
fn tokens_are_told_of_every_source_with_and_without_steps() {
    let (data, model) = (rows(), model_folder("tied"));
    let tokenizer = Tokenizer::load(model.path()).unwrap();
    let all: Vec<Value> = fs::read_to_string(data.path().join("data.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let folders: Vec<TempDir> = [0..20, 20..45, 45..60]
        .into_iter()
        .map(|part| {
            // Without steps everything has to be a row as it is.
            let lines = all[part].iter().filter(|row| row.get("said").is_none()).map(|row| row.to_string() + "\n");
            let dir = TempDir::new().unwrap();
            fs::write(dir.path().join("data.jsonl"), lines.collect::<String>()).unwrap();
            dir
        })
        .collect();
    for (steps, split) in [
        (json!([]), false),
        (json!([{"where": "id < 45 and id % 2 == 0"}]), false),
        // What must see all rows counts none on the way in.
        (json!([{"dedup_exact": {}}, {"where": "id < 45"}]), false),
        (json!([{"split": {"eval": 0.3, "stratify": "id % 4"}}]), true),
    ] {
        let from: Vec<Value> = ["a", "b", "c"].map(|name| json!({"node": name, "name": name})).to_vec();
        let params = json!({"from": from, "steps": steps, "columns": ["id", "source"], "tokenizer": "model"});
        let slots: Vec<String> = (0..3).map(|i| format!("from[{i}]")).collect();
        let mut given: Vec<(&str, &str, &Path)> =
            slots.iter().zip(&folders).map(|(slot, dir)| (slot.as_str(), "", dir.path())).collect();
        given.push(("tokenizer", "", model.path()));
        let ran = run_with(2, Kind::Curate, params, &inputs(&given)).unwrap();
        let found = stats(&ran);
        let mut written: BTreeMap<String, u64> = BTreeMap::new();
        for part in if split { &["train", "eval"][..] } else { &["rows"] } {
            let mut sum = 0;
            for record in data::open_records(&ran.path().join(part)).unwrap() {
                let mut record: Record = record.unwrap();
                let source = record.0.shift_remove("source").unwrap().as_str().unwrap().to_owned();
                let tokens = tokens(&tokenizer, &record.take_row().unwrap());
                *written.entry(source).or_default() += tokens;
                sum += tokens;
            }
            assert_eq!(found["outputs"][part]["tokens"], sum, "{steps}");
        }
        for (source, dir) in found["sources"].as_array().unwrap().iter().zip(&folders) {
            let read = counted(&tokenizer, dir.path()).values().map(|(tokens, _)| tokens).sum::<u64>();
            assert_eq!(source["tokens_in"], read, "{steps} {source}");
            let name = source["name"].as_str().unwrap();
            assert_eq!(source["tokens_out"], written.get(name).copied().unwrap_or(0), "{steps} {source}");
        }
        let read: u64 = folders
            .iter()
            .flat_map(|dir| counted(&tokenizer, dir.path()).into_values())
            .map(|(tokens, _)| tokens)
            .sum();
        let [page, card] = [ran.read("report.html"), ran.read("README.md")];
        assert!(page.contains("tokens in") && card.contains("| tokens in | tokens out |"), "{steps}: {card}");
        assert!(read > 0 && written.values().sum::<u64>() > 0);
    }
}

#[test]
fn a_curation_without_steps_says_what_its_template_refuses_and_data_stats_shows_it() {
    let world = world();
    world.write(
        "data.jsonl",
        "{\"text\": \"la mer\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"Quoi ?\"}]}\n",
    );
    let pipeline = world.read("pipeline.yaml");
    world.write("pipeline.yaml", &format!("{}\n", pipeline.split("    steps:").next().unwrap().trim_end()));
    let config: Value = serde_json::from_str(&world.read("model/tokenizer_config.json")).unwrap();
    let refusing = json!({"chat_template": "{{ raise_exception('no chats') }}"});
    let mut refused = config.as_object().unwrap().clone();
    refused.extend(refusing.as_object().unwrap().clone());
    world.write("model/tokenizer_config.json", &Value::Object(refused).to_string());
    world.run_ok(&[]);
    let shown = world.json(&["show", "set", "--json"]);
    let page = fs::read_to_string(format!("{}/report.html", shown["path"].as_str().unwrap())).unwrap();
    assert!(page.contains("counted by their words alone: 1."), "{page}");
    insta::assert_snapshot!(world.run(&["data", "stats", "set"]).stdout);
    let told = world.json(&["data", "stats", "set", "--json"]);
    // `la mer` is six bytes and `Quoi ?` six, each with a token behind it.
    assert_eq!((&told["sources"][0]["tokens_in"], &told["sources"][0]["rows_refused"]), (&json!(14), &json!(1)));
}

#[test]
fn counting_tokens_changes_nothing_else_and_threads_change_nothing() {
    let (data, model) = (rows(), model_folder("tied"));
    let [one, three] = [1, 3].map(|threads| curate(threads, data.path(), &steps(), Some(model.path())));
    for file in ["stats.json", "report.html", "README.md", "rows/data.jsonl"] {
        assert!(one.read(file) == three.read(file), "{file} differs");
    }
    let without = curate(2, data.path(), &steps(), None);
    assert_eq!(one.read("rows/data.jsonl"), without.read("rows/data.jsonl"));
    let mut found = stats(&one);
    for (parts, names) in
        [("steps", &["tokens_in", "tokens_out", "tokens_changed"][..]), ("sources", &["tokens_in", "tokens_out"])]
    {
        for part in found[parts].as_array_mut().unwrap() {
            for name in names {
                assert!(part.as_object_mut().unwrap().shift_remove(*name).is_some(), "{parts} {name}");
            }
        }
    }
    assert!(found["outputs"]["rows"].as_object_mut().unwrap().shift_remove("tokens").is_some());
    assert_eq!(found, stats(&without));
    assert!(!without.read("report.html").contains("token") && !without.read("README.md").contains("token"));
}

#[test]
fn chats_that_the_template_refuses_are_counted_by_their_words_and_said() {
    let (data, model) = (rows(), model_folder("tied"));
    let config = model.path().join("tokenizer_config.json");
    let mut settings: Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
    settings["chat_template"] = json!("{{ raise_exception('no chats') }}");
    fs::write(&config, settings.to_string()).unwrap();
    let ran = curate(2, data.path(), &[json!({"rename": {"said": "text"}})], Some(model.path()));
    let step = &stats(&ran)["steps"][0];
    assert_eq!(step["rows_refused"], 30);
    let tokenizer = Tokenizer::load(model.path()).unwrap();
    let rows = data::open(&ran.path().join("rows")).unwrap().map(Result::unwrap);
    let words: usize = rows.map(|row| tokenizer.encode(&row.text()).unwrap().len() + 1).sum();
    assert_eq!(step["tokens_out"], words);
    assert!(ran.read("report.html").contains("counted by their words alone: 30 after step 1 (rename)."));
}

/// A source with a file that is large enough to be kept, two tokenizers, and a curation with steps before and after what is kept.
fn world() -> World {
    let world = World::empty();
    for (folder, file) in [("model", "tokenizer.json"), ("model", "tokenizer_config.json"), ("model", "config.json")] {
        world.write(&format!("{folder}/{file}"), "");
        fs::copy(model_folder("tied").path().join(file), world.path(folder).join(file)).unwrap();
    }
    fs::copy(model_folder("tied").path().join("model.safetensors"), world.path("model").join("model.safetensors"))
        .unwrap();
    let text =
        |i: u32| format!("{{\"text\": \"Range\u{301}e {i} : la mer est grise et le vent se lève sur la lande.\"}}\n");
    world.write("data.jsonl", &(0..15_000).map(text).collect::<String>());
    world.write(
        "pipeline.yaml",
        "version: 1\nnodes:\n  model: {kind: source, model: model}\n  raw: {kind: source, dataset: data.jsonl}\n  set:\n    kind: curate\n    \
         from: [raw]\n    tokenizer: model\n    steps:\n      - normalize: {}\n      - matches: {pattern: \"[37] :\"}\n      - sample: {rows: 900}\n",
    );
    world
}

#[test]
fn counts_are_shown_kept_with_a_file_and_follow_the_tokenizer() {
    let world = world();
    let read = || {
        world.run_ok(&[]);
        let shown = world.json(&["show", "set", "--json"]);
        let path = shown["path"].as_str().unwrap().to_owned();
        ["stats.json", "report.html", "README.md"].map(|name| fs::read_to_string(format!("{path}/{name}")).unwrap())
    };
    let first: Value = serde_json::from_str(&read()[0]).unwrap();
    assert!(first["steps"][1]["tokens_out"].as_u64() < first["steps"][0]["tokens_out"].as_u64());
    let said = world.run(&["data", "stats", "set"]).stdout;
    insta::assert_snapshot!(said);
    let said: Value = world.json(&["data", "stats", "set", "--json"]);
    assert_eq!(said["steps"][0]["tokens_in"], first["steps"][0]["tokens_in"]);
    // What was kept of the file has its counts, and they are those of a fresh cache.
    world.edit("rows: 900", "rows: 800");
    let kept = read();
    fs::remove_dir_all(world.path("cache/memo")).unwrap();
    world.run_ok(&["--force", "set"]);
    assert_eq!(kept, read());
    assert!(kept[1].contains("tokens changed") && kept[2].contains("| tokens in | tokens out |"), "{}", kept[2]);
    // Another tokenizer finds other numbers of the same file.
    world.edit_file("model/tokenizer.json", "\"add_prefix_space\": false", "\"add_prefix_space\": true");
    let other: Value = serde_json::from_str(&read()[0]).unwrap();
    assert!(other["steps"][0]["tokens_in"] != first["steps"][0]["tokens_in"], "{other}");
}

#[test]
fn what_is_no_tokenizer_is_named() {
    let (data, nothing) = (rows(), TempDir::new().unwrap());
    let params = json!({"from": ["data"], "steps": [], "tokenizer": "model"});
    let slots = inputs(&[("from[0]", "", data.path()), ("tokenizer", "", nothing.path())]);
    let error = run_with(1, Kind::Curate, params, &slots).err().unwrap().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
}

/// Cancels with the first rows.
struct Impatient<'a>(&'a AtomicBool);

impl Progress for Impatient<'_> {
    fn phase(&self, _name: &str, _total: Option<u64>, _unit: &'static str) {}
    fn position(&self, _done: u64) {
        self.0.store(true, Ordering::Relaxed);
    }
    fn note(&self, _text: &str) {}
}

#[test]
fn nothing_unfinished_stays_when_a_node_is_cancelled() {
    let (data, out, memo) = (TempDir::new().unwrap(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let text = |i: u32| json!({"text": format!("Rangée {i} : {}", "la mer est grise ".repeat(10))}).to_string() + "\n";
    fs::write(data.path().join("data.jsonl"), (0..8000).map(text).collect::<String>()).unwrap();
    let op =
        Op::from_fields(Kind::Curate, json!({"from": ["a"], "steps": [{"normalize": {}}, {"toxicity": {}}]})).unwrap();
    let inputs = inputs(&[("from[0]", "", data.path())]);
    let run = |cancelled: &AtomicBool, progress: &dyn Progress| {
        let cx = OpCx {
            inputs: &inputs,
            out: out.path(),
            scratch: out.path(),
            checkpoint: None,
            memo: Some(memo.path()),
            environment: &|_| None,
            threads: 1,
            device: ops::DeviceChoice::Cpu,
            progress,
            cancelled,
        };
        ops::run(&op, &cx).map(drop).map_err(|error| error.to_string())
    };
    let left = || -> Vec<String> {
        let files = fs::read_dir(memo.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        files.collect()
    };
    let cancelled = AtomicBool::new(false);
    assert_eq!(run(&cancelled, &Impatient(&cancelled)), Err("interrupted".to_owned()));
    assert_eq!(left(), [""; 0]);
    run(&AtomicBool::new(false), &crate::op::Silent).unwrap();
    assert_eq!(left().len(), 2, "{:?}", left());
}
