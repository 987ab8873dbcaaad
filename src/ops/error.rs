//! Why a node failed, in words for the person who wrote the pipeline.

use std::error::Error;
use std::path::Path;

use crate::data::DataError;

/// The failure of a node: what is wrong, where, and the way out.
///
/// Nobody handles these by code, so there is no enum: they are shown, and the node counts as failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct OpError {
    message: String,
    help: Option<String>,
    field: Option<String>,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl OpError {
    /// Returns a failure with this message, a lower-case fragment without a full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, field: None, source: None }
    }

    /// Returns a failure that `source` caused while doing what `message` says.
    pub fn caused(message: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { message: message.into(), help: None, field: None, source: Some(source.into()) }
    }

    /// Returns a failure to read or write `path`.
    pub fn io(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::caused(format!("cannot use {}", path.display()), source)
    }

    /// Adds the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says in which field the mistake stands of what the user wrote.
    #[must_use]
    pub(super) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Returns the field that the mistake stands in, if it is known.
    pub(super) fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// Returns the way out, if there is one to name: its own, or that of the nearest cause that has one.
    pub fn way_out(&self) -> Option<&str> {
        let mut next: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(help) = error.downcast_ref::<Self>().and_then(|error| error.help.as_deref()) {
                return Some(help);
            }
            next = error.source();
        }
        None
    }

    /// Returns the message and those of all causes, outermost first.
    pub fn chain(&self) -> Vec<String> {
        let mut chain = vec![self.message.clone()];
        let mut next = self.source();
        while let Some(error) = next {
            let text = error.to_string();
            if chain.last() != Some(&text) {
                chain.push(text);
            }
            next = error.source();
        }
        chain
    }
}

impl From<std::io::Error> for OpError {
    fn from(error: std::io::Error) -> Self {
        // `fs_err` puts the path and the operation into the message.
        Self::new(error.to_string())
    }
}

impl From<DataError> for OpError {
    fn from(error: DataError) -> Self {
        // Names the file and the line itself.
        Self::new(error.to_string())
    }
}

impl From<candle_core::Error> for OpError {
    fn from(error: candle_core::Error) -> Self {
        Self::caused("a tensor operation failed", error)
    }
}
