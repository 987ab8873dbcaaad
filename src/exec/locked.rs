//! A plan against its lockfile: written after a run, refused when something would differ.
//!
//! The check needs to run nothing: the lockfile holds the digest of every artifact, so that every key can be computed
//! from it, and a key that comes out otherwise is a difference.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::decide::{Decider, Known};
use super::{ExecError, sources};
use crate::cache::{Action, Cache, RunId};
use crate::digest::Digest;
use crate::plan::graph::{Artifacts, InstanceId, Plan};
use crate::plan::{KeyParts, stale};
use crate::spec::lock::{LOCK_VERSION, Lock, LockedNode, MAX_BYTES};
use crate::spec::params::Kind;

/// Returns the platform whose bytes are promised to be the same: the matrix kernels differ with the vector unit.
pub fn platform() -> String {
    let vector = vector_unit().map_or_else(String::new, |unit| format!("-{unit}"));
    format!("{}-{}{vector}", std::env::consts::ARCH, std::env::consts::OS)
}

fn vector_unit() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return Some("avx512");
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return Some("avx2");
        }
    }
    None
}

/// Returns what made an artifact: the program, its version and the platform.
pub fn producer() -> String {
    format!("luthflow {} {}", env!("CARGO_PKG_VERSION"), platform())
}

/// Reads a lockfile; nothing if there is none.
pub fn read(path: &Path) -> Result<Option<Lock>, ExecError> {
    let unusable = |why: String| ExecError::LockFile { path: path.to_path_buf(), why };
    let mut file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unusable(format!("it has more than {MAX_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        unusable(format!("it is not UTF-8 text: line {line} holds a byte that is no character"))
    })?;
    Lock::read(&text).map(Some).map_err(unusable)
}

/// Returns every way in which the plan differs from the lockfile, one sentence each.
pub fn differences(decider: &Decider<'_>, lock: &Lock, wanted: &[bool]) -> Result<Vec<String>, ExecError> {
    let plan = decider.plan;
    let mut differences = Vec::new();
    for id in plan.order().iter().copied().filter(|id| wanted[id.index()]) {
        let name = &plan.instance(id).name;
        let Some(locked) = lock.node(name) else {
            differences.push(format!("`{name}` is not in the lockfile"));
            continue;
        };
        let parts = decider.parts(id, |artifact| locked_digest(decider, lock, artifact))?;
        if parts.key().hex() != locked.key {
            differences.push(format!("`{name}`: {}", explain(decider, id, &locked, &parts)?));
        }
    }
    let names: BTreeSet<&str> = plan.instances().iter().map(|instance| instance.name.as_str()).collect();
    for name in lock.nodes.keys() {
        if !names.contains(name.as_str()) {
            differences.push(format!("`{name}` is in the lockfile and not in the pipeline"));
        }
    }
    Ok(differences)
}

fn locked_digest(decider: &Decider<'_>, lock: &Lock, artifact: &Artifacts) -> Option<Known> {
    known_of(&lock.node(&decider.plan.instance(artifact.from).name)?, &artifact.output.name)
}

fn known_of(node: &LockedNode, output: &str) -> Option<Known> {
    let chosen = node.chosen.clone().and_then(|chosen| serde_json::from_value(chosen).ok());
    Some(Known { digest: output_of(node, output)?, whole: node.artifact.parse().ok()?, chosen })
}

fn output_of(node: &LockedNode, output: &str) -> Option<Digest> {
    node.outputs.get(output).unwrap_or(&node.artifact).parse().ok()
}

