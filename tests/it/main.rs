//! All integration tests, in one binary: a second one would link everything again.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic; clippy.toml allows it inside #[test] only"
)]

mod architectures;
mod cache;
mod cache_crash;
mod cache_damage;
mod cache_gc;
mod cache_index;
mod cache_race;
mod cache_remote;
mod choice;
mod cli;
mod command;
mod crash;
mod curate;
mod curate_near;
mod dags;
mod data;
mod diff;
mod errors;
mod eval;
mod fresh_models;
mod fuzz;
mod generate;
mod gguf;
mod gguf_hostile;
mod hostile_tokenizers;
mod hub;
mod inference;
mod instants;
mod keys;
mod language;
mod locked;
mod lora;
mod machine;
mod merge;
mod merge_config;
mod merge_engine;
mod merge_parity;
mod merge_reference;
mod merge_rules;
mod model;
mod model_folders;
mod moe;
mod on_device;
mod op;
mod oracle;
mod pipelines;
mod provenance;
mod races;
mod readers;
mod real;
mod real_tokens;
mod report;
mod run;
mod sft;
mod sft_dpo;
mod sft_lora;
mod sft_masks;
mod sft_parity;
mod sft_resume;
mod snapshot;
mod sweep;
mod templates;
mod tensor;
mod tidy;
mod tiny;
mod tokenizer;
mod verify;
mod world;
