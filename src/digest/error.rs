//! Why bytes could not be digested.

use std::io;
use std::path::PathBuf;

/// Why a file or folder could not be digested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// Reading failed; the message names the path and the operation.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A folder holds something that has no content of its own.
    #[error("{} is {what}; an artifact holds regular files only: copy the content in its place", path.display())]
    NotAFile {
        /// Where it lies.
        path: PathBuf,
        /// What was found there: `a symbolic link`.
        what: &'static str,
    },
    /// A file name has no place in a listing that is the same on every machine.
    #[error("the name of {} {problem}: rename the file", path.display())]
    BadName {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong with the name: `is not UTF-8`.
        problem: &'static str,
    },
    /// A listing read back is not one that this program writes.
    #[error("the listing is not in order: `{path}` {problem}")]
    BadManifest {
        /// The entry at which it shows.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}
