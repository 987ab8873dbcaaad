//! Opening a cache, and looking things up in it.
//!
//! Here is decided what an error of the index means: never that the cache fails. A damaged index is replaced, an index
//! that cannot be used is done without, and a notice says so.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::action::LONGEST_RECORD;
use super::files::{self, move_aside};
use super::index::{self, ActionRow, Index, Refused};
use super::layout::{Layout, digest_of_name};
use super::lock::{Locked, Mode};
use super::objects::Sizes;
use super::remote::Remote;
use super::session::{Dead, Session};
use super::{Action, CacheError, Previous, platform};
use crate::digest::Digest;

/// What a cache is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To look things up, beside a writer and without write permission. Creates nothing.
    Read,
    /// To commit: creates the cache if need be. Beside others who write, if there are any.
    Write,
}

/// An open cache. Threads may share it, and any number of processes may have it open to write.
#[derive(Debug)]
pub struct Cache {
    pub(super) layout: Layout,
    access: Access,
    // Before the session and the lock: fields are dropped in this order, and the index writes when it is dropped.
    index: Mutex<Option<Index>>,
    notices: Mutex<Vec<String>>,
    /// The listings that were read.
    pub(super) listings: Mutex<HashMap<Digest, Sizes>>,
    /// What a snapshot says of listings.
    pub(super) known: Mutex<HashMap<Digest, Sizes>>,
    pub(super) remote: Mutex<Option<Arc<Remote>>>,
    /// With write access.
    pub(super) session: Mutex<Option<Session>>,
    _lock: Option<Locked>,
}

impl Cache {
    /// Opens a cache folder. To write, this waits while somebody has it alone (a luthflow 0.1, or one that mends the
    /// index), and before that tells `on_wait` once who it is; until it returns, nothing was changed and the process can
    /// simply be ended. To read, a missing folder is an empty cache.
    pub fn open(dir: &Path, access: Access, on_wait: &mut dyn FnMut(&str)) -> Result<Self, CacheError> {
        let layout = Layout { root: std::path::absolute(dir)? };
        let (mut lock, mut session) = (None, None);
        if access == Access::Write {
            layout.refuse_foreign()?;
            fs_err::create_dir_all(&layout.root)?;
            lock = Some(Locked::wait(&layout.lock(), Mode::Shared, on_wait)?);
            layout.create()?;
            session = Some(Session::begin(&layout)?);
        }
        let (index, notices, remote, listings, known) = Default::default();
        let session = Mutex::new(session);
        let cache = Self { layout, access, index, notices, listings, known, remote, session, _lock: lock };
        match access {
            Access::Read => cache.open_index_to_read()?,
            Access::Write => cache.open_index_to_write(on_wait)?,
        }
        Ok(cache)
    }

    /// Returns the folder, absolute.
    pub fn root(&self) -> &Path {
        &self.layout.root
    }

    /// Returns what went wrong and was got over, for the user to know.
    pub fn notices(&self) -> Vec<String> {
        held(&self.notices).clone()
    }

    /// Returns an action, if its record and every file of its artifact are there, each with its size.
    pub fn action(&self, key: &Digest) -> Result<Option<Action>, CacheError> {
        let Some(action) = self.recorded(key)? else { return Ok(None) };
        Ok(self.is_complete(&action.artifact)?.then_some(action))
    }

    /// Returns all actions on record, the oldest first, whether or not their artifacts are still there.
    pub fn actions(&self) -> Result<Vec<Action>, CacheError> {
        let mut actions = match self.with_index(|index| index.records()) {
            Some(rows) => rows.iter().filter_map(|(key, text)| Action::from_record(text.as_bytes(), key)).collect(),
            None => self.scan_records()?.0,
        };
        actions.sort_by_key(|action| (action.created, action.key));
        Ok(actions)
    }

    /// Notes the key that each instance of a pipeline has now. `scope` tells pipelines apart.
    pub fn remember(&self, scope: &str, keys: &[(String, Digest)]) -> Result<(), CacheError> {
        self.need_write("remembering keys")?;
        self.with_index_to_write(|index| index.remember(scope, keys));
        Ok(())
    }

    /// Returns what an instance was when it was remembered last.
    pub fn last(&self, scope: &str, instance: &str) -> Result<Option<Previous>, CacheError> {
        let Some(key) = self.with_index(|index| index.last_key(scope, instance)).flatten() else { return Ok(None) };
        Ok(self.recorded(&key)?.map(|action| Previous { key, parts: action.parts }))
    }

