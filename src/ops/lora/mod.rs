//! LoRA adapters in PEFT's format: `apply_lora` adds one to the model that it was made for, `extract_lora` makes one from
//! the difference of two models, and `sft` trains one.
//!
//! The arithmetic is PEFT's (`merge_and_unload`) and that of `mergekit-extract-lora`, except where these lose something
//! without a word; the places say so. A model is streamed tensor by tensor, and an adapter's matrices are small, so
//! memory is bounded by the largest matrix and not by the model.

mod adapter;
mod apply;
mod config;
mod extract;
mod factors;
mod product;
mod save;
mod svd;
mod tied;

pub(super) use apply::{apply_adapter, run as apply};
pub(super) use extract::run as extract;
pub(super) use factors::unreadable;
pub(super) use save::{AdapterTensor, save_adapter};
pub(super) use svd::singular_values;

use std::path::Path;

use super::{InputArtifact, OpCx, OpError};
use crate::data::TOKENIZER_FILES;
use crate::tensor::{ModelTensors, model_tensors};

/// How many of many mistakes are listed.
const LISTED: usize = 8;

/// What a model folder holds beside weights and tokenizer.
const OTHERS: [&str; 3] = ["generation_config.json", "preprocessor_config.json", "processor_config.json"];

/// Opens the weights of an input.
fn open(input: &InputArtifact) -> Result<ModelTensors, OpError> {
    model_tensors(&input.path)
        .map_err(|error| OpError::caused(format!("cannot read the weights of `{}`", input.name), error))
}

/// Returns the `config.json` of a model folder, if there is one that can be read.
fn model_config(dir: &Path) -> Result<Option<serde_json::Value>, OpError> {
    let path = dir.join("config.json");
    if !path.is_file() {
        return Ok(None);
    }
    serde_json::from_slice(&fs_err::read(&path)?).map(Some).map_err(|error| OpError::io(&path, error))
}

/// Copies what stands beside the weights, `config.json` apart. Not by the system's copy: an artifact is read-only, and
/// the copy must not be.
fn copy_others(from: &Path, to: &Path) -> Result<(), OpError> {
    for name in OTHERS.iter().chain(TOKENIZER_FILES) {
        if from.join(name).is_file() {
            fs_err::write(to.join(name), fs_err::read(from.join(name))?)?;
        }
    }
    Ok(())
}

/// Returns one message for many mistakes.
fn several(head: &str, mistakes: &[String]) -> OpError {
    let more = mistakes.len().checked_sub(LISTED + 1).map(|more| format!("and {} more", more + 1));
    let lines = mistakes.iter().take(LISTED).cloned().chain(more);
    OpError::new(std::iter::once(head.to_owned()).chain(lines).collect::<Vec<_>>().join("\n  "))
}
