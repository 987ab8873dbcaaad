//! The kernel's locks on files, and the ones every cache has.
//!
//! A lock of the kernel goes when its process dies, however it dies. There are four, always taken in this order, so that
//! no two processes can wait for each other:
//!
//! 1. `lock`: held *shared* by every process that writes, from opening to closing. Alone only by luthflow 0.1, which knew
//!    one writer; it and we wait for each other.
//! 2. `gate`: shared for a moment while artifacts are looked up and claimed or published; alone while `gc` takes some away.
//! 3. `mend.lock`: alone while something damaged is moved aside.
//! 4. `index.lock`: alone while the index is opened, brought up to date, or moved aside and made anew.
//!
//! These four files are never deleted. If they were, a waiter would hold the lock of a file without a name while a
//! newcomer locks its successor. Files that do come and go (leases, sessions) are compared with their name once locked.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{CacheError, files, platform};

/// How long a lock is tried for before anyone is told of waiting.
const MOMENT: Duration = Duration::from_millis(100);

/// A lock that is held as long as this lives.
#[derive(Debug)]
pub(super) struct Locked {
    file: File,
}

/// How a lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Beside others who share it.
    Shared,
    /// Alone.
    Alone,
}

/// While it lives, `gc` takes nothing away. Hold it to look actions up, claim their artifacts, and let it go.
#[derive(Debug)]
pub struct Gate {
    _locked: Locked,
}

impl Gate {
    pub(super) fn open(path: &Path, mode: Mode) -> Result<Self, CacheError> {
        Ok(Self { _locked: Locked::wait(path, mode, &mut |_| ())? })
    }
}

impl Locked {
    /// Takes a lock, and waits for it if need be, after telling `on_wait` once who holds it.
    pub(super) fn wait(path: &Path, mode: Mode, on_wait: &mut dyn FnMut(&str)) -> Result<Self, CacheError> {
        let file = open(path)?;
        match try_for_a_moment(&file, mode) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                on_wait(&holder(path));
                let waited = if mode == Mode::Shared { file.lock_shared() } else { file.lock() };
                waited.map_err(|error| refused(&error, path))?;
            }
            Err(TryLockError::Error(error)) => return Err(refused(&error, path)),
        }
        let mut locked = Self { file };
        if mode == Mode::Alone {
            locked.sign();
        }
        Ok(locked)
    }

    /// Takes a lock alone if nobody has it: `None` if somebody does. The file may be one that comes and goes: what is
    /// locked in the end has that name.
    pub(super) fn attempt(path: &Path) -> Result<Option<Self>, CacheError> {
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) if platform::is_at(&file, path) => return Ok(Some(Self { file })),
                // Its holder removed it between our opening and locking it.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(refused(&error, path)),
            }
        }
    }

    /// As [`Locked::attempt`], for a file that must be there already.
    pub(super) fn attempt_existing(path: &Path) -> Result<Option<Self>, CacheError> {
        let file: File = match fs_err::OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file.into(),
            Err(error) if files::is_absent(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match file.try_lock() {
            Ok(()) => Ok(platform::is_at(&file, path).then_some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(refused(&error, path)),
        }
    }

    /// Writes who holds the lock, only for people who wait: if it cannot be written, the lock holds all the same.
    pub(super) fn sign(&mut self) {
        let name = format!("process {} on {}\n", std::process::id(), platform::host());
        let _ = self.file.set_len(0).and_then(|()| {
            io::Seek::rewind(&mut self.file)?;
            self.file.write_all(name.as_bytes())
        });
    }

    /// Appends to the locked file.
    pub(super) fn append(&mut self, text: &str) -> io::Result<()> {
        io::Seek::seek(&mut self.file, io::SeekFrom::End(0))?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Locked {
    /// Unlocks by word and not only by closing: a process that another thread starts has a copy of every open file until
    /// its program begins, and would keep the lock that long.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

fn open(path: &Path) -> io::Result<File> {
    let open = || fs_err::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A folder that an older cache does not have.
            fs_err::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            open().map(Into::into)
        }
        other => other.map(Into::into),
    }
}

fn try_for_a_moment(file: &File, mode: Mode) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        let tried = if mode == Mode::Shared { file.try_lock_shared() } else { file.try_lock() };
        match tried {
            Err(TryLockError::WouldBlock) if began.elapsed() < MOMENT => std::thread::sleep(MOMENT / 20),
            other => return other,
        }
    }
}

/// Returns who holds the lock, as the holder wrote it.
pub(super) fn holder(path: &Path) -> String {
    let bytes = files::read_bounded(path, 1 << 20).ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let line: String = text.lines().next().unwrap_or("").chars().filter(|c| !c.is_control()).take(200).collect();
    if line.is_empty() { "another process".to_owned() } else { line }
}

fn refused(error: &io::Error, path: &Path) -> CacheError {
    if error.kind() == io::ErrorKind::Unsupported {
        return CacheError::NoLocks { path: path.to_owned() };
    }
    io::Error::new(error.kind(), format!("failed to lock `{}`: {error}", path.display())).into()
}