    /// Returns the action on record under this key, from the index or, if that has none, from the record file.
    pub(super) fn recorded(&self, key: &Digest) -> Result<Option<Action>, CacheError> {
        let row = self.with_index(|index| index.record(key)).flatten();
        if let Some(action) = row.and_then(|text| Action::from_record(text.as_bytes(), key)) {
            return Ok(Some(action));
        }
        let text = files::read_bounded(&self.layout.action(key), LONGEST_RECORD)?;
        Ok(text.and_then(|text| Action::from_record(&text, key)))
    }

    /// Returns the actions of all record files, sorted by key, and the paths of files that are not records.
    pub(super) fn scan_records(&self) -> Result<(Vec<Action>, Vec<PathBuf>), CacheError> {
        let (mut actions, mut strangers) = (Vec::new(), Vec::new());
        for folder in files::sorted_entries(&self.layout.actions())? {
            for path in files::sorted_entries(&folder)? {
                let key = digest_of_name(&path).filter(|key| self.layout.action(key) == path);
                let text = files::read_bounded(&path, LONGEST_RECORD)?.unwrap_or_default();
                match key.and_then(|key| Action::from_record(&text, &key)) {
                    Some(action) => actions.push(action),
                    None => strangers.push(path),
                }
            }
        }
        Ok((actions, strangers))
    }

    /// Makes the index say what the record files say, and returns the files that are not records. Asks for the records
    /// when nobody else can enter one, so that none is lost between looking and writing.
    pub(super) fn rebuild_index(&self) -> Result<(usize, Vec<PathBuf>), CacheError> {
        self.drop_snapshots()?;
        let found = RefCell::new(None);
        self.with_index_to_write(|index| {
            index.replace(|| {
                let rows = self.rows();
                let (given, told) = match rows {
                    Ok((rows, strangers)) => (Some(rows.clone()), Ok((rows.len(), strangers))),
                    Err(error) => (None, Err(error)),
                };
                *found.borrow_mut() = Some(told);
                given
            })
        });
        // Without an index there is nothing to make, only to look at.
        found.into_inner().unwrap_or_else(|| self.rows().map(|(rows, strangers)| (rows.len(), strangers)))
    }

    pub(super) fn need_write(&self, what: &'static str) -> Result<(), CacheError> {
        match self.access {
            Access::Write => Ok(()),
            Access::Read => Err(CacheError::ReadAccess(what)),
        }
    }

    pub(super) fn is_writable(&self) -> bool {
        self.access == Access::Write
    }

    /// As [`Cache::with_index`], for what writes: into the index that is there, should another process have moved ours
    /// aside. Its record files were looked at after that move, or ours was written before it: no row is lost.
    pub(super) fn with_index_to_write<T>(&self, work: impl Fn(&mut Index) -> rusqlite::Result<T>) -> Option<T> {
        if self.access == Access::Write {
            let mut slot = held(&self.index);
            if slot.as_ref().is_some_and(|index| index.was_moved(&self.layout.index())) {
                *slot = None;
                match Locked::wait(&self.layout.index_lock(), Mode::Alone, &mut |_| ()) {
                    Ok(_alone) => {
                        let opened = Index::open_to_write(&self.layout.index(), platform::is_shared(self.root()));
                        *slot = opened.ok().map(|(index, _)| index);
                    }
                    Err(error) => self.notice(format!("the index cannot be used: {error}")),
                }
            }
        }
        self.with_index(work)
    }

    /// Does something with the index. `None` if there is no index or it cannot do it; then a notice tells why.
    pub(super) fn with_index<T>(&self, work: impl Fn(&mut Index) -> rusqlite::Result<T>) -> Option<T> {
        let mut slot = held(&self.index);
        match work(slot.as_mut()?) {
            Ok(done) => return Some(done),
            Err(error) if index::is_damage(&error) => {
                let ours = slot.take();
                if self.access == Access::Write {
                    *slot = self.mend_index(&error, ours);
                    return slot.as_mut().and_then(|index| work(index).ok());
                }
                self.do_without(&error);
            }
            Err(error) => self.do_without(&error),
        }
        None
    }

    fn open_index_to_read(&self) -> Result<(), CacheError> {
        let path = self.layout.index();
        if !path.exists() {
            return Ok(());
        }
        match Index::open_to_read(&path) {
            Ok(index) => *held(&self.index) = Some(index),
            Err(Refused::Newer(found, known)) => return Err(CacheError::NewerIndex { path, found, known }),
            Err(Refused::Older) => {}
            Err(Refused::Sqlite(error)) => self.do_without(&error),
        }
        Ok(())
    }

