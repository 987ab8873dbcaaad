//! One writer at a time, across processes and, where the file system carries locks, across hosts.
//!
//! The lock is the kernel's, on an open file: it goes when the process dies, however it dies. The file itself is never
//! deleted. If it were, a waiter would hold the lock of a file without a name while a newcomer locks its successor.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use super::{CacheError, files, platform};

/// The right to write, as long as it lives.
#[derive(Debug)]
pub(super) struct WriteLock {
    _file: File,
}

impl WriteLock {
    /// Takes the lock, and waits for it if need be, after telling `on_wait` once who holds it.
    pub(super) fn take(path: &Path, on_wait: &mut dyn FnMut(&str)) -> Result<Self, CacheError> {
        let options = fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut file: File = options.into();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                on_wait(&holder(path));
                file.lock().map_err(|error| refused(&error, path))?;
            }
            Err(TryLockError::Error(error)) => return Err(refused(&error, path)),
        }
        // Only for people who wait: if it cannot be written, the lock holds all the same.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "process {} on {}", std::process::id(), platform::host()));
        Ok(Self { _file: file })
    }
}

/// Returns who holds the lock, as the holder wrote it.
fn holder(path: &Path) -> String {
    let bytes = files::read_bounded(path, 1024).ok().flatten().unwrap_or_default();
    let text: String = String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).take(200).collect();
    if text.is_empty() { "another process".to_owned() } else { text }
}

fn refused(error: &io::Error, path: &Path) -> CacheError {
    if error.kind() == io::ErrorKind::Unsupported {
        return CacheError::NoLocks { path: path.to_owned() };
    }
    io::Error::new(error.kind(), format!("failed to lock `{}`: {error}", path.display())).into()
}
