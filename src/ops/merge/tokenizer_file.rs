//! A `tokenizer.json` as data: its vocabulary, without the tokens that a model has no embedding for, with others added.
//!
//! The file is edited and not built anew, so that what the tokenizer does to text stays as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::OpError;
use super::metadata::copy;
use crate::data::{CHATML_TEMPLATE, TOKENIZER_FILES};

const FILE: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";

/// The templates that MergeKit knows by name, written anew: they render what its own do, blanks at odd places included.
const TEMPLATES: [(&str, &str); 5] = [
    ("alpaca", include_str!("templates/alpaca.jinja")),
    ("chatml", CHATML_TEMPLATE),
    ("exaone", include_str!("templates/exaone.jinja")),
    ("llama3", include_str!("templates/llama3.jinja")),
    ("mistral", include_str!("templates/mistral.jinja")),
];

/// A tokenizer's file and the folder it lies in.
#[derive(Debug, Clone)]
pub(super) struct TokenizerFile {
    dir: PathBuf,
    value: Value,
}

impl TokenizerFile {
    /// Reads the tokenizer of a model.
    pub(super) fn read(dir: &Path, name: &str) -> Result<Self, OpError> {
        let path = dir.join(FILE);
        if !path.is_file() {
            let message = format!("`{name}` has no {FILE}, so its vocabulary cannot be aligned with others");
            return Err(OpError::new(message).help("save it with a fast tokenizer"));
        }
        let value: Value = serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| OpError::io(&path, error))?;
        let file = Self { dir: dir.to_owned(), value };
        if file.vocabulary().is_empty() {
            return Err(OpError::new(format!("{} holds no vocabulary", path.display())));
        }
        Ok(file)
    }

    /// Returns the numbers of all tokens.
    pub(super) fn vocabulary(&self) -> BTreeMap<&str, usize> {
        let mut all = BTreeMap::new();
        match self.value.pointer("/model/vocab") {
            Some(Value::Object(tokens)) => {
                all.extend(
                    tokens.iter().filter_map(|(token, number)| Some((token.as_str(), number.as_u64()? as usize))),
                );
            }
            Some(Value::Array(tokens)) => {
                all.extend(tokens.iter().enumerate().filter_map(|(i, entry)| Some((entry.get(0)?.as_str()?, i))));
            }
            _ => {}
        }
        all.extend(self.added().filter_map(|token| Some((content(token)?, token.get("id")?.as_u64()? as usize))));
        all
    }

    /// Returns all tokens with their numbers, in the order of those.
    pub(super) fn by_number(&self) -> Vec<(String, usize)> {
        let mut all: Vec<(String, usize)> =
            self.vocabulary().into_iter().map(|(token, number)| (token.to_owned(), number)).collect();
        all.sort_by_key(|(_, number)| *number);
        all
    }

    fn added(&self) -> impl Iterator<Item = &Value> {
        self.value.get("added_tokens").and_then(Value::as_array).into_iter().flatten()
    }

    /// Returns the tokenizer without the tokens from the number `size` on.
    pub(super) fn stripped(&self, size: usize) -> Result<Self, OpError> {
        let gone: BTreeSet<String> =
            self.by_number().into_iter().filter(|(_, number)| *number >= size).map(|(token, _)| token).collect();
        let mut stripped = self.clone();
        if gone.is_empty() {
            return Ok(stripped);
        }
        let Some(Value::Object(tokens)) = stripped.value.pointer_mut("/model/vocab") else {
            let message =
                format!("{} has tokens without an embedding, and is not a BPE", self.dir.join(FILE).display());
            return Err(OpError::new(message).help("only a BPE can be cut to the tokens that a model has"));
        };
        tokens.retain(|token, _| !gone.contains(token));
        if let Some(Value::Array(merges)) = stripped.value.pointer_mut("/model/merges") {
            merges.retain(|merge| match merge {
                Value::String(text) => !text.split(' ').any(|token| gone.contains(token)),
                Value::Array(pair) => !pair.iter().filter_map(Value::as_str).any(|token| gone.contains(token)),
                _ => true,
            });
        }
        if let Some(Value::Array(added)) = stripped.value.get_mut("added_tokens") {
            added.retain(|token| token.get("id").and_then(Value::as_u64).is_none_or(|id| (id as usize) < size));
        }
        Ok(stripped)
    }

    /// Returns the tokenizer with the tokens of others: first the plain ones, then the added ones, as they are there.
    pub(super) fn union(mut self, others: &[(&TokenizerFile, usize)]) -> Self {
        let added: BTreeSet<&str> = others.iter().flat_map(|(file, _)| file.added().filter_map(content)).collect();
        for (file, size) in others {
            for (token, number) in file.by_number() {
                if number < *size && !added.contains(token.as_str()) {
                    self.add(&token);
                }
            }
        }
        for (file, size) in others {
            let mut tokens: Vec<&Value> = file.added().collect();
            tokens.sort_by_key(|token| token.get("id").and_then(Value::as_u64));
            for token in tokens {
                let has_row = token.get("id").and_then(Value::as_u64).is_some_and(|id| (id as usize) < *size);
                if let Some(name) = content(token).filter(|_| has_row) {
                    self.add_as(name, token.clone());
                }
            }
        }
        self
    }

    /// Adds a token, unless it is there.
    pub(super) fn add(&mut self, token: &str) {
        if !self.vocabulary().contains_key(token) {
            let plain = json!({
                "id": 0, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": true, "special": false
            });
            self.add_as(token, plain);
        }
    }

    fn add_as(&mut self, name: &str, mut token: Value) {
        if self.added().any(|known| content(known) == Some(name)) {
            return;
        }
        let vocabulary = self.vocabulary();
        let next = vocabulary.values().max().map_or(0, |last| last + 1);
        let number = vocabulary.get(name).copied().unwrap_or(next);
        token["id"] = number.into();
        if let Some(fields) = self.value.as_object_mut() {
            let list = fields.entry("added_tokens").or_insert_with(|| json!([]));
            if let Some(list) = list.as_array_mut() {
                list.push(token);
            }
        }
    }

    /// Writes the tokenizer and the files that go with it.
    pub(super) fn write(&self, to: &Path) -> Result<(), OpError> {
        // The other files of a slow tokenizer would contradict this one.
        let kept = |name: &&&str| {
            !matches!(**name, FILE | "vocab.json" | "merges.txt" | "tokenizer.model" | "added_tokens.json")
        };
        for name in TOKENIZER_FILES.iter().filter(kept) {
            copy(&self.dir, name, to)?;
        }
        let failed = |error| OpError::caused("cannot write the tokenizer", error);
        let mut text = serde_json::to_string_pretty(&self.value).map_err(failed)?;
        text.push('\n');
        fs_err::write(to.join(FILE), text)?;
        let path = to.join(CONFIG);
        if !path.is_file() {
            return Ok(());
        }
        let mut config: Value =
            serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| OpError::io(&path, error))?;
        let Some(Value::Object(decoder)) = config.get_mut("added_tokens_decoder") else { return Ok(()) };
        decoder.clear();
        for token in self.added() {
            let mut token = token.clone();
            let id = token.as_object_mut().and_then(|fields| fields.remove("id")).unwrap_or(Value::Null);
            decoder.insert(id.to_string(), token);
        }
        let mut text = serde_json::to_string_pretty(&config).map_err(failed)?;
        text.push('\n');
        Ok(fs_err::write(path, text)?)
    }
}

