//! One writer at a time, across processes and, where the file system carries locks, across hosts.
//!
//! The lock is the kernel's, on an open file: it goes when the process dies, however it dies. The file itself is never
//! deleted. If it were, a waiter would hold the lock of a file without a name while a newcomer locks its successor.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{CacheError, files, platform};

/// How long a lock is tried for before anyone is told of waiting.
const MOMENT: Duration = Duration::from_millis(100);

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
        match try_for_a_moment(&file) {
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

/// Tries for a moment. A process that another thread starts has a copy of every open file until its program begins, so
/// that a lock can outlive its holder by some milliseconds: nothing to tell anyone about.
fn try_for_a_moment(file: &File) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < MOMENT => std::thread::sleep(MOMENT / 20),
            other => return other,
        }
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
