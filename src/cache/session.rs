//! Sessions: one for every open cache that writes. What it uses is written down, and what it leaves behind can be told.
//!
//! A session is a file below `sessions/`, locked by its owner and named like the folder below `staging/` in which only
//! the owner works. The lock goes with the process, so a session whose lock can be taken is dead and may be swept. The
//! file holds the claims: artifacts that `gc` must leave alone while the session lives, and the runs that go on in it.
//! Claims are appended under the gate, and `gc` reads them with the gate closed, so it never meets half a line of a
//! living session.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::files::{self, sorted_entries};
use super::layout::Layout;
use super::lock::{Gate, Locked, Mode};
use super::store::held;
use super::{Cache, CacheError};
use crate::digest::Digest;

/// The longest session file that is read, in bytes: sixteen million claims.
const LONGEST_SESSION: u64 = 1 << 30;

/// How old the time of last use may be before it is written again.
const DAY: Duration = Duration::from_hours(24);

/// A session of our own.
#[derive(Debug)]
pub(super) struct Session {
    file: PathBuf,
    staging: PathBuf,
    locked: Locked,
    claimed: BTreeSet<Digest>,
    /// Empty folders in ours that artifacts were made in.
    spare: Vec<TempDir>,
}

/// A session whose process is gone. While this lives nobody else sweeps it.
#[derive(Debug)]
pub(super) struct Dead {
    staging: PathBuf,
    /// Its file, unless that is gone too.
    file: Option<(PathBuf, Locked)>,
}

/// What living sessions use.
#[derive(Debug, Default)]
pub(super) struct InUse {
    pub(super) artifacts: BTreeSet<Digest>,
    pub(super) runs: BTreeSet<String>,
}

impl Session {
    pub(super) fn begin(layout: &Layout) -> Result<Self, CacheError> {
        let folder = layout.sessions();
        fs_err::create_dir_all(&folder)?;
        loop {
            let failed = |error: std::io::Error| {
                std::io::Error::new(error.kind(), format!("failed to write a file in `{}`: {error}", folder.display()))
            };
            let prefix = format!("{}-", std::process::id());
            let made = tempfile::Builder::new().prefix(&prefix).tempfile_in(&folder).map_err(failed)?;
            let (_, file) = made.keep().map_err(|error| failed(error.error))?;
            // A sweeper may have taken it for dead before it was locked.
            if let Some(mut locked) = Locked::attempt_existing(&file)? {
                locked.sign();
                let staging = layout.staging().join(file.file_name().unwrap_or_default());
                return Ok(Self { file, staging, locked, claimed: BTreeSet::new(), spare: Vec::new() });
            }
        }
    }

    /// Returns the folder that only this session works in, creating it if need be.
    fn staging(&self) -> Result<&Path, CacheError> {
        if !self.staging.is_dir() {
            fs_err::create_dir_all(&self.staging)?;
        }
        Ok(&self.staging)
    }

    /// Returns a folder to make an artifact in, if one was kept.
    pub(super) fn spare(&mut self) -> Option<TempDir> {
        self.spare.pop()
    }

    /// Keeps an empty folder for the next artifact.
    pub(super) fn keep_spare(&mut self, folder: TempDir) {
        self.spare.push(folder);
    }

    fn note(&mut self, lines: &str) -> Result<(), CacheError> {
        let failed = |error: std::io::Error| {
            std::io::Error::new(error.kind(), format!("failed to write to `{}`: {error}", self.file.display()))
        };
        Ok(self.locked.append(lines).map_err(failed)?)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.spare.clear();
        // Not with what is in it: somebody may still hold a `Staging`, and the next writer sweeps the rest.
        let _ = fs_err::remove_dir(&self.staging);
        if cfg!(unix) && !self.staging.exists() {
            let _ = fs_err::remove_file(&self.file);
        }
    }
}

impl Cache {
    /// Keeps `gc` away while it lives. Hold it while looking actions up and until their artifacts are claimed, not
    /// longer, and never collect while holding it.
    pub fn gate(&self) -> Result<Gate, CacheError> {
        self.need_write("using artifacts")?;
        Gate::open(&self.layout.gate(), Mode::Shared)
    }

    /// Closes the gate: nobody looks up or publishes while it lives.
    pub(super) fn close_gate(&self) -> Result<Gate, CacheError> {
        Gate::open(&self.layout.gate(), Mode::Alone)
    }

