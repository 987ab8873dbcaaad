//! Why nothing could be generated.

use std::path::PathBuf;

use crate::data::DataError;
use crate::model::ModelError;

/// The failure to generate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// There is no model in a folder.
    #[error("there is no model in {}: it has no config.json", dir.display())]
    NoModel {
        /// The folder.
        dir: PathBuf,
    },
    /// The tokenizer or a chat cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// `generation_config.json` or `config.json` asks for something that is not there.
    #[error("{}: {reason}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A prompt leaves no room for an answer.
    #[error("prompt {number} has {tokens} tokens, and the model reads {context} with its answer")]
    PromptTooLong {
        /// Which prompt, counted from 1.
        number: usize,
        /// Its tokens.
        tokens: usize,
        /// How many the model is made for.
        context: usize,
    },
    /// A prompt has nothing in it.
    #[error("prompt {number} has no tokens: there is nothing to go on from")]
    EmptyPrompt {
        /// Which prompt, counted from 1.
        number: usize,
    },
    /// It cannot be said how likely a continuation is.
    #[error("request {number}: {reason}")]
    Request {
        /// Which one, counted from 1.
        number: usize,
        /// Why not.
        reason: String,
    },
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(String),
    /// The model answers with numbers that are none.
    #[error(
        "the model gives no usable probabilities after {tokens} tokens of prompt {number}: its weights may be damaged"
    )]
    NotFinite {
        /// Which prompt, counted from 1.
        number: usize,
        /// After how many tokens.
        tokens: usize,
    },
}
