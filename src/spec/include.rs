//! `include:`: a pipeline in several files.
//!
//! A plain path lays the other file under this one: its nodes are ours, and our parameters, sweeps and profiles stand in
//! place of its own of the same name. With `as: qwen` it keeps to itself: its nodes are called `qwen/sft`, its
//! parameters `qwen/lr`, what it names inside stays inside, and it sees of us only what `params:` gives it.
//!
//! This file reads the entries; `load` follows them. Nothing opens a file: whoever calls hands in a reader.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::diagnostic::Place;
use super::file::{Reader, is_name};
use super::path::FieldPath;

/// Gives the text of a file, named relative to the folder of the file that the user named, or says why it cannot.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// A file that a pipeline is written in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, relative to the folder of the file that the user named.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// One entry of `include:`.
#[derive(Debug, Clone)]
pub(super) struct Include {
    pub(super) path: String,
    pub(super) place: Place,
    /// The name it is included under.
    pub(super) alias: Option<String>,
    /// The parameters it is given.
    pub(super) params: Vec<(String, Value, Place)>,
}

impl Reader<'_> {
    pub(super) fn includes(&mut self, top: &serde_json::Map<String, Value>) -> Vec<Include> {
        let at = FieldPath::root().key("include");
        let entries = match top.get("include") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items.iter().enumerate().map(|(i, item)| (at.index(i), item)).collect(),
            Some(other) => vec![(at, other)],
        };
        let mut includes: Vec<Include> = Vec::new();
        for (at, entry) in entries {
            let Some(include) = self.include(&at, entry) else { continue };
            let same = includes.iter().any(|earlier| include.alias.is_some() && earlier.alias == include.alias);
            if same {
                let message = format!("`as: {}` stands twice", include.alias.as_deref().unwrap_or_default());
                self.at_value(&at.key("as"), message);
                continue;
            }
            includes.push(include);
        }
        includes
    }

    fn include(&mut self, at: &FieldPath, entry: &Value) -> Option<Include> {
        const HELP: &str = "write `include: recipe.yaml` or `include: [{file: recipe.yaml, as: qwen, params: {…}}]`";
        let block = match entry {
            Value::String(path) => return self.plain_path(at, path).map(|path| self.bare(at, path)),
            Value::Object(block) => block.clone(),
            _ => {
                self.at_value(at, "`include` takes paths").help = Some(HELP.into());
                return None;
            }
        };
        self.known(&block, at, &["file", "as", "params"]);
        let Some(Value::String(path)) = block.get("file") else {
            self.at_value(at, "this `include` does not say its `file`").help = Some(HELP.into());
            return None;
        };
        let path = self.plain_path(&at.key("file"), path)?;
        let mut include = self.bare(&at.key("file"), path);
        match block.get("as") {
            Some(Value::String(alias)) if is_name(alias) => include.alias = Some(alias.clone()),
            Some(_) => {
                self.at_value(&at.key("as"), "`as` must be a name").help = Some("such as `as: qwen`".into());
                return None;
            }
            None if block.contains_key("params") => {
                self.at_value(at, "an `include` with `params` needs a name of its own").help =
                    Some("add `as: name`; a plain include takes the parameters of this file".into());
                return None;
            }
            None => {}
        }
        for (name, value) in self.section(&block, at, "params") {
            include.params.push((name.clone(), value, self.key_place(&at.key("params").key(name))));
        }
        Some(include)
    }

    fn bare(&self, at: &FieldPath, path: String) -> Include {
        Include { path, place: self.place(at), alias: None, params: Vec::new() }
    }

    fn plain_path(&mut self, at: &FieldPath, path: &str) -> Option<String> {
        let relative = Path::new(path).components().all(|c| !matches!(c, Component::Prefix(_) | Component::RootDir));
        if path.is_empty() || !relative || path.contains('\0') {
            self.at_value(at, "an included file is named relative to the file that includes it");
            return None;
        }
        Some(path.to_owned())
    }
}
