//! GGUF, the file format of llama.cpp: one file with settings, tokenizer and (mostly quantised) weights.
//!
//! Both directions are here: [`import`] turns a file into a model folder in Hugging Face layout, [`export`] a folder into
//! a file. Between the two stand three descriptions that know both sides, so that the directions cannot drift apart:
//! [`shape`] (sizes and constants; `config.json` and the settings of a file), [`layout`] (every tensor by both of its
//! names, with what the formats do differently to its numbers) and [`vocabulary`] (tokenizer and chat template).
//!
//! What is read comes from strangers: [`file`] believes no count, length or offset before it has held it against the
//! bytes that are there. What a model computes is either carried over or refused by name; nothing is skipped.
//!
//! A module of its own and not a part of `model`, because nothing here runs a model: it needs [`crate::tensor`] and
//! candle's block formats, and `ops` is all that uses it. candle's own GGUF reader is not used: it holds whole tensors in
//! memory, names neither file nor place, and keeps the last of two settings with one name without a word.

mod block;
mod config;
mod cursor;
mod error;
mod export;
mod file;
mod import;
mod layout;
mod metadata;
mod mixture;
mod pieces;
mod pre;
mod shape;
mod tokenizer_file;
mod tokenizer_reader;
mod value;
mod vocabulary;
mod writer;

pub use block::Block;
pub use error::GgufError;
pub use export::{Exported, export};
pub use file::{GgufFile, is_gguf};
pub use import::{Imported, configuration, import};
pub use mixture::Quantisation;
