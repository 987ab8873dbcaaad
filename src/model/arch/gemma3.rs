//! Gemma 3, text only: norms on both sides of attention and of the feed-forward layer, and on query and key heads.
//!
//! Read from `modeling_gemma3.py` of transformers 5.23: `h = x + norm(o(attention(norm(x))))`, the same for the
//! feed-forward layer. `post_attention_layernorm` comes after attention here, where in Llama it comes after the sum.

use super::llama;
use super::names::Names;

pub(super) const NAMES: Names = Names { feed_forward_norm: "pre_feedforward_layernorm", ..llama::NAMES };
