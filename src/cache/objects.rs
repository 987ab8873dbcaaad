//! Artifacts: are they there, are they whole, are they what they say.
//!
//! Beside each lies its listing. The digest of the listing is the name of the artifact, so a listing proves itself, and
//! one that is lost or damaged is made again from the files if they are sound.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::{self, is_absent, move_aside, write_lightly};
use super::store::held;
use super::{Cache, CacheError};
use crate::digest::{Digest, DigestError, FileEntry, Manifest};

/// The longest listing that is read, in bytes: about two million files.
pub(super) const LONGEST_LISTING: u64 = 256 << 20;

/// Path and size of every file of an artifact.
pub(super) type Sizes = Arc<[(String, u64)]>;

impl Cache {
    /// Returns the folder of an artifact, whether or not it is there.
    pub fn artifact_path(&self, artifact: &Digest) -> PathBuf {
        self.layout.object(artifact)
    }

    /// Returns the listing of an artifact; `None` if there is no such artifact.
    pub fn manifest(&self, artifact: &Digest) -> Result<Option<Manifest>, CacheError> {
        let tree = self.layout.object(artifact);
        if !tree.is_dir() {
            return Ok(None);
        }
        if let Some(manifest) = self.stored_manifest(artifact)? {
            return Ok(Some(manifest));
        }
        let found = match Manifest::of_dir(&tree) {
            Ok(found) if found.digest() == *artifact => found,
            Ok(_) | Err(DigestError::NotAFile { .. } | DigestError::BadName { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if self.is_writable() {
            self.write_manifest(artifact, &found)?;
        }
        Ok(Some(found))
    }

    /// Digests an artifact anew. A damaged one is moved to quarantine together with the records of the actions that made
    /// it, so that they count as never done; with read access it stays.
    pub fn check(&self, artifact: &Digest) -> Result<(), CacheError> {
        let tree = self.layout.object(artifact);
        if !tree.is_dir() {
            return Err(CacheError::NotStored(*artifact));
        }
        let (file, problem) = match Manifest::of_dir(&tree) {
            Ok(found) if found.digest() == *artifact => return Ok(()),
            Ok(found) => first_difference(self.stored_manifest(artifact)?.as_ref(), &found),
            Err(DigestError::NotAFile { path, what }) => (relative(&path, &tree), format!("is {what}")),
            Err(DigestError::BadName { path, .. }) => (relative(&path, &tree), "was never part of it".to_owned()),
            // Collected while it was read.
            Err(_) if !tree.is_dir() => return Err(CacheError::NotStored(*artifact)),
            Err(error) => return Err(error.into()),
        };
        let moved_to = if self.is_writable() {
            let _alone = self.mending()?;
            // Another process may have moved it and made it anew meanwhile.
            if !tree.is_dir() {
                return Err(CacheError::NotStored(*artifact));
            }
            if self.is_sound(artifact) {
                return Ok(());
            }
            Some(self.quarantine(artifact)?)
        } else {
            None
        };
        Err(CacheError::Damaged { digest: *artifact, file, problem, moved_to })
    }

    /// Says whether every file of an artifact is there with its size.
    pub(super) fn is_complete(&self, artifact: &Digest) -> Result<bool, CacheError> {
        let tree = self.layout.object(artifact);
        let known = held(&self.known).get(artifact).map(Arc::clone);
        let Some(files) = known.map_or_else(|| self.read_sizes(artifact), |known| Ok(Some(known)))? else {
            return Ok(false);
        };
        for (path, size) in files.iter() {
            match fs_err::symlink_metadata(tree.join(path)) {
                Ok(metadata) if metadata.is_file() && metadata.len() == *size => {}
                Ok(_) => return Ok(false),
                Err(error) if is_absent(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(!files.is_empty() || tree.is_dir())
    }

    /// Returns path and size of every file of an artifact, from its listing as it was read last; `None` if there is no such
    /// artifact.
    pub(super) fn sizes(&self, artifact: &Digest) -> Result<Option<Sizes>, CacheError> {
        let listed = held(&self.listings).get(artifact).map(Arc::clone);
        let known = listed.or_else(|| held(&self.known).get(artifact).map(Arc::clone));
        if known.is_some() { Ok(known) } else { self.read_sizes(artifact) }
    }

    fn read_sizes(&self, artifact: &Digest) -> Result<Option<Sizes>, CacheError> {
        let Some(manifest) = self.manifest(artifact)? else { return Ok(None) };
        let sizes: Sizes = manifest.files.into_iter().map(|entry| (entry.path, entry.size)).collect();
        held(&self.listings).insert(*artifact, Arc::clone(&sizes));
        Ok(Some(sizes))
    }

    /// Writes the listing of an artifact, unless a sound one is there.
    pub(super) fn write_manifest(&self, artifact: &Digest, manifest: &Manifest) -> Result<(), CacheError> {
        if self.stored_manifest(artifact)?.is_some() {
            return Ok(());
        }
        let json = serde_json::to_vec(manifest).map_err(std::io::Error::from)?;
        Ok(write_lightly(&self.layout.manifest(artifact), &json, &self.scratch()?)?)
    }

    /// Returns the listing as it lies beside the artifact, if it proves itself.
    pub(super) fn stored_manifest(&self, artifact: &Digest) -> Result<Option<Manifest>, CacheError> {
        let json = files::read_bounded(&self.layout.manifest(artifact), LONGEST_LISTING)?;
        let manifest = json.and_then(|json| serde_json::from_slice::<Manifest>(&json).ok());
        Ok(manifest.filter(|manifest| manifest.digest() == *artifact))
    }

    /// Moves an artifact aside and forgets the actions that made it; returns where it went. The artifact goes first: its
    /// actions then already count as not done, whatever happens next.
    fn quarantine(&self, artifact: &Digest) -> Result<PathBuf, CacheError> {
        self.drop_snapshots()?;
        let quarantine = self.layout.quarantine();
        let aside = move_aside(&self.layout.object(artifact), &quarantine, &artifact.hex())?;
        let keys = match self.with_index(|index| index.keys_of(artifact)) {
            Some(keys) => keys,
            None => {
                self.actions()?.into_iter().filter(|made| made.artifact == *artifact).map(|made| made.key).collect()
            }
        };
        let records = keys.iter().map(|key| (self.layout.action(key), format!("action.{}.json", key.hex())));
        let listing = (self.layout.manifest(artifact), format!("{}.json", artifact.hex()));
        for (path, name) in records.chain([listing]) {
            if path.exists() {
                move_aside(&path, &quarantine, &name)?;
            }
        }
        for key in &keys {
            self.with_index_to_write(|index| index.forget(&[*key]));
        }
        Ok(aside)
    }
}

/// Returns the first file in which two listings differ, and how.
fn first_difference(recorded: Option<&Manifest>, found: &Manifest) -> (String, String) {
    let Some(recorded) = recorded else {
        return (String::new(), "its files are not those that were committed".to_owned());
    };
    let in_found = |entry: &FileEntry| {
        let at = found.files.binary_search_by(|other| other.path.cmp(&entry.path)).ok()?;
        Some(&found.files[at])
    };
    for entry in &recorded.files {
        let problem = match in_found(entry) {
            None => "is gone".to_owned(),
            Some(other) if other.size != entry.size => format!("has {} bytes instead of {}", other.size, entry.size),
            Some(other) if other.digest != entry.digest => "has other bytes than those committed".to_owned(),
            Some(_) => continue,
        };
        return (entry.path.clone(), problem);
    }
    let known = |path: &str| recorded.files.binary_search_by(|other| other.path.as_str().cmp(path)).is_ok();
    let extra = found.files.iter().find(|entry| !known(&entry.path)).map_or("", |entry| &entry.path);
    (extra.to_owned(), "was never part of it".to_owned())
}

fn relative(path: &std::path::Path, tree: &std::path::Path) -> String {
    path.strip_prefix(tree).unwrap_or(path).to_string_lossy().into_owned()
}
