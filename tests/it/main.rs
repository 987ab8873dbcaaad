//! All integration tests, in one binary: a second one would link everything again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic; clippy.toml allows it inside #[test] only"
)]

mod cache;
mod cache_crash;
mod cache_damage;
mod cache_index;
mod crash;
mod curate;
mod data;
mod eval;
mod locked;
mod merge;
mod model;
mod op;
mod report;
mod run;
mod sft;
mod tensor;
mod tidy;
mod tiny;
mod tokenizer;
mod world;
