//! Text to [`Pipeline`]: the top level of the file, and the overrides of the command line.

use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::diagnostic::Diagnostic;
use super::document::Document;
use super::execution::Execution;
use super::params::Kind;
use super::path::FieldPath;
use super::pipeline::{Axis, NodeSpec, Pipeline};
use super::substitute::Bindings;
use super::{suggest, sweep};

/// The version of the pipeline language that this program reads.
pub const LANGUAGE_VERSION: u64 = 1;

/// What the command line changes in a pipeline.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--set name=value`: the parameter has this one value.
    pub set: Vec<(String, Value)>,
    /// `--sweep name=values`: the parameter has these values.
    pub sweep: Vec<(String, Vec<Value>)>,
}

/// What could be read of a file, and all that is wrong with it.
#[derive(Debug)]
pub struct Parsed {
    /// The readable part; nothing when the text is no YAML mapping at all.
    pub pipeline: Option<Pipeline>,
    /// The mistakes found so far.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a pipeline. `default_name` is its name when the file gives none.
pub fn parse(text: &str, default_name: &str, overrides: &Overrides) -> Parsed {
    let document = match Document::read(text) {
        Ok(document) => document,
        Err(diagnostics) => return Parsed { pipeline: None, diagnostics },
    };
    let mut reader =
        Reader { document: &document, diagnostics: Vec::new(), unreadable: Vec::new(), unreadable_params: Vec::new() };
    let Some(top) = reader.top() else {
        return Parsed { pipeline: None, diagnostics: reader.diagnostics };
    };
    reader.version(&top);
    let name = reader.name(&top).unwrap_or_else(|| default_name.to_owned());
    let mut params = reader.params(&top);
    let mut axes = reader.axes(&top);
    let nodes = reader.nodes(&top);
    reader.overrides(overrides, &mut params, &mut axes);
    let Reader { diagnostics, unreadable, unreadable_params, .. } = reader;
    Parsed {
        pipeline: Some(Pipeline {
            name,
            params,
            axes,
            nodes,
            unreadable,
            unreadable_params,
            document,
            places: OnceLock::new(),
        }),
        diagnostics,
    }
}

struct Reader<'a> {
    document: &'a Document,
    diagnostics: Vec<Diagnostic>,
    unreadable: Vec<String>,
    unreadable_params: Vec<String>,
}

const TOP_FIELDS: [&str; 5] = ["version", "name", "params", "sweep", "nodes"];

