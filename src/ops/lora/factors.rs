//! What becomes of each module of a model when an adapter is extracted: thin matrices, the whole weight, or nothing.
//!
//! As `mergekit-extract-lora`: two-dimensional weights are decomposed; norms, and embeddings unless asked otherwise, are
//! kept whole (`modules_to_save`). PEFT finds those by the last part of their name, and wants all that are called so, so
//! the names are gathered before anything is decided. Parameters that are no module's weight or bias have no place in an
//! adapter; MergeKit drops them without a word, here they must be the same in both models.

use std::collections::BTreeSet;

use super::tied;
use super::{OpError, several};
use crate::data::Pattern;
use crate::spec::params::{ExtractLoraParams, Mistake};
use crate::tensor::ModelTensors;

/// What becomes of the modules, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Tensors that are kept whole: the name in the adapter, and that in the model.
    pub(super) whole: Vec<(String, String)>,
    /// Modules that are decomposed, and whether they are the embedding.
    pub(super) thin: Vec<(String, bool)>,
    /// The last parts of the names of the modules that are kept whole.
    pub(super) saved: BTreeSet<String>,
    /// Whether a bias of a decomposed module is kept.
    pub(super) biases: bool,
}

/// The two models.
pub(super) struct Pair<'a> {
    pub(super) base: &'a ModelTensors,
    pub(super) model: &'a ModelTensors,
    /// Whether the output layer is the embedding.
    pub(super) tied: bool,
}

/// Patterns of the names of modules.
struct Patterns {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Patterns {
    fn new(params: &ExtractLoraParams) -> Result<Self, OpError> {
        let read = |field: &str, all: &[String]| {
            let wrong = |why: String| OpError::new(format!("`{field}`: {why}"));
            all.iter().map(|text| pattern(text).map_err(wrong)).collect::<Result<Vec<_>, _>>()
        };
        let include = read("include_regex", &params.include_regex)?;
        Ok(Self { include, exclude: read("exclude_regex", &params.exclude_regex)? })
    }

    fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|pattern| pattern.is_in(name))
    }

    fn takes(&self, name: &str) -> bool {
        !self.excludes(name) && (self.include.is_empty() || self.include.iter().any(|pattern| pattern.is_in(name)))
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| format!("`{text}` is no pattern: {error}"))
}

/// Returns the patterns that cannot be read, with the fields that they stand in.
pub(in crate::ops) fn unreadable(params: &ExtractLoraParams) -> Vec<Mistake> {
    let fields = [("include_regex", &params.include_regex), ("exclude_regex", &params.exclude_regex)];
    let all = fields.into_iter().flat_map(|(field, all)| all.iter().enumerate().map(move |(i, text)| (field, i, text)));
    all.filter_map(|(field, i, text)| Some(Mistake::new(format!("{field}[{i}]"), pattern(text).err()?))).collect()
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

impl Pair<'_> {
    /// Decides about every module.
    pub(super) fn choose(&self, params: &ExtractLoraParams) -> Result<Choice, OpError> {
        let patterns = Patterns::new(params)?;
        let embedding = tied::embedding(self.model).and_then(|name| Some(name.strip_suffix(".weight")?.to_owned()));
        let mut modules: BTreeSet<&str> = self.model.names().filter_map(|name| name.strip_suffix(".weight")).collect();
        if self.tied {
            modules.insert(tied::OUTPUT);
        }
        let vocabulary = |module: &str| embedding.as_deref() == Some(module) || module == tied::OUTPUT;
        let mut choice = Choice { saved: params.save_module.iter().cloned().collect(), ..Choice::default() };
        for module in &modules {
            let flat = tied::weight_of(self.model, module)
                .and_then(|name| self.model.get(&name))
                .is_some_and(|view| view.shape.len() == 2);
            let kept = if vocabulary(module) && !params.embed_lora {
                !patterns.excludes(module)
            } else {
                !flat && patterns.takes(module) && !params.skip_undecomposable
            };
            if kept {
                choice.saved.insert(last(module).to_owned());
            }
        }
        let mut mistakes = Vec::new();
        for module in modules {
            let weight = tied::weight_of(self.model, module).unwrap_or_default();
            let flat = self.model.get(&weight).is_some_and(|view| view.shape.len() == 2);
            let bias = format!("{module}.bias");
            if choice.saved.contains(module) || choice.saved.contains(last(module)) {
                choice.whole.push((format!("{module}.weight"), weight));
                if self.model.get(&bias).is_some() {
                    choice.whole.push((bias.clone(), bias));
                }
            } else if flat && patterns.takes(module) {
                if let Err(why) = self.decomposable(module, &weight) {
                    mistakes.push(format!("`{weight}`: {why}"));
                }
                choice.thin.push((module.to_owned(), embedding.as_deref() == Some(module)));
                if self.differs(&bias) {
                    choice.whole.push((format!("{module}.base_layer.bias"), bias));
                    choice.biases = true;
                }
            }
        }
        if !params.skip_undecomposable {
            mistakes.extend(self.homeless(&patterns));
        }
        let head = "the difference of the models cannot be put into an adapter:";
        if mistakes.is_empty() { Ok(choice) } else { Err(several(head, &mistakes)) }
    }

    fn decomposable(&self, module: &str, weight: &str) -> Result<(), String> {
        if self.tied && module == tied::OUTPUT {
            return Err("it is the embedding too, and PEFT would add to it twice; leave `embed_lora` off".into());
        }
        let shape = |tensors: &ModelTensors| tensors.get(weight).map(|view| view.shape.to_vec());
        match (shape(self.base), shape(self.model)) {
            (None, _) => Err("the base does not have it".into()),
            (Some(base), Some(model)) if base != model => Err(format!("{base:?} in the base, {model:?} in the model")),
            (_, Some(shape)) if shape.contains(&0) => Err(format!("it is empty: {shape:?}")),
            _ => Ok(()),
        }
    }

    /// Returns whether a tensor of the model is another one in the base.
    fn differs(&self, name: &str) -> bool {
        let bytes = |tensors: &ModelTensors| {
            tensors.get(name).map(|view| (view.dtype, view.shape.to_vec(), view.bytes.to_vec()))
        };
        self.model.get(name).is_some() && bytes(self.model) != bytes(self.base)
    }

    /// Returns what has changed and has no place in an adapter, and what only the base has.
    fn homeless(&self, patterns: &Patterns) -> Vec<String> {
        let placed = |name: &str| [".weight", ".bias"].iter().any(|end| name.ends_with(end));
        let taken = |name: &&str| patterns.takes(name);
        let changed = self.model.names().filter(|name| !placed(name)).filter(taken).filter(|name| self.differs(name));
        let changed = changed.map(|name| {
            format!("`{name}` has changed and is no module's weight; `skip_undecomposable: true` leaves it out")
        });
        let output = format!("{}.weight", tied::OUTPUT);
        let gone = self.base.names().filter(taken).filter(|name| self.model.get(name).is_none() && **name != output);
        changed.chain(gone.map(|name| format!("`{name}`: the model does not have it"))).collect()
    }
}
