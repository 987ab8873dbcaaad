//! What can be wrong with a model, or with what it is asked. Each message names the file or the tensor.

use std::path::PathBuf;

use crate::tensor::TensorError;

/// The failure to load, run, train or save a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file system refused. `fs_err` puts the path and the operation into the message.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file of weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] TensorError),
    /// `config.json` asks for something that is not there.
    #[error("{}: {reason}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The weights are not those that `config.json` describes.
    #[error("the weights in {}: {reason}", dir.display())]
    Mismatch {
        /// The model folder.
        dir: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The tokens cannot be given to this model.
    #[error("{reason}")]
    Input {
        /// What is wrong with them.
        reason: String,
    },
    /// A weight that should be trained got no gradient, which would leave it as it is without a word.
    #[error("the weight `{name}` got no gradient")]
    NoGradient {
        /// The tensor.
        name: String,
    },
    /// A gradient is infinite or not a number.
    #[error("the gradient of `{name}` is not finite")]
    NotFinite {
        /// The tensor.
        name: String,
    },
    /// candle failed.
    #[error("a tensor operation failed: {0}")]
    Candle(#[from] candle_core::Error),
}
