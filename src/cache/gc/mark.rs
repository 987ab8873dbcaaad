//! Marking: what is reached, and what of the rest is to go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Collected, GcOptions, GcReport};
use crate::cache::files::sorted_entries;
use crate::cache::session::InUse;
use crate::cache::{Action, Cache, CacheError, checkpoints, platform};
use crate::digest::Digest;

/// How old the verified files of an interrupted pull must be to go.
const STALE_PULL: Duration = Duration::from_hours(24);

/// What is to be moved.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) artifacts: Vec<Digest>,
    pub(super) actions: Vec<Digest>,
    pub(super) folders: Vec<PathBuf>,
}

impl Cache {
    /// Decides what goes. With the gate closed, or for a look only.
    pub(super) fn mark<E: From<CacheError>>(
        &self,
        roots: &mut dyn FnMut() -> Result<BTreeSet<Digest>, E>,
        options: &GcOptions,
    ) -> Result<(GcReport, Plan), E> {
        // Before the roots are read: see `gc_with`.
        let used = self.in_use()?;
        let mut roots = roots()?;
        roots.extend(&used.artifacts);
        roots.extend(self.pins()?.into_keys());
        Ok(self.judge(roots, &used, options)?)
    }

    fn judge(
        &self,
        roots: BTreeSet<Digest>,
        used: &InUse,
        options: &GcOptions,
    ) -> Result<(GcReport, Plan), CacheError> {
        let (actions, _) = self.scan_records()?;
        let reached = reach(&actions, roots);
        let mut report = GcReport::default();
        let mut candidates = self.candidates(&actions, &reached, &mut report)?;
        candidates.retain(|found| is_old(found.last_used, options.older_than));
        if let Some(limit) = options.max_size {
            candidates = until_it_fits(candidates, report.kept_bytes, limit);
        }
        report.bytes = candidates.iter().map(|found| found.size).sum();
        report.kept -= candidates.len() as u64;
        report.kept_bytes -= report.bytes;
        let gone: BTreeSet<Digest> = candidates.iter().map(|found| found.digest).collect();
        report.actions = actions.iter().filter(|made| gone.contains(&made.artifact)).map(|made| made.key).collect();
        // A record whose artifact is gone already helps nobody.
        let lost = actions.iter().filter(|made| !self.layout.object(&made.artifact).is_dir());
        report.actions.extend(lost.map(|made| made.key));
        report.artifacts = candidates;
        let mut plan = Plan { artifacts: gone.into_iter().collect(), actions: report.actions.clone(), folders: vec![] };
        self.judge_runs(used, options, &mut report, &mut plan)?;
        self.judge_leftovers(options, &mut report, &mut plan)?;
        Ok((report, plan))
    }

    /// Returns the artifacts that nothing reaches, the least recently used first; counts all of them as kept for now.
    fn candidates(
        &self,
        actions: &[Action],
        reached: &BTreeSet<Digest>,
        report: &mut GcReport,
    ) -> Result<Vec<Collected>, CacheError> {
        let mut kinds = BTreeMap::<Digest, BTreeSet<String>>::new();
        for action in actions {
            kinds.entry(action.artifact).or_default().insert(action.kind.clone());
        }
        let mut candidates = Vec::new();
        for digest in self.artifacts()? {
            let size = match self.stored_manifest(&digest)? {
                Some(manifest) => manifest.total_size(),
                None => size_of(&self.layout.object(&digest))?,
            };
            report.kept += 1;
            report.kept_bytes += size;
            if !reached.contains(&digest) {
                let kinds = kinds.remove(&digest).unwrap_or_default();
                candidates.push(Collected { digest, kinds, size, last_used: self.last_used(&digest) });
            }
        }
        candidates.sort_by_key(|found| (found.last_used, found.digest));
        Ok(candidates)
    }

