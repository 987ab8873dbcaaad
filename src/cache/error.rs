//! Why the cache could not do what it was asked to.

use std::io;
use std::path::PathBuf;

use crate::digest::{Digest, DigestError};

/// Why the cache could not do what it was asked to. What was committed before stays untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// Reading or writing failed; the message names the path and the operation.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file or folder could not be digested.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The stored bytes are not those that were committed.
    #[error("the artifact {} is damaged: {}{problem}{}", digest.short(), of_file(file), moved(moved_to.as_ref()))]
    Damaged {
        /// The artifact.
        digest: Digest,
        /// The file at which it shows, relative to the artifact; empty if it cannot be told.
        file: String,
        /// What is wrong with it.
        problem: String,
        /// Where the artifact was moved, so that nothing uses it any more. `None` with read access.
        moved_to: Option<PathBuf>,
    },
    /// There is no such artifact.
    #[error("the cache holds no artifact {}", .0.short())]
    NotStored(Digest),
    /// The index was written by a later luthflow.
    #[error("{} was written by a newer luthflow (format {found}, this one reads up to {known})", path.display())]
    NewerIndex {
        /// The index file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this program knows.
        known: i64,
    },
    /// The folder holds folders named as a cache names them, without the mark of one.
    #[error("{} is in use for something else: it holds `{entry}` but no CACHEDIR.TAG of luthflow", path.display())]
    NotACache {
        /// The folder.
        path: PathBuf,
        /// What was found in it.
        entry: &'static str,
    },
    /// The file system cannot lock files.
    #[error("{} cannot be locked: the file system has no file locks", path.display())]
    NoLocks {
        /// The lock file.
        path: PathBuf,
    },
    /// Something that writes was asked of a cache opened to read.
    #[error("the cache is open for reading only, and {0} writes")]
    ReadAccess(&'static str),
    /// A file in staging shares its bytes with a file elsewhere.
    #[error("{} is a hard link: the artifact would change with the other file; copy it instead", path.display())]
    HardLink {
        /// The file.
        path: PathBuf,
    },
    /// A node promised an output and wrote nothing there.
    #[error("the output `{name}` is missing: the node wrote nothing at `{path}`")]
    NoOutput {
        /// The output.
        name: String,
        /// Where it should be, relative to the artifact.
        path: String,
    },
    /// The address of a remote store cannot be used.
    #[error("`{url}` is no remote store: {problem}")]
    NoRemote {
        /// The address.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A remote store did not do what it was asked to.
    #[error("the remote store {url} failed at {doing}: {problem}")]
    Remote {
        /// The store.
        url: String,
        /// What was asked: `reading actions/ab/….json`.
        doing: String,
        /// What went wrong, in the store's or the network's words.
        problem: String,
        /// The way out, if there is one to name.
        help: Option<&'static str>,
    },
    /// A remote store gave bytes that are not what they are named after. Nothing of it was kept.
    #[error("the remote store {url} is damaged: {object} {problem}")]
    RemoteDamaged {
        /// The store.
        url: String,
        /// The object in it.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file kept changing while it was read.
    #[error("{} keeps changing while it is read: wait for whoever writes it", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
}

impl CacheError {
    /// Returns the way out, if there is one to name.
    pub fn way_out(&self) -> Option<&'static str> {
        match self {
            Self::Io(error) | Self::Digest(DigestError::Io(error)) => way_out_of(error.kind()),
            Self::NewerIndex { .. } => Some("update luthflow, or choose another cache with --cache-dir"),
            Self::NotACache { .. } => Some("choose an empty folder with --cache-dir"),
            Self::NoLocks { .. } => Some("choose a cache on another file system with --cache-dir"),
            Self::NoRemote { .. } => Some(
                "`--remote` takes file:///…, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or https://…",
            ),
            Self::Remote { help, .. } => *help,
            Self::RemoteDamaged { .. } => Some("nothing of it was kept; push the artifact again from a sound cache"),
            Self::Damaged { moved_to: Some(_), .. } => Some("run the pipeline again: the artifact will be made anew"),
            Self::Damaged { moved_to: None, .. } => Some("`luthflow cache verify` moves damaged artifacts aside"),
            _ => None,
        }
    }
}

fn way_out_of(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Some("free some space, or choose a cache on another disk with --cache-dir; what is committed is safe")
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            Some("the folder cannot be written: choose another cache with --cache-dir")
        }
        _ => None,
    }
}

fn of_file(file: &str) -> String {
    if file.is_empty() { String::new() } else { format!("`{file}` ") }
}

fn moved(moved_to: Option<&PathBuf>) -> String {
    moved_to.map_or_else(String::new, |path| format!("; it was moved to {}", path.display()))
}
