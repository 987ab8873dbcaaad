//! The files beside the weights: those of one of the models, with what the merge has changed in them.
//!
//! The donor is the base, or the first model listed; MergeKit takes any when there is no base. Its `config.json` is
//! edited and not written anew, so that nothing a library does not know is lost: the number of layers, whatever lists
//! something for each layer (`layer_types`), the type of the weights, the vocabulary, whether the output layer is tied.
//! A file that needs no edit is copied byte for byte.

use std::path::Path;

use serde_json::Value;

use super::plan::{Layers, OUTPUT_LAYER};
use super::recipe::Recipe;
use super::{OpError, Parent};
use crate::data::TOKENIZER_FILES;
use crate::tensor::Dtype;

/// What a model folder holds beside weights and tokenizer.
const CONFIG: &str = "config.json";
const OTHERS: [&str; 3] = ["generation_config.json", "preprocessor_config.json", "processor_config.json"];

/// What architectures call the number of their layers.
const LAYER_KEYS: [&str; 4] = ["num_hidden_layers", "num_layers", "n_layer", "n_layers"];

/// What the merge has changed.
pub(super) struct Changes<'a> {
    /// Where the layers of what was made of slices come from.
    pub(super) layers: &'a [Layers],
    /// The type of all tensors, if it is one.
    pub(super) dtype: Option<Dtype>,
    pub(super) vocabulary: Option<usize>,
    /// The tensors of the result.
    pub(super) names: Vec<&'a str>,
}

/// Writes the files beside the weights. The tokenizer's are left out if the merge made one.
pub(super) fn write(recipe: &Recipe<'_>, changes: &Changes<'_>, to: &Path) -> Result<(), OpError> {
    let donor = &recipe.models[recipe.donor()];
    let tokenizer = if changes.vocabulary.is_some() { &[][..] } else { TOKENIZER_FILES };
    for name in OTHERS.iter().chain(tokenizer) {
        copy(donor.path, name, to)?;
    }
    match &donor.config {
        Some(before) => {
            let mut config = before.clone();
            edit(&mut config, recipe, changes)?;
            if config == *before {
                return copy(donor.path, CONFIG, to);
            }
            let mut text = serde_json::to_string_pretty(&config)
                .map_err(|error| OpError::caused("cannot write the configuration", error))?;
            text.push('\n');
            Ok(fs_err::write(to.join(CONFIG), text)?)
        }
        None => copy(donor.path, CONFIG, to),
    }
}

/// Copies a file, if it is there. Not by the system's copy: an artifact is read-only, and the copy must not be.
pub(super) fn copy(from: &Path, name: &str, to: &Path) -> Result<(), OpError> {
    if from.join(name).is_file() {
        fs_err::write(to.join(name), fs_err::read(from.join(name))?)?;
    }
    Ok(())
}

fn edit(config: &mut Value, recipe: &Recipe<'_>, changes: &Changes<'_>) -> Result<(), OpError> {
    for layers in changes.layers {
        edit_layers(config, recipe, layers)?;
    }
    let Some(fields) = config.as_object_mut() else { return Ok(()) };
    if let Some(dtype) = changes.dtype
        && !recipe.as_first
    {
        for key in ["torch_dtype", "dtype"] {
            if fields.contains_key(key) {
                fields.insert(key.into(), dtype.name().into());
            }
        }
    }
    if let Some(size) = changes.vocabulary
        && fields.contains_key("vocab_size")
    {
        fields.insert("vocab_size".into(), size.into());
    }
    // Loaders of a tied model would ignore an output layer that is stored.
    if changes.names.contains(&OUTPUT_LAYER) && fields.get("tie_word_embeddings") == Some(&Value::Bool(true)) {
        fields.insert("tie_word_embeddings".into(), false.into());
    }
    Ok(())
}

/// Returns the part of a configuration that describes these layers: itself, or one of the blocks in it.
fn described(config: &Value, layers: &Layers) -> Result<Option<String>, OpError> {
    let fits = |block: &Value| layer_count(block) == Some(layers.before);
    let blocks = config.as_object().into_iter().flatten().filter(|(_, block)| block.is_object() && fits(block));
    let mut found: Vec<Option<String>> = blocks.map(|(key, _)| Some(key.clone())).collect();
    if fits(config) || !layers.part {
        found.insert(0, None);
    }
    match &found[..] {
        [only] => Ok(only.clone()),
        [None, ..] if !layers.part => Ok(None),
        _ => {
            let message =
                format!("config.json has {} places that may describe these {} layers", found.len(), layers.before);
            Err(OpError::new(message).help("keep the number and the order of the layers of this module"))
        }
    }
}

fn block<'a>(config: &'a Value, key: Option<&str>) -> Option<&'a Value> {
    key.map_or(Some(config), |key| config.get(key))
}

/// Sets the number of layers, and takes each layer's entry of every list over layers from the model it comes from.
fn edit_layers(config: &mut Value, recipe: &Recipe<'_>, layers: &Layers) -> Result<(), OpError> {
    let donor = recipe.donor();
    let from = &layers.from;
    if from.len() == layers.before && from.iter().enumerate().all(|(i, from)| *from == (donor, i)) {
        return Ok(());
    }
    let at = described(config, layers)?;
    let Some(count) = block(config, at.as_deref()).and_then(layer_count) else { return Ok(()) };
    let place = match &at {
        Some(key) => config.get_mut(key),
        None => Some(config),
    };
    let Some(fields) = place.and_then(Value::as_object_mut) else { return Ok(()) };
    let layers = from;
    for key in LAYER_KEYS {
        if fields.get(key).is_some_and(Value::is_u64) {
            fields.insert(key.into(), layers.len().into());
        }
    }
    let lists: Vec<String> = fields
        .iter()
        .filter(|(_, value)| value.as_array().is_some_and(|list| list.len() == count))
        .filter(|(key, _)| key.contains("layer") || key.contains("block"))
        .map(|(key, _)| key.clone())
        .collect();
    for key in lists {
        let mut list = Vec::new();
        for (model, layer) in layers {
            let parent: &Parent<'_> = &recipe.models[*model];
            let described = parent.config.as_ref().and_then(|config| block(config, at.as_deref()));
            let of = described.and_then(|config| config.get(&key)).and_then(Value::as_array);
            let entry = of.and_then(|list| list.get(*layer)).ok_or_else(|| {
                OpError::new(format!(
                    "the config.json of `{}` says nothing about layer {layer} in `{key}`",
                    parent.name
                ))
            })?;
            list.push(entry.clone());
        }
        if key == "layer_types" && fields.contains_key("full_attn_idxs") {
            let is_full = |entry: &Value| entry.as_str() == Some("full_attention");
            let full: Vec<usize> = (0..list.len()).filter(|i| is_full(&list[*i])).collect();
            fields.insert("full_attn_idxs".into(), full.into());
        }
        fields.insert(key, list.into());
    }
    Ok(())
}

fn layer_count(config: &Value) -> Option<usize> {
    LAYER_KEYS.iter().find_map(|key| config.get(key)?.as_u64()).map(|count| count as usize)
}
