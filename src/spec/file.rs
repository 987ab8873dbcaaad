//! One pipeline file, read by itself: its own names only, nothing of what it includes filled in.

use serde_json::{Map, Value};

use super::diagnostic::{Diagnostic, Place};
use super::document::Document;
use super::execution;
use super::include::Include;
use super::params::Kind;
use super::parse::LANGUAGE_VERSION;
use super::path::FieldPath;
use super::pipeline::{Axis, Exclude, Zip};
use super::substitute::Bindings;
use super::{suggest, sweep};

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct FileSpec {
    pub(super) name: Option<String>,
    pub(super) level: Level,
    pub(super) profiles: Vec<(String, Level)>,
    pub(super) includes: Vec<Include>,
    /// The variables of the environment that may enter keys.
    pub(super) env: Vec<String>,
    pub(super) nodes: Vec<LocalNode>,
    /// The names of nodes that could not be read.
    pub(super) unreadable: Vec<String>,
}

/// Parameters and axes: those of a file, or of one of its profiles.
#[derive(Debug, Clone, Default)]
pub(super) struct Level {
    pub(super) params: Bindings,
    pub(super) axes: Vec<Axis>,
    pub(super) zips: Vec<Zip>,
    pub(super) excludes: Vec<Exclude>,
    /// The parameters whose values could not be read.
    pub(super) unreadable: Vec<String>,
    /// Where the names of the parameters stand.
    pub(super) places: Vec<(String, Place)>,
}

/// A node with the name that its file has for it.
#[derive(Debug, Clone)]
pub(super) struct LocalNode {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) fields: Value,
    pub(super) execution: Value,
}

const TOP_FIELDS: [&str; 8] = ["version", "name", "include", "env", "params", "sweep", "profiles", "nodes"];

/// Words of `sweep:` that are no parameters.
pub(super) const RESERVED: [&str; 2] = ["zip", "exclude"];

const NAME_HELP: &str = "a name starts with a letter and holds letters, digits, `_` and `-`";

/// Reads what a file says; nothing if it is no mapping.
pub(super) fn read(document: &Document, file: usize, diagnostics: &mut Vec<Diagnostic>) -> Option<FileSpec> {
    let mut reader = Reader { document, file, diagnostics };
    let top = reader.top()?;
    reader.version(&top);
    let root = FieldPath::root();
    let (nodes, unreadable) = reader.nodes(&top);
    Some(FileSpec {
        name: reader.name(&top),
        level: reader.level(&top, &root),
        profiles: reader.profiles(&top),
        includes: reader.includes(&top),
        env: reader.texts(&top, &root, "env"),
        nodes,
        unreadable,
    })
}

