//! Qwen3: Llama with a norm on each query and key head.

use super::llama;
use super::names::Names;

pub(super) const NAMES: Names = llama::NAMES;
