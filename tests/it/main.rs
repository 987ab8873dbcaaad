//! All integration tests, in one binary: a second one would link everything again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic; clippy.toml allows it inside #[test] only"
)]

mod crash;
mod curate;
mod data;
mod locked;
mod merge;
mod op;
mod report;
mod run;
mod tensor;
mod tokenizer;
mod world;
