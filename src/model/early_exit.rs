//! Exits and branches of a model, beside what transformers knows of it.
//!
//! An exit is a norm and an output layer behind a layer in the middle: a model that stops there has the layers before it and
//! no others. A branch is a layer beside a layer that works on means of blocks of tokens. `early_exit.json` says which there
//! are, and `early_exit.safetensors` holds their weights, so that a folder without branches is for everybody else the model
//! that it was. With branches it is not: the model computes something else without them, and the file says so.
//!
//! Both files are read with the distrust that `config.json` gets.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ModelError;
use super::config::{Config, LayerKind};
use super::parameter::{Outline, Parameter, Part};

/// What there is.
pub(super) const FILE: &str = "early_exit.json";
/// The weights.
pub(super) const WEIGHTS: &str = "early_exit.safetensors";
/// What the names of their tensors begin with.
pub(super) const PREFIX: &str = "early_exit.";

const VERSION: u32 = 1;
/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// The most tokens in a block.
const LARGEST_FACTOR: usize = 1024;
/// For who opens the folder.
const WITH_BRANCHES: &str =
    "the weights of config.json's layers are not this model: its branches belong to it, and only luthflow runs them";
const WITHOUT: &str = "the folder is a whole model without this file: exits stand beside it";

/// The exits and branches of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlyExit {
    /// The layers behind which there are exits, from 1, ascending.
    pub layers: Vec<usize>,
    /// Whether each exit has an output layer of its own.
    pub own_heads: bool,
    /// Layers beside layers.
    pub branches: Option<Branches>,
}

/// Layers beside layers, on a shorter sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branches {
    /// The layers they stand beside, from 1, ascending.
    pub layers: Vec<usize>,
    /// How many tokens make a block.
    pub factor: usize,
}

/// `early_exit.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    note: String,
    layers: Vec<usize>,
    own_heads: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    branches: Option<Branches>,
}

impl EarlyExit {
    /// Reads what stands in a model folder, for a model with so many layers.
    pub(crate) fn load(dir: &Path, layers: usize) -> Result<Option<Self>, ModelError> {
        let file = dir.join(FILE);
        let bad = |reason: String| ModelError::Config { file: file.clone(), reason };
        let Ok(looks) = fs_err::metadata(&file) else { return Ok(None) };
        if !looks.is_file() || looks.len() > LARGEST_FILE {
            return Err(bad(format!("it is not a regular file of at most {LARGEST_FILE} bytes")));
        }
        let record: Record = serde_json::from_slice(&fs_err::read(&file)?).map_err(|error| bad(error.to_string()))?;
        if record.version != VERSION {
            let help = "use the luthflow that wrote it, or a later one";
            return Err(bad(format!("version {} is not {VERSION}: {help}", record.version)));
        }
        let found = Self { layers: record.layers, own_heads: record.own_heads, branches: record.branches };
        found.check(layers).map_err(bad)?;
        Ok(Some(found))
    }

    /// Reads what stands in a folder that may be no model.
    pub fn beside(dir: &Path) -> Result<Option<Self>, ModelError> {
        Self::load(dir, usize::MAX)
    }

    /// Says why they do not fit a model with so many layers.
    pub fn check(&self, layers: usize) -> Result<(), String> {
        let ordered = |what: &str, list: &[usize], most: usize| {
            let sound = list.is_sorted_by(|a, b| a < b) && list.iter().all(|layer| (1..=most).contains(layer));
            let why = || format!("the {what} {list:?} do not ascend from 1 to {most}; the model has {layers} layers");
            if sound { Ok(()) } else { Err(why()) }
        };
        ordered("exits after layers", &self.layers, layers.saturating_sub(1))?;
        let Some(branches) = &self.branches else { return Ok(()) };
        ordered("branches beside layers", &branches.layers, layers)?;
        if !(2..=LARGEST_FACTOR).contains(&branches.factor) {
            return Err(format!("a block of {} tokens is not one of 2 to {LARGEST_FACTOR}", branches.factor));
        }
        Ok(())
    }

    /// Writes what there is into a model folder.
    pub(super) fn write(&self, dir: &Path) -> Result<(), ModelError> {
        let note = if self.has_branches() { WITH_BRANCHES } else { WITHOUT };
        let record = Record {
            version: VERSION,
            note: note.to_owned(),
            layers: self.layers.clone(),
            own_heads: self.own_heads,
            branches: self.branches.clone(),
        };
        let file = dir.join(FILE);
        let text = serde_json::to_string_pretty(&record)
            .map_err(|error| ModelError::Config { file: file.clone(), reason: error.to_string() })?;
        Ok(fs_err::write(file, text + "\n")?)
    }

    /// Says whether the model computes something else without these.
    pub fn has_branches(&self) -> bool {
        self.branches.as_ref().is_some_and(|branches| !branches.layers.is_empty())
    }
}

impl Config {
    /// Returns the model that stops after so many layers, at an exit or after the last; the whole model if nothing is said.
    pub fn at_exit(&self, layers: Option<usize>) -> Result<Self, ModelError> {
        let last = self.layers.len();
        let Some(layers) = layers.filter(|layers| *layers != last) else { return Ok(self.clone()) };
        let exits = self.early_exit.as_ref().map_or(&[][..], |exits| &exits.layers);
        if !exits.contains(&layers) {
            let there: Vec<String> = exits.iter().map(|exit| format!("after layer {exit}, ")).collect();
            let there = match there.concat() {
                none if none.is_empty() => format!("it ends after layer {last}, the last, and nowhere else"),
                there => format!("there are exits {there}and after layer {last}, the last"),
            };
            let reason = format!("the model has no exit after layer {layers}; {there}");
            return Err(ModelError::Input { reason });
        }
        let mut config = Self { whole: Some(Box::new(self.clone())), ..self.clone() };
        config.layers.truncate(layers);
        config.num_hidden_layers = layers;
        let branches = config.early_exit.as_mut().and_then(|exits| exits.branches.as_mut());
        if let Some(branches) = branches {
            branches.layers.retain(|layer| *layer <= layers);
        }
        Ok(config)
    }

