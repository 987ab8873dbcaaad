//! `kind: command`: any program, with declared inputs, outputs and environment.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};
use crate::spec::sweep;

/// Runs any program in an empty folder of its own. Its arguments are passed as they are: there is no shell.
///
/// What decides the result is the command line, the content of the nodes named in it, the declared files and the
/// declared environment. It sees nothing else of the environment but `PATH`, `HOME`, `LANG`, `TMPDIR` and what
/// `pass_env` and `secrets` name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandParams {
    /// The program and its arguments. `${node}` or `${node.output}` is an input and becomes its path.
    pub run: Vec<Argument>,
    /// What the program must leave in its folder: files or folders. Anything else that it leaves is an error.
    pub outputs: Vec<String>,
    /// Files of the project that it needs, as paths or globs relative to the pipeline file. They lie in its folder under
    /// the same paths, and their content is part of the key.
    #[serde(default, skip_serializing)]
    pub files: Vec<String>,
    /// What the outputs are to nodes that read them.
    #[serde(default)]
    pub gives: Gives,
    /// A file among the outputs with figures for `select` and the lockfile: a JSON object of numbers, such as
    /// `{"loss": 0.5}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// Environment variables, which are part of the key; `${node}` becomes a path here too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Argument>,
    /// Environment variables handed on from outside when they are set. They are no part of the key.
    #[serde(default, skip_serializing)]
    pub pass_env: Vec<String>,
    /// Environment variables handed on from outside that must be set, and whose values are blotted out in logs. Their
    /// values stand in no key, log, lockfile or database.
    #[serde(default, skip_serializing)]
    pub secrets: Vec<String>,
}

/// What the outputs of a program are to nodes that read them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gives {
    /// Files that only another program understands.
    #[default]
    Files,
    /// Rows: every output is a `.jsonl` or text file.
    Dataset,
    /// A Hugging Face model folder, which is the only output.
    Model,
    /// A Hugging Face tokenizer folder, which is the only output.
    Tokenizer,
}

/// One argument of a program, in which nodes may be named.
///
/// In the key the names of nodes do not count, only where they stand: what fills the place counts by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Argument {
    /// What stands before each name and, last, behind all of them.
    texts: Vec<String>,
    /// The nodes named, in order.
    refs: Vec<InputRef>,
}

impl Argument {
    /// Returns the nodes named in it, in order.
    pub fn refs(&self) -> &[InputRef] {
        &self.refs
    }

    /// Returns the argument with each name replaced.
    pub fn filled<E>(&self, mut path_of: impl FnMut(usize) -> Result<String, E>) -> Result<String, E> {
        let mut out = String::new();
        for (i, text) in self.texts.iter().enumerate() {
            out.push_str(text);
            if i < self.refs.len() {
                out.push_str(&path_of(i)?);
            }
        }
        Ok(out)
    }
}

impl From<String> for Argument {
    /// Parameters are filled in by now: what is left in `${…}` names a node, and `$${` stands for a plain `${`.
    fn from(text: String) -> Self {
        let (mut texts, mut refs, mut rest) = (vec![String::new()], Vec::new(), text.as_str());
        while let Some(start) = rest.find("${") {
            let (before, after) = (&rest[..start], &rest[start + 2..]);
            let last = texts.len() - 1;
            if let Some(kept) = before.strip_suffix('$') {
                texts[last].push_str(kept);
                texts[last].push_str("${");
                rest = after;
                continue;
            }
            let Some(end) = after.find('}') else { break };
            texts[last].push_str(before);
            refs.push(InputRef(after[..end].trim().to_owned()));
            texts.push(String::new());
            rest = &after[end + 1..];
        }
        let last = texts.len() - 1;
        texts[last].push_str(rest);
        Self { texts, refs }
    }
}

/// A number or a truth value is what its text says: `[head, -n, 5]`.
impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self::from(text)),
            plain @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => Ok(Self::from(sweep::show(&plain))),
            other => {
                let found = if other.is_null() { "nothing" } else { "a list or a block of settings" };
                Err(serde::de::Error::custom(format!("expected a text, found {found}")))
            }
        }
    }
}

impl From<Argument> for String {
    /// As it enters a key: without the names.
    fn from(argument: Argument) -> Self {
        let escaped: Vec<String> = argument.texts.iter().map(|text| text.replace("${", "$${")).collect();
        escaped.join("${}")
    }
}

impl JsonSchema for Argument {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Argument".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let _ = generator;
        schemars::json_schema!({"type": ["string", "number", "boolean"]})
    }
}

