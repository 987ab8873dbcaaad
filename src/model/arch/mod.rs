//! Architectures: which weights a model has and in what order its blocks run. No arithmetic lives here.
//!
//! All of them are one [`Decoder`], wired by what `config.json` says. What no configuration tells is how a family names
//! its tensors: that is what the files beside it hold.

mod decoder;
mod gemma3;
mod lfm2;
mod llama;
mod names;
mod parameters;
mod qwen2;
mod qwen3;

pub(crate) use decoder::{Decoder, Exit};

use super::config::Config;
use super::parameter::Outline;

/// Returns the parameters of a model, in the order of their ids.
pub(crate) fn parameters_of(config: &Config) -> Vec<Outline> {
    Decoder::new(config).1
}

/// As [`parameters_of`], with those of all exits that the configuration names: of a model that trains them.
pub(crate) fn parameters_with_exits(config: &Config) -> Vec<Outline> {
    Decoder::with_exits(config).1
}