    /// Returns what a branch does with other blocks: what the layer beside it does with tokens, all of the text in sight.
    pub(super) fn branch_kind(&self, beside: usize) -> LayerKind {
        match self.layers[beside] {
            LayerKind::Attention { rotary, .. } => LayerKind::Attention { window: None, rotary },
            LayerKind::Convolution => LayerKind::Convolution,
        }
    }

    /// Returns how many tokens make a block of a branch.
    pub(super) fn block_size(&self) -> usize {
        self.early_exit.iter().flat_map(|exits| &exits.branches).map(|branches| branches.factor).next().unwrap_or(1)
    }

    /// Returns the branches: which layer each stands beside, from 0.
    pub(super) fn branches(&self) -> impl Iterator<Item = usize> {
        let branches = self.early_exit.as_ref().and_then(|exits| exits.branches.as_ref());
        branches.into_iter().flat_map(|branches| branches.layers.iter().map(|layer| layer - 1))
    }
}

/// Says whether a parameter is that of an exit or a branch.
pub(super) fn is_beside(parameter: &Parameter) -> bool {
    parameter.parts().iter().any(|part| part.name.starts_with(PREFIX))
}

/// Returns the name of a tensor of an exit.
pub(super) fn exit_name(layers: usize, what: &str) -> String {
    format!("{PREFIX}exits.{layers}.{what}")
}

/// Returns what the names of a branch's tensors begin with, by the layer it stands beside, from 0.
pub(super) fn branch_prefix(layer: usize) -> String {
    format!("{PREFIX}branches.{}.", layer + 1)
}

/// Returns a parameter of an exit or a branch as it is in the beginning: a copy of that of the model.
pub(super) fn first_value(
    outline: &Outline,
    parameters: &[Parameter],
    (norm, head): (&str, &str),
) -> Result<Parameter, String> {
    let source = source_of(&outline.parts[0].name, norm, head).unwrap_or_default();
    let is = |parameter: &&Parameter| parameter.parts()[0].name == source;
    let missing = || format!("the model has no `{source}` that `{}` could start from", outline.parts[0].name);
    let found = parameters.iter().find(is).ok_or_else(missing)?;
    let value = found.value().clone();
    let count: usize = outline.parts.iter().map(Part::count).sum();
    if count == value.len() { Ok(Parameter::new(outline.clone(), value)) } else { Err(missing()) }
}

/// Returns the tensor of the model that a tensor of an exit or a branch starts as.
pub(super) fn source_of(name: &str, last_norm: &str, head: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    if let Some(rest) = rest.strip_prefix("branches.") {
        let (layer, rest) = rest.split_once('.')?;
        return Some(format!("model.layers.{}.{rest}", layer.parse::<usize>().ok()?.checked_sub(1)?));
    }
    if rest.ends_with(".norm.weight") {
        return Some(last_norm.to_owned());
    }
    rest.ends_with(".head.weight").then(|| head.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exits(layers: &[usize], branches: Option<(&[usize], usize)>) -> EarlyExit {
        let branches = branches.map(|(layers, factor)| Branches { layers: layers.to_vec(), factor });
        EarlyExit { layers: layers.to_vec(), own_heads: false, branches }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        for found in [exits(&[1, 3], None), exits(&[2], Some((&[1, 4], 2)))] {
            let dir = tempfile::tempdir().unwrap();
            assert_eq!(EarlyExit::load(dir.path(), 4).unwrap(), None);
            found.write(dir.path()).unwrap();
            assert_eq!(EarlyExit::load(dir.path(), 4).unwrap(), Some(found));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for wrong in [
            exits(&[4], None),
            exits(&[0], None),
            exits(&[2, 2], None),
            exits(&[3, 1], None),
            exits(&[1], Some((&[5], 2))),
            exits(&[1], Some((&[1], 1))),
            exits(&[1], Some((&[1], usize::MAX))),
        ] {
            assert!(wrong.check(4).is_err(), "{wrong:?}");
            let dir = tempfile::tempdir().unwrap();
            wrong.write(dir.path()).unwrap();
            let told = EarlyExit::load(dir.path(), 4).unwrap_err().to_string();
            assert!(told.contains(FILE), "{told}");
        }
        let dir = tempfile::tempdir().unwrap();
        for text in [
            "",
            "{}",
            r#"{"version": 2, "note": "", "layers": [], "own_heads": false}"#,
            r#"{"version": 1, "note": "", "layers": [-1], "own_heads": false}"#,
            r#"{"version": 1, "note": "", "layers": [1], "own_heads": false, "more": 1}"#,
        ] {
            fs_err::write(dir.path().join(FILE), text).unwrap();
            assert!(EarlyExit::load(dir.path(), 4).is_err(), "{text}");
        }
    }

    #[test]
    fn weights_start_as_those_of_the_model() {
        let source = |name: &str| source_of(name, "model.norm.weight", "lm_head.weight");
        assert_eq!(source(&exit_name(3, "norm.weight")).unwrap(), "model.norm.weight");
        assert_eq!(source(&exit_name(3, "head.weight")).unwrap(), "lm_head.weight");
        let name = format!("{}self_attn.q_proj.weight", branch_prefix(0));
        assert_eq!(source(&name).unwrap(), "model.layers.0.self_attn.q_proj.weight");
        assert_eq!(source("model.norm.weight"), None);
    }
}
