//! The way past parsing, planning and keys when nothing changed since the last whole run.
//!
//! A snapshot answers only "everything is fresh", and only if the slow way would say so too. Outside the cache that
//! depends on the text of the pipeline and what it includes, the settings of the command line, the program itself, the
//! platform, the lockfile, and the files of the sources; these are found again by the same functions, so that a new file
//! that a glob matches counts. Inside it depends on the artifacts, which the cache looks after. Anything else than a
//! clear yes means that there is no snapshot.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decide::Decider;
use super::event::{EVENT_VERSION, Event, Observer};
use super::{ExecError, locked, sources};
use crate::cache::{Action, Cache, Epoch, Snapshot, SnapshotInstance, SnapshotSource};
use crate::digest::{Digest, value_digest};
use crate::plan::Plan;
use crate::spec::params::{Kind, Op};

/// What decides what a pipeline means, apart from the files that it names.
#[derive(Debug)]
pub struct Question<'a> {
    /// The pipeline file.
    pub file: &'a Path,
    /// Its text.
    pub text: &'a str,
    /// What the command line changes in it, as written there.
    pub settings: Vec<String>,
    /// The program: another one may compute keys otherwise.
    pub program: PathBuf,
    /// The lockfile.
    pub lock: PathBuf,
}

impl Question<'_> {
    /// Whose snapshot it is: the path of the pipeline file, as in [`Decider`].
    fn scope(&self) -> Option<PathBuf> {
        fs_err::canonicalize(self.file).ok()
    }

    fn identity(&self) -> Option<Digest> {
        let program = fs_err::metadata(&self.program).ok()?;
        let built = program.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos().to_string();
        let text = Digest::of(self.text.as_bytes()).hex();
        let name = self.file.file_stem()?.to_str()?;
        Some(value_digest(&json!([locked::producer(), built, program.len(), name, text, self.settings])))
    }
}

/// Returns the state of the pipeline if every node instance is fresh and that can be told without looking at each.
/// `read` gives the digest of what an entry of [`Snapshot::reads`] is now.
pub fn recall(cache: &Cache, question: &Question<'_>, read: &dyn Fn(&str) -> Option<Digest>) -> Option<Snapshot> {
    let scope = question.scope()?;
    let snapshot = cache.snapshot(scope.to_str()?, &question.identity()?)?;
    let base = scope.parent()?;
    let same = snapshot.lock == locked::digest(&question.lock)
        && snapshot.reads.iter().all(|(name, digest)| read(name) == Some(*digest))
        && snapshot.sources.iter().all(|source| looks_the_same(source, base).unwrap_or(false));
    // A notice is for the slow way to give: it can mend what is wrong.
    (same && cache.notices().is_empty()).then_some(snapshot)
}

/// How a node finds its files, as a snapshot keeps it.
#[derive(Serialize, Deserialize)]
struct Asked {
    kind: Kind,
    base: PathBuf,
    fields: Value,
}

/// Says whether a source finds the same files as before, and whether these look as they did.
fn looks_the_same(source: &SnapshotSource, base: &Path) -> Option<bool> {
    let asked: Asked = serde_json::from_str(&source.fields).ok()?;
    let op = Op::from_fields(asked.kind, &asked.fields).ok()?;
    let own = (!asked.base.as_os_str().is_empty()).then(|| base.join(&asked.base));
    let found = sources::listed("", &op, own.as_deref().unwrap_or(base)).ok()?;
    let same = found.len() == source.files.len()
        && found
            .iter()
            .zip(&source.files)
            .all(|((name, path), old)| *name == old.name && path.to_str() == Some(&old.path) && old.holds());
    Some(same)
}

/// Tells of a run in which everything was fresh, in the words of [`super::run`].
pub fn tell(snapshot: &Snapshot, observer: &mut dyn Observer, started: Instant) {
    let instances = &snapshot.instances;
    observer.event(&Event::RunStarted {
        version: EVENT_VERSION,
        pipeline: snapshot.pipeline.clone(),
        nodes: instances.len(),
    });
    for instance in snapshot.turns.iter().filter_map(|turn| instances.get(usize::try_from(*turn).ok()?)) {
        let SnapshotInstance { name, kind, key, artifact } = instance;
        let kind = Kind::from_name(kind).map_or("", Kind::name);
        observer.event(&Event::NodeFresh { node: name.clone(), kind, key: *key, artifact: *artifact });
    }
    observer.event(&Event::RunFinished {
        ran: Vec::new(),
        fetched: Vec::new(),
        fresh: instances.iter().map(|instance| instance.name.clone()).collect(),
        failed: Vec::new(),
        skipped: Vec::new(),
        interrupted: false,
        seconds: started.elapsed().as_secs_f64(),
    });
}

