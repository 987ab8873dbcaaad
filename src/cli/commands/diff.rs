//! `luthflow diff A B`: how two lockfiles or runs differ.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::plan::JSON_VERSION;
use crate::cache::Cache;
use crate::cli::args::{Cli, DiffArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::read_cache;
use crate::cli::report::CliError;
use crate::exec::locked;
use crate::plan::{KeyParts, stale};
use crate::spec::lock::Lock;
use crate::spec::lock::diff::{LockDiff, MetricChange, NodeChange, ValueChange, diff};
use crate::spec::suggest;

pub(in crate::cli) fn run(args: &DiffArgs, cli: &Cli) -> Result<Exit, CliError> {
    let cache = read_cache(cli)?;
    let (old, new) = (read(&args.old, &cache)?, read(&args.new, &cache)?);
    let found = diff(&old, &new);
    let why: Vec<Vec<String>> = found.changed.iter().map(|node| settings(&cache, node)).collect::<Result<_, _>>()?;
    if args.json {
        let mut value = serde_json::to_value(&found).map_err(|error| CliError::internal(error.to_string()))?;
        for (node, why) in value["changed"].as_array_mut().into_iter().flatten().zip(&why) {
            node["settings"] = json!(why);
        }
        value["version"] = json!(JSON_VERSION);
        output::json(&value)?;
    } else if args.md {
        output::data(markdown(&found, &why).trim_end())?;
    } else {
        for line in text(&found, &why) {
            output::data(&line)?;
        }
        if found.is_empty() {
            output::say("no difference");
        }
    }
    Ok(Exit::Success)
}

/// Reads a lockfile, or the one that a run left in its folder.
fn read(name: &str, cache: &Cache) -> Result<Lock, CliError> {
    let path = Path::new(name);
    if path.is_file() {
        return locked::read(path)?.ok_or_else(|| CliError::user(format!("there is no file {name}")));
    }
    let runs = cache.runs(usize::MAX)?;
    let Some(run) = runs.iter().find(|run| run.id.as_str() == name) else {
        let ids = runs.iter().take(24).map(|run| run.id.as_str());
        let help = suggest::nearest(name, ids).map(|id| format!("did you mean `{id}`?"));
        let help = help.unwrap_or_else(|| "`luthflow runs` lists the runs".to_owned());
        return Err(CliError::user(format!("`{name}` is no file and no run")).help(help));
    };
    let lock = locked::read(&locked::path_of_run(cache, &run.id))?;
    lock.ok_or_else(|| {
        CliError::user(format!("the run {name} left no lockfile")).help("it was ended before it was over")
    })
}

/// Says what changed in a node's key, as far as the cache remembers both.
fn settings(cache: &Cache, node: &NodeChange) -> Result<Vec<String>, CliError> {
    let Some(keys) = &node.key else { return Ok(Vec::new()) };
    let mut parts = Vec::new();
    for key in keys {
        let action = key.parse().ok().map(|key| cache.on_record(&key)).transpose()?.flatten();
        parts.extend(action.and_then(|action| KeyParts::from_value(&action.parts)));
    }
    Ok(match parts.as_slice() {
        [old, new] => {
            stale::compare(old, new, |_| "what it reads".to_owned()).iter().map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    })
}

/// Returns every difference as a sentence.
pub(in crate::cli) fn sentences(found: &LockDiff) -> Vec<String> {
    text(found, &[]).into_iter().map(|line| line.trim().to_owned()).collect()
}

fn text(found: &LockDiff, why: &[Vec<String>]) -> Vec<String> {
    let mut lines: Vec<String> = found.top.iter().map(|change| format!("{}: {}", change.name, arrow(change))).collect();
    lines.extend(found.params.iter().map(|change| format!("parameter {}: {}", change.name, arrow(change))));
    lines.extend(found.removed.iter().map(|node| format!("- {node}")));
    lines.extend(found.added.iter().map(|node| format!("+ {node}")));
    for (index, node) in found.changed.iter().enumerate() {
        let reasons = why.get(index).filter(|why| !why.is_empty()).map_or_else(Vec::new, Clone::clone);
        let what = match (&node.key, &node.artifact) {
            (Some(_), Some(_)) => "another key and artifact",
            (Some(_), None) => "another key, the same artifact",
            (None, Some(_)) => "another artifact under the same key",
            (None, None) => "the same artifact",
        };
        lines.push(format!("~ {}: {what}", node.node));
        lines.extend(reasons.iter().map(|reason| format!("    {reason}")));
        lines.extend(node.fields.iter().map(|change| format!("    {}: {}", change.name, arrow(change))));
        lines.extend(node.metrics.iter().map(|change| format!("    {}", metric(change))));
    }
    lines
}

fn metric(change: &MetricChange) -> String {
    let delta = change.delta.map_or_else(String::new, |delta| format!(" ({delta:+})"));
    format!("{}: {} -> {}{delta}", change.name, figure(change.old), figure(change.new))
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
}

fn arrow(change: &ValueChange) -> String {
    let show = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), shown);
    format!("{} -> {}", show(&change.old), show(&change.new))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().take(80).collect(),
        other => other.to_string(),
    }
}

fn markdown(found: &LockDiff, why: &[Vec<String>]) -> String {
    let mut out = String::new();
    let mut table = |head: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            let columns = head.matches('|').count() - 1;
            let _ = write!(out, "{head}\n|{}\n{}\n\n", "---|".repeat(columns), rows.join("\n"));
        }
    };
    let pair = |change: &ValueChange| {
        let side = |value: &Option<Value>| value.as_ref().map_or_else(String::new, |value| cell(&shown(value)));
        format!("| {} | {} | {} |", cell(&change.name), side(&change.old), side(&change.new))
    };
    table("| parameter | old | new |", found.top.iter().chain(&found.params).map(pair).collect());
    let row = |node: &String, what: &str| format!("| {} | {what} |", cell(node));
    let mut nodes: Vec<String> = found.removed.iter().map(|node| row(node, "gone")).collect();
    nodes.extend(found.added.iter().map(|node| row(node, "new")));
    for (index, node) in found.changed.iter().enumerate() {
        let mut what: Vec<String> = why.get(index).into_iter().flatten().map(|why| cell(why)).collect();
        what.extend(node.fields.iter().map(|change| cell(&format!("{}: {}", change.name, arrow(change)))));
        if let (Some([old, new]), true) = (&node.artifact, what.is_empty()) {
            let short = |digest: &String| digest.chars().take(12).collect::<String>();
            what.push(format!("artifact {} -> {}", short(old), short(new)));
        }
        nodes.push(row(&node.node, &what.join("; ")));
    }
    table("| node | what changed |", nodes);
    let metrics = found.changed.iter().flat_map(|node| node.metrics.iter().map(move |change| (node, change)));
    let metric = |(node, change): (&NodeChange, &MetricChange)| {
        let side = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let delta = change.delta.map_or_else(String::new, |delta| format!("{delta:+}"));
        let (node, name) = (cell(&node.node), cell(&change.name));
        format!("| {node} | {name} | {} | {} | {delta} |", side(change.old), side(change.new))
    };
    table("| node | metric | old | new | change |", metrics.map(metric).collect());
    if out.is_empty() { "no difference".to_owned() } else { out }
}

/// Makes text fit for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