    /// Claims artifacts: they are not collected while this cache is open. Call it under the gate, before it is let go.
    pub fn claim(&self, artifacts: &[Digest]) -> Result<(), CacheError> {
        self.need_write("using artifacts")?;
        let mut slot = held(&self.session);
        let Some(session) = slot.as_mut() else { return Ok(()) };
        let news: BTreeSet<Digest> = artifacts.iter().filter(|one| !session.claimed.contains(one)).copied().collect();
        if news.is_empty() {
            return Ok(());
        }
        let lines: String = news.iter().flat_map(|artifact| [artifact.hex(), "\n".to_owned()]).collect();
        session.note(&lines)?;
        session.claimed.extend(&news);
        drop(slot);
        for artifact in &news {
            self.touch(artifact);
        }
        Ok(())
    }

    /// Notes that a run goes on in this session, so that its folder stays.
    pub(super) fn claim_run(&self, run: &str) -> Result<(), CacheError> {
        held(&self.session).as_mut().map_or(Ok(()), |session| session.note(&format!("run {run}\n")))
    }

    /// Returns the folder for what is half done.
    pub(super) fn scratch(&self) -> Result<PathBuf, CacheError> {
        match held(&self.session).as_ref() {
            Some(session) => Ok(session.staging()?.to_owned()),
            None => Ok(self.layout.staging()),
        }
    }

    /// Notes that an artifact is used now, at most daily: the time of its listing. Only `gc` looks at it.
    fn touch(&self, artifact: &Digest) {
        let listing = self.layout.manifest(artifact);
        let Ok(file) = fs_err::File::open(&listing) else { return };
        let old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > DAY);
        if file.metadata().and_then(|metadata| metadata.modified()).is_ok_and(old) {
            // An owner may set the time of a file that is read-only; anyone else leaves it as it is.
            let _ = file.into_file().set_modified(SystemTime::now());
        }
    }

    /// Returns what the living sessions use, ours included.
    pub(super) fn in_use(&self) -> Result<InUse, CacheError> {
        let mut used = InUse::default();
        for path in sorted_entries(&self.layout.sessions())? {
            // One that cannot be locked for another reason, as in a folder that cannot be written, is taken for living.
            if Locked::attempt_existing(&path).is_ok_and(|dead| dead.is_some()) {
                continue;
            }
            let text = files::read_bounded(&path, LONGEST_SESSION)?.unwrap_or_default();
            for line in String::from_utf8_lossy(&text).lines() {
                match line.strip_prefix("run ") {
                    Some(run) => drop(used.runs.insert(run.to_owned())),
                    None => used.artifacts.extend(line.parse::<Digest>()),
                }
            }
        }
        Ok(used)
    }

    /// Finds what dead sessions left.
    pub(super) fn dead_sessions(&self) -> Result<Vec<Dead>, CacheError> {
        let (sessions, staging) = (self.layout.sessions(), self.layout.staging());
        let mut dead = Vec::new();
        for file in sorted_entries(&sessions)? {
            if let Some(locked) = Locked::attempt_existing(&file)? {
                let staging = staging.join(file.file_name().unwrap_or_default());
                dead.push(Dead { staging, file: Some((file, locked)) });
            }
        }
        for left in sorted_entries(&staging)? {
            // A session's file is there before its folder, and goes after it.
            let file = sessions.join(left.file_name().unwrap_or_default());
            if !file.exists() && left.exists() {
                dead.push(Dead { staging: left, file: None });
            }
        }
        Ok(dead)
    }

    /// Removes what dead sessions left.
    pub(super) fn sweep(&self, dead: Vec<Dead>) {
        for Dead { staging, file } in dead {
            let removed = if staging.is_dir() { fs_err::remove_dir_all(&staging) } else { remove(&staging) };
            match removed {
                Ok(()) => {}
                // Another process sweeps the same.
                Err(error) if files::is_absent(&error) => {}
                Err(error) => {
                    self.notice(format!("a dead run left something that cannot be removed: {error}"));
                    continue;
                }
            }
            if let Some((path, _locked)) = file {
                let _ = fs_err::remove_file(path);
            }
        }
    }
}

impl Dead {
    /// Says whether it may have died in the middle of something.
    pub(super) fn left_something(&self) -> bool {
        self.staging.exists()
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.exists() { fs_err::remove_file(path) } else { Ok(()) }
}
