//! From a staging folder to an artifact that is there for good, beside other processes that do the same.
//!
//! The steps, under the gate: listing; the rename of the folder; record; index row. Files, rename and record are each on
//! the disk before the next of them can be seen: the record gets its name only when its bytes and the rename are there
//! for good. The listing can be made again from the files. Cut short after the listing, a small file is left that the
//! same artifact will use. Cut short after the rename, the artifact is an orphan, and used when the action runs again. Cut
//! short after the record, the commit has happened: the staging folder of the session is still there, which tells the
//! next writer to look for records without a row.
//!
//! Several processes may publish the same. A rename onto a folder that is there fails, and then the one that is there is
//! compared and kept. A record is made under its name only if there is none, so the first one stays; a second artifact
//! under the same key means that the node is not deterministic, which somebody should know.

use std::io;
use std::path::Path;

use super::files::{is_absent, move_aside, read_bounded, rename_soon, sync_dir, write_new};
use super::lock::{Locked, Mode};
use super::store::held;
use super::{Action, Cache, CacheError, Staging};
use crate::cache::action::LONGEST_RECORD;
use crate::digest::{Digest, Manifest};

/// How often something that others keep changing is tried again.
const ATTEMPTS: usize = 100;

impl Cache {
    /// Moves the tree of `manifest` to its place and puts the action on record.
    pub(super) fn publish(&self, staging: Staging, manifest: &Manifest, action: Action) -> Result<Action, CacheError> {
        let _gate = self.gate()?;
        self.claim(&[action.artifact])?;
        self.place(staging.path(), manifest, &action.artifact)?;
        let folder = self.layout.object(&action.artifact).parent().map(Path::to_path_buf);
        let action = self.put_on_record(action, folder.as_deref())?;
        // The folder of the session stays as long as the session lives.
        if let (Some(folder), Some(session)) = (staging.emptied(), held(&self.session).as_mut()) {
            session.keep_spare(folder);
        }
        Ok(action)
    }

    /// Moves the tree to its place, unless the same artifact lies there, byte for byte. The rename is not yet on the disk.
    fn place(&self, tree: &Path, manifest: &Manifest, artifact: &Digest) -> Result<(), CacheError> {
        let place = self.layout.object(artifact);
        for _ in 0..ATTEMPTS {
            if place.exists() {
                if self.is_sound(artifact) {
                    return self.write_manifest(artifact, manifest);
                }
                let _alone = self.mending()?;
                // Once more: somebody may have mended it while we waited.
                if place.exists() && !self.is_sound(artifact) {
                    move_aside(&place, &self.layout.quarantine(), &artifact.hex())?;
                }
            }
            self.write_manifest(artifact, manifest)?;
            match rename_soon(tree, &place) {
                Ok(()) => return Ok(()),
                // Another process published it since we looked.
                Err(error) if is_taken(&error) && place.exists() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CacheError::Changing { path: place })
    }

    /// Puts an action on record whose artifact is in its place, unless it is on record already. Under the gate. Before it
    /// is, the folder `placed` is written through to the disk: after the bytes of the record, since most file systems
    /// then have both in one go.
    pub(super) fn put_on_record(&self, action: Action, placed: Option<&Path>) -> Result<Action, CacheError> {
        let settled = || placed.map_or(Ok(()), sync_dir);
        let text = action.to_record().map_err(io::Error::from)?;
        let path = self.layout.action(&action.key);
        for _ in 0..ATTEMPTS {
            if let Some(first) = self.first_record(&action)? {
                settled()?;
                return Ok(first);
            }
            if write_new(&path, text.as_bytes(), &self.scratch()?, &settled)? {
                let row = [(action.key, action.artifact, text)];
                self.with_index_to_write(|index| index.enter(&row));
                return Ok(action);
            }
        }
        Err(CacheError::Changing { path })
    }

    /// Takes the record of an action away, so that another result can take its place. Its artifact stays.
    pub fn withdraw(&self, key: &Digest) -> Result<(), CacheError> {
        self.need_write("withdrawing an action")?;
        let _gate = self.close_gate()?;
        self.drop_snapshots()?;
        match fs_err::remove_file(self.layout.action(key)) {
            Err(error) if !is_absent(&error) => return Err(error.into()),
            _ => {}
        }
        self.with_index_to_write(|index| index.forget(std::slice::from_ref(key)));
        Ok(())
    }

    /// Returns the action that is on record under this key, if it still counts; else makes room for a new record.
    fn first_record(&self, new: &Action) -> Result<Option<Action>, CacheError> {
        let path = self.layout.action(&new.key);
        let read = || -> Result<_, CacheError> {
            let text = read_bounded(&path, LONGEST_RECORD)?;
            Ok(text.and_then(|text| Action::from_record(&text, &new.key)))
        };
        let counts = |first: &Action| self.is_complete(&first.artifact);
        if let Some(first) = read()? {
            if first.artifact == new.artifact {
                return Ok(Some(first));
            }
            // Before it wins over new bytes, its own are looked at: a damaged artifact goes, its record with it.
            if counts(&first)? && self.check(&first.artifact).is_ok() {
                self.claim(&[first.artifact])?;
                self.notice(format!(
                    "the node behind {} is not deterministic: it gave {} before and {} now; the first is kept",
                    new.key.short(),
                    first.artifact.short(),
                    new.artifact.short()
                ));
                return Ok(Some(first));
            }
        }
        if !path.exists() {
            return Ok(None);
        }
        let _alone = self.mending()?;
        let useless = match read()? {
            Some(first) => first.artifact != new.artifact && !counts(&first)?,
            None => path.exists(),
        };
        if useless {
            fs_err::remove_file(&path)?;
        }
        Ok(None)
    }

    /// Says whether the bytes of an artifact that is there are those it is named after.
    pub(super) fn is_sound(&self, artifact: &Digest) -> bool {
        Manifest::of_dir(&self.layout.object(artifact)).is_ok_and(|found| found.digest() == *artifact)
    }

    /// Makes sure that nobody else moves damaged things aside, or makes room for new ones.
    pub(super) fn mending(&self) -> Result<Locked, CacheError> {
        Locked::wait(&self.layout.mend_lock(), Mode::Alone, &mut |_| ())
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::PermissionDenied
    )
}
