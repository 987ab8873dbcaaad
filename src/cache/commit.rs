//! Committing an action: from a staging folder to an artifact that is there for good.
//!
//! The steps: files read-only and on the disk; listing; the rename of the folder; record; index row. Files, rename and
//! record are each on the disk before the next step begins; the listing can be made again from the files. Cut short after the listing, a small file is left that the same artifact will use. Cut short after
//! the rename, the artifact is an orphan, and used when the action runs again. Cut short after the record, the
//! commit has happened: staging was not yet removed, which tells the next writer to look for records without a row.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use tempfile::TempDir;

use super::files::{self, move_aside, rename_durably, sync_dir, write_whole};
use super::runs::safe_name;
use super::store::held;
use super::{Action, Cache, CacheError, NewAction, platform};
use crate::digest::{Digest, Manifest};

/// A folder in which an artifact is made. Dropped without a commit, it is removed with all that is in it.
#[derive(Debug)]
pub struct Staging {
    scratch: TempDir,
    tree: PathBuf,
}

impl Staging {
    /// Returns the folder that becomes the artifact, empty at first.
    pub fn path(&self) -> &Path {
        &self.tree
    }

    /// Returns the folder around it, for files that are needed meanwhile and are no part of the artifact.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }
}

impl Cache {
    /// Returns a fresh folder to make an artifact in. `label` is only for people who look into staging.
    pub fn begin(&self, label: &str) -> Result<Staging, CacheError> {
        self.need_write("making an artifact")?;
        let staging = self.layout.staging();
        fs_err::create_dir_all(&staging)?;
        let prefix = format!("{}.", safe_name(label));
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("failed to create a folder in `{}`: {error}", staging.display()))
        };
        let scratch = tempfile::Builder::new().prefix(&prefix).tempdir_in(&staging).map_err(failed)?;
        let tree = scratch.path().join("artifact");
        fs_err::create_dir(&tree)?;
        Ok(Staging { scratch, tree })
    }

    /// Makes what lies in staging an artifact, and puts the action on record. If the same artifact is there already, it
    /// is kept. On an error the staging folder is removed and nothing has changed.
    pub fn commit(&self, staging: Staging, new: NewAction) -> Result<Action, CacheError> {
        self.need_write("committing an action")?;
        settle(staging.path())?;
        let manifest = Manifest::of_dir(staging.path())?;
        let action = action_of(&manifest, new)?;
        let record = action.to_record().map_err(io::Error::from)?;
        {
            let _publishing = held(&self.publishing);
            self.publish(&staging, &manifest, &action.artifact)?;
            // Another pipeline may count on what this record said until now.
            if self.recorded(&action.key)?.is_some_and(|old| old.artifact != action.artifact) {
                self.drop_snapshots()?;
            }
            write_whole(&self.layout.action(&action.key), record.as_bytes(), &self.layout.staging())?;
        }
        let row = [(action.key, action.artifact, record)];
        self.with_index(|index| index.enter(&row));
        drop(staging);
        Ok(action)
    }

    /// Puts an action on record that has no bytes of its own: its artifact is that of `of`.
    pub fn commit_alias(&self, new: NewAction, of: &Action) -> Result<Action, CacheError> {
        self.need_write("committing an action")?;
        let NewAction { key, kind, parts, metrics, measured, duration_ms, producer, chosen, .. } = new;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let of = of.clone();
        let action = Action { key, kind, parts, metrics, measured, duration_ms, producer, chosen, created, ..of };
        let record = action.to_record().map_err(io::Error::from)?;
        write_whole(&self.layout.action(&action.key), record.as_bytes(), &self.layout.staging())?;
        let row = [(action.key, action.artifact, record)];
        self.with_index(|index| index.enter(&row));
        Ok(action)
    }

    /// Moves the tree to its place, unless the same artifact lies there, byte for byte.
    fn publish(&self, staging: &Staging, manifest: &Manifest, artifact: &Digest) -> Result<(), CacheError> {
        let place = self.layout.object(artifact);
        if place.exists() {
            if Manifest::of_dir(&place).is_ok_and(|found| found == *manifest) {
                return self.write_manifest(artifact, manifest);
            }
            move_aside(&place, &self.layout.quarantine(), &artifact.hex())?;
        }
        self.write_manifest(artifact, manifest)?;
        rename_durably(staging.path(), &place)?;
        Ok(())
    }

    /// Removes what dead writers left in staging, and says whether there was anything. Only under the write lock.
    pub(super) fn sweep_staging(&self) -> Result<bool, CacheError> {
        let left = files::sorted_entries(&self.layout.staging())?;
        for path in &left {
            let removed = if path.is_dir() { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) };
            if let Err(error) = removed {
                self.notice(format!("a dead run left something that cannot be removed: {error}"));
            }
        }
        Ok(!left.is_empty())
    }
}

fn action_of(manifest: &Manifest, new: NewAction) -> Result<Action, CacheError> {
    let mut outputs = BTreeMap::new();
    for (name, path) in new.outputs {
        let output = manifest.subtree(&path);
        if output.files.is_empty() {
            return Err(CacheError::NoOutput { name, path });
        }
        outputs.insert(name, output.digest());
    }
    let NewAction { key, kind, parts, metrics, measured, duration_ms, producer, chosen, .. } = new;
    let (artifact, size, files) = (manifest.digest(), manifest.total_size(), manifest.files.len() as u64);
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(Action {
        key,
        kind,
        parts,
        artifact,
        size,
        files,
        outputs,
        metrics,
        measured,
        duration_ms,
        created,
        producer,
        chosen,
    })
}

/// Makes every file read-only and writes files and folders through to the disk.
fn settle(tree: &Path) -> Result<(), CacheError> {
    let (mut files, mut folders) = (Vec::new(), vec![tree.to_owned()]);
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        for path in files::sorted_entries(&folder)? {
            let metadata = fs_err::symlink_metadata(&path)?;
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                if platform::links(&metadata) > 1 {
                    return Err(CacheError::HardLink { path });
                }
                files.push(path);
            }
            // Anything else is refused, by path, when the tree is digested.
        }
    }
    files.par_iter().try_for_each(|path| {
        platform::make_read_only(path)?;
        fs_err::File::open(path)?.sync_all()
    })?;
    // From the leaves up, so that no folder is durable before what is in it.
    Ok(folders.iter().rev().try_for_each(|folder| sync_dir(folder))?)
}
