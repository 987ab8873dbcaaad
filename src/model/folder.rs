//! The weights of a model folder, to and from parameters.
//!
//! What is written has the names, the shapes and the number formats of what was read. transformers cuts a model into
//! files of 5 GB at most, and so is it here.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;

use super::ModelError;
use super::config::Config;
use super::parameter::{Outline, Parameter, Part};
use crate::tensor::{Declared, Dtype, ModelTensors, ShardedWriter, model_tensors};

/// A stored output layer although the model's configuration ties it to the embedding.
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
/// Frequencies that old checkpoints of Llama store and nothing reads: they follow from `config.json`.
const FREQUENCIES: &str = ".self_attn.rotary_emb.inv_freq";
/// The most bytes of tensors in a file.
const LARGEST_FILE: u64 = 5_000_000_000;
/// Numbers that are rounded and written together.
const WRITTEN_TOGETHER: usize = 1 << 20;

/// Reads the parameters of a model, widened to f32. Every tensor of the folder must be one of theirs.
pub(crate) fn load_parameters(
    dir: &Path,
    config: &Config,
    outlines: Vec<Outline>,
) -> Result<Vec<Parameter>, ModelError> {
    let tensors = model_tensors(dir)?;
    // All shapes first, so that a folder that does not fit costs nothing.
    check_tensors(dir, &tensors, config, &outlines)?;
    let read = |outline: Outline| {
        let mut value = Vec::with_capacity(outline.parts.iter().map(Part::count).sum());
        let mut formats = Vec::new();
        for part in &outline.parts {
            formats.push(read_part(dir, &tensors, part, &mut value)?);
        }
        Ok(Parameter::new(outline, value).stored_as(formats))
    };
    outlines.into_par_iter().map(read).collect()
}

/// Fails unless the tensors of a folder are those of the model, each in its shape.
pub(crate) fn check_tensors(
    dir: &Path,
    tensors: &ModelTensors,
    config: &Config,
    outlines: &[Outline],
) -> Result<(), ModelError> {
    refuse_strangers(dir, tensors, config, outlines)?;
    let parts = outlines.iter().flat_map(|outline| &outline.parts);
    parts.into_iter().try_for_each(|part| check_part(dir, tensors, part).map(drop))
}

fn check_part<'a>(dir: &Path, tensors: &'a ModelTensors, part: &Part) -> Result<crate::tensor::View<'a>, ModelError> {
    let mismatch = |reason: String| ModelError::Mismatch { dir: dir.to_owned(), reason };
    let view = tensors.get(&part.name).ok_or_else(|| mismatch(format!("`{}` is missing", part.name)))?;
    if view.shape != part.shape {
        let (name, found, expected) = (&part.name, view.shape, &part.shape);
        return Err(mismatch(format!("`{name}` is of shape {found:?}, config.json asks for {expected:?}")));
    }
    Ok(view)
}

/// Adds the numbers of a tensor to `value`; returns how they are stored.
fn read_part(dir: &Path, tensors: &ModelTensors, part: &Part, value: &mut Vec<f32>) -> Result<Dtype, ModelError> {
    let view = check_part(dir, tensors, part)?;
    let start = value.len();
    value.resize(start + view.count(), 0.0);
    view.read_f32(0, &mut value[start..]);
    // The tied output layer is compared before this, and nothing is read twice.
    tensors.release(&part.name, 0, view.count());
    Ok(view.dtype)
}

/// Fails if a tensor would be lost: it has no place in the model.
///
/// Qwen3-0.6B stores its output layer although it is tied to the embedding; that copy is taken for what it is.
fn refuse_strangers(
    dir: &Path,
    tensors: &ModelTensors,
    config: &Config,
    outlines: &[Outline],
) -> Result<(), ModelError> {
    let mismatch = |reason: String| ModelError::Mismatch { dir: dir.to_owned(), reason };
    let known: BTreeSet<&str> =
        outlines.iter().flat_map(|outline| &outline.parts).map(|part| part.name.as_str()).collect();
    for name in tensors.names().filter(|name| !known.contains(name) && !name.ends_with(FREQUENCIES)) {
        if name != HEAD || !config.tie_word_embeddings {
            let family = config.architecture.title();
            return Err(mismatch(format!("`{name}` has no place in this {family} model")));
        }
        let same = match (tensors.get(HEAD), tensors.get(EMBEDDING)) {
            (Some(head), Some(table)) => head.dtype == table.dtype && head.bytes == table.bytes,
            _ => false,
        };
        if !same {
            let reason = format!("`{HEAD}` differs from the embedding, though config.json says they are tied");
            return Err(mismatch(reason));
        }
    }
    Ok(())
}

/// Writes parameters as `model.safetensors`, or in several files with an index, each tensor in the format that it was
/// read in; one that was not read, in the format that `config.json` names.
pub(crate) fn save_weights<P: Borrow<Parameter>>(
    dir: &Path,
    config: &Config,
    parameters: &[P],
) -> Result<(), ModelError> {
    let mut declared = Vec::new();
    for parameter in parameters.iter().map(Borrow::borrow) {
        for (index, part) in parameter.parts().iter().enumerate() {
            let dtype = parameter.format(index).unwrap_or(config.dtype);
            declared.push(Declared { name: part.name.clone(), dtype, shape: part.shape.clone() });
        }
    }
    let writer = ShardedWriter::create(dir, &declared, LARGEST_FILE)?;
    let mut tensor = 0;
    for parameter in parameters.iter().map(Borrow::borrow) {
        let value = parameter.value();
        let mut rest = value.as_slice();
        for part in parameter.parts() {
            let (numbers, others) = rest.split_at(part.count());
            write_part(&writer, tensor, declared[tensor].dtype, numbers)?;
            (rest, tensor) = (others, tensor + 1);
        }
    }
    Ok(writer.finish()?)
}

fn write_part(writer: &ShardedWriter, tensor: usize, dtype: Dtype, numbers: &[f32]) -> Result<(), ModelError> {
    let mut bytes = vec![0; WRITTEN_TOGETHER.min(numbers.len()) * dtype.size()];
    for (index, chunk) in numbers.chunks(WRITTEN_TOGETHER).enumerate() {
        let bytes = &mut bytes[..chunk.len() * dtype.size()];
        dtype.write_f32(chunk, bytes);
        writer.write_at(tensor, index * WRITTEN_TOGETHER * dtype.size(), bytes)?;
    }
    Ok(())
}
