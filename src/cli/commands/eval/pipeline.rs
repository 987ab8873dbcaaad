//! The pipeline of an eval without a pipeline: a source of the model, sources of the rows that are given, and one eval.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::cli::alone::{self, Mistaken, plain};
use crate::cli::commands::data::is_file;
use crate::cli::commands::references;
use crate::cli::eval_args::AskArgs;
use crate::cli::project::read;
use crate::cli::report::CliError;
use crate::plan::Plan;
use crate::spec::document::Document;
use crate::spec::{Diagnostic, suggest, tasks};

/// The name of the eval in it.
pub(super) const SCORES: &str = "scores";

/// A task as the pipeline has it.
struct Entry {
    /// The word on the command line.
    word: String,
    /// Its name.
    key: String,
    /// Whether the pipeline names the file of the task, so that mistakes in it are told with their places.
    by_path: bool,
    settings: Map<String, Value>,
}

impl Entry {
    fn into_task(self) -> Value {
        let key = if self.by_path { self.word } else { self.key };
        json!({ key: self.settings })
    }
}

/// Makes the pipeline.
pub(super) fn plan(args: &AskArgs) -> Result<Plan, CliError> {
    let model = args.model.as_deref().unwrap_or_default();
    let mut nodes = Map::new();
    nodes.insert("model".to_owned(), json!({"kind": "source", "model": model_of(model)?}));
    let mut entries = Vec::new();
    for word in &args.tasks {
        entries.push(entry(word.trim(), args, &mut nodes)?);
    }
    for (flag, field, given) in [("--data", "data", &args.data), ("--examples", "examples", &args.examples)] {
        for argument in given {
            rows(flag, field, argument, &mut entries, &mut nodes)?;
        }
    }
    let tasks: Vec<Value> = entries.into_iter().map(Entry::into_task).collect();
    let mut scores = json!({
        "kind": "eval", "model": "model", "tasks": tasks, "profile": args.profile.word(), "seed": args.seed,
        "runs": args.runs, "batch": args.batch,
    });
    let optional = [
        ("chat_template", args.chat_template.map(Value::from)),
        ("system", args.system.as_deref().map(|system| plain(&system.into()))),
        ("thinking", args.thinking.map(Value::from)),
        ("max_tokens", args.max_tokens.map(Value::from)),
    ];
    for (name, value) in optional.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        scores[name] = value;
    }
    nodes.insert(SCORES.to_owned(), scores);
    alone::plan(&nodes, "eval").map_err(told)
}

/// Returns the mistakes in the words of the command line; those in task files with their places there.
fn told(mistaken: Mistaken) -> CliError {
    let Mistaken { diagnostics, files } = mistaken;
    let (of_files, own): (Vec<Diagnostic>, Vec<Diagnostic>) =
        diagnostics.into_iter().partition(|diagnostic| diagnostic.file > 0);
    if let Some((path, _)) = of_files.first().and_then(|first| files.get(first.file)) {
        return CliError::mistakes(path, &files, of_files);
    }
    let mut mistakes = own.iter().map(in_flags);
    let Some((message, help)) = mistakes.next() else { return CliError::internal("the eval cannot be planned") };
    let error = CliError::user(message).details(mistakes.map(|(message, _)| message));
    match help {
        Some(help) => error.help(help),
        None => error,
    }
}

/// Returns what the source of a task's rows is called. Given twice, the last one counts.
fn node_name(task: &str, field: &str) -> String {
    let plain: String =
        task.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect();
    format!("{field}-of-{plain}")
}

/// Returns a mistake in the words of the command line: in a pipeline it stands in a field, here in a flag.
fn in_flags(mistake: &Diagnostic) -> (String, Option<String>) {
    let flag = |field: &str| format!("--{}", field.replace('_', "-"));
    let message = match mistake.message.strip_prefix('`').and_then(|rest| rest.split_once("`: ")) {
        Some((place, what)) if place.starts_with("tasks[") && !place.contains('.') => what.to_owned(),
        Some((place, what)) => format!("`{}`: {what}", flag(place.rsplit('.').next().unwrap_or(place))),
        None => mistake.message.clone(),
    };
    let words = [
        ("the node with its rows: `data: NODE`", "its rows: `--data TASK=FILE`"),
        ("the node with solved rows: `examples: NODE`", "solved rows: `--examples TASK=FILE`"),
        ("`shots: 0`", "`--shots 0`"),
    ];
    let help = |help: &String| words.iter().fold(help.clone(), |help, (from, to)| help.replace(from, to));
    (message, mistake.help.as_ref().map(help))
}

/// Says whether a word is an address.
fn is_address(word: &str) -> bool {
    word.contains("://")
}

