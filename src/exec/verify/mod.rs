//! Does everything still agree: plan and lockfile, lockfile and cache, a second execution and the first, published figures
//! and measured ones. Each question gives rows of a table; nothing here changes anything.
//!
//! What counts as the same is decided in one place, [`judge`]. Bytes come first. Where they differ, metrics can still agree
//! within a tolerance that somebody asked for; and bytes from another platform prove nothing, because matrix kernels differ.

mod judge;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::Rehearsed;
use super::decide::Decider;
use super::select::Chosen;
use super::{ExecError, locked};
use crate::cache::{Action, CacheError};
use crate::digest::Digest;
use crate::plan::KeyParts;
use crate::plan::graph::InstanceId;
use crate::spec::lock::published::{CellVerdict, mistakes};
use crate::spec::lock::{Cell, Lock, LockedNode};
pub use judge::Tolerances;
use judge::{Found, Recorded, judge};

/// How an artifact compares with the one in the lockfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The same bytes and metrics.
    Identical,
    /// Other bytes or metrics, and the metrics no further away than asked for.
    WithinTolerance,
    /// Other bytes, made on another platform.
    NotComparable,
    /// It is not in this cache.
    NotHere,
    /// Other bytes or metrics.
    Drifted,
    /// Its bytes are not those that were committed.
    Damaged,
}

impl Verdict {
    /// Returns the words for people.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Identical => "identical",
            Verdict::WithinTolerance => "within tolerance",
            Verdict::NotComparable => "not comparable",
            Verdict::NotHere => "not here",
            Verdict::Drifted => "drifted",
            Verdict::Damaged => "damaged",
        }
    }

    /// Says whether it must not be so.
    pub fn is_bad(self) -> bool {
        self >= Verdict::Drifted
    }
}

/// One node instance in a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The node instance.
    pub node: String,
    /// How it compares.
    pub verdict: Verdict,
    /// Why, one sentence each.
    pub why: Vec<String>,
}

/// One published figure in a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellRow {
    /// The title of its table.
    pub table: String,
    /// The cell.
    #[serde(flatten)]
    pub cell: Cell,
    /// What was measured, as it would be published.
    pub measured: Option<f64>,
    /// How they compare.
    pub verdict: CellVerdict,
}

/// Returns every way in which the plan differs from the lockfile, its head included.
pub fn plan(decider: &Decider<'_>, lock: &Lock, wanted: &[bool]) -> Result<Vec<String>, ExecError> {
    let mut differences = locked::differences(decider, lock, wanted)?;
    let now = locked::head(decider.plan, None);
    if now.pipeline != lock.pipeline {
        differences.push(format!("the lockfile is of `{}`, and the pipeline is `{}`", lock.pipeline, now.pipeline));
    }
    // A lockfile of before they were written has none.
    let told = !lock.params.is_empty() || !lock.sweep.is_empty();
    for (what, old, new) in [("parameter", &lock.params, &now.params), ("axis", &lock.sweep, &now.sweep)] {
        let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
        for name in names.filter(|name| told && old.get(*name) != new.get(*name)) {
            let show = |value: Option<&serde_json::Value>| value.map_or_else(|| "nothing".into(), ToString::to_string);
            let (old, new) = (show(old.get(name)), show(new.get(name)));
            differences.push(format!("the {what} `{name}`: {old} in the lockfile, {new} in the pipeline"));
        }
    }
    Ok(differences)
}

