//! The models that a MergeKit configuration names, wherever they stand and however they are written.
//!
//! MergeKit knows two ways to write one: `path@revision+adapter`, and a mapping of the same parts. Everything behind this
//! file knows only text, so a mapping becomes one here. And where a merge in a pipeline names `model+adapter`, with both
//! the names of nodes, the node that adds the adapter is made here: nobody needs to write what can only be meant.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::params::{Kind, Mistake};
use super::path::FieldPath;
use super::pipeline::{NodeSpec, Pipeline};
use super::{Diagnostic, Place};

/// Makes text of every model that is written as a mapping, and returns what is wrong with them.
pub(super) fn flatten(config: &mut Value) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    each(config, "", &mut |place, value| {
        if let Value::Object(parts) = value {
            let text = text_of(place, parts, &mut mistakes);
            *value = text.into();
        }
    });
    mistakes
}

/// Calls `look` with the place and the value of everything that names a model.
fn each(config: &mut Value, at: &str, look: &mut dyn FnMut(&str, &mut Value)) {
    let mut one = |fields: &mut Value, at: &str, name: &str| {
        if let Some(value) = fields.get_mut(name) {
            look(&format!("{at}{name}"), value);
        }
    };
    one(config, at, "base_model");
    one(config, at, "tokenizer_source");
    if let Some(tokenizer) = config.get_mut("tokenizer") {
        one(tokenizer, &format!("{at}tokenizer."), "source");
        for (token, settings) in tokenizer.get_mut("tokens").and_then(Value::as_object_mut).into_iter().flatten() {
            let at = format!("{at}tokenizer.tokens.{token}.");
            // A mapping with a `kind` is no model, but may name one.
            match settings.get_mut("source") {
                Some(source) if source.get("kind").is_some() => one(source, &format!("{at}source."), "model"),
                _ => one(settings, &at, "source"),
            }
        }
    }
    for (list, name) in [("models", "model"), ("experts", "source_model"), ("shared_experts", "source_model")] {
        for (i, item) in items(config, list).enumerate() {
            one(item, &format!("{at}{list}[{i}]."), name);
        }
    }
    for (i, slice) in items(config, "slices").enumerate() {
        one(slice, &format!("{at}slices[{i}]."), "base_model");
        for (j, source) in items(slice, "sources").enumerate() {
            one(source, &format!("{at}slices[{i}].sources[{j}]."), "model");
        }
    }
    for (name, module) in config.get_mut("modules").and_then(Value::as_object_mut).into_iter().flatten() {
        each(module, &format!("{at}modules.{name}."), look);
    }
}

fn items<'a>(fields: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    fields.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Returns a model with its parts as text.
fn text_of(place: &str, parts: &Map<String, Value>, mistakes: &mut Vec<Mistake>) -> String {
    for (key, value) in parts.iter().filter(|(_, value)| !value.is_null()) {
        let here = format!("{place}.{key}");
        match key.as_str() {
            "model" | "lora" => {}
            "override_architecture" => {
                let message = format!("`override_architecture: {}` is not followed", value.as_str().unwrap_or("…"));
                let help = "leave it out: tensors are matched by the names they have, whatever the architecture";
                mistakes.push(Mistake::new(here, message).help(help));
            }
            _ => mistakes.push(
                Mistake::new(here, format!("a model has no `{key}`")).help("it has `model` and `lora`, each a path"),
            ),
        }
    }
    let model = if let Some(model) = parts.get("model") {
        path_of(&format!("{place}.model"), model, mistakes)
    } else {
        mistakes.push(Mistake::new(place, "the `model` is missing").help("write `{model: …, lora: …}`, or its path"));
        String::new()
    };
    match parts.get("lora").filter(|lora| !lora.is_null()) {
        Some(lora) => format!("{model}+{}", path_of(&format!("{place}.lora"), lora, mistakes)),
        None => model,
    }
}

