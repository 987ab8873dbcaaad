//! Qwen2 and Qwen2.5: Llama with biases on the projections of queries, keys and values, which `config.json` does not tell.

use super::llama;
use super::names::Names;

pub(super) const NAMES: Names = llama::NAMES;