impl Reader<'_> {
    fn top(&mut self) -> Option<Map<String, Value>> {
        let Value::Object(top) = &self.document.value else {
            let empty = self.document.value.is_null();
            let span = if empty { 0..0 } else { self.document.value_span(&FieldPath::root()) };
            let message = if empty { "the file is empty" } else { "a pipeline is a mapping" };
            let help = "start with `version: 1` and `nodes:`";
            self.diagnostics.push(Diagnostic::new(span, message).help(help));
            return None;
        };
        for key in top.keys().filter(|key| !TOP_FIELDS.contains(&key.as_str())) {
            let span = self.document.key_span(&FieldPath::root().key(key));
            let help = suggest::help(key, TOP_FIELDS);
            self.diagnostics.push(Diagnostic::new(span, format!("unknown field `{key}`")).maybe_help(help));
        }
        Some(top.clone())
    }

    fn at_value(&mut self, path: &FieldPath, message: impl Into<String>) -> &mut Diagnostic {
        let span = self.document.value_span(path);
        self.diagnostics.push(Diagnostic::new(span, message));
        self.diagnostics.last_mut().expect("one was just pushed")
    }

    fn at_key(&mut self, path: &FieldPath, message: impl Into<String>) -> &mut Diagnostic {
        let span = self.document.key_span(path);
        self.diagnostics.push(Diagnostic::new(span, message));
        self.diagnostics.last_mut().expect("one was just pushed")
    }

    fn version(&mut self, top: &Map<String, Value>) {
        let path = FieldPath::root().key("version");
        match top.get("version") {
            None => {
                let message = "the file does not say which version of the pipeline language it is written in";
                self.at_value(&FieldPath::root(), message).help = Some("add `version: 1` at the top".into());
                if let Some(last) = self.diagnostics.last_mut() {
                    last.span = (0, 0);
                }
            }
            Some(version) if version.as_u64() == Some(LANGUAGE_VERSION) => {}
            Some(version) => {
                let message = format!("version {version} of the pipeline language is not known here");
                self.at_value(&path, message).help = Some(format!("this luthflow reads version {LANGUAGE_VERSION}"));
            }
        }
    }

    fn name(&mut self, top: &Map<String, Value>) -> Option<String> {
        match top.get("name")? {
            Value::String(name) if !name.is_empty() => Some(name.clone()),
            _ => {
                self.at_value(&FieldPath::root().key("name"), "`name` must be a text");
                None
            }
        }
    }

    /// Returns a mapping below the top, or notes that it is none.
    fn section(&mut self, top: &Map<String, Value>, key: &str) -> Map<String, Value> {
        match top.get(key) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) => map.clone(),
            Some(_) => {
                self.at_value(&FieldPath::root().key(key), format!("`{key}` must be a mapping of names"));
                Map::new()
            }
        }
    }

    fn params(&mut self, top: &Map<String, Value>) -> Bindings {
        let mut params = Bindings::new();
        for (name, value) in self.section(top, "params") {
            let path = FieldPath::root().key("params").key(&name);
            if !is_name(&name) {
                self.at_key(&path, format!("`{name}` is not a name")).help = Some(NAME_HELP.into());
            } else if value.is_object() {
                self.at_value(&path, format!("the parameter `{name}` must be a value or a list")).help =
                    Some("several values to try go under `sweep:`".into());
                self.unreadable_params.push(name);
                continue;
            }
            params.insert(name, value);
        }
        params
    }

    fn axes(&mut self, top: &Map<String, Value>) -> Vec<Axis> {
        let mut axes = Vec::new();
        for (name, value) in self.section(top, "sweep") {
            let path = FieldPath::root().key("sweep").key(&name);
            if !is_name(&name) {
                self.at_key(&path, format!("`{name}` is not a name")).help = Some(NAME_HELP.into());
            }
            match sweep::values_of(&value) {
                Ok(values) => axes.push(Axis { name, values }),
                Err(message) => {
                    self.at_value(&path, message);
                    self.unreadable_params.push(name);
                }
            }
        }
        axes
    }

    fn nodes(&mut self, top: &Map<String, Value>) -> Vec<NodeSpec> {
        let entries = self.section(top, "nodes");
        if entries.is_empty() && top.get("nodes").is_none_or(|nodes| nodes.is_null() || nodes.is_object()) {
            let help = "add a node, for example `text: {kind: source, dataset: data/*.jsonl}`";
            self.diagnostics.push(Diagnostic::new(0..0, "the pipeline has no nodes").help(help));
        }
        let mut nodes = Vec::new();
        for (name, value) in entries {
            match self.node(&name, value) {
                Some(node) => nodes.push(node),
                None => self.unreadable.push(name),
            }
        }
        nodes
    }

    fn node(&mut self, name: &str, value: Value) -> Option<NodeSpec> {
        let path = FieldPath::root().key("nodes").key(name);
        if !is_name(name) {
            self.at_key(&path, format!("`{name}` is not a name")).help = Some(NAME_HELP.into());
        }
        let Value::Object(mut fields) = value else {
            self.at_key(&path, format!("the node `{name}` has no settings")).help = Some("give it a `kind`".into());
            return None;
        };
        let kinds = Kind::ALL.map(Kind::name);
        match fields.shift_remove("kind") {
            Some(Value::String(kind)) => {
                if let Some(kind) = Kind::from_name(&kind) {
                    return Some(NodeSpec {
                        name: name.to_owned(),
                        kind,
                        fields: Value::Object(fields),
                        execution: Execution::default(),
                    });
                }
                self.at_value(&path.key("kind"), format!("unknown kind `{kind}`")).help = suggest::help(&kind, kinds);
            }
            Some(_) => {
                self.at_value(&path.key("kind"), "`kind` must be a word").help = suggest::help("", kinds);
            }
            None => {
                self.at_key(&path, format!("the node `{name}` does not say its kind")).help = suggest::help("", kinds);
            }
        }
        None
    }

    /// Puts the command line's values in place of the file's. A parameter that is set is swept no longer.
    fn overrides(&mut self, overrides: &Overrides, params: &mut Bindings, axes: &mut Vec<Axis>) {
        let axis_names = axes.iter().map(|axis| &axis.name);
        let known: Vec<String> = params.keys().chain(axis_names).chain(&self.unreadable_params).cloned().collect();
        let flags = overrides.set.iter().map(|(name, _)| ("--set", name));
        for (flag, name) in flags.chain(overrides.sweep.iter().map(|(name, _)| ("--sweep", name))) {
            if !known.contains(name) {
                let help = suggest::help(name, known.iter().map(String::as_str));
                let message = format!("`{flag} {name}`: the pipeline has no such parameter");
                self.diagnostics.push(Diagnostic::new(0..0, message).maybe_help(help));
            }
        }
        for (name, value) in &overrides.set {
            axes.retain(|axis| axis.name != *name);
            params.insert(name.clone(), value.clone());
        }
        for (name, values) in &overrides.sweep {
            match axes.iter_mut().find(|axis| axis.name == *name) {
                Some(axis) => axis.values.clone_from(values),
                None if known.contains(name) => axes.push(Axis { name: name.clone(), values: values.clone() }),
                None => {}
            }
        }
        // A swept parameter has its own value at every point; the file's single one must not shadow it.
        params.retain(|name, _| !axes.iter().any(|axis| axis.name == *name));
    }
}

const NAME_HELP: &str = "a name starts with a letter and holds letters, digits, `_` and `-`";

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.len() <= 100
}
