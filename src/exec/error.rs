//! Why a run could not begin or go on. The failure of a node is none of these: it is an event.

use std::path::PathBuf;

use crate::cache::CacheError;
use crate::hub::HubError;

/// Why a run could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A source names files that are not there.
    #[error("the source `{node}` finds no file at {pattern}")]
    SourceMissing {
        /// The node instance.
        node: String,
        /// What it looks for.
        pattern: String,
    },
    /// A source names files that cannot be brought in as they are.
    #[error("the source `{node}` cannot bring in {pattern}: {why}")]
    SourceUnusable {
        /// The node instance.
        node: String,
        /// What it looks for.
        pattern: String,
        /// What is wrong.
        why: String,
    },
    /// A source has other content than its `digest` says.
    #[error("the source `{node}` has the content blake3:{found}, and its `digest` demands {wanted}")]
    SourceDrifted {
        /// The node instance.
        node: String,
        /// What the pipeline demands.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// A source that does not lie on this machine cannot be looked at.
    #[error("the source `{node}` cannot be looked at: {why}")]
    Outside {
        /// The node instance.
        node: String,
        /// What is wrong.
        why: HubError,
    },
    /// The pipeline differs from its lockfile.
    #[error("the pipeline differs from {}", lock.display())]
    Locked {
        /// The lockfile.
        lock: PathBuf,
        /// Every difference, one sentence each.
        differences: Vec<String>,
    },
    /// A lockfile cannot be written. The run itself is not touched by that.
    #[error("the run is over, but its lockfile {} cannot be written: {why}", path.display())]
    LockUnwritable {
        /// The lockfile.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A lockfile cannot be read.
    #[error("cannot use the lockfile {}: {why}", path.display())]
    LockFile {
        /// The lockfile.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file around a run cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl ExecError {
    /// Returns the way out, if there is one to name.
    pub fn help(&self) -> Option<String> {
        match self {
            ExecError::Cache(error) => error.way_out().map(str::to_owned),
            ExecError::SourceMissing { .. } => Some("paths are relative to the pipeline file".into()),
            ExecError::SourceDrifted { .. } => {
                Some("bring the file back, or accept the new content by changing `digest`".into())
            }
            ExecError::Locked { .. } => {
                Some("undo the change, or run without `--locked` to write a new lockfile".into())
            }
            ExecError::LockFile { .. } => {
                Some("bring it back from version control, or delete it: a run writes it anew".into())
            }
            ExecError::LockUnwritable { .. } => Some("make its folder writable, or run with `--locked`".into()),
            ExecError::Outside { why, .. } => why.way_out().map(str::to_owned),
            ExecError::SourceUnusable { .. } | ExecError::Io(_) => None,
        }
    }
}