impl CommandParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "command";

    /// Returns every argument and variable with the place it stands at.
    fn arguments(&self) -> impl Iterator<Item = (String, &Argument)> {
        let run = self.run.iter().enumerate().map(|(i, argument)| (format!("run[{i}]"), argument));
        run.chain(self.env.iter().map(|(name, argument)| (format!("env.{name}"), argument)))
    }

    fn check_metrics(&self) -> Option<Mistake> {
        let metrics = self.metrics.as_ref()?;
        if !is_plain(metrics) || !self.outputs.iter().any(|output| output == metrics || inside(metrics, output)) {
            let message = format!("`{metrics}` is no output of the program");
            return Some(Mistake::new("metrics", message).help(format!("write `outputs: [{metrics}]`")));
        }
        // All files of a data set are its rows.
        let rows = self.gives == Gives::Dataset;
        rows.then(|| Mistake::new("metrics", "the outputs are rows, and the metrics would be some of them"))
    }

    /// Returns where an output lies in the artifact.
    fn place(&self, path: &str) -> String {
        if self.gives == Gives::Dataset { format!("files/{path}") } else { path.to_owned() }
    }

    /// Returns the slot of the name at `index` in the argument at `place`.
    pub fn slot(place: &str, index: usize) -> String {
        if index == 0 { place.to_owned() } else { format!("{place}.{index}") }
    }
}

impl Params for CommandParams {
    const KIND: Kind = Kind::Command;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let named = |(place, argument): (String, &'_ Argument)| -> Vec<(String, usize)> {
            (0..argument.refs().len()).map(|index| (Self::slot(&place, index), index)).collect()
        };
        let mut inputs = Vec::new();
        for (place, argument) in self.arguments() {
            for (slot, index) in named((place, argument)) {
                inputs.push(Input::one(slot, &argument.refs()[index], InputType::Any));
            }
        }
        inputs
    }

    fn outputs(&self) -> Vec<Output> {
        let kind = match self.gives {
            Gives::Files => InputType::Files,
            Gives::Dataset => InputType::Dataset,
            Gives::Model => InputType::Model,
            Gives::Tokenizer => InputType::Tokenizer,
        };
        let single = matches!(self.gives, Gives::Model | Gives::Tokenizer);
        let path = if single { self.outputs.first().cloned().unwrap_or_default() } else { String::new() };
        let whole = Output { name: "".into(), path: path.into(), kind };
        let each =
            |path: &String| Output { name: path.clone().into(), path: self.place(path).into(), kind: InputType::Files };
        std::iter::once(whole).chain(self.outputs.iter().map(each)).collect()
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.run.first().is_none_or(|program| String::from(program.clone()).is_empty()) {
            mistakes.push(Mistake::new("run", "there is no program to run").help("write `run: [python3, script.py]`"));
        }
        if self.outputs.is_empty() {
            mistakes
                .push(Mistake::new("outputs", "the program must leave something").help("write `outputs: [out.json]`"));
        }
        for (i, path) in self.outputs.iter().enumerate() {
            if !is_plain(path) {
                let message = format!("`{path}` is no path inside the program's folder");
                mistakes.push(Mistake::new(format!("outputs[{i}]"), message));
            }
            let holds = |outer: &String| path == outer || inside(path, outer);
            let twice = |(j, outer): (usize, &String)| j != i && holds(outer) && (j < i || path != outer);
            if self.outputs.iter().enumerate().any(twice) {
                let message = format!("`{path}` is an output already");
                mistakes
                    .push(Mistake::new(format!("outputs[{i}]"), message).help("a folder comes with all that it holds"));
            }
        }
        if self.gives == Gives::Dataset
            && let Some(i) = self.outputs.iter().position(|path| path.contains('/'))
        {
            mistakes.push(Mistake::new(format!("outputs[{i}]"), "the files of a data set lie directly in its folder"));
        }
        if matches!(self.gives, Gives::Model | Gives::Tokenizer) && self.outputs.len() > 1 {
            mistakes.push(Mistake::new("outputs", "a model or a tokenizer is the only output: one folder"));
        }
        mistakes.extend(self.check_metrics());
        let names = self
            .pass_env
            .iter()
            .map(|name| ("pass_env", name))
            .chain(self.secrets.iter().map(|name| ("secrets", name)));
        for (field, name) in names.chain(self.env.keys().map(|name| ("env", name))) {
            if name.is_empty() || name.contains(['=', '\0']) {
                mistakes.push(Mistake::new(field, format!("`{name}` is no name of an environment variable")));
            }
        }
        mistakes
    }
}

/// Says whether a path stays inside its folder on every system.
fn is_plain(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', '\0', ':'])
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Says whether a path lies in a folder.
fn inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}
