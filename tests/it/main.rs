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
mod locked;
mod merge;
mod op;
mod report;
mod run;
mod tensor;
mod tidy;
mod tokenizer;
mod world;
