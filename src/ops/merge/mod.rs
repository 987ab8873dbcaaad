//! `kind: merge`: the weights of several models combined, tensor by tensor.
//!
//! The arithmetic is that of MergeKit 0.1.5, which published merges are made with: the same operations in the same
//! order, rounded where PyTorch rounds. What it leaves to chance (which model donates the configuration, the numbers of
//! new tokens) is fixed here, and what it finds out in the middle of a run is looked up before the first number is read.
//! The node's own fields (`method`, `base`, `models`) differ in one thing: the type of the output is always the base's.
//!
//! Models are mapped and never loaded: memory is a few pieces of a few tensors, whatever the size of the model.

mod combine;
mod device;
mod engine;
mod fused;
mod memory;
mod metadata;
mod methods;
mod moe;
mod names;
mod normal;
mod part;
mod plan;
mod recipe;
mod resolve;
mod tokenizer_file;
mod torch;
mod trig;
mod twister;
mod values;
mod vocabulary;
mod wide;

pub(super) use moe::run as moe;
pub(super) use twister::Twister;

use std::collections::BTreeMap;
use std::path::Path;

use super::{InputArtifact, OpCx, OpError, Outcome};
use crate::spec::params::{MergeMethod, MergeParams};
use crate::tensor::{Declared, Dtype, ModelTensors, ShardedWriter, TensorError, View, model_tensors};
use engine::{Engine, Merged};
use part::{Part, Work};
use plan::{Plan, Planned};
use recipe::{Group, Recipe, Rounding};
use vocabulary::Vocabulary;

/// One of the models that are merged.
struct Parent<'a> {
    /// The node instance it comes from.
    name: &'a str,
    path: &'a Path,
    tensors: ModelTensors,
    /// Its `config.json`, if it can be read.
    config: Option<serde_json::Value>,
    /// The names of its tensors as they are written today, and as they are stored.
    called: BTreeMap<String, String>,
}

impl<'a> Parent<'a> {
    fn open(input: &'a InputArtifact) -> Result<Self, OpError> {
        let tensors = model_tensors(&input.path)
            .map_err(|error| OpError::caused(format!("cannot read the weights of `{}`", input.name), error))?;
        let path = input.path.join("config.json");
        let config = if path.is_file() { serde_json::from_slice(&fs_err::read(path)?).ok() } else { None };
        let today = |name: &str| (names::canonical(config.as_ref(), name).into_owned(), name.to_owned());
        let called = tensors.names().map(today).collect();
        Ok(Self { name: &input.name, path: &input.path, tensors, config, called })
    }

    /// Returns the names of its tensors, sorted.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.called.keys().map(String::as_str)
    }

    /// Returns those of its names that begin so, sorted.
    fn names_with(&self, start: &str) -> impl Iterator<Item = &str> {
        let from = (std::ops::Bound::Included(start), std::ops::Bound::Unbounded);
        let (names, start) = (self.called.range::<str, _>(from), start.to_owned());
        names.map(|(name, _)| name.as_str()).take_while(move |name| name.starts_with(&start))
    }

    /// Returns a tensor, if it is there.
    fn get(&self, name: &str) -> Option<View<'_>> {
        self.tensors.get(self.called.get(name)?)
    }

    /// Returns whether its configuration says that the output layer is the embedding.
    fn tied(&self) -> Option<bool> {
        self.config.as_ref()?.get("tie_word_embeddings")?.as_bool()
    }
}