/// Says what changed, as exactly as the cache and the lockfile remember it.
fn explain(decider: &Decider<'_>, id: InstanceId, locked: &LockedNode, parts: &KeyParts) -> Result<String, ExecError> {
    if decider.plan.instance(id).kind() == Kind::Source {
        let files = decider.source_files(id)?;
        let now: BTreeMap<String, String> = files.iter().map(|file| (file.name.clone(), file.written())).collect();
        let changed = now.iter().filter(|(name, digest)| locked.files.get(*name) != Some(digest)).map(|(name, _)| name);
        let gone = locked.files.keys().filter(|name| !now.contains_key(*name));
        let names: Vec<&str> = changed.chain(gone).map(String::as_str).collect();
        if !names.is_empty() {
            return Ok(format!("the content of {} changed", names.join(", ")));
        }
    }
    let old = match locked.key.parse() {
        Ok(key) => decider.cache.action(&key)?.and_then(|action| KeyParts::from_value(&action.parts)),
        Err(_) => None,
    };
    let reasons = old.map(|old| stale::compare(&old, parts, str::to_owned)).unwrap_or_default();
    if reasons.is_empty() {
        return Ok("its settings, what it reads, or the way it is computed changed".into());
    }
    Ok(reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

/// Returns the lockfile after a run: what `actions` holds, and for the other nodes of the plan what `old` held.
pub fn build(decider: &Decider<'_>, actions: &[Option<Action>], old: Option<&Lock>) -> Result<Lock, ExecError> {
    let plan = decider.plan;
    let mut lock = head(plan, old);
    for id in plan.ids() {
        let instance = plan.instance(id);
        if let Some(action) = &actions[id.index()] {
            lock.set(&instance.name, &locked_node(decider, id, action)?);
        } else if let Some(old) = old
            && let Some(node) = old.node(&instance.name)
        {
            lock.set(&instance.name, &carried(node, old, &lock));
        }
    }
    Ok(lock)
}

/// A lockfile without nodes yet.
pub(super) fn head(plan: &Plan, old: Option<&Lock>) -> Lock {
    Lock {
        version: LOCK_VERSION,
        pipeline: plan.name.clone(),
        luthflow: env!("CARGO_PKG_VERSION").to_owned(),
        platform: platform(),
        params: plan.params.clone().into_iter().collect(),
        sweep: plan.sweep.iter().map(|(name, values)| (name.clone(), values.clone().into())).collect(),
        nodes: serde_json::Map::new(),
        published: old.map(|old| old.published.clone()).unwrap_or_default(),
    }
}

/// An entry of an old lockfile in a new one, whose platform may be another.
fn carried(mut node: LockedNode, old: &Lock, new: &Lock) -> LockedNode {
    node.platform = Some(old.platform_of(&node).to_owned()).filter(|made_on| *made_on != new.platform);
    node
}

/// Returns the lockfile that the cache's results make, without running anything, and the instances it would lack: those
/// that have to run first. An entry of `old` whose key still fits stands for a result that is not in this cache.
pub fn current(decider: &Decider<'_>, old: Option<&Lock>) -> Result<(Lock, Vec<String>), ExecError> {
    let plan = decider.plan;
    let mut lock = head(plan, old);
    let (mut found, mut missing) = (HashMap::new(), Vec::new());
    for id in plan.order().iter().copied() {
        let name = &plan.instance(id).name;
        let known = plan.upstream(id).all(|upstream| found.contains_key(&upstream));
        let parts = decider.parts(id, |artifact| known_of(found.get(&artifact.from)?, &artifact.output.name))?;
        let kept = old.and_then(|old| Some((old, old.node(name)?))).filter(|(_, node)| node.key == parts.key().hex());
        match (decider.cache.action(&parts.key())?, kept) {
            _ if !known => missing.push(name.clone()),
            (Some(action), _) => drop(found.insert(id, locked_node(decider, id, &action)?)),
            (None, Some((old, node))) => drop(found.insert(id, carried(node, old, &lock))),
            (None, None) => missing.push(name.clone()),
        }
    }
    for id in plan.ids() {
        if let Some(node) = found.get(&id) {
            lock.set(&plan.instance(id).name, node);
        }
    }
    Ok((lock, missing))
}

pub(super) fn locked_node(decider: &Decider<'_>, id: InstanceId, action: &Action) -> Result<LockedNode, ExecError> {
    // Those of sources and of programs; empty for all others.
    let files = decider.source_files(id)?;
    let files = files.iter().map(|file| (file.name.clone(), file.written())).collect();
    // An output that is the whole artifact needs no line of its own.
    let partial = action.outputs.iter().filter(|(_, digest)| **digest != action.artifact);
    let outputs = partial.map(|(name, digest)| (name.clone(), digest.hex())).collect();
    let made_on = action.producer.rsplit(' ').next().map(str::to_owned).filter(|made_on| *made_on != platform());
    Ok(LockedNode {
        kind: action.kind.clone(),
        platform: made_on,
        key: action.key.hex(),
        artifact: action.artifact.hex(),
        outputs,
        size: action.size,
        files,
        origin: decider.remote(id)?.and_then(|remote| remote.origin.clone()),
        metrics: action.metrics.clone(),
        chosen: action.chosen.clone(),
    })
}

/// Returns the digest of a lockfile's text; nothing if there is no file.
pub fn digest(path: &Path) -> Option<Digest> {
    fs_err::read(path).ok().map(|text| Digest::of(&text))
}

/// Returns the digest of the lockfile's text, if it says just this.
pub fn is_written(path: &Path, lock: &Lock) -> Result<Option<Digest>, ExecError> {
    let text = lock.write().map_err(|why| ExecError::LockFile { path: path.to_path_buf(), why })?;
    let old = fs_err::read_to_string(path).ok();
    let same = old.filter(|old| *old == text || Lock::read(old).is_ok_and(|old| old.says_the_same(lock)));
    Ok(same.map(|old| Digest::of(old.as_bytes())))
}

/// Writes a lockfile, unless it already says the same, and returns the digest of its text.
pub fn write(path: &Path, lock: &Lock) -> Result<Digest, ExecError> {
    let text = lock.write().map_err(|why| ExecError::LockFile { path: path.to_path_buf(), why })?;
    let digest = Digest::of(text.as_bytes());
    let old = fs_err::read_to_string(path).ok();
    if let Some(old) = old.filter(|old| *old == text || Lock::read(old).is_ok_and(|old| old.says_the_same(lock))) {
        return Ok(Digest::of(old.as_bytes()));
    }
    let unwritable =
        |error: std::io::Error| ExecError::LockUnwritable { path: path.to_path_buf(), why: error.to_string() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().prefix(".lock-").tempfile_in(folder).map_err(unwritable)?;
    draft.write_all(text.as_bytes()).map_err(unwritable)?;
    draft.as_file().sync_all().map_err(unwritable)?;
    #[cfg(unix)]
    draft.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).map_err(unwritable)?;
    draft.persist(path).map_err(|error| unwritable(error.error))?;
    Ok(digest)
}

/// Returns where the lockfile of a run lies: in the run's folder, whichever parameters it had.
pub fn path_of_run(cache: &Cache, run: &RunId) -> PathBuf {
    cache.log_path(run, "run").with_file_name("lock.yaml")
}

/// Keeps the lockfile that a run made in the run's folder, so that runs can be compared.
pub fn keep(cache: &Cache, run: &RunId, lock: &Lock) -> Result<(), ExecError> {
    write(&path_of_run(cache, run), lock).map(drop)
}

/// Returns the digest that a source's `digest:` would pin, for showing.
pub fn source_pin(decider: &Decider<'_>, id: InstanceId) -> Result<Option<String>, ExecError> {
    if decider.plan.instance(id).kind() != Kind::Source {
        return Ok(None);
    }
    if let Some(remote) = decider.remote(id)? {
        // What pins it is the commit in its address, or the digest that stands there already.
        return Ok(remote.origin.as_ref().map(|origin| origin.commit.clone()));
    }
    Ok(Some(format!("blake3:{}", sources::content_digest(&decider.source_files(id)?))))
}
