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
mod part;
mod plan;
mod recipe;

mod tokenizer_file;
mod torch;
mod trig;
mod twister;
mod values;
mod vocabulary;

use std::path::Path;

use super::{InputArtifact, OpCx, OpError, Outcome};
use crate::spec::params::{MergeMethod, MergeParams};
use crate::tensor::{Declared, Dtype, ModelTensors, ShardedWriter, TensorError, model_tensors};
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
}

impl<'a> Parent<'a> {
    fn open(input: &'a InputArtifact) -> Result<Self, OpError> {
        let tensors = model_tensors(&input.path)
            .map_err(|error| OpError::caused(format!("cannot read the weights of `{}`", input.name), error))?;
        let path = input.path.join("config.json");
        let config = if path.is_file() { serde_json::from_slice(&fs_err::read(path)?).ok() } else { None };
        Ok(Self { name: &input.name, path: &input.path, tensors, config })
    }

    /// Returns whether its configuration says that the output layer is the embedding.
    fn tied(&self) -> Option<bool> {
        self.config.as_ref()?.get("tie_word_embeddings")?.as_bool()
    }
}

/// Runs the node.
pub(super) fn run(params: &MergeParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let recipe = Recipe::new(params, cx)?;
    let (groups, sliced) = recipe.groups();
    let plan = plan::plan(&recipe, &groups, sliced)?;
    let vocabulary = Vocabulary::of(&recipe)?;
    let declared = declare(&recipe, &groups, &plan, vocabulary.as_ref())?;
    let same = declared.first().map(|first| first.dtype);
    let changes = metadata::Changes {
        layers: plan.layers.as_deref(),
        dtype: same.filter(|dtype| declared.iter().all(|tensor| tensor.dtype == *dtype)),
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
            _ if recipe.as_first || recipe.keeps_base_type() => parts[group.base.unwrap_or(0)].dtype(),
            Rounding::Every(_) if wide => Dtype::F32,
            Rounding::Every(dtype) | Rounding::Last(dtype) => dtype.unwrap_or(promoted),
        };
        Ok(Declared { name: tensor.name.clone(), dtype: out.unwrap_or(dtype), shape })
    });
    declared.collect()
}

fn parts<'a>(recipe: &'a Recipe<'_>, group: &Group<'_>, tensor: &'a Planned) -> Result<Vec<Part<'a>>, OpError> {
    let part = |(source, input): (&recipe::Source<'_>, &'a String)| {
        let model = &recipe.models[source.model];
        Part::of(&model.tensors, input).ok_or_else(|| OpError::new(format!("`{}` lacks tensor `{input}`", model.name)))
    };
    group.sources.iter().zip(&tensor.inputs).map(part).collect()
}

fn first_shape(recipe: &Recipe<'_>, group: &Group<'_>, tensor: &Planned) -> Vec<usize> {
    let first = group.sources.first().zip(tensor.inputs.first());
    let view = first.and_then(|(source, input)| recipe.models[source.model].tensors.get(input));
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
    let base = group.base.filter(|base| *base < parts.len());
    let dtype = match recipe.rounding {
        // The older slerp takes its inputs as they are, and gives the type of the base.
        Rounding::Every(None) if recipe.keeps_base_type() => parts[base.unwrap_or(0)].dtype(),
        Rounding::Every(dtype) => dtype.unwrap_or(promoted),
        Rounding::Last(_) => Dtype::F32,
    };
    if let Some(vocabulary) = vocabulary.filter(|_| vocabulary::is_vocabulary(&tensor.name)) {
        let models: Vec<usize> = group.sources.iter().map(|source| source.model).collect();
        let base = base.map(|base| models[base]);
        parts = vocabulary.align(&parts, &models[..parts.len()], base, shape[1..].iter().product(), dtype)?;
    } else if matches!(recipe.rounding, Rounding::Every(_)) && !recipe.keeps_base_type() {
        parts = parts.into_iter().map(|part| part.converted(dtype)).collect();
    }
    Ok(Work { name: &tensor.name, shape, parts, base, dtype, compat: recipe.compat, shared, each })
}

fn unwritable(error: TensorError) -> OpError {
    OpError::caused("cannot write the merged weights", error)
}