fn model_of(model: &str) -> Result<String, CliError> {
    if is_address(model) {
        return Ok(model.replace("${", "$${"));
    }
    here(Path::new(model), || {
        let help = "name a folder in Hugging Face layout, a GGUF file, or `hf://OWNER/NAME@REVISION`";
        CliError::user(format!("there is no model {model}")).help(help)
    })
}

/// Returns a path as the pipeline has it.
fn here(path: &Path, missing: impl FnOnce() -> CliError) -> Result<String, CliError> {
    if !path.exists() {
        return Err(missing());
    }
    references::path(&fs_err::canonicalize(path)?)
}

/// Returns the entry of a task. One from a file brings its definition, and the source that the file names.
fn entry(word: &str, args: &AskArgs, nodes: &mut Map<String, Value>) -> Result<Entry, CliError> {
    let mut settings = Map::new();
    for (name, number) in [("limit", args.limit), ("shots", args.shots)] {
        if let Some(number) = number {
            settings.insert(name.to_owned(), number.into());
        }
    }
    if !is_file(word) {
        return Ok(Entry { word: word.to_owned(), key: word.to_owned(), by_path: false, settings });
    }
    let file = Path::new(word);
    let text = read(file)?;
    let document = Document::read(&text)
        .map_err(|mistakes| CliError::mistakes(file, &[(file.to_path_buf(), text.clone())], mistakes))?;
    let Some(key) = document.value.get("task").and_then(Value::as_str).map(str::to_owned) else {
        let help = "a task file begins with `task: NAME`; `luthflow eval tasks NAME` prints an example";
        return Err(CliError::user(format!("{word} names no task")).help(help));
    };
    let settled = tasks::settle(document.value.clone(), None, args.profile.word())
        .map_err(|why| CliError::user(format!("{word}: {why}")))?;
    let shots = args.shots.map_or_else(|| settled["fewshot"]["shots"].as_u64().unwrap_or(0), |shots| shots as u64);
    for (field, split) in [("data", "split"), ("examples", "examples")].into_iter().take(if shots > 0 { 2 } else { 1 })
    {
        if let Some(source) = source(&settled["source"], split, file) {
            let name = node_name(&key, field);
            nodes.insert(name.clone(), plain(&source));
            settings.insert(field.to_owned(), name.into());
        }
    }
    // In a pipeline `${…}` is a parameter, and here it means itself.
    let by_path =
        [".yaml", ".yml"].iter().any(|end| word.ends_with(end)) && !word.contains("${") && !text.contains("${");
    if !by_path {
        settings.insert("define".to_owned(), plain(&document.value));
    }
    Ok(Entry { word: word.to_owned(), key, by_path, settings })
}

/// Returns the source that a task file names. A path in it is relative to the file.
fn source(source: &Value, split: &str, file: &Path) -> Option<Value> {
    let dataset = source["dataset"].as_str()?;
    let mut node = json!({"kind": "source", "dataset": dataset});
    if !is_address(dataset) {
        if split == "examples" {
            return None;
        }
        let beside = file.parent().unwrap_or(Path::new("")).join(dataset);
        node["dataset"] = fs_err::canonicalize(&beside).unwrap_or(beside).to_string_lossy().into();
        return Some(node);
    }
    if split == "examples" && source[split].is_null() {
        return None;
    }
    for (field, value) in [("config", &source["config"]), ("split", &source[split])] {
        if !value.is_null() {
            node[field] = value.clone();
        }
    }
    Some(node)
}

/// Gives a task rows from the command line.
fn rows(
    flag: &str,
    field: &str,
    argument: &str,
    entries: &mut [Entry],
    nodes: &mut Map<String, Value>,
) -> Result<(), CliError> {
    let Some((task, file)) = argument.split_once('=') else {
        return Err(CliError::user(format!("`{flag} {argument}`: write `{flag} TASK=FILE`")));
    };
    let known: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    let Some(entry) = entries.iter_mut().find(|entry| entry.word == task || entry.key == task) else {
        let error = CliError::user(format!("`{flag} {argument}`: `{task}` is not among the tasks"));
        return Err(match suggest::help(task, known.iter().map(String::as_str)) {
            Some(help) => error.help(help),
            None => error,
        });
    };
    let dataset = if is_address(file) {
        file.replace("${", "$${")
    } else {
        here(Path::new(file), || {
            let help = "paths on the command line are relative to the current folder";
            CliError::user(format!("there is no file {file}")).help(help)
        })?
    };
    let name = node_name(&entry.key, field);
    nodes.insert(name.clone(), json!({"kind": "source", "dataset": dataset}));
    entry.settings.insert(field.to_owned(), name.into());
    Ok(())
}
