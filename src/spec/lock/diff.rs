//! How two lockfiles differ: parameters, nodes, artifacts, metrics.
//!
//! What a key was made of does not stand in a lockfile; who has a cache can say more about a changed key.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Lock, LockedNode};

/// How two lockfiles differ.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LockDiff {
    /// What stands at the top (pipeline, luthflow, platform) and is not the same.
    pub top: Vec<ValueChange>,
    /// Parameters and axes that are not the same.
    pub params: Vec<ValueChange>,
    /// Nodes that only the second one has.
    pub added: Vec<String>,
    /// Nodes that only the first one has.
    pub removed: Vec<String>,
    /// Nodes that are in both and not the same.
    pub changed: Vec<NodeChange>,
}

/// A value that is not the same; a side is missing where it does not exist.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ValueChange {
    /// What it is called.
    pub name: String,
    /// The first one's.
    pub old: Option<Value>,
    /// The second one's.
    pub new: Option<Value>,
}

/// A node that is not the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeChange {
    /// The node instance.
    pub node: String,
    /// Its keys, if they differ.
    pub key: Option<[String; 2]>,
    /// Its artifacts, if they differ.
    pub artifact: Option<[String; 2]>,
    /// What else differs: kind, platform, size, outputs, files, what a select chose.
    pub fields: Vec<ValueChange>,
    /// The metrics that differ.
    pub metrics: Vec<MetricChange>,
}

/// A metric that is not the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricChange {
    /// What it is called.
    pub name: String,
    /// The first one's.
    pub old: Option<f64>,
    /// The second one's.
    pub new: Option<f64>,
    /// The second one's less the first one's, where both exist.
    pub delta: Option<f64>,
}

impl LockDiff {
    /// Says whether there is no difference at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two lockfiles.
pub fn diff(old: &Lock, new: &Lock) -> LockDiff {
    let top = |lock: &Lock| {
        let fields = [("pipeline", &lock.pipeline), ("luthflow", &lock.luthflow), ("platform", &lock.platform)];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value.as_str().into())).collect::<Map<_, _>>()
    };
    let mut params = values(&old.params, &new.params);
    params.extend(values(&old.sweep, &new.sweep));
    let only_in = |one: &Lock, other: &Lock| -> Vec<String> {
        one.nodes.keys().filter(|name| !other.nodes.contains_key(*name)).cloned().collect()
    };
    let changed = |name: &String| node(name, (old, &old.node(name)?), (new, &new.node(name)?));
    LockDiff {
        top: values(&top(old), &top(new)),
        params,
        added: only_in(new, old),
        removed: only_in(old, new),
        changed: old.nodes.keys().filter_map(changed).collect(),
    }
}

/// Compares what two lockfiles hold of a node; nothing if that is the same.
fn node(name: &str, old: (&Lock, &LockedNode), new: (&Lock, &LockedNode)) -> Option<NodeChange> {
    let pair = |old: &String, new: &String| (old != new).then(|| [old.clone(), new.clone()]);
    let change = NodeChange {
        node: name.to_owned(),
        key: pair(&old.1.key, &new.1.key),
        artifact: pair(&old.1.artifact, &new.1.artifact),
        fields: values(&fields(old), &fields(new)),
        metrics: metrics(&old.1.metrics, &new.1.metrics),
    };
    let same = change.key.is_none() && change.artifact.is_none();
    (!same || !change.fields.is_empty() || !change.metrics.is_empty()).then_some(change)
}

fn fields((lock, node): (&Lock, &LockedNode)) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("kind".into(), node.kind.as_str().into());
    fields.insert("platform".into(), lock.platform_of(node).into());
    fields.insert("size".into(), node.size.into());
    let below = |prefix: &str, map: &BTreeMap<String, String>| -> Vec<(String, Value)> {
        map.iter().map(|(name, digest)| (format!("{prefix}.{name}"), digest.as_str().into())).collect()
    };
    fields.extend(below("outputs", &node.outputs));
    fields.extend(below("files", &node.files));
    if let Some(origin) = &node.origin {
        fields.insert("commit".into(), origin.commit.as_str().into());
    }
    if let Some(chosen) = &node.chosen {
        fields.insert("chosen".into(), chosen.clone());
    }
    fields
}

fn values(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<ValueChange> {
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    let change =
        |name: &String| ValueChange { name: name.clone(), old: old.get(name).cloned(), new: new.get(name).cloned() };
    names.map(change).filter(|change| change.old != change.new).collect()
}

fn metrics(old: &BTreeMap<String, f64>, new: &BTreeMap<String, f64>) -> Vec<MetricChange> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| {
        let (old, new) = (old.get(name).copied(), new.get(name).copied());
        let delta = old.zip(new).map(|(old, new)| new - old);
        MetricChange { name: name.clone(), old, new, delta }
    };
    // By bits, so that two that are no numbers are the same.
    let bits = |value: Option<f64>| value.map(f64::to_bits);
    names.into_iter().map(change).filter(|change| bits(change.old) != bits(change.new)).collect()
}