/// Reads the parts of one file.
pub(super) struct Reader<'a> {
    pub(super) document: &'a Document,
    pub(super) file: usize,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn top(&mut self) -> Option<Map<String, Value>> {
        let Value::Object(top) = &self.document.value else {
            let empty = self.document.value.is_null();
            let span = if empty { 0..0 } else { self.document.value_span(&FieldPath::root()) };
            let message = if empty { "the file is empty" } else { "a pipeline is a mapping" };
            let help = "start with `version: 1` and `nodes:`";
            self.diagnostics.push(Diagnostic::new(Place::new(self.file, span), message).help(help));
            return None;
        };
        self.known(top, &FieldPath::root(), &TOP_FIELDS);
        Some(top.clone())
    }

    /// Notes every field of a block that is none of those known.
    pub(super) fn known(&mut self, block: &Map<String, Value>, at: &FieldPath, fields: &[&str]) {
        for key in block.keys().filter(|key| !fields.contains(&key.as_str())) {
            let help = suggest::help(key, fields.iter().copied());
            let mistake = self.at_key(&at.key(key), format!("unknown field `{key}`"));
            mistake.help = help;
        }
    }

    pub(super) fn place(&self, path: &FieldPath) -> Place {
        Place::new(self.file, self.document.value_span(path))
    }

    pub(super) fn key_place(&self, path: &FieldPath) -> Place {
        Place::new(self.file, self.document.key_span(path))
    }

    pub(super) fn at_value(&mut self, path: &FieldPath, message: impl Into<String>) -> &mut Diagnostic {
        self.push(self.place(path), message)
    }

    pub(super) fn at_key(&mut self, path: &FieldPath, message: impl Into<String>) -> &mut Diagnostic {
        self.push(self.key_place(path), message)
    }

    fn push(&mut self, place: Place, message: impl Into<String>) -> &mut Diagnostic {
        self.diagnostics.push(Diagnostic::new(place, message));
        self.diagnostics.last_mut().expect("one was just pushed")
    }

    fn version(&mut self, top: &Map<String, Value>) {
        let path = FieldPath::root().key("version");
        match top.get("version") {
            None => {
                let message = "the file does not say which version of the pipeline language it is written in";
                let place = Place { file: self.file, span: (0, 0) };
                self.push(place, message).help = Some("add `version: 1` at the top".into());
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

    /// Returns the mapping below a key, or notes that it is none.
    pub(super) fn section(&mut self, block: &Map<String, Value>, at: &FieldPath, key: &str) -> Map<String, Value> {
        match block.get(key) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(map)) => map.clone(),
            Some(_) => {
                self.at_value(&at.key(key), format!("`{key}` must be a mapping of names"));
                Map::new()
            }
        }
    }

    /// Returns the list of texts below a key, or notes what is none.
    fn texts(&mut self, block: &Map<String, Value>, at: &FieldPath, key: &str) -> Vec<String> {
        let at = at.key(key);
        let items = match block.get(key) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Array(items)) => items.clone(),
            Some(_) => {
                self.at_value(&at, format!("`{key}` must be a list of names"));
                return Vec::new();
            }
        };
        let mut texts = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) if !text.is_empty() => texts.push(text),
                _ => _ = self.at_value(&at.index(i), format!("`{key}` must be a list of names")),
            }
        }
        texts
    }

    /// Reads the `params` and the `sweep` of a file or a profile.
    pub(super) fn level(&mut self, block: &Map<String, Value>, at: &FieldPath) -> Level {
        let mut level = Level::default();
        self.params(block, at, &mut level);
        let sweep = self.section(block, at, "sweep");
        for (name, value) in &sweep {
            if !RESERVED.contains(&name.as_str()) {
                self.axis(name, value, &at.key("sweep").key(name), &mut level);
            }
        }
        self.zips(&sweep, &at.key("sweep").key("zip"), &mut level);
        self.excludes(&sweep, &at.key("sweep").key("exclude"), &mut level);
        level
    }

    fn params(&mut self, block: &Map<String, Value>, at: &FieldPath, level: &mut Level) {
        for (name, value) in self.section(block, at, "params") {
            let path = at.key("params").key(&name);
            level.places.push((name.clone(), self.key_place(&path)));
            if RESERVED.contains(&name.as_str()) {
                self.at_key(&path, format!("a parameter cannot be called `{name}`")).help =
                    Some(format!("`{name}` has a meaning of its own under `sweep:`"));
            } else if !is_name(&name) {
                self.at_key(&path, format!("`{name}` is not a name")).help = Some(NAME_HELP.into());
            } else if value.is_object() {
                self.at_value(&path, format!("the parameter `{name}` must be a value or a list")).help =
                    Some("several values to try go under `sweep:`".into());
                level.unreadable.push(name);
                continue;
            }
            level.params.insert(name, value);
        }
    }

    fn axis(&mut self, name: &str, value: &Value, path: &FieldPath, level: &mut Level) {
        if !is_name(name) {
            self.at_key(path, format!("`{name}` is not a name")).help = Some(NAME_HELP.into());
        }
        let place = self.key_place(path);
        level.places.push((name.to_owned(), place));
        match sweep::values_of(value) {
            Ok(values) => level.axes.push(Axis { name: name.to_owned(), values, place }),
            Err(message) => {
                self.at_value(path, message);
                level.unreadable.push(name.to_owned());
            }
        }
    }

    fn zips(&mut self, sweep: &Map<String, Value>, at: &FieldPath, level: &mut Level) {
        const HELP: &str = "write `zip: [[a, b]]`: lists of swept parameters that move together";
        let Some(value) = sweep.get("zip").filter(|value| !value.is_null()) else { return };
        // One group may be written without the outer brackets.
        let groups = match value {
            Value::Array(items) if items.iter().all(Value::is_string) => vec![(at.clone(), value.clone())],
            Value::Array(items) => items.iter().enumerate().map(|(i, item)| (at.index(i), item.clone())).collect(),
            _ => vec![(at.clone(), value.clone())],
        };
        for (path, group) in groups {
            let names: Option<Vec<String>> =
                group.as_array().and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
            match names.filter(|names| names.len() > 1) {
                Some(names) => level.zips.push(Zip { names, place: self.place(&path) }),
                None => self.at_value(&path, "`zip` needs two parameters or more").help = Some(HELP.into()),
            }
        }
    }

    fn excludes(&mut self, sweep: &Map<String, Value>, at: &FieldPath, level: &mut Level) {
        const HELP: &str = "write `exclude: [{a: 1, b: 2}]`: every point with all of these values is left out";
        let Some(value) = sweep.get("exclude").filter(|value| !value.is_null()) else { return };
        let items = match value {
            Value::Array(items) => items.iter().enumerate().map(|(i, item)| (at.index(i), item.clone())).collect(),
            other => vec![(at.clone(), other.clone())],
        };
        for (path, item) in items {
            let single = |value: &Value| !(value.is_array() || value.is_object() || value.is_null());
            match item {
                Value::Object(map) if !map.is_empty() && map.values().all(single) => {
                    let at = map.into_iter().collect();
                    level.excludes.push(Exclude { at, place: self.place(&path), strict: true });
                }
                _ => self.at_value(&path, "`exclude` needs parameters with one value each").help = Some(HELP.into()),
            }
        }
    }

    fn nodes(&mut self, top: &Map<String, Value>) -> (Vec<LocalNode>, Vec<String>) {
        let entries = self.section(top, &FieldPath::root(), "nodes");
        let readable = top.get("nodes").is_none_or(|nodes| nodes.is_null() || nodes.is_object());
        // An included file may hold nothing but parameters.
        let first = self.file == 0 || top.len() < 2;
        if entries.is_empty() && readable && first && top.get("include").is_none_or(Value::is_null) {
            let help = "add a node, for example `text: {kind: source, dataset: data/*.jsonl}`";
            self.push(Place { file: self.file, span: (0, 0) }, "the pipeline has no nodes").help = Some(help.into());
        }
        let (mut nodes, mut unreadable) = (Vec::new(), Vec::new());
        for (name, value) in entries {
            match self.node(&name, value) {
                Some(node) => nodes.push(node),
                None => unreadable.push(name),
            }
        }
        (nodes, unreadable)
    }

    fn node(&mut self, name: &str, value: Value) -> Option<LocalNode> {
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
                    let execution = execution::take(&mut fields);
                    return Some(LocalNode { name: name.to_owned(), kind, fields: Value::Object(fields), execution });
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
}

pub(super) fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && name.len() <= 100
}