fn content(token: &Value) -> Option<&str> {
    token.get("content")?.as_str()
}

/// Writes the chat template that the configuration asks for into the result; `models` are the folders of all models.
pub(super) fn write_template(wanted: &str, models: &[&Path], to: &Path) -> Result<(), OpError> {
    let template = match wanted {
        "auto" => match common_template(models)? {
            Some(template) => template,
            None => return Err(OpError::new("`chat_template: auto`: none of the models has a chat template")),
        },
        text if text.contains('{') => text.to_owned(),
        name => {
            let known = TEMPLATES.iter().find(|(known, _)| *known == name);
            let none = || OpError::new(format!("there is no chat template `{name}`"));
            let names: Vec<String> = TEMPLATES.iter().map(|(name, _)| format!("`{name}`")).collect();
            let help = format!("give `auto`, {}, or the template itself", names.join(", "));
            known.ok_or_else(|| none().help(help))?.1.to_owned()
        }
    };
    let path = to.join(CONFIG);
    if path.is_file() {
        let mut config: Value =
            serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| OpError::io(&path, error))?;
        if config.get("chat_template").is_some() {
            config["chat_template"] = template.clone().into();
            let text = serde_json::to_string_pretty(&config);
            let text = text.map_err(|error| OpError::caused("cannot write the tokenizer", error))?;
            fs_err::write(path, text + "\n")?;
        }
    }
    Ok(fs_err::write(to.join(TEMPLATE), template)?)
}

/// Returns the template that most of the models have; of several the one that comes first.
fn common_template(models: &[&Path]) -> Result<Option<String>, OpError> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for dir in models {
        let file = dir.join(TEMPLATE);
        let path = dir.join(CONFIG);
        let template = if file.is_file() {
            Some(fs_err::read_to_string(file)?)
        } else if path.is_file() {
            let config: Value =
                serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| OpError::io(&path, error))?;
            config.get("chat_template").and_then(Value::as_str).map(str::to_owned)
        } else {
            None
        };
        let Some(template) = template else { continue };
        match counts.iter_mut().find(|(known, _)| *known == template) {
            Some((_, count)) => *count += 1,
            None => counts.push((template, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max();
    Ok(counts.into_iter().find(|(_, count)| Some(*count) == most).map(|(template, _)| template))
}
