//! Models whose output layer is the embedding: a stored one may be left out, and one that differs unties them.

use serde_json::Value;

use crate::tensor::ModelTensors;

/// The output layer.
pub(super) const OUTPUT: &str = "lm_head";

/// Returns whether a configuration says that the output layer is the embedding.
pub(super) fn tied(config: Option<&Value>) -> bool {
    config.and_then(|config| config.get("tie_word_embeddings")).and_then(Value::as_bool) == Some(true)
}

/// Returns the tensor that holds the weights of a module: its own, or for an output layer that is not stored the
/// embedding.
pub(super) fn weight_of(tensors: &ModelTensors, module: &str) -> Option<String> {
    let own = format!("{module}.weight");
    if tensors.get(&own).is_some() {
        return Some(own);
    }
    let output = module == OUTPUT || module.ends_with(&format!(".{OUTPUT}"));
    output.then(|| embedding(tensors)).flatten()
}

/// Returns the tensor of the embedding.
pub(super) fn embedding(tensors: &ModelTensors) -> Option<String> {
    tensors.names().find(|name| name.ends_with("embed_tokens.weight")).map(str::to_owned)
}