    fn open_index_to_write(&self, on_wait: &mut dyn FnMut(&str)) -> Result<(), CacheError> {
        let path = self.layout.index();
        let dead = self.dead_sessions()?;
        let alone = Locked::wait(&self.layout.index_lock(), Mode::Alone, on_wait)?;
        let mut created = false;
        match Index::open_to_write(&path, platform::is_shared(&self.layout.root)) {
            Ok((index, new)) => {
                *held(&self.index) = Some(index);
                created = new;
            }
            Err(Refused::Newer(found, known)) => return Err(CacheError::NewerIndex { path, found, known }),
            Err(Refused::Sqlite(error)) if index::is_damage(&error) => {
                *held(&self.index) = self.replace_index(&error, &alone);
            }
            Err(Refused::Sqlite(error)) => self.do_without(&error),
            Err(Refused::Older) => {}
        }
        // A commit or a collection that was cut short may have left a record without its row.
        if created || dead.iter().any(Dead::left_something) {
            let (rows, _) = self.rows()?;
            self.with_index(|index| index.enter(&rows));
        }
        drop(alone);
        // Last, so that whoever dies before here leaves the hint to the next.
        self.sweep(dead);
        Ok(())
    }

    /// Returns an index in place of one that shows damage while it is used: another process's, or a new one.
    fn mend_index(&self, reason: &rusqlite::Error, ours: Option<Index>) -> Option<Index> {
        let path = self.layout.index();
        let alone = match Locked::wait(&self.layout.index_lock(), Mode::Alone, &mut |_| ()) {
            Ok(alone) => alone,
            Err(error) => {
                self.notice(format!("the index is damaged ({reason}) and could not be made anew: {error}"));
                return None;
            }
        };
        let moved = ours.as_ref().is_some_and(|index| index.was_moved(&path));
        drop(ours);
        if moved && let Ok((index, _)) = Index::open_to_write(&path, platform::is_shared(&self.layout.root)) {
            return Some(index);
        }
        self.replace_index(reason, &alone)
    }

    /// Moves a damaged index aside and makes a new one from the records, with `index.lock` held.
    fn replace_index(&self, reason: &rusqlite::Error, _alone: &Locked) -> Option<Index> {
        match self.try_replace_index() {
            Ok((index, aside, count)) => {
                let aside = aside.display();
                self.notice(format!(
                    "the index was damaged ({reason}): made anew from {count} records; the old one is {aside}"
                ));
                Some(index)
            }
            Err(error) => {
                self.notice(format!("the index is damaged ({reason}) and could not be made anew: {error}"));
                None
            }
        }
    }

    fn try_replace_index(&self) -> Result<(Index, PathBuf, usize), CacheError> {
        let path = self.layout.index();
        let aside = move_aside(&path, &self.layout.quarantine(), "index.sqlite")?;
        // Without their database these would be taken for those of the new one.
        for suffix in ["-wal", "-shm", "-journal"] {
            let beside = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            if beside(&path).exists() {
                fs_err::rename(beside(&path), beside(&aside))?;
            }
        }
        let opened = Index::open_to_write(&path, platform::is_shared(&self.layout.root));
        let failed = |error: String| io::Error::other(format!("`{}`: {error}", path.display()));
        let (mut index, _) = opened.map_err(|refused| failed(format!("{refused:?}")))?;
        // After the new one is in place: whoever puts an action on record from here on enters it there on his own.
        let (rows, _) = self.rows()?;
        index.enter(&rows).map_err(|error| failed(error.to_string()))?;
        Ok((index, aside, rows.len()))
    }

    /// Returns the rows that the record files make, and the files that are not records.
    fn rows(&self) -> Result<(Vec<ActionRow>, Vec<PathBuf>), CacheError> {
        let (actions, strangers) = self.scan_records()?;
        let row = |action: &Action| action.to_record().ok().map(|record| (action.key, action.artifact, record));
        Ok((actions.iter().filter_map(row).collect(), strangers))
    }

    fn do_without(&self, error: &rusqlite::Error) {
        self.notice(format!(
            "the index {} cannot be used ({error}); its answers come from the record files",
            self.layout.index().display()
        ));
    }

    pub(super) fn notice(&self, text: String) {
        let mut notices = held(&self.notices);
        if !notices.contains(&text) {
            notices.push(text);
        }
    }
}

/// Locks a mutex. What it guards stays usable when a thread panicked: every change behind it is whole or absent.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
