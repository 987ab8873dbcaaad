//! Looking over a whole cache, and making its index anew.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::files::{move_aside, sorted_entries};
use super::layout::digest_of_name;
use super::{Cache, CacheError};
use crate::digest::Digest;

/// What looking over a cache found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many artifacts were digested and are sound.
    pub checked: u64,
    /// The artifacts that are not. With write access they were moved aside.
    pub damaged: Vec<Damage>,
    /// The keys of actions on record whose artifact is gone. They run again when they are needed.
    pub missing: Vec<Digest>,
    /// The artifacts that no action on record made: left by a commit that was cut short. They do no harm.
    pub orphans: Vec<Digest>,
    /// Files among the records that are no records. `repair` moves them aside.
    pub unreadable: Vec<PathBuf>,
}

/// A damaged artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The artifact.
    pub digest: Digest,
    /// The first file at which it shows, relative to the artifact; empty if it cannot be told.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
    /// Where the artifact was moved; `None` with read access.
    pub moved_to: Option<PathBuf>,
}

/// What making the index anew found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// How many actions the index has now.
    pub actions: u64,
    /// Where files went that lay among the records and were none.
    pub moved_aside: Vec<PathBuf>,
}

impl VerifyReport {
    /// Says whether everything on record is there and sound. Orphans do not count.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty() && self.unreadable.is_empty()
    }
}

impl Cache {
    /// Digests every artifact anew. `progress` gets the bytes done and the bytes in all, after every artifact.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, CacheError> {
        let mut report = VerifyReport::default();
        // The records before the check, which takes those of damaged artifacts away.
        let (actions, unreadable) = self.scan_records()?;
        report.unreadable = unreadable;
        let artifacts = self.artifacts()?;
        let mut sizes = Vec::new();
        for artifact in &artifacts {
            sizes.push(self.stored_manifest(artifact)?.map_or(0, |manifest| manifest.total_size()));
        }
        let total = sizes.iter().sum();
        let mut done = 0;
        for (artifact, size) in artifacts.iter().zip(sizes) {
            match self.check(artifact) {
                Ok(()) => report.checked += 1,
                Err(CacheError::Damaged { digest, file, problem, moved_to }) => {
                    report.damaged.push(Damage { digest, file, problem, moved_to });
                }
                // Collected since it was listed.
                Err(CacheError::NotStored(_)) => {}
                Err(error) => return Err(error),
            }
            done += size;
            progress(done, total);
        }
        let made: BTreeSet<Digest> = actions.iter().map(|action| action.artifact).collect();
        report.orphans = artifacts.iter().copied().filter(|artifact| !made.contains(artifact)).collect();
        let gone = actions.iter().filter(|action| artifacts.binary_search(&action.artifact).is_err());
        // Where the record went too, both were collected meanwhile.
        let gone = gone.filter(|action| self.layout.action(&action.key).exists());
        report.missing = gone.map(|action| action.key).collect();
        Ok(report)
    }

    /// Makes the index anew from the record files, and moves files aside that lie among them and are no records.
    pub fn repair(&self) -> Result<RepairReport, CacheError> {
        self.need_write("repairing")?;
        // Nobody publishes meanwhile, so what looks like no record is none, and not one that is being replaced.
        let _gate = self.close_gate()?;
        let (actions, strangers) = self.rebuild_index()?;
        let mut moved_aside = Vec::new();
        for path in strangers {
            let name = path.file_name().map_or("record".into(), |name| name.to_string_lossy().into_owned());
            moved_aside.push(move_aside(&path, &self.layout.quarantine(), &name)?);
        }
        Ok(RepairReport { actions: actions as u64, moved_aside })
    }

    /// Returns the artifacts whose folders are there, sorted.
    pub(super) fn artifacts(&self) -> Result<Vec<Digest>, CacheError> {
        let mut found = Vec::new();
        for folder in sorted_entries(&self.layout.objects())? {
            for path in sorted_entries(&folder)? {
                let artifact = digest_of_name(&path).filter(|artifact| self.layout.object(artifact) == path);
                found.extend(artifact.filter(|_| path.is_dir()));
            }
        }
        Ok(found)
    }
}
