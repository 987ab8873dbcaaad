//! Taking: moved out of the way with the gate closed, deleted after.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::mark::Plan;
use crate::cache::files::{is_absent, sorted_entries, sync_dir};
use crate::cache::layout::digest_of_name;
use crate::cache::{Cache, CacheError};

/// What was moved and is not yet deleted.
#[derive(Debug)]
pub(super) struct Moved {
    folder: PathBuf,
}

impl Moved {
    pub(super) fn delete(self) -> Result<(), CacheError> {
        Ok(fs_err::remove_dir_all(&self.folder)?)
    }
}

impl Cache {
    /// Moves what is planned into our staging folder. With the gate closed.
    pub(super) fn take(&self, plan: &Plan) -> Result<Moved, CacheError> {
        // Made first: should we die, it tells the next writer to compare rows and records.
        let folder = self.scratch()?.join("collected");
        fs_err::create_dir_all(&folder)?;
        if !plan.actions.is_empty() {
            self.with_index_to_write(|index| index.forget(&plan.actions));
        }
        for key in &plan.actions {
            remove(&self.layout.action(key))?;
        }
        // Durable before the artifacts go: after a power cut no record may be left without its artifact.
        let shards: BTreeSet<PathBuf> =
            plan.actions.iter().filter_map(|key| Some(self.layout.action(key).parent()?.to_owned())).collect();
        shards.iter().try_for_each(|shard| sync_dir(shard))?;
        for (number, artifact) in plan.artifacts.iter().enumerate() {
            move_in(&self.layout.object(artifact), &folder, &format!("artifact-{number}"))?;
            remove(&self.layout.manifest(artifact))?;
        }
        for (number, path) in plan.folders.iter().enumerate() {
            move_in(path, &folder, &format!("folder-{number}"))?;
        }
        self.remove_stray_listings()?;
        self.sweep_leases()?;
        Ok(Moved { folder })
    }

    /// Removes listings without an artifact, which a commit or a collection left that was cut short.
    fn remove_stray_listings(&self) -> Result<(), CacheError> {
        for shard in sorted_entries(&self.layout.objects())? {
            for path in sorted_entries(&shard)? {
                let listed = digest_of_name(&path).filter(|artifact| self.layout.manifest(artifact) == path);
                if listed.is_some_and(|artifact| !self.layout.object(&artifact).exists()) {
                    remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

fn move_in(from: &Path, folder: &Path, name: &str) -> Result<(), CacheError> {
    match fs_err::rename(from, folder.join(name)) {
        Err(error) if !is_absent(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), CacheError> {
    match fs_err::remove_file(path) {
        Err(error) if !is_absent(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
