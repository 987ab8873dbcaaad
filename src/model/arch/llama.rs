//! Llama, SmolLM2 and Llama 3: a pre-norm decoder with grouped queries and a gated feed-forward layer.
//!
//! Read from `modeling_llama.py` of transformers 5.23: `h = x + o(attention(norm(x)))`, `y = h + down(act(gate) * up)` of
//! `norm(h)`. The second norm is called after what it follows.

use super::names::Names;

pub(super) const NAMES: Names = Names {
    mixer_norm: "input_layernorm",
    query_key_value: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    head_norms: ["self_attn.q_norm", "self_attn.k_norm"],
    attention_output: "self_attn.o_proj",
    after_mixer: "post_attention_layernorm",
    feed_forward_norm: "post_attention_layernorm",
    gate_up: ["mlp.gate_proj", "mlp.up_proj"],
    down: "mlp.down_proj",
    after_feed_forward: "post_feedforward_layernorm",
    last_norm: "model.norm",
};