    /// Returns when an artifact was used last: the time of its listing, or its own.
    pub(in crate::cache) fn last_used(&self, artifact: &Digest) -> SystemTime {
        let time = |path: &Path| fs_err::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let listing = time(&self.layout.manifest(artifact));
        listing.or_else(|| time(&self.layout.object(artifact))).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn judge_runs(
        &self,
        used: &InUse,
        options: &GcOptions,
        report: &mut GcReport,
        plan: &mut Plan,
    ) -> Result<(), CacheError> {
        let mut old: Vec<_> = self.run_ids()?.into_iter().skip(options.keep_runs).collect();
        old.reverse();
        for run in old {
            let folder = self.layout.runs().join(run.as_str());
            let changed = fs_err::metadata(&folder)?.modified()?;
            if used.runs.contains(run.as_str()) || !is_old(changed, options.older_than) {
                continue;
            }
            report.bytes += size_of(&folder)?;
            report.runs.push(run.as_str().to_owned());
            plan.folders.push(folder);
        }
        Ok(())
    }

    /// Quarantine, if an age is given; verified files of pulls and checkpoints that nobody took up again.
    fn judge_leftovers(&self, options: &GcOptions, report: &mut GcReport, plan: &mut Plan) -> Result<(), CacheError> {
        for (path, written) in self.abandoned_checkpoints()? {
            if is_old(written, Some(options.older_than.unwrap_or(checkpoints::STALE))) {
                report.bytes += size_of(&path)?;
                report.leftovers.push(path.clone());
                plan.folders.push(path);
            }
        }
        let quarantined = match options.older_than {
            Some(age) => sorted_entries(&self.layout.quarantine())?.into_iter().map(|path| (path, age)).collect(),
            None => Vec::new(),
        };
        let pulled = sorted_entries(&self.layout.incoming())?.into_iter().map(|path| (path, STALE_PULL));
        for (path, age) in quarantined.into_iter().chain(pulled) {
            // When it came here: a rename changes no other time.
            let came = platform::Stamp::of(&fs_err::symlink_metadata(&path)?).changed;
            let came = SystemTime::UNIX_EPOCH + Duration::from_nanos(came.max(0).unsigned_abs());
            if is_old(came, Some(age)) {
                report.bytes += size_of(&path)?;
                report.leftovers.push(path.clone());
                plan.folders.push(path);
            }
        }
        Ok(())
    }
}

/// Returns the roots and all that they were made from, as far as records tell: whatever digest stands in the parts of an
/// action and is an artifact or an output of another.
fn reach(actions: &[Action], roots: BTreeSet<Digest>) -> BTreeSet<Digest> {
    let mut holders = BTreeMap::<Digest, BTreeSet<Digest>>::new();
    let mut makers = BTreeMap::<Digest, Vec<&Action>>::new();
    for action in actions {
        makers.entry(action.artifact).or_default().push(action);
        for digest in action.outputs.values().chain([&action.artifact]) {
            holders.entry(*digest).or_default().insert(action.artifact);
        }
    }
    let mut open: Vec<Digest> = roots.iter().copied().collect();
    let mut reached = roots;
    while let Some(artifact) = open.pop() {
        let mut inputs = BTreeSet::new();
        for action in makers.get(&artifact).into_iter().flatten() {
            digests_in(&action.parts, &mut inputs);
        }
        let above = inputs.iter().filter_map(|digest| holders.get(digest)).flatten();
        open.extend(above.filter(|digest| reached.insert(**digest)).copied().collect::<Vec<_>>());
    }
    reached
}

/// Collects the digests that stand in a value.
fn digests_in(value: &Value, found: &mut BTreeSet<Digest>) {
    match value {
        Value::String(text) => found.extend(text.parse::<Digest>()),
        Value::Array(items) => items.iter().for_each(|item| digests_in(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| digests_in(field, found)),
        _ => {}
    }
}

fn is_old(time: SystemTime, older_than: Option<Duration>) -> bool {
    // A time in the future is no age.
    older_than.is_none_or(|age| time.elapsed().is_ok_and(|elapsed| elapsed >= age))
}

fn until_it_fits(candidates: Vec<Collected>, total: u64, limit: u64) -> Vec<Collected> {
    let mut left = total;
    let takes = |found: &Collected| {
        let needed = left > limit;
        left = left.saturating_sub(found.size);
        needed
    };
    candidates.into_iter().take_while(takes).collect()
}

/// Returns the bytes of all files below a path.
pub(in crate::cache) fn size_of(path: &Path) -> Result<u64, CacheError> {
    let metadata = match fs_err::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if crate::cache::files::is_absent(&error) => return Ok(0),
        Err(error) => return Err(error.into()),
    };
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    sorted_entries(path)?.iter().map(|entry| size_of(entry)).sum()
}
