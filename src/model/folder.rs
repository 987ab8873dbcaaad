//! The weights of a model folder, to and from parameters.

use std::path::Path;

use super::ModelError;
use super::config::Config;
use super::parameter::{Outline, Parameter, Part};
use crate::tensor::{Declared, ModelTensors, TensorWriter, WEIGHTS_FILE, model_tensors};

/// A stored output layer although the model's configuration ties it to the embedding.
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// Reads the parameters of a model, widened to f32. Every tensor of the folder must be one of theirs.
pub(crate) fn load_parameters(
    dir: &Path,
    config: &Config,
    outlines: Vec<Outline>,
) -> Result<Vec<Parameter>, ModelError> {
    let tensors = model_tensors(dir)?;
    refuse_strangers(dir, &tensors, config, &outlines)?;
    let read = |outline: Outline| {
        let mut value = Vec::new();
        for part in &outline.parts {
            read_part(dir, &tensors, part, &mut value)?;
        }
        Ok(Parameter::new(outline, value))
    };
    outlines.into_iter().map(read).collect()
}

fn read_part(dir: &Path, tensors: &ModelTensors, part: &Part, value: &mut Vec<f32>) -> Result<(), ModelError> {
    let mismatch = |reason: String| ModelError::Mismatch { dir: dir.to_owned(), reason };
    let view = tensors.get(&part.name).ok_or_else(|| mismatch(format!("`{}` is missing", part.name)))?;
    if view.shape != part.shape {
        let (name, found, expected) = (&part.name, view.shape, &part.shape);
        return Err(mismatch(format!("`{name}` is of shape {found:?}, config.json asks for {expected:?}")));
    }
    let start = value.len();
    value.resize(start + view.count(), 0.0);
    view.read_f32(0, &mut value[start..]);
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
    let known: std::collections::BTreeSet<&str> =
        outlines.iter().flat_map(|outline| &outline.parts).map(|part| part.name.as_str()).collect();
    for name in tensors.names().filter(|name| !known.contains(name)) {
        if name != HEAD || !config.tie_word_embeddings {
            return Err(mismatch(format!("`{name}` has no place in a Qwen3 model")));
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

/// Writes parameters as `model.safetensors`, rounded to the format that `config.json` names, sorted by name.
pub(crate) fn save_weights<P: std::borrow::Borrow<Parameter>>(
    dir: &Path,
    config: &Config,
    parameters: &[P],
) -> Result<(), ModelError> {
    let mut places: Vec<(&Part, &Parameter, usize)> = Vec::new();
    for parameter in parameters.iter().map(std::borrow::Borrow::borrow) {
        let mut start = 0;
        for part in parameter.parts() {
            places.push((part, parameter, start));
            start += part.count();
        }
    }
    places.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let declare = |part: &Part| Declared { name: part.name.clone(), dtype: config.dtype, shape: part.shape.clone() };
    let declared: Vec<Declared> = places.iter().map(|(part, ..)| declare(part)).collect();
    let mut writer = TensorWriter::create(&dir.join(WEIGHTS_FILE), &declared)?;
    for (part, parameter, start) in places {
        writer.write_f32(&part.name, &parameter.value()[start..start + part.count()])?;
    }
    Ok(writer.finish()?)
}
