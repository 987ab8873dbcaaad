//! The prompts of the built-in eval tasks: filled in from small rows of the shape of each data set, compared with what
//! lighteval 0.10.0 and lm-evaluation-harness make of the same rows (`tests/fixtures/eval/prompts.py` wrote that down), and
//! kept as a snapshot.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use luthflow::data::{Expression, TextTemplate};
use luthflow::spec::tasks::{find, languages, list, settle};
use serde_json::{Map, Value, json};

const PROFILES: [&str; 3] = ["native", "luth", "lm-eval"];

fn fixture(name: &str) -> Value {
    let path = Path::new("tests/fixtures/eval").join(name);
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

/// The row of a task in a language: its own, or that of the task in French or English where the columns are the same.
fn row_of<'a>(rows: &'a Value, task: &str, language: Option<&str>) -> &'a Value {
    let base = task.strip_suffix("-mc2").unwrap_or(task);
    let code = language.unwrap_or("en");
    let names = match code {
        "en" => vec![base.to_owned(), format!("{base}-fr")],
        _ => vec![format!("{base}-{code}"), format!("{base}-fr"), base.to_owned()],
    };
    names.iter().find_map(|name| rows.get(name)).unwrap_or_else(|| panic!("no row for {task} {code}"))
}

/// The columns that texts of a task see: the row, `words`, `draw`, and those of `let`, in whatever order they can be had.
fn columns(definition: &Value, row: &Value) -> Value {
    let mut columns = row.as_object().unwrap().clone();
    columns.insert("words".into(), definition.get("words").cloned().unwrap_or_else(|| json!({})));
    if definition.get("draw").is_some() {
        columns.insert("draw".into(), json!(2));
    }
    let mut left: Map<String, Value> = definition.get("let").and_then(Value::as_object).cloned().unwrap_or_default();
    while !left.is_empty() {
        let mut why = Vec::new();
        let before = left.len();
        let names: Vec<String> = left.keys().cloned().collect();
        for name in names {
            let source = left[&name].as_str().unwrap_or_else(|| panic!("`{name}` is no text"));
            match Expression::new(source).and_then(|expression| expression.value(&columns)) {
                Ok(value) => {
                    columns.insert(name.clone(), value);
                    left.shift_remove(&name);
                }
                Err(error) => why.push(format!("{name}: {error}")),
            }
        }
        assert!(left.len() < before, "{}: {why:?}", definition["task"]);
    }
    Value::Object(columns)
}

fn text(template: &Value, columns: &Value) -> Value {
    let template = template.as_str().unwrap();
    let filled = TextTemplate::new(template).and_then(|template| template.render(columns.as_object().unwrap()));
    filled.unwrap_or_else(|error| panic!("{template}: {error}")).into()
}

