//! The sources that tasks imply: a task that no node gives rows is given a source of its own, so that its rows are fetched,
//! checked, locked and cached like everything else. So is one that a curation keeps clear of.

use serde_json::{Map, Value};

use super::expand::named;
use super::{find, settle};
use crate::spec::params::Kind;
use crate::spec::pipeline::{NodeSpec, Pipeline};

/// What the names of such sources begin with.
const PREFIX: &str = "task-data/";

/// The profiles there are.
const PROFILES: [&str; 3] = ["native", "luth", "lm-eval"];

/// Adds the sources, and names them where rows are missing.
pub(in crate::spec) fn imply(pipeline: &mut Pipeline) {
    let mut added: Vec<NodeSpec> = Vec::new();
    let params = pipeline.params.clone();
    for node in &mut pipeline.nodes {
        if node.kind == Kind::Curate {
            let mut fields = std::mem::take(&mut node.fields);
            examined(&mut fields, node, &mut added);
            node.fields = fields;
        }
        if node.kind != Kind::Eval {
            continue;
        }
        let mut fields = std::mem::take(&mut node.fields);
        // A parameter that holds the whole list is looked up here: what is in it is to be known.
        if let Some(name) = fields.get("tasks").and_then(Value::as_str).and_then(parameter)
            && let Some(list @ Value::Array(_)) = params.get(&node.whole_name(name))
        {
            fields["tasks"] = list.clone();
        }
        // A profile that there is not is told of the eval alone.
        let is_one = |word: &str| PROFILES.contains(&word) || word.contains("${");
        let profile = fields.get("profile").filter(|profile| profile.as_str().is_some_and(is_one)).cloned();
        if let Some(tasks) = fields.get_mut("tasks").and_then(Value::as_array_mut) {
            for entry in tasks {
                complete(entry, profile.as_ref(), node, &mut added);
            }
        }
        node.fields = fields;
    }
    pipeline.nodes.extend(added);
    pipeline.by_name = std::sync::OnceLock::new();
}

/// Names the rows of tasks that a curation is to keep clear of: `decontaminate: {evals: [mmlu-fr]}`.
fn examined(fields: &mut Value, node: &NodeSpec, added: &mut Vec<NodeSpec>) {
    let steps = fields.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten();
    let sets = steps.filter_map(|step| step.get_mut("decontaminate")?.get_mut("evals")?.as_array_mut()).flatten();
    for entry in sets {
        let mut set = match entry {
            Value::String(task) => Map::from_iter([("task".to_owned(), Value::from(task.as_str()))]),
            Value::Object(set) if set.contains_key("task") && !set.contains_key("node") => set.clone(),
            _ => continue,
        };
        let Some(task) = set.get("task").and_then(Value::as_str).map(str::to_owned) else { continue };
        let language = set.get("language").cloned();
        let mut source = Map::from_iter([("task".to_owned(), Value::from(task.as_str()))]);
        source.extend(language.clone().map(|language| ("language".to_owned(), language)));
        set.insert("node".to_owned(), place(&task, language.as_ref(), "rows", source, node, added).into());
        if !set.contains_key("name") {
            let name = language.as_ref().and_then(Value::as_str).map_or(task.clone(), |code| format!("{task}-{code}"));
            set.insert("name".to_owned(), name.into());
        }
        *entry = Value::Object(set);
    }
}

/// Returns the name of a parameter that a text is nothing but.
fn parameter(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    (!name.contains(['$', '{', ':'])).then_some(name)
}

fn complete(entry: &mut Value, profile: Option<&Value>, node: &NodeSpec, added: &mut Vec<NodeSpec>) {
    let Some((key, mut settings)) = named(entry) else { return };
    if settings.contains_key("define") {
        return;
    }
    let known = key.contains("${") || find(&key, None, None).is_ok();
    if !known {
        return;
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let language = settings.get("language").cloned();
    let mut wanted = vec![("data", "rows")];
    if shots(&key, &settings, text(profile).as_deref()) {
        wanted.push(("examples", "examples"));
    }
    for (field, part) in wanted {
        if settings.contains_key(field) {
            continue;
        }
        let mut fields = Map::from_iter([("task".to_owned(), Value::from(key.clone()))]);
        let given = [("language", language.clone()), ("profile", profile.cloned())];
        fields.extend(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        if part == "examples" {
            fields.insert("part".to_owned(), part.into());
        }
        let name = place(&key, language.as_ref(), part, fields, node, added);
        settings.insert(field.to_owned(), name.into());
    }
    *entry = Value::Object(Map::from_iter([(key, Value::Object(settings))]));
}

/// Says whether a task may have examples in front.
fn shots(key: &str, settings: &Map<String, Value>, profile: Option<&str>) -> bool {
    if let Some(shots) = settings.get("shots") {
        return shots.as_u64() != Some(0);
    }
    let language = settings.get("language").and_then(Value::as_str);
    let own = |(raw, language): (Value, Option<String>)| {
        let settled = settle(raw, language.as_deref(), profile.unwrap_or("native")).ok()?;
        settled.get("fewshot")?.get("shots")?.as_u64()
    };
    find(key, language, None).or_else(|_| find(key, None, None)).ok().and_then(own).is_some_and(|shots| shots > 0)
}

/// Returns the name of a source with these settings, in the words of the node's own file.
fn place(
    key: &str,
    language: Option<&Value>,
    part: &str,
    fields: Map<String, Value>,
    node: &NodeSpec,
    added: &mut Vec<NodeSpec>,
) -> String {
    let plain =
        |text: &str| text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let mut base: String = plain(key);
    if let Some(language) = language.and_then(Value::as_str) {
        base = format!("{base}-{}", plain(language).trim_matches('-'));
    }
    let base = base.trim_matches('-').to_owned();
    let fields = Value::Object(fields);
    for number in 1.. {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let part = if part == "rows" { "" } else { "-examples" };
        let local = format!("{PREFIX}{base}{part}{number}");
        let name = node.whole_name(&local);
        match added.iter().find(|known| known.name == name) {
            Some(known) if known.fields == fields => return local,
            Some(_) => {}
            None => {
                added.push(NodeSpec {
                    name,
                    prefix: node.prefix.clone(),
                    file: node.file,
                    base: node.base.clone(),
                    kind: Kind::Source,
                    fields,
                    execution: Value::Null,
                    task_files: Vec::new(),
                });
                return local;
            }
        }
    }
    String::new()
}