/// Forgets the state of a pipeline, before something is done that may change it. What is returned tells [`keep`] whether
/// others took something out of the cache meanwhile.
pub fn forget(decider: &Decider<'_>) -> Result<Epoch, ExecError> {
    let epoch = decider.cache.snapshot_epoch();
    decider.cache.know_artifacts(&decider.scope);
    decider.cache.drop_snapshot(&decider.scope)?;
    Ok(epoch)
}

/// Keeps the state of a pipeline after a run, if all of it is fresh now. `locked` says whether the lockfile, whose digest
/// is `lock`, holds just this state; `reads` is what else the text stands for.
pub fn keep(
    decider: &Decider<'_>,
    question: &Question<'_>,
    actions: &[Option<Action>],
    (lock, locked): (Option<Digest>, bool),
    reads: Vec<(String, Digest)>,
    epoch: Epoch,
) -> Result<(), ExecError> {
    let (Some(identity), Some(scope)) = (question.identity(), question.scope()) else { return Ok(()) };
    if scope.to_str() != Some(&decider.scope) || actions.iter().any(Option::is_none) {
        return Ok(());
    }
    let Some(sources) = sources_of(decider, locked)? else { return Ok(()) };
    let plan = decider.plan;
    let instances = plan.order().iter().filter_map(|id| {
        let (instance, action) = (plan.instance(*id), actions[id.index()].as_ref()?);
        let (name, kind) = (instance.name.clone(), instance.kind().name().to_owned());
        Some(SnapshotInstance { name, kind, key: action.key, artifact: action.artifact })
    });
    let (pipeline, instances, turns) = (plan.name.clone(), instances.collect(), turns(plan));
    let snapshot = Snapshot { identity, pipeline, lock, locked, reads, sources, instances, turns };
    Ok(decider.cache.keep_snapshot(&decider.scope, &snapshot, epoch)?)
}

/// Returns what the nodes that take files from outside found; nothing if that cannot be found again from here.
fn sources_of(decider: &Decider<'_>, locked: bool) -> Result<Option<Vec<SnapshotSource>>, ExecError> {
    let mut sources = Vec::new();
    for id in decider.plan.order() {
        let (instance, found) = (decider.plan.instance(*id), decider.source_files(*id)?);
        if found.is_empty() {
            continue;
        }
        if let Some(remote) = decider.remote(*id)? {
            // Its address is in the text. What a branch was resolved to is in the lockfile, or nobody remembers it.
            if remote.pinned || locked {
                continue;
            }
            return Ok(None);
        }
        let files = found.iter().map(|file| decider.cache.seen_file(&file.name, &file.path, &file.digest));
        let Some(files) = files.collect() else { return Ok(None) };
        let rank = decider.plan.rank(*id) as u64;
        let asked = Asked { kind: instance.kind(), base: instance.base.clone(), fields: instance.fields.clone() };
        let Ok(fields) = serde_json::to_string(&asked) else { return Ok(None) };
        sources.push(SnapshotSource { instance: rank, fields, files });
    }
    Ok(Some(sources))
}

/// Returns the order in which a run finds the instances fresh, as places in the order of the plan: each after the last
/// of those that it reads, first come first served.
fn turns(plan: &Plan) -> Vec<u64> {
    let mut waiting: Vec<usize> = plan.ids().map(|id| plan.upstream(id).count()).collect();
    let mut ready: VecDeque<_> = plan.order().iter().copied().filter(|id| waiting[id.index()] == 0).collect();
    let mut turns = Vec::with_capacity(waiting.len());
    while let Some(id) = ready.pop_front() {
        turns.push(plan.rank(id) as u64);
        let mut next: Vec<_> = plan.downstream(id).collect();
        next.sort_unstable();
        for id in next {
            waiting[id.index()] -= 1;
            if waiting[id.index()] == 0 {
                ready.push_back(id);
            }
        }
    }
    turns
}