fn value(source: &Value, columns: &Value) -> Value {
    let source = source.as_str().unwrap();
    let value = Expression::new(source).and_then(|expression| expression.value(columns.as_object().unwrap()));
    value.unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// All that a model is asked, filled in.
fn asked(definition: &Value, row: &Value) -> Map<String, Value> {
    let columns = columns(definition, row);
    let mut asked = Map::new();
    for name in ["instruction", "prompt", "answer_start"] {
        if let Some(template) = definition.get(name) {
            asked.insert(name.into(), text(template, &columns));
        }
    }
    if let Some(condition) = definition.get("where") {
        asked.insert("where".into(), value(condition, &columns));
    }
    let (kind, request) = definition["request"].as_object().unwrap().iter().next().unwrap();
    asked.insert("request".into(), kind.clone().into());
    for (name, setting) in request.as_object().unwrap() {
        let filled = match name.as_str() {
            "texts" | "stop" => setting.as_array().unwrap().iter().map(|one| text(one, &columns)).collect(),
            "list" | "contexts" | "gold" => value(setting, &columns),
            "unconditioned" | "good" | "bad" => text(setting, &columns),
            _ => setting.clone(),
        };
        let name = if name == "texts" { "list" } else { name };
        asked.insert(name.into(), filled);
    }
    for name in ["choices", "group", "cluster"] {
        let known = match name {
            "choices" => definition.pointer("/let/choices").map(|_| "choices"),
            _ => definition.get(name).and_then(Value::as_str),
        };
        if let Some(column) = known {
            let value = columns.get(column).unwrap_or_else(|| panic!("{}: no column {column}", definition["task"]));
            asked.insert(if name == "choices" { "letters" } else { name }.into(), value.clone());
        }
    }
    asked
}

fn settled(task: &str, language: Option<&str>, profile: &str) -> Value {
    let (raw, language) = find(task, language, None).unwrap();
    settle(raw, language.as_deref(), profile).unwrap()
}

fn all() -> impl Iterator<Item = (String, Option<String>)> {
    list().into_iter().flat_map(|task| {
        let codes: Vec<Option<String>> = std::iter::once(None).chain(task.languages.into_iter().map(Some)).collect();
        codes.into_iter().map(move |code| (task.name.clone(), code))
    })
}

#[test]
fn every_task_fills_in_its_texts_in_every_language_by_every_profile() {
    let rows = fixture("rows.json");
    for (task, language) in all() {
        for profile in PROFILES {
            let definition = settled(&task, language.as_deref(), profile);
            let asked = asked(&definition, row_of(&rows, &task, language.as_deref()));
            let place = format!("{task} {language:?} {profile}");
            let kind = asked["request"].as_str().unwrap();
            match kind {
                "pair" => assert_ne!(asked["good"], asked["bad"], "{place}"),
                "choices" => {
                    let answers = asked["list"].as_array().unwrap();
                    assert!(answers.len() > 1 && answers.iter().all(Value::is_string), "{place}: {answers:?}");
                    let gold = &asked["gold"];
                    let golds = gold.as_array().cloned().unwrap_or_else(|| vec![gold.clone()]);
                    let inside = |gold: &Value| gold.as_u64().is_some_and(|gold| gold < answers.len() as u64);
                    assert!(!golds.is_empty() && golds.iter().all(inside), "{place}: {gold}");
                }
                "generate" if definition["metrics"][0]["metric"] != "ifeval" => {
                    assert!(asked["gold"].as_str().is_some_and(|gold| !gold.is_empty()), "{place}: {}", asked["gold"]);
                }
                _ => {}
            }
        }
    }
}

/// Shown by a snapshot, so that a change of a prompt is read.
#[test]
fn prompts_are_these() {
    let rows = fixture("rows.json");
    let mut shown = String::new();
    for (task, language) in all() {
        // The others have the prompts of these in other words.
        let one = list().iter().find(|listed| listed.name == task).map_or(0, |listed| listed.languages.len()) == 1;
        if !matches!(language.as_deref(), Some("en" | "fr")) || (one && language.is_none()) {
            continue;
        }
        let mut known: Vec<(Map<String, Value>, Value, &str)> = Vec::new();
        for profile in PROFILES {
            let definition = settled(&task, language.as_deref(), profile);
            let asked = asked(&definition, row_of(&rows, &task, language.as_deref()));
            let metrics = definition["metrics"].clone();
            writeln!(shown, "# {task} {} {profile}", language.as_deref().unwrap_or("")).unwrap();
            let same = known.iter().find(|(known, others, _)| *known == asked && *others == metrics);
            if let Some((_, _, other)) = same {
                writeln!(shown, "as {other}\n").unwrap();
                continue;
            }
            for (name, value) in &asked {
                match value.as_str() {
                    Some(text) if text.contains('\n') => {
                        writeln!(shown, "{name}:\n  {}", text.replace('\n', "⏎\n  ")).unwrap();
                    }
                    _ => writeln!(shown, "{name}: {value}").unwrap(),
                }
            }
            writeln!(shown, "metrics: {metrics}\n").unwrap();
            known.push((asked, metrics, profile));
        }
    }
    insta::assert_snapshot!(shown);
}

/// What the harnesses made of the same rows: `[task, language, profile]` and the parts that they know of.
#[test]
fn prompts_are_those_of_the_harnesses() {
    let rows = fixture("rows.json");
    let golden = fixture("golden.json");
    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    for case in golden.as_array().unwrap() {
        let word = |name: &str| case[name].as_str();
        let (task, profile) = (word("task").unwrap(), word("profile").unwrap());
        let definition = settled(task, word("language"), profile);
        let row = case.get("row").unwrap_or_else(|| row_of(&rows, task, word("language")));
        let asked = asked(&definition, row);
        for (name, expected) in case["asked"].as_object().unwrap() {
            let place = format!("{task} {:?} {profile} {name}", word("language"));
            assert_eq!(asked.get(name).unwrap_or(&Value::Null), expected, "{place}");
        }
        *compared.entry(if profile == "luth" { "lighteval" } else { "lm-eval" }).or_default() += 1;
    }
    insta::assert_debug_snapshot!(compared);
}

/// `luthflow check` reads the example, with the other pipelines that are shipped.
#[test]
fn the_docs_show_the_task_of_the_example() {
    let example = fs_err::read_to_string("examples/eval/pipeline.yaml").unwrap();
    let docs = fs_err::read_to_string("docs/evaluation.md").unwrap();
    let task = example.split("# --- the task ---\n").nth(1).unwrap().split("# --- end ---").next().unwrap();
    assert!(docs.contains(task.trim()), "the docs show another task than the example");
}

/// A task that is not described is not found.
#[test]
fn the_docs_name_every_task_and_language() {
    let docs = fs_err::read_to_string("docs/tasks.md").unwrap();
    for task in list() {
        let line = docs.lines().find(|line| line.starts_with(&format!("| `{}` |", task.name)));
        let line = line.unwrap_or_else(|| panic!("docs/tasks.md has no line for {}", task.name));
        let (raw, _) = find(&task.name, None, None).unwrap();
        for code in languages(&raw).into_iter().filter(|code| code.len() == 2) {
            let cell = line.split(" | ").nth(2).unwrap();
            let one = languages(&raw).len() == 1;
            assert!(
                one || cell.split([',', ':', ' ']).any(|word| word == code),
                "{}: {code} is not in the docs",
                task.name
            );
        }
    }
}

/// Every task is asked and judged by every profile, through the program, on a tiny random model.
#[test]
fn every_task_is_asked_and_judged() {
    let rows = fixture("rows.json");
    let world = crate::world::World::empty();
    let model = crate::tiny::model_folder("tied");
    fs_err::create_dir(world.path("model")).unwrap();
    for entry in fs_err::read_dir(model.path()).unwrap() {
        let entry = entry.unwrap();
        fs_err::copy(entry.path(), world.path("model").join(entry.file_name())).unwrap();
    }
    let mut nodes = Map::from_iter([("model".to_owned(), json!({"kind": "source", "model": "model"}))]);
    let mut tasks = Vec::new();
    for (task, language) in all() {
        let Some(code @ ("en" | "fr")) = language.as_deref() else { continue };
        let node = format!("{task}-{code}-rows");
        world.write(&format!("{node}.jsonl"), &format!("{}\n", row_of(&rows, &task, Some(code))));
        nodes.insert(node.clone(), json!({"kind": "source", "dataset": format!("{node}.jsonl")}));
        tasks.push(json!({task: {"language": code, "data": node, "examples": node}}));
    }
    for profile in PROFILES {
        let eval = json!({"kind": "eval", "model": "model", "profile": profile, "max_tokens": 4, "tasks": tasks});
        nodes.insert(format!("scores-{profile}"), eval);
    }
    world.write("pipeline.yaml", &json!({"version": 1, "nodes": nodes}).to_string());
    world.run_ok(&[]);
    for profile in PROFILES {
        let metrics = world.json(&["show", &format!("scores-{profile}"), "--json"])["metrics"].clone();
        for task in &tasks {
            let (name, settings) = task.as_object().unwrap().iter().next().unwrap();
            let definition = settled(name, settings["language"].as_str(), profile);
            for metric in definition["metrics"].as_array().unwrap() {
                let metric = metric["name"].as_str().or(metric["metric"].as_str()).or(metric.as_str()).unwrap();
                let metric = if metric == "ifeval" { "prompt_strict" } else { metric };
                let score = format!("{name}-{}.{metric}", settings["language"].as_str().unwrap());
                assert!(metrics[&score].is_number(), "{profile} has no {score}: {metrics}");
            }
        }
    }
}
