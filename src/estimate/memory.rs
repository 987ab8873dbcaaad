//! The memory of a training: what each weight takes, what is kept of each token of a forward pass, and a piece of the logits.
//!
//! On the CPU all of it is the host's. With a GPU the host has masters, sums of gradients and moments, and the device weights, gradients and
//! passes (`model::twin`), whose attention holds the scores of some queries.

use super::{Cost, Figure, Ground, Shape, rates};
use crate::spec::params::{GradientCheckpointing, OptimizerName, SftParams};

/// Rows whose logits are in the memory of a device together (`model::composed`).
const ROWS_TOGETHER: f64 = 1024.0;
/// Queries whose scores are in the memory of a device together (`model::composed`).
const QUERIES_TOGETHER: f64 = 512.0;
/// Logits in the memory of the host at a time (`model::kernel::loss`).
const LOGITS: f64 = (1 << 24) as f64;

/// Bytes of moments that the optimizer keeps of all weights.
fn moments(params: &SftParams, shape: &Shape, beside: Option<f64>) -> f64 {
    if let Some(beside) = beside {
        return 8.0 * beside;
    }
    let (inner, all) = match &shape.beside {
        Some(trained) => (trained.inner, trained.parameters),
        None => (shape.inner(), shape.parameters),
    };
    let (of_matrix, of_rest) = match params.optimizer {
        OptimizerName::Adamw => (8.0, 8.0),
        OptimizerName::Adamw8bit => (2.0, 8.0),
        OptimizerName::Muon => (4.0, 8.0),
    };
    inner * of_matrix + (all - inner) * of_rest
}

/// Bytes of a forward and a backward pass that go with its tokens. `wide` are the bytes of a number.
fn activations(params: &SftParams, shape: &Shape, tokens: f64, wide: f64) -> f64 {
    let (query, keys) = (shape.costs.width, shape.keys);
    // What a layer keeps of a token: the inputs of its two halves and of its four products, and what they give.
    let inside = 2.0 * shape.intermediate;
    let layer = 2.0 * shape.hidden + 2.0 * query + 2.0 * keys + inside;
    // Nothing is kept of layers that only run forward.
    let below = shape.beside.as_ref().map_or(0.0, |beside| beside.below.layers);
    let (passed, layers) = (shape.passed - below, shape.layers - below);
    let a_token = match params.gradient_checkpointing {
        GradientCheckpointing::None => (passed * layer).max(layer),
        GradientCheckpointing::Selective => passed * (layer - inside) + inside,
        GradientCheckpointing::Full => layers * shape.hidden + layer,
    };
    // Rows before and behind the norm of each end.
    wide * tokens * (a_token + 2.0 * shape.hidden * shape.ends)
}

/// Adds the memory of a training whose data has so many tokens, and a longest sample of so many.
pub(super) fn add(
    params: &SftParams,
    shape: &Shape,
    (tokens, longest): (Figure, Figure),
    beside: Option<f64>,
    ground: &Ground<'_>,
    cost: &mut Cost,
) {
    let trained = beside.or(shape.beside.as_ref().map(|beside| beside.parameters)).unwrap_or(shape.parameters);
    let masters = if params.bf16 { 4.0 * trained } else { 0.0 };
    let moments = moments(params, shape, beside);
    let weights = 4.0 * (shape.parameters + beside.unwrap_or(0.0));
    let room = (params.micro_batch_size * params.sequence_len) as f64;
    let in_pass = tokens.map(|tokens| tokens.min(room)).or(Figure::Assumed(room));
    cost.scratch = Figure::Known(4.0 * trained + moments);
    let host = weights + 4.0 * trained + masters + moments + rates::PROGRAM;
    if ground.device.is_host {
        let logits = 4.0 * LOGITS.min(256.0 * shape.vocabulary);
        cost.host_memory = in_pass.map(|tokens| host + activations(params, shape, tokens, 4.0) + logits).assumed();
        return;
    }
    cost.host_memory = Figure::Assumed(host);
    // Scores of the last block of the longest document, in 16 and in 32 bits, and softmax and its gradient beside them.
    let attention = longest.map(|longest| shape.heads * longest.min(QUERIES_TOGETHER) * longest * (2.0 + 3.0 * 4.0));
    // Logits, their logarithms and their gradient.
    let logits = 3.0 * 4.0 * ROWS_TOGETHER * shape.vocabulary;
    let on_device = shape.stored * (shape.parameters + beside.unwrap_or(0.0)) + (4.0 + shape.stored) * trained + logits;
    let passes = in_pass.map(|tokens| activations(params, shape, tokens, shape.stored));
    cost.device_memory = (passes + attention + Figure::Known(on_device)).assumed();
    if longest == Figure::Assumed(params.sequence_len as f64) {
        cost.note("the memory of attention is that of a sample of `sequence_len` tokens; shorter ones take less");
    }
}