/// Runs the node.
pub(super) fn run(params: &MergeParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let recipe = Recipe::new(params, cx)?;
    let (groups, modules) = recipe.groups();
    let plan = plan::plan(&recipe, &groups, &modules)?;
    let vocabulary = Vocabulary::of(&recipe)?;
    let declared = declare(&recipe, &groups, &plan, vocabulary.as_ref())?;
    let mut types = declared.iter().map(|tensor| tensor.dtype).filter(|dtype| dtype.is_float());
    let same = types.next().filter(|first| types.all(|dtype| dtype == *first));
    let changes = metadata::Changes {
        layers: &plan.layers,
        dtype: same,
        vocabulary: vocabulary.as_ref().map(|vocabulary| vocabulary.size),
        names: declared.iter().map(|tensor| tensor.name.as_str()).collect(),
    };
    metadata::write(&recipe, &changes, cx.out)?;
    if let Some(vocabulary) = &vocabulary {
        vocabulary.file.write(cx.out)?;
    }
    if let Some(template) = &recipe.config.chat_template {
        let models: Vec<&Path> = recipe.models.iter().map(|model| model.path).collect();
        tokenizer_file::write_template(template, &models, cx.out)?;
    }
    let merged = merge(params, &recipe, &groups, &plan, vocabulary.as_ref(), &declared, cx)?;
    let mut outcome = Outcome::default();
    outcome.metrics.insert("tensors".into(), merged.tensors as f64);
    outcome.metrics.insert("parameters".into(), merged.parameters as f64);
    if recipe.config.merge_method == MergeMethod::Slerp {
        outcome.metrics.insert("straight_share".into(), merged.straight as f64 / merged.tensors.max(1) as f64);
    }
    Ok(outcome)
}

