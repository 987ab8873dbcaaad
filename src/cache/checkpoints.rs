//! What unfinished nodes left to go on with: a folder a key, below `checkpoints/`.
//!
//! Whoever holds the lease of a key writes there, and nobody else. The folder is no artifact: nothing is promised of what
//! lies in it, its writer checks that for itself, and it goes when the action is on record.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::files::{is_absent, sorted_entries};
use super::lock::Locked;
use super::{Cache, CacheError};
use crate::digest::Digest;

/// The folder with what servers answered, in that for what nodes remember.
const ANSWERS: &str = "answers";

/// How old what an unfinished node left must be to be collected, if nothing is said.
pub(super) const STALE: Duration = Duration::from_hours(14 * 24);

impl Cache {
    /// Returns where what a node needs to go on may lie. The folder need not be there.
    pub fn checkpoints(&self, key: &Digest) -> PathBuf {
        self.layout.checkpoints().join(key.hex())
    }

    /// Returns the folder for what nodes can compute again and would rather not. It need not be there.
    pub fn memo(&self) -> PathBuf {
        self.layout.memo()
    }

    /// Removes it. That something cannot be removed is told and stops nothing: the work is done.
    pub fn drop_checkpoints(&self, key: &Digest) {
        match fs_err::remove_dir_all(self.checkpoints(key)) {
            Err(error) if !is_absent(&error) => {
                self.notice(format!("a checkpoint is of no more use and stays: {error}"));
            }
            _ => {}
        }
    }

    /// Returns what nodes left that nobody works on now, and what they can compute again, and when it was last used.
    pub(super) fn abandoned_checkpoints(&self) -> Result<Vec<(PathBuf, SystemTime)>, CacheError> {
        let mut found = Vec::new();
        for path in sorted_entries(&self.layout.checkpoints())? {
            let lease = self.layout.leases().join(path.file_name().unwrap_or_default());
            let held = lease.exists() && Locked::attempt_existing(&lease).is_ok_and(|locked| locked.is_none());
            if !held {
                let written = last_written(&path)?;
                found.push((path, written));
            }
        }
        // Answers of servers were paid for: only their owner removes them.
        let memo = sorted_entries(&self.layout.memo())?;
        for path in memo.into_iter().filter(|path| path.file_name().is_none_or(|name| name != ANSWERS)) {
            let written = last_written(&path)?;
            found.push((path, written));
        }
        Ok(found)
    }
}

/// Returns the latest time of a folder and what lies in it.
fn last_written(path: &Path) -> Result<SystemTime, CacheError> {
    let metadata = match fs_err::symlink_metadata(path) {
        Err(error) if is_absent(&error) => return Ok(SystemTime::UNIX_EPOCH),
        other => other?,
    };
    let mut latest = metadata.modified()?;
    if metadata.is_dir() {
        for entry in sorted_entries(path)? {
            latest = latest.max(last_written(&entry)?);
        }
    }
    Ok(latest)
}
