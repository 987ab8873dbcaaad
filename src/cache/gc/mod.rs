//! Collecting what nobody needs.
//!
//! What a root reaches stays. Roots are what the caller names (lockfiles), pins, and what living sessions have claimed;
//! they reach the artifacts that they were made from, as far as records tell, so that what stays can be explained.
//!
//! Marking and moving happen with the gate closed: nobody looks up, claims or publishes meanwhile, so nothing can become
//! needed after it was judged. Moving is a rename into our own staging folder, and what was moved is deleted after the
//! gate is open again. Rows go first, then records, then artifacts, then listings: killed anywhere, what is left is a
//! record that counts, or an orphan that the next collection finds. The next writer sweeps what was moved.

mod mark;
mod take;

pub(super) use mark::size_of;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Cache, CacheError};
use crate::digest::Digest;

/// How many runs are kept if nothing is said.
pub const RUNS_KEPT: usize = 50;

/// What to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// Only say what would go.
    pub dry_run: bool,
    /// Only what was not used for this long. Damaged things in quarantine go only if this is given.
    pub older_than: Option<Duration>,
    /// Only until all artifacts together have this many bytes, the least recently used first.
    pub max_size: Option<u64>,
    /// How many of the last runs to keep.
    pub keep_runs: usize,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self { dry_run: false, older_than: None, max_size: None, keep_runs: RUNS_KEPT }
    }
}

/// What a collection took, or would take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The artifacts, the least recently used first.
    pub artifacts: Vec<Collected>,
    /// The keys of actions whose records went with them.
    pub actions: Vec<Digest>,
    /// The runs, the oldest first.
    pub runs: Vec<String>,
    /// What went from quarantine, bytes of interrupted pulls, and checkpoints of unfinished nodes.
    pub leftovers: Vec<PathBuf>,
    /// All that in bytes, records apart.
    pub bytes: u64,
    /// How many artifacts stay.
    pub kept: u64,
    /// And their bytes.
    pub kept_bytes: u64,
}

/// An artifact that was collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The artifact.
    pub digest: Digest,
    /// What made it, one kind for each action: `sft`. None for an orphan.
    pub kinds: BTreeSet<String>,
    /// Its size in bytes.
    pub size: u64,
    /// When it was used last, to a day.
    pub last_used: SystemTime,
}

impl Cache {
    /// Collects what neither `roots` nor a pin nor a living session reaches.
    pub fn gc(&self, roots: &BTreeSet<Digest>, options: &GcOptions) -> Result<GcReport, CacheError> {
        self.gc_with(&mut || Ok(roots.clone()), options)
    }

    /// As [`Cache::gc`], with roots that are asked for at the right moment: after it is known which sessions live, and
    /// when no new one can claim anything. So a run that writes its lockfile and ends meanwhile is protected by one or
    /// the other.
    pub fn gc_with<E: From<CacheError>>(
        &self,
        roots: &mut dyn FnMut() -> Result<BTreeSet<Digest>, E>,
        options: &GcOptions,
    ) -> Result<GcReport, E> {
        if options.dry_run {
            let (report, _) = self.mark(roots, options)?;
            return Ok(report);
        }
        self.need_write("collecting")?;
        let gate = self.close_gate()?;
        let (report, plan) = self.mark(roots, options)?;
        self.drop_snapshots()?;
        let moved = self.take(&plan)?;
        drop(gate);
        moved.delete()?;
        Ok(report)
    }
}
