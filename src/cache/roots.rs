//! What must stay: pins, and the lockfiles of pipelines that ran here. And names for what is kept.
//!
//! Both are small files, one each, so that several processes write them without a lock and a person can read them.
//! Lockfiles are noted by path only: what they hold is read when it matters, by whoever understands them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::files::{self, is_absent, sorted_entries, write_whole};
use super::layout::digest_of_name;
use super::{Action, Cache, CacheError};
use crate::digest::Digest;

/// The longest path or label that is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// The fewest digits of a digest that name something.
const FEWEST_DIGITS: usize = 6;

impl Cache {
    /// Notes the lockfile of a pipeline that runs over this cache: what it holds is not collected as long as it is there.
    pub fn remember_lock(&self, lock: &Path) -> Result<(), CacheError> {
        self.need_write("noting a lockfile")?;
        let lock = std::path::absolute(lock)?;
        let text = lock.as_os_str().as_encoded_bytes();
        let note = self.layout.roots().join(Digest::of(text).hex());
        if note.exists() {
            return Ok(());
        }
        Ok(write_whole(&note, text, &self.scratch()?)?)
    }

    /// Returns the lockfiles that were noted, sorted, whether or not they are still there.
    pub fn remembered_locks(&self) -> Result<Vec<PathBuf>, CacheError> {
        let mut locks = Vec::new();
        for note in sorted_entries(&self.layout.roots())? {
            let text = files::read_bounded(&note, LONGEST)?.unwrap_or_default();
            locks.extend(String::from_utf8(text).ok().map(PathBuf::from));
        }
        locks.sort();
        Ok(locks)
    }

    /// Keeps an artifact whatever happens, under a name for people.
    pub fn pin(&self, artifact: &Digest, name: &str) -> Result<(), CacheError> {
        self.need_write("pinning")?;
        let _gate = self.gate()?;
        if !self.is_complete(artifact)? {
            return Err(CacheError::NotStored(*artifact));
        }
        let pin = self.layout.pins().join(artifact.hex());
        Ok(write_whole(&pin, name.as_bytes(), &self.scratch()?)?)
    }

    /// Lets go of a pinned artifact; says whether it was pinned.
    pub fn unpin(&self, artifact: &Digest) -> Result<bool, CacheError> {
        self.need_write("unpinning")?;
        match fs_err::remove_file(self.layout.pins().join(artifact.hex())) {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the pinned artifacts with their names.
    pub fn pins(&self) -> Result<BTreeMap<Digest, String>, CacheError> {
        let mut pins = BTreeMap::new();
        for path in sorted_entries(&self.layout.pins())? {
            if let Some(artifact) = digest_of_name(&path) {
                let name = files::read_bounded(&path, LONGEST)?.unwrap_or_default();
                pins.insert(artifact, String::from_utf8_lossy(&name).into_owned());
            }
        }
        Ok(pins)
    }

    /// Returns the actions that a name means, the oldest first: a node instance as it ran last in any pipeline, or the
    /// first digits of a key or an artifact.
    pub fn find(&self, name: &str) -> Result<Vec<Action>, CacheError> {
        let digits = name.strip_prefix("blake3:").unwrap_or(name);
        let is_hex = digits.len() >= FEWEST_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let named: BTreeSet<Digest> =
            self.with_index(|index| index.keys_named(name)).unwrap_or_default().into_iter().collect();
        let starts = |digest: &Digest| is_hex && digest.hex().starts_with(&digits.to_ascii_lowercase());
        let mut found = self.actions()?;
        found.retain(|action| named.contains(&action.key) || starts(&action.key) || starts(&action.artifact));
        Ok(found)
    }
}
