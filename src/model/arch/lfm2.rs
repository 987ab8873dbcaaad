//! LFM2: most layers have a short convolution where others have attention.
//!
//! Read from `modeling_lfm2.py` of transformers 5.23. The norm at the end is called `embedding_norm`. Names of the
//! convolution are the same in no other family, so they are here and in no table.

use super::llama;
use super::names::Names;

pub(super) const NAMES: Names = Names {
    mixer_norm: "operator_norm",
    head_norms: ["self_attn.q_layernorm", "self_attn.k_layernorm"],
    attention_output: "self_attn.out_proj",
    feed_forward_norm: "ffn_norm",
    gate_up: ["feed_forward.w1", "feed_forward.w3"],
    down: "feed_forward.w2",
    last_norm: "model.embedding_norm",
    ..llama::NAMES
};

/// The projection to `[B | C | x]`.
pub(super) const CONVOLUTION_INPUT: &str = "conv.in_proj";
/// The convolution itself.
pub(super) const CONVOLUTION: &str = "conv.conv";
/// What the convolution gives goes through this projection.
pub(super) const CONVOLUTION_OUTPUT: &str = "conv.out_proj";
