//! How a family names its tensors. Names inside a layer follow `model.layers.{number}.`; each is followed by `.weight` or
//! `.bias`.

use super::{gemma3, lfm2, llama, qwen2, qwen3};
use crate::model::config::Architecture;

/// The names of a family's tensors, as transformers gives them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names {
    /// What attention or convolution gets goes through this norm first.
    pub(crate) mixer_norm: &'static str,
    /// Query, key and value projections.
    pub(crate) query_key_value: [&'static str; 3],
    /// The norms of query and key heads.
    pub(crate) head_norms: [&'static str; 2],
    /// What attention gives goes through this projection.
    pub(crate) attention_output: &'static str,
    /// What attention gave goes through this norm, in models with norms on both sides.
    pub(crate) after_mixer: &'static str,
    /// What the feed-forward layer gets goes through this norm.
    pub(crate) feed_forward_norm: &'static str,
    /// Gate and up projections.
    pub(crate) gate_up: [&'static str; 2],
    /// The projection at the end of the feed-forward layer.
    pub(crate) down: &'static str,
    /// What the feed-forward layer gave goes through this norm, in models with norms on both sides.
    pub(crate) after_feed_forward: &'static str,
    /// The norm before the output layer, a whole name.
    pub(crate) last_norm: &'static str,
}

impl Names {
    /// Returns the names of a family.
    pub(crate) fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Qwen3 => qwen3::NAMES,
            Architecture::Qwen2 => qwen2::NAMES,
            Architecture::Llama => llama::NAMES,
            Architecture::Lfm2 => lfm2::NAMES,
            Architecture::Gemma3 => gemma3::NAMES,
        }
    }
}