/// Returns a path that is written as it is or as `{path: …, revision: …}`.
fn path_of(place: &str, value: &Value, mistakes: &mut Vec<Mistake>) -> String {
    let Some(parts) = value.as_object() else {
        if !value.is_string() {
            mistakes.push(Mistake::new(place, "expected a path").help("write it as text, or as `{path: …}`"));
        }
        return value.as_str().unwrap_or_default().to_owned();
    };
    for (key, value) in parts.iter().filter(|(key, value)| !value.is_null() && key.as_str() != "path") {
        let here = format!("{place}.{key}");
        mistakes.push(match (key.as_str(), value.as_str()) {
            ("revision", Some(revision)) => Mistake::new(here, format!("the revision `{revision}` is not looked for"))
                .help("bring that revision in as a source, and name it here"),
            _ => Mistake::new(here, format!("a path has no `{key}`")).help("it is `{path: …}`"),
        });
    }
    let path = parts.get("path").and_then(Value::as_str);
    if path.is_none() {
        mistakes.push(Mistake::new(place, "the `path` is missing").help("write it as text, or as `{path: …}`"));
    }
    path.unwrap_or_default().to_owned()
}

/// Makes text of the models that the merges of a pipeline write as mappings, adds the nodes that only can be meant, and
/// returns what is wrong.
pub fn settle(pipeline: &mut Pipeline) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    for at in 0..pipeline.nodes.len() {
        let node = &mut pipeline.nodes[at];
        let Some(config) = node.fields.get_mut("config").filter(|_| node.kind == Kind::Merge) else { continue };
        let mistakes = flatten(config);
        let node = &pipeline.nodes[at];
        diagnostics.extend(mistakes.into_iter().map(|mistake| {
            let path = node.path().key("config").join(&FieldPath::parse(&mistake.field));
            let place = Place::new(node.file, pipeline.document(node).value_span(&path));
            Diagnostic::new(place, mistake.message).maybe_help(mistake.help)
        }));
    }
    imply_adapters(pipeline);
    diagnostics
}

/// Adds a node for every `model+adapter` that a merge names, if both are nodes (or stand for nodes in its `nodes:`).
fn imply_adapters(pipeline: &mut Pipeline) {
    let mut implied: Vec<NodeSpec> = Vec::new();
    for at in 0..pipeline.nodes.len() {
        if pipeline.nodes[at].kind != Kind::Merge {
            continue;
        }
        let mut spec = pipeline.nodes[at].clone();
        let Some(mut config) = spec.fields.get_mut("config").filter(|config| config.is_object()).map(Value::take)
        else {
            continue;
        };
        let (mut names, mut plain) = (Vec::new(), Vec::new());
        each(&mut config, "", &mut |_, value| {
            let list = if value.as_str().is_some_and(|name| name.contains('+')) { &mut names } else { &mut plain };
            list.extend(value.as_str().map(str::to_owned));
        });
        spec.fields["config"] = config;
        names.sort_unstable();
        names.dedup();
        for name in names {
            let Some((model, adapter)) = pair(pipeline, &spec, &name) else { continue };
            let node = format!("{}+{}", model.1, adapter.1);
            let known = |spec: &NodeSpec| spec.prefix == pipeline.nodes[at].prefix && spec.local_name() == node;
            if !implied.iter().any(known) {
                implied.push(NodeSpec {
                    name: format!("{}{node}", spec.prefix),
                    kind: Kind::ApplyLora,
                    fields: json!({"model": model.1, "adapter": adapter.1}),
                    execution: json!({}),
                    ..spec.clone()
                });
            }
            let nodes = spec.fields["nodes"].as_object().cloned().unwrap_or_default();
            let mut nodes: Map<String, Value> = nodes
                .into_iter()
                .filter(|(key, _)| *key != model.0 && *key != adapter.0 || plain.contains(key))
                .collect();
            nodes.insert(name, node.into());
            spec.fields["nodes"] = nodes.into();
        }
        pipeline.nodes[at].fields = spec.fields;
    }
    if !implied.is_empty() {
        pipeline.nodes.extend(implied);
        pipeline.by_name = OnceLock::new();
    }
}

/// The name of a model in the configuration, and that of its node.
type Named = (String, String);

/// Returns the nodes of a model and of the adapter that is added to it.
fn pair(pipeline: &Pipeline, spec: &NodeSpec, name: &str) -> Option<(Named, Named)> {
    let stands_for = |name: &str| spec.fields.get("nodes").and_then(|nodes| nodes.get(name)).and_then(Value::as_str);
    let is_node =
        |name: &str| pipeline.nodes.iter().any(|node| node.prefix == spec.prefix && node.local_name() == name);
    if stands_for(name).is_some() || is_node(name) {
        return None;
    }
    let node = |name: &str| {
        let node = stands_for(name).unwrap_or(name);
        is_node(node).then(|| (name.to_owned(), node.to_owned()))
    };
    name.match_indices('+').find_map(|(at, _)| Some((node(&name[..at])?, node(&name[at + 1..])?)))
}
