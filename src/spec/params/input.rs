//! How a node names another one, and what it may expect to find there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a node, or of one output of it: `sft`, `corpus.train`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct InputRef(pub String);

impl InputRef {
    /// Returns the name of the node, without the output.
    pub fn node(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(node, _)| node)
    }

    /// Returns the name of the output, empty when the bare node is meant.
    pub fn output(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, output)| output)
    }
}

impl fmt::Display for InputRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What an artifact, or one output of it, is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputType {
    /// Rows: text, chats or minimal pairs.
    Dataset,
    /// A Hugging Face tokenizer folder.
    Tokenizer,
    /// A Hugging Face model folder.
    Model,
    /// A LoRA adapter: a folder as PEFT writes it.
    Adapter,
    /// The loss curve of a training.
    Log,
    /// The scores of a model.
    Scores,
    /// A rendered report.
    Report,
    /// Files that only another program understands.
    Files,
    /// As something expected: whatever there is.
    Any,
}

impl fmt::Display for InputType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            InputType::Dataset => "dataset",
            InputType::Tokenizer => "tokenizer",
            InputType::Model => "model",
            InputType::Adapter => "LoRA adapter",
            InputType::Log => "training log",
            InputType::Scores => "score table",
            InputType::Report => "report",
            InputType::Files => "folder of files",
            InputType::Any => "artifact",
        })
    }
}

/// One input of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input<'a> {
    /// The place it fills, as the path of the field that names it: `model`, `data[1]`, `tasks[0].bits_per_byte.data`.
    pub slot: String,
    /// The node it comes from.
    pub from: &'a InputRef,
    /// What it must be.
    pub expects: InputType,
    /// Whether every instance of a swept node is wanted, rather than the one of the same sweep point.
    pub gathers: bool,
}

impl<'a> Input<'a> {
    /// Returns an input that follows the sweep point of the node that reads it.
    pub fn one(slot: impl Into<String>, from: &'a InputRef, expects: InputType) -> Self {
        Self { slot: slot.into(), from, expects, gathers: false }
    }

    /// Returns an input that gathers every instance of a swept node.
    pub fn all(slot: impl Into<String>, from: &'a InputRef, expects: InputType) -> Self {
        Self { slot: slot.into(), from, expects, gathers: true }
    }
}
