//! Committing an action: a staging folder is made ready to become an artifact. [`super::publish`] does the rest.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use tempfile::TempDir;

use super::files::{self, sync_dir};
use super::runs::safe_name;
use super::session::Session;
use super::store::held;
use super::{Action, Cache, CacheError, NewAction, platform};
use crate::digest::Manifest;

/// The folder beside an artifact in the making for what is needed meanwhile.
const WORK: &str = "work";

/// So many files are written through one after the other.
const FEW: usize = 2;

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

    /// Returns where a folder for such files may be made.
    pub fn work(&self) -> PathBuf {
        self.scratch.path().join(WORK)
    }

    /// Returns the folder around it if nothing is left in it, to make the next artifact in: a file system such as ext4
    /// takes longer to find room for a new folder the more of them were removed a moment ago.
    pub(super) fn emptied(self) -> Option<TempDir> {
        let _ = fs_err::remove_dir_all(self.work());
        let left = fs_err::read_dir(self.scratch.path()).ok()?.next();
        left.is_none().then_some(self.scratch)
    }
}

impl Cache {
    /// Returns a fresh folder to make an artifact in. `label` is only for people who look into staging; a folder that is
    /// used again keeps its first one.
    pub fn begin(&self, label: &str) -> Result<Staging, CacheError> {
        self.need_write("making an artifact")?;
        let spare = held(&self.session).as_mut().and_then(Session::spare);
        let scratch = spare.map_or_else(|| self.new_scratch(label), Ok)?;
        let tree = scratch.path().join("artifact");
        fs_err::create_dir(&tree)?;
        Ok(Staging { scratch, tree })
    }

    fn new_scratch(&self, label: &str) -> Result<TempDir, CacheError> {
        let staging = self.scratch()?;
        let prefix = format!("{}.", safe_name(label));
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("failed to create a folder in `{}`: {error}", staging.display()))
        };
        Ok(tempfile::Builder::new().prefix(&prefix).tempdir_in(&staging).map_err(failed)?)
    }

    /// Makes what lies in staging an artifact, and puts the action on record. If the same artifact is there already, it
    /// is kept. If the action is on record already, that record stays and is what comes back; where the artifacts differ,
    /// a notice says so. On an error the staging folder is removed and nothing has changed.
    pub fn commit(&self, staging: Staging, new: NewAction) -> Result<Action, CacheError> {
        self.need_write("committing an action")?;
        settle(staging.path())?;
        let manifest = Manifest::of_dir(staging.path())?;
        let action = action_of(&manifest, new)?;
        self.publish(staging, &manifest, action)
    }

    /// Puts an action on record that made nothing of its own: its artifact and its outputs are those of `of`.
    pub fn commit_alias(&self, new: NewAction, of: &Action) -> Result<Action, CacheError> {
        self.need_write("committing an action")?;
        let NewAction { key, kind, parts, metrics, measured, duration_ms, producer, chosen, .. } = new;
        let own = Action { key, kind, parts, metrics, measured, duration_ms, producer, chosen, ..of.clone() };
        let action = Action { created: now(), ..own };
        let _gate = self.gate()?;
        if !self.is_complete(&action.artifact)? {
            return Err(CacheError::NotStored(action.artifact));
        }
        self.claim(&[action.artifact])?;
        self.put_on_record(action, None)
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
    let created = now();
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

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Makes every file read-only and writes files and folders through to the disk.
pub(super) fn settle(tree: &Path) -> Result<(), CacheError> {
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
    let through = |path: &PathBuf| {
        platform::make_read_only(path)?;
        fs_err::File::open(path)?.sync_all()
    };
    // Waking threads for a few files takes more than it gives.
    if files.len() <= FEW {
        files.iter().try_for_each(through)?;
    } else {
        files.par_iter().try_for_each(through)?;
    }
    // From the leaves up, so that no folder is durable before what is in it.
    Ok(folders.iter().rev().try_for_each(|folder| sync_dir(folder))?)
}