fn merge(
    params: &MergeParams,
    recipe: &Recipe<'_>,
    groups: &[Group<'_>],
    plan: &Plan,
    vocabulary: Option<&Vocabulary>,
    declared: &[Declared],
    cx: &OpCx<'_>,
) -> Result<Merged, OpError> {
    let total: usize = declared.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    cx.progress.phase("merging", Some(total as u64), "parameters");
    let sizes = plan.tensors.iter().zip(declared).map(|(tensor, declared)| memory::Size {
        name: &declared.name,
        count: declared.shape.iter().map(|side| *side as u64).product(),
        models: tensor.inputs.len() as u64,
        width: declared.dtype.size() as u64,
        aligned: vocabulary.is_some() && vocabulary::is_vocabulary(&declared.name),
        row: declared.shape.last().map_or(1, |side| *side as u64),
    });
    let bound = params.memory.as_ref().and_then(|memory| memory.bytes().ok());
    let ahead = memory::check(recipe.config.merge_method, sizes, cx.threads, bound)?;
    let writer = ShardedWriter::create(cx.out, declared, params.shard_size).map_err(unwritable)?;
    let engine = Engine::new(recipe.config.merge_method, writer, cx)?;
    engine.run(declared.len(), ahead, twister::Twister::new(params.seed), &|number| {
        let (tensor, declared) = (&plan.tensors[number], &declared[number]);
        let work = work(recipe, &groups[tensor.group], tensor, vocabulary, &declared.shape)?;
        Ok((work, declared.dtype))
    })
}

/// Returns the name, type and shape of every tensor of the result.
fn declare(
    recipe: &Recipe<'_>,
    groups: &[Group<'_>],
    plan: &Plan,
    vocabulary: Option<&Vocabulary>,
) -> Result<Vec<Declared>, OpError> {
    let out = recipe.config.out_dtype.as_deref().and_then(Dtype::named);
    let declared = plan.tensors.iter().map(|tensor| {
        // Filters that match nothing are found before anything is read.
        let group = &groups[tensor.group];
        values::values(recipe, group, tensor)?;
        let parts = parts(recipe, group, tensor)?;
        if let Some(whole) = whole_numbers(recipe, group, tensor, &parts)? {
            return Ok(Declared { name: tensor.name.clone(), dtype: whole, shape: first_shape(recipe, group, tensor) });
        }
        let stored = parts.iter().map(Part::dtype);
        let mut shape = first_shape(recipe, group, tensor);
        if let (Some(vocabulary), true, Some(rows)) =
            (vocabulary, vocabulary::is_vocabulary(&tensor.name), shape.first_mut())
        {
            *rows = vocabulary.size;
        }
        let promoted = stored.reduce(Dtype::promote).unwrap_or(Dtype::F32);
        let wide = matches!(recipe.config.merge_method, MergeMethod::ArceeFusion | MergeMethod::RamplusTl);
        let dtype = match recipe.rounding {
            _ if recipe.as_first || recipe.keeps_base_type() => parts[base_of(group, tensor).unwrap_or(0)].dtype(),
            Rounding::Every(dtype) if wide && dtype.unwrap_or(promoted) != Dtype::F64 && !tensor.copied => Dtype::F32,
            Rounding::Every(dtype) | Rounding::Last(dtype) => dtype.unwrap_or(promoted),
        };
        Ok(Declared { name: tensor.name.clone(), dtype: out.unwrap_or(dtype), shape })
    });
    declared.collect()
}

fn parts<'a>(recipe: &'a Recipe<'_>, group: &Group<'_>, tensor: &'a Planned) -> Result<Vec<Part<'a>>, OpError> {
    let part = |(i, input): &(usize, String)| {
        let model = &recipe.models[group.sources[*i].model];
        let found = model.called.get(input).and_then(|stored| Part::of(&model.tensors, stored));
        found.ok_or_else(|| OpError::new(format!("`{}` lacks tensor `{input}`", model.name)))
    };
    tensor.inputs.iter().map(part).collect()
}

/// Returns which of the inputs of a tensor is that of the base.
fn base_of(group: &Group<'_>, tensor: &Planned) -> Option<usize> {
    tensor.inputs.iter().position(|(i, _)| Some(*i) == group.base)
}

/// Returns the type of a tensor of whole numbers, which can only be copied: where all models have the same.
fn whole_numbers(
    recipe: &Recipe<'_>,
    group: &Group<'_>,
    tensor: &Planned,
    parts: &[Part<'_>],
) -> Result<Option<Dtype>, OpError> {
    let first = parts.first().map(Part::dtype);
    if parts.iter().all(|part| part.dtype().is_float()) {
        return Ok(None);
    }
    let Some(other) = parts.iter().position(|part| !part.same(&parts[0])) else { return Ok(first) };
    let name = |which: usize| recipe.models[group.sources[tensor.inputs[which].0].model].name;
    let message = format!(
        "tensor `{}` holds whole numbers ({}), which are not merged, and `{}` and `{}` have different ones",
        tensor.name,
        parts[0].dtype(),
        name(0),
        name(other)
    );
    Err(OpError::new(message).help("merge models before they are quantised, and of the same positions"))
}

fn first_shape(recipe: &Recipe<'_>, group: &Group<'_>, tensor: &Planned) -> Vec<usize> {
    let first = tensor.inputs.first();
    let view = first.and_then(|(i, input)| recipe.models[group.sources[*i].model].get(input));
    view.map_or_else(Vec::new, |view| view.shape.to_vec())
}

/// Gathers what one tensor is made from.
fn work<'a>(
    recipe: &'a Recipe<'_>,
    group: &Group<'_>,
    tensor: &'a Planned,
    vocabulary: Option<&Vocabulary>,
    shape: &'a [usize],
) -> Result<Work<'a>, OpError> {
    let (shared, each) = values::values(recipe, group, tensor)?;
    let mut parts = parts(recipe, group, tensor)?;
    let promoted = parts.iter().map(Part::dtype).reduce(Dtype::promote).unwrap_or(Dtype::F32);
    let base = base_of(group, tensor);
    let whole = parts.iter().any(|part| !part.dtype().is_float());
    let dtype = match recipe.rounding {
        _ if whole => parts[0].dtype(),
        // The older slerp takes its inputs as they are, and gives the type of the base.
        Rounding::Every(None) if recipe.keeps_base_type() => parts[base.unwrap_or(0)].dtype(),
        Rounding::Every(dtype) => dtype.unwrap_or(promoted),
        Rounding::Last(_) if promoted == Dtype::F64 || recipe.rounding == Rounding::Last(Some(Dtype::F64)) => {
            Dtype::F64
        }
        Rounding::Last(_) => Dtype::F32,
    };
    let copied = tensor.copied || whole;
    if let Some(vocabulary) = vocabulary.filter(|_| vocabulary::is_vocabulary(&tensor.name)) {
        let models: Vec<usize> = tensor.inputs.iter().map(|(i, _)| group.sources[*i].model).collect();
        let base = base.map(|base| models[base]);
        parts = vocabulary.align(&parts, &models, base, shape[1..].iter().product(), dtype)?;
    } else if matches!(recipe.rounding, Rounding::Every(_)) && !recipe.keeps_base_type() {
        parts = parts.into_iter().map(|part| part.converted(dtype)).collect();
    }
    Ok(Work { name: &tensor.name, shape, parts, base, dtype, copied, compat: recipe.compat, shared, each })
}

fn unwritable(error: TensorError) -> OpError {
    OpError::caused("cannot write the merged weights", error)
}
