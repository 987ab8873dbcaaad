//! How much there is of everything, and how much of it is needed.

use std::collections::BTreeSet;

use super::files::sorted_entries;
use super::gc::{GcOptions, size_of};
use super::{Cache, CacheError};
use crate::digest::Digest;

/// A number of things and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a cache holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheInfo {
    /// Artifacts.
    pub objects: Amount,
    /// Records of actions.
    pub actions: Amount,
    /// What is half done.
    pub staging: Amount,
    /// What was found damaged.
    pub quarantine: Amount,
    /// Runs and their logs.
    pub runs: Amount,
    /// Verified files of interrupted pulls.
    pub incoming: Amount,
    /// The index, with what SQLite keeps beside it.
    pub index: Amount,
    /// Artifacts that a root or a pin reaches, or that a living session uses.
    pub reachable: Amount,
    /// Artifacts that living sessions use.
    pub in_use: u64,
}

impl Cache {
    /// Measures the cache. `roots` are artifacts that must stay, beside those pinned or in use.
    pub fn info(&self, roots: &BTreeSet<Digest>) -> Result<CacheInfo, CacheError> {
        let everything = GcOptions { dry_run: true, ..GcOptions::default() };
        let report = self.gc(roots, &everything)?;
        let collected: u64 = report.artifacts.iter().map(|found| found.size).sum();
        let reachable = Amount { count: report.kept, bytes: report.kept_bytes };
        let objects =
            Amount { count: reachable.count + report.artifacts.len() as u64, bytes: reachable.bytes + collected };
        let mut actions = Amount::default();
        for shard in sorted_entries(&self.layout.actions())? {
            let shard = Amount::of_entries(&shard)?;
            actions = Amount { count: actions.count + shard.count, bytes: actions.bytes + shard.bytes };
        }
        let mut index = Amount::default();
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let path = self.layout.root.join(format!("index.sqlite{suffix}"));
            if path.exists() {
                index = Amount { count: index.count + 1, bytes: index.bytes + size_of(&path)? };
            }
        }
        Ok(CacheInfo {
            objects,
            actions,
            staging: Amount::of_entries(&self.layout.staging())?,
            quarantine: Amount::of_entries(&self.layout.quarantine())?,
            runs: Amount::of_entries(&self.layout.runs())?,
            incoming: Amount::of_entries(&self.layout.incoming())?,
            index,
            reachable,
            in_use: self.in_use()?.artifacts.len() as u64,
        })
    }
}

impl Amount {
    /// Counts what lies in a folder.
    fn of_entries(folder: &std::path::Path) -> Result<Self, CacheError> {
        let entries = sorted_entries(folder)?;
        let bytes = entries.iter().map(|entry| size_of(entry)).sum::<Result<u64, _>>()?;
        Ok(Self { count: entries.len() as u64, bytes })
    }
}
