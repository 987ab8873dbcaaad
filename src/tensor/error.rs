//! What can be wrong with a file of weights. Each message names the file, and the tensor where there is one.

use std::path::PathBuf;

/// The failure to read or write weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The file system refused. `fs_err` puts the path and the operation into the message.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file is not a whole safetensors file.
    #[error("{} is not a whole safetensors file: {reason}", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be looked at.
    #[error("{}: {reason}", file.display())]
    Unmapped {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// One tensor of the file cannot be used.
    #[error("tensor `{tensor}` of {}: {reason}", file.display())]
    Tensor {
        /// The file.
        file: PathBuf,
        /// The name of the tensor.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The index of a sharded model cannot be used.
    #[error("{}: {reason}", file.display())]
    Index {
        /// The index.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder holds weights that cannot be read without running what is in them.
    #[error(
        "{} holds weights only as a PyTorch pickle (`{name}`), which is a program and is not run: write them as safetensors, \
         with `AutoModel.from_pretrained(DIR).save_pretrained(NEW_DIR)` in a Python that trusts them",
        dir.display()
    )]
    Pickle {
        /// The folder.
        dir: PathBuf,
        /// The file.
        name: String,
    },
    /// The folder holds no weights.
    #[error("{} holds neither model.safetensors nor model.safetensors.index.json", dir.display())]
    NoWeights {
        /// The folder.
        dir: PathBuf,
    },
    /// A device cannot be used.
    #[error("device `{device}` cannot be used: {reason}")]
    Device {
        /// The device, as the user named it.
        device: String,
        /// Why not.
        reason: String,
        /// The way out.
        help: String,
    },
}

impl TensorError {
    /// Returns the way out, if there is one to name.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Device { help, .. } => Some(help),
            _ => None,
        }
    }
}
