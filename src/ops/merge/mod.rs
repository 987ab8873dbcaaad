//! `kind: merge`: the weights of several models combined, tensor by tensor.
//!
//! The arithmetic is that of MergeKit 0.1.5, which published merges are made with: `linear` gives the same bits, `slerp`
//! the same up to the last place of a few numbers (its reductions are summed in a different order). Two things are
//! different on purpose. The type of the output is always the base's, where MergeKit promotes mixed types. And a merge
//! that is not a merge, `t` of 0 or 1, copies its parent rather than computing it, so that the ends of a sweep are the
//! parents bit for bit.
//!
//! Models are mapped and never loaded: memory is a few pieces of a few tensors, whatever the size of the model.

mod align;
mod combine;
mod engine;
mod fused;
mod linear;
mod slerp;

use std::path::Path;

use super::{InputArtifact, OpCx, OpError, Outcome};
use crate::data::TOKENIZER_FILES;
use crate::spec::params::{MergeMethod, MergeParams};
use crate::tensor::{ModelTensors, TensorError, WEIGHTS_FILE, model_tensors};
use combine::Rule;

/// What a model folder holds beside weights and tokenizer.
const CONFIG_FILES: [&str; 2] = ["config.json", "generation_config.json"];

/// One of the models that are merged.
struct Parent<'a> {
    /// The node instance it comes from.
    name: &'a str,
    tensors: ModelTensors,
}

/// Runs the node.
pub(super) fn run(params: &MergeParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let base = cx.inputs.one("base")?;
    let inputs: Vec<&InputArtifact> = std::iter::once(base).chain(cx.inputs.list("models")).collect();
    let rule = rule(params, inputs.len())?;
    let parents = inputs.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    align::check(&parents)?;
    copy_beside_weights(&base.path, cx.out)?;
    let merged = engine::merge(&parents, &rule, &cx.out.join(WEIGHTS_FILE), cx)?;
    let mut outcome = Outcome::default();
    outcome.metrics.insert("tensors".into(), merged.tensors as f64);
    outcome.metrics.insert("parameters".into(), merged.parameters as f64);
    if params.method == MergeMethod::Slerp {
        outcome.metrics.insert("straight_share".into(), merged.straight as f64 / merged.tensors.max(1) as f64);
    }
    Ok(outcome)
}

/// Returns what is done to every tensor.
fn rule(params: &MergeParams, models: usize) -> Result<Rule, OpError> {
    let parameters = &params.parameters;
    match (params.method, parameters.t, &parameters.weights) {
        (_, Some(_), _) if models != 2 => {
            Err(OpError::new(format!("`t` goes from the base to one model, and {} are given", models - 1)))
        }
        (_, Some(0.0), _) => Ok(Rule::Copy(0)),
        (_, Some(1.0), _) => Ok(Rule::Copy(1)),
        (MergeMethod::Slerp, Some(t), _) => Ok(Rule::Slerp { t }),
        (MergeMethod::Linear, Some(t), _) => linear::rule(&[1.0 - t, t]),
        (MergeMethod::Linear, None, Some(weights)) if weights.len() == models => linear::rule(weights),
        (MergeMethod::Linear, None, Some(weights)) => {
            Err(OpError::new(format!("{} weights are given for {models} models", weights.len())))
        }
        (_, None, _) => Err(OpError::new("the ratio `t` is missing").help("write `parameters: {t: 0.5}`")),
    }
}

fn open(input: &InputArtifact) -> Result<Parent<'_>, OpError> {
    let tensors = model_tensors(&input.path)
        .map_err(|error| OpError::caused(format!("cannot read the weights of `{}`", input.name), error))?;
    Ok(Parent { name: &input.name, tensors })
}

/// Copies configuration, tokenizer and chat template; the weights are the only thing that is new.
fn copy_beside_weights(from: &Path, to: &Path) -> Result<(), OpError> {
    for name in CONFIG_FILES.iter().chain(TOKENIZER_FILES) {
        if from.join(name).is_file() {
            // Not `copy`: an artifact is read-only, and the copy must not be.
            fs_err::write(to.join(name), fs_err::read(from.join(name))?)?;
        }
    }
    Ok(())
}

fn unwritable(error: TensorError) -> OpError {
    OpError::caused("cannot write the merged weights", error)
}
