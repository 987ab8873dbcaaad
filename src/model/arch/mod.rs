//! Architectures: which weights a model has and in what order its blocks run. No arithmetic lives here.

mod qwen3;

pub(crate) use qwen3::{Qwen3, parameters_of};
