//! What can be wrong with a GGUF file, or with a model that is to become one. Each message names the file and the place.

use std::path::{Path, PathBuf};

use crate::tensor::TensorError;

/// The failure to read or write a GGUF file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file system refused. `fs_err` puts the path and the operation into the message.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Weights of a model folder cannot be read or written.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// The file is not a whole GGUF file.
    #[error("{} is not a whole GGUF file: {reason}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A setting of the file cannot be used.
    #[error("{}: `{key}` {reason}", file.display())]
    Setting {
        /// The file.
        file: PathBuf,
        /// The name of the setting.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// One tensor cannot be used.
    #[error("tensor `{tensor}` of {}: {reason}", file.display())]
    Tensor {
        /// The file or folder.
        file: PathBuf,
        /// The name of the tensor.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A model folder cannot become a GGUF file.
    #[error("{}: {reason}", file.display())]
    Folder {
        /// The file of the folder that says so.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Whoever asked for the work wants it to stop.
    #[error("interrupted")]
    Stopped,
}

impl GgufError {
    pub(super) fn format(file: &Path, reason: impl Into<String>) -> Self {
        Self::Format { file: file.to_owned(), reason: reason.into() }
    }

    pub(super) fn setting(file: &Path, key: &str, reason: impl Into<String>) -> Self {
        Self::Setting { file: file.to_owned(), key: key.to_owned(), reason: reason.into() }
    }

    pub(super) fn tensor(file: &Path, tensor: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { file: file.to_owned(), tensor: tensor.to_owned(), reason: reason.into() }
    }

    pub(super) fn folder(file: &Path, reason: impl Into<String>) -> Self {
        Self::Folder { file: file.to_owned(), reason: reason.into() }
    }
}
