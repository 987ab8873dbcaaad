//! The weights of a model folder, to and from parameters.
//!
//! What is written has the names and shapes of what was read, and the number format that `config.json` names, as in
//! transformers. A model is cut into files of 5 GB at most.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::ModelError;
use super::arch::Decoder;
use super::config::Config;
use super::early_exit;
use super::parameter::{Outline, Parameter, Part};
use crate::tensor::{Declared, Dtype, ModelTensors, ShardedWriter, TensorWriter, model_tensors};

/// A stored output layer although the model's configuration ties it to the embedding.
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";
/// Frequencies that old checkpoints of Llama store and nothing reads: they follow from `config.json`.
const FREQUENCIES: &str = ".self_attn.rotary_emb.inv_freq";
/// The most bytes of tensors in a file.
const LARGEST_FILE: u64 = 5_000_000_000;
/// Numbers that are rounded and written together.
const WRITTEN_TOGETHER: usize = 1 << 20;

/// Opens the weights of a model folder, with those of exits and branches.
pub(crate) fn tensors_of(dir: &Path, config: &Config) -> Result<ModelTensors, ModelError> {
    let tensors = model_tensors(dir)?;
    // Exits that are only wanted have no weights yet.
    let more = dir.join(early_exit::WEIGHTS);
    let there = config.early_exit.is_some() && dir.join(early_exit::FILE).is_file();
    if there { Ok(tensors.and(&more)?) } else { Ok(tensors) }
}

/// Reads the parameters of a model, widened to f32. Every tensor of the folder must be one of theirs.
pub(crate) fn load_parameters(
    dir: &Path,
    config: &Config,
    outlines: Vec<Outline>,
) -> Result<Vec<Parameter>, ModelError> {
    let tensors = tensors_of(dir, config)?;
    // All shapes first, so that a folder that does not fit costs nothing.
    check_tensors(dir, &tensors, config, &outlines)?;
    let read = |outline: Outline| {
        let mut value = Vec::with_capacity(outline.parts.iter().map(Part::count).sum());
        for part in &outline.parts {
            read_part(dir, &tensors, part, &mut value)?;
        }
        Ok(Parameter::new(outline, value))
    };
    outlines.into_par_iter().map(read).collect()
}

/// Copies the parameters of a model to a device, as tensors of a type.
pub(super) fn load_tensors(
    dir: &Path,
    config: &Config,
    outlines: &[Outline],
    device: &Device,
    dtype: DType,
) -> Result<Vec<Tensor>, ModelError> {
    let tensors = tensors_of(dir, config)?;
    check_tensors(dir, &tensors, config, outlines)?;
    let part = |part: &Part| {
        let mut value = Vec::with_capacity(part.count());
        read_part(dir, &tensors, part, &mut value)?;
        // Narrow first: a 16-bit weight crosses to the device in two bytes.
        let tensor = Tensor::from_vec(value, part.matrix_shape(), &Device::Cpu)?.to_dtype(dtype)?;
        Ok(tensor.to_device(device)?)
    };
    let parameter = |outline: &Outline| {
        let parts = outline.parts.iter().map(part).collect::<Result<Vec<Tensor>, ModelError>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    };
    outlines.iter().map(parameter).collect()
}

/// Fails unless the tensors of a folder are those of the model, each in its shape.
pub(crate) fn check_tensors(
    dir: &Path,
    tensors: &ModelTensors,
    config: &Config,
    outlines: &[Outline],
) -> Result<(), ModelError> {
    // What an exit leaves out, and exits that nobody asked for, have their place all the same.
    let whole = config.whole.as_deref().unwrap_or(config);
    let (_, all) = Decoder::with_exits(whole);
    refuse_strangers(dir, tensors, config, &all)?;
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
    if !matches!(view.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        let (name, found) = (&part.name, view.dtype);
        return Err(mismatch(format!("`{name}` is stored as {found}; models are run from F32, F16 and BF16")));
    }
    Ok(view)
}

/// Adds the numbers of a tensor to `value`.
fn read_part(dir: &Path, tensors: &ModelTensors, part: &Part, value: &mut Vec<f32>) -> Result<(), ModelError> {
    let view = check_part(dir, tensors, part)?;
    let start = value.len();
    value.resize(start + view.count(), 0.0);
    view.read_f32(0, &mut value[start..]);
    // The tied output layer is compared before this, and nothing is read twice.
    tensors.release(&part.name, 0, view.count());
    Ok(())
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

/// Writes parameters as `model.safetensors`, or in several files with an index, rounded to the format that `config.json`
/// names or, where it names none, that they were read in.
pub(crate) fn save_weights<P: Borrow<Parameter>>(
    dir: &Path,
    config: &Config,
    parameters: &[P],
) -> Result<(), ModelError> {
    let declare = |part: &Part| Declared { name: part.name.clone(), dtype: config.dtype, shape: part.shape.clone() };
    let (mine, beside): (Vec<&Parameter>, Vec<&Parameter>) =
        parameters.iter().map(Borrow::borrow).partition(|parameter| !early_exit::is_beside(parameter));
    let parts = mine.iter().flat_map(|parameter| parameter.parts());
    let declared: Vec<Declared> = parts.map(declare).collect();
    let writer = ShardedWriter::create(dir, &declared, LARGEST_FILE)?;
    let mut tensor = 0;
    for parameter in mine {
        let value = parameter.value();
        let mut rest = value.as_slice();
        for part in parameter.parts() {
            let (numbers, others) = rest.split_at(part.count());
            write_part(&writer, tensor, config.dtype, numbers)?;
            (rest, tensor) = (others, tensor + 1);
        }
    }
    writer.finish()?;
    save_exits(dir, config, &beside)
}

/// Writes exits and branches beside the weights of the model, if there are any.
fn save_exits(dir: &Path, config: &Config, parameters: &[&Parameter]) -> Result<(), ModelError> {
    if parameters.is_empty() {
        return Ok(());
    }
    let Some(found) = &config.early_exit else { return Ok(()) };
    let name = |layer: &usize| early_exit::exit_name(*layer, "norm.weight");
    let is_there = |layer: &usize| parameters.iter().any(|one| one.parts()[0].name == name(layer));
    let layers = found.layers.iter().copied().filter(is_there).collect();
    early_exit::EarlyExit { layers, ..found.clone() }.write(dir)?;
    let mut tensors: Vec<(Declared, Vec<f32>)> = Vec::new();
    for parameter in parameters {
        let value = parameter.value();
        let mut rest = value.as_slice();
        for part in parameter.parts() {
            let (numbers, others) = rest.split_at(part.count());
            let (name, shape) = (part.name.clone(), part.shape.clone());
            tensors.push((Declared { name, dtype: config.dtype, shape }, numbers.to_vec()));
            rest = others;
        }
    }
    let declared: Vec<Declared> = tensors.iter().map(|(declared, _)| declared.clone()).collect();
    let mut writer = TensorWriter::create(&dir.join(early_exit::WEIGHTS), &declared)?;
    for (tensor, numbers) in &tensors {
        let mut bytes = vec![0; numbers.len() * config.dtype.size()];
        config.dtype.write_f32(numbers, &mut bytes);
        writer.write(&tensor.name, &bytes)?;
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
