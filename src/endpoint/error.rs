//! Why there is no answer.

use std::path::PathBuf;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Something that concerns all requests: the server refuses the key, does not know the model, is not there.
    #[error("{0}")]
    All(Trouble),
    /// Something that concerns this request alone: it is too long, or every try failed.
    #[error("{0}")]
    One(Trouble),
    /// As many requests or tokens went out as may.
    #[error("the budget of {most} {what} is spent")]
    Budget {
        /// The number that may be spent.
        most: u64,
        /// Of what.
        what: &'static str,
    },
    /// The environment does not hold the key of the service.
    #[error("the environment variable `{name}` is not set")]
    NoKey {
        /// Its name.
        name: String,
    },
    /// Nothing may be sent, and the store has no answer.
    #[error("there is no answer in the cache, and `offline` sends nothing")]
    Offline,
    /// The store cannot be used.
    #[error("the store of answers {} cannot be used", path.display())]
    Store {
        /// Where it is.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A later luthflow wrote the store.
    #[error("the store of answers {} was written by a later luthflow", path.display())]
    Newer {
        /// Where it is.
        path: PathBuf,
    },
    /// The user wants to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What a server said or did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It answered with this status, and these words.
    #[error("the server answers with status {status}{}", words(said))]
    Status {
        /// The number.
        status: u16,
        /// The beginning of what it said.
        said: String,
    },
    /// It took too long.
    #[error("the server took too long to answer")]
    Slow,
    /// The connection could not be made, or broke.
    #[error("the server cannot be reached: {0}")]
    Connection(String),
    /// What came is no answer of this interface.
    #[error("the answer is none: {0}")]
    NoAnswer(String),
}

fn words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl Trouble {
    /// Returns one word for lists and counts.
    pub fn word(&self) -> String {
        match self {
            Self::Status { status, .. } => format!("status {status}"),
            Self::Slow => "timeout".into(),
            Self::Connection(_) => "connection".into(),
            Self::NoAnswer(_) => "no answer".into(),
        }
    }
}
