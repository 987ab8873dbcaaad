//! All integration tests, in one binary: a second one would link everything again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic; clippy.toml allows it inside #[test] only"
)]

mod cache;
mod cache_crash;
mod cache_damage;
mod cache_index;
mod cli;
mod crash;
mod curate;
mod data;
mod errors;
mod eval;
mod fuzz;
mod keys;
mod locked;
mod merge;
mod merge_config;
mod merge_parity;
mod model;
mod op;
mod pipelines;
mod report;
mod run;
mod sft;
mod tensor;
mod tidy;
mod tiny;
mod tokenizer;
mod world;
