//! luthflow: a build system for language-model post-training.

pub mod cache;
pub mod cli;
pub mod data;
pub mod digest;
pub mod endpoint;
pub mod estimate;
pub mod exec;
pub mod generate;
pub mod gguf;
pub mod hub;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod plan;
pub mod spec;
pub mod tensor;
pub mod text;