/// Compares what the cache holds with the lockfile, every byte of it. `names` are the locked instances to look at; `progress`
/// is told how many are done.
pub fn artifacts(
    decider: &Decider<'_>,
    lock: &Lock,
    names: &[String],
    tolerances: &Tolerances,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Row>, ExecError> {
    let mut checked = HashMap::new();
    let mut rows = Vec::new();
    for (count, name) in names.iter().enumerate() {
        progress(count);
        let Some(locked) = lock.node(name) else { continue };
        let (verdict, why) = artifact(decider, lock, &locked, tolerances, &mut checked)?;
        rows.push(Row { node: name.clone(), verdict, why });
    }
    Ok(rows)
}

fn artifact(
    decider: &Decider<'_>,
    lock: &Lock,
    locked: &LockedNode,
    tolerances: &Tolerances,
    checked: &mut HashMap<Digest, Option<String>>,
) -> Result<(Verdict, Vec<String>), ExecError> {
    let Some(action) = recorded(decider, locked)? else {
        return Ok((Verdict::NotHere, vec!["no result is on record under its key".into()]));
    };
    let (mut verdict, mut why) = judge(locked, lock.platform_of(locked), &found(&action), tolerances);
    if let Some(problem) = checked_once(decider, &action.artifact, checked)? {
        verdict = Verdict::Damaged;
        why.insert(0, problem);
    }
    Ok((verdict, why))
}

/// Digests an artifact anew, each one once; returns what is wrong with it.
fn checked_once(
    decider: &Decider<'_>,
    artifact: &Digest,
    checked: &mut HashMap<Digest, Option<String>>,
) -> Result<Option<String>, ExecError> {
    if let Some(known) = checked.get(artifact) {
        return Ok(known.clone());
    }
    let problem = match decider.cache.check(artifact) {
        Ok(()) => None,
        Err(CacheError::Damaged { file, problem, .. }) => Some(format!("{file} {problem}")),
        Err(CacheError::NotStored(_)) => Some("its artifact is gone".to_owned()),
        Err(error) => return Err(error.into()),
    };
    checked.insert(*artifact, problem.clone());
    Ok(problem)
}

fn recorded(decider: &Decider<'_>, locked: &LockedNode) -> Result<Option<Action>, ExecError> {
    match locked.key.parse() {
        Ok(key) => Ok(decider.cache.on_record(&key)?),
        Err(_) => Ok(None),
    }
}

fn found(action: &Action) -> Found {
    let partial = action.outputs.iter().filter(|(_, digest)| **digest != action.artifact);
    let parts = KeyParts::from_value(&action.parts);
    let files = parts.filter(|parts| matches!(&*parts.kind, "source" | "command"));
    let files = files.and_then(|mut parts| parts.inputs.remove("files"));
    let files = files.unwrap_or_default().into_iter().filter_map(|file| Some((file.name?, file.digest.hex())));
    Found {
        artifact: action.artifact.hex(),
        outputs: partial.map(|(name, digest)| (name.clone(), digest.hex())).collect(),
        metrics: action.metrics.clone(),
        platform: action.producer.rsplit(' ').next().unwrap_or_default().to_owned(),
        record: Some(Recorded {
            kind: action.kind.clone(),
            size: action.size,
            files: files.collect(),
            chosen: Chosen::of_action(action),
        }),
    }
}

/// Chooses `count` of the instances for a second execution: by the lockfile, so that everybody who has it chooses the same.
pub fn sample(
    lock: &Lock,
    mut from: Vec<InstanceId>,
    count: usize,
    name: impl Fn(InstanceId) -> String,
) -> Vec<InstanceId> {
    let seed = lock.write().unwrap_or_default();
    let seed = Digest::of(seed.as_bytes()).hex();
    from.sort_by_key(|id| Digest::of(format!("{seed} {}", name(*id)).as_bytes()));
    from.truncate(count);
    from.sort_unstable();
    from
}

/// Compares what second executions gave with the lockfile.
pub fn reruns(lock: &Lock, names: &[String], gave: &BTreeMap<String, Rehearsed>, tolerances: &Tolerances) -> Vec<Row> {
    let row = |name: &String| {
        let row = |verdict, why| Some(Row { node: name.clone(), verdict, why });
        let Some(locked) = lock.node(name) else {
            return row(Verdict::Drifted, vec!["it is not in the lockfile".into()]);
        };
        let Some(gave) = gave.get(name) else {
            return row(Verdict::Drifted, vec!["it did not run to its end; `luthflow log` shows what it wrote".into()]);
        };
        let partial = gave.outputs.iter().filter(|(_, digest)| **digest != gave.artifact);
        let found = Found {
            artifact: gave.artifact.hex(),
            outputs: partial.map(|(name, digest)| (name.clone(), digest.hex())).collect(),
            metrics: gave.metrics.clone(),
            platform: locked::platform(),
            record: None,
        };
        let (verdict, why) = judge(&locked, lock.platform_of(&locked), &found, tolerances);
        row(verdict, why)
    };
    names.iter().filter_map(row).collect()
}

/// Compares the published figures of these instances with what `gave` or else the cache or else the lockfile says was
/// measured; and returns what is wrong with the tables themselves.
pub fn published(
    decider: &Decider<'_>,
    lock: &Lock,
    names: &[String],
    gave: &BTreeMap<String, Rehearsed>,
) -> Result<(Vec<CellRow>, Vec<String>), ExecError> {
    let nodes: Vec<&str> = decider.plan.instances().iter().map(|instance| instance.name.as_str()).collect();
    let mut rows = Vec::new();
    for table in lock.tables() {
        for cell in table.cells {
            let locked = lock.node(&cell.node);
            if locked.is_some() && !names.contains(&cell.node) {
                continue;
            }
            let metrics = match (gave.get(&cell.node), locked) {
                (Some(gave), _) => gave.metrics.clone(),
                (None, Some(locked)) => recorded(decider, &locked)?.map_or(locked.metrics, |action| action.metrics),
                (None, None) => BTreeMap::new(),
            };
            let (verdict, measured) = cell.compare(metrics.get(&cell.metric).copied());
            rows.push(CellRow { table: table.title.clone(), cell, measured, verdict });
        }
    }
    Ok((rows, mistakes(lock, &nodes)))
}
