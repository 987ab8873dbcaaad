//! The lockfile: what a pipeline gave, so that anyone can check that it gives the same again.
//!
//! Made for git: one block a node in the order of the graph, no time, host or path, and numbers as they are, so that two
//! people's changes to two nodes merge without a conflict, or by [`merge`] where lines stand too near each other.
//!
//! Others' lockfiles are foreign bytes. A text is walked once before it is read, so that one that is too long or too deep
//! costs no more than that walk, and every error says where it stands.

pub mod diff;
pub mod merge;
pub mod published;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::document::{self, Document};
use super::path::FieldPath;
pub use published::{Cell, CellStatus, Published};

/// The version of the lockfile that this program reads and writes.
pub const LOCK_VERSION: u64 = 1;

/// The largest lockfile that is read, in bytes: about half a million node instances.
pub const MAX_BYTES: u64 = 256 << 20;

/// A lockfile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The version of this format.
    pub version: u64,
    /// The name of the pipeline.
    pub pipeline: String,
    /// The program that made the artifacts.
    pub luthflow: String,
    /// The platform they were made on: bytes are promised on the same one.
    pub platform: String,
    /// The parameters that had one value.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// The parameters that had several, in order.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub sweep: Map<String, Value>,
    /// Every node instance, by name.
    pub nodes: Map<String, Value>,
    /// Tables that were published, written by hand and kept as they are: see [`Published`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Value>,
}

/// What the lockfile holds of one node instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedNode {
    /// The kind of the node.
    pub kind: String,
    /// The platform it was made on, where that is not the one at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The key it was run under.
    pub key: String,
    /// The digest of its artifact.
    pub artifact: String,
    /// The digests of its outputs, where it has any besides the whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, String>,
    /// The size of its artifact in bytes.
    pub size: u64,
    /// For a source: the digest of every file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// For a source on a hub: its address in the pipeline, and the commit that this was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<LockedOrigin>,
    /// For a `select`: the instance that was best, its point of the sweep, and its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Value>,
    /// Its metrics.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "crate::digest::figures")]
    pub metrics: BTreeMap<String, f64>,
}

/// Where on a hub a source lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedOrigin {
    /// Its address in the pipeline; after `#` the configuration and the split, `/` between them.
    pub from: String,
    /// The commit that the revision was resolved to.
    pub commit: String,
}

impl Lock {
    /// Reads a lockfile; the error says at which line and column it is wrong, where it is wrong at one.
    pub fn read(text: &str) -> Result<Self, String> {
        document::check_depth(text).map_err(|mistake| format!("{}{}", mistake.message, place(text, mistake.span.0)))?;
        let lock: Self = document::from_yaml(text)
            .map_err(|error| format!("it is no lockfile: {}", error.replace("struct Lock", "a mapping")))?;
        if lock.version != LOCK_VERSION {
            return Err(format!("it has version {}, and this luthflow reads version {LOCK_VERSION}", lock.version));
        }
        for (name, node) in &lock.nodes {
            let path = || FieldPath::root().key("nodes").key(name);
            read_part::<LockedNode>(node)
                .map_err(|(_, why)| format!("node `{name}`: {why}{}", place_of(text, &path())))?;
        }
        for (index, table) in lock.published.iter().enumerate() {
            let path = || FieldPath::root().key("published").index(index);
            read_part::<Published>(table).map_err(|(below, why)| {
                let at = place_of(text, &path().join(&FieldPath::parse(&below)));
                let below = if below == "." { String::new() } else { format!(".{below}") };
                format!("published[{index}]{below}: {why}{at}")
            })?;
        }
        Ok(lock)
    }

    /// Writes the lockfile.
    pub fn write(&self) -> Result<String, String> {
        let head = "# Written by `luthflow run`. Commit it: `luthflow run --locked` refuses to differ from it.\n";
        document::to_yaml(self).map(|body| format!("{head}{body}")).map_err(|error| error.to_string())
    }

    /// Returns what is held of a node instance.
    pub fn node(&self, name: &str) -> Option<LockedNode> {
        LockedNode::deserialize(self.nodes.get(name)?).ok()
    }

    /// Sets what is held of a node instance.
    pub fn set(&mut self, name: &str, node: &LockedNode) {
        self.nodes.insert(name.to_owned(), serde_json::to_value(node).unwrap_or(Value::Null));
    }

    /// Returns the platform that a node was made on.
    pub fn platform_of<'a>(&'a self, node: &'a LockedNode) -> &'a str {
        node.platform.as_deref().unwrap_or(&self.platform)
    }

    /// Returns the published tables.
    pub fn tables(&self) -> Vec<Published> {
        self.published.iter().filter_map(|table| Published::deserialize(table).ok()).collect()
    }

    /// Says whether both hold the same in the same order. Which luthflow wrote them does not count: a file is not written
    /// anew for that alone.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let order = |lock: &Self| -> Vec<String> {
            let names = [&lock.params, &lock.sweep, &lock.nodes].map(|map| map.keys().cloned().collect::<Vec<_>>());
            names.concat()
        };
        *self == Self { luthflow: self.luthflow.clone(), ..other.clone() } && order(self) == order(other)
    }
}

/// Reads a typed part; the error carries the path of what is wrong in it.
fn read_part<T: DeserializeOwned>(value: &Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(value).map_err(|error| (error.path().to_string(), error.inner().to_string()))
}

/// Says where the value at `path` stands. Only for errors: it reads the text again.
fn place_of(text: &str, path: &FieldPath) -> String {
    match Document::read(text) {
        Ok(document) => place(text, document.key_span(path).start),
        // Too large for that.
        Err(_) => String::new(),
    }
}

fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
    format!(" at line {line} column {column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_that_is_no_number_survives() {
        let mut lock = Lock::read("version: 1\npipeline: p\nluthflow: 0.1.0\nplatform: x\nnodes: {}\n").unwrap();
        let metrics = BTreeMap::from([("nan".to_owned(), f64::NAN), ("worst".to_owned(), f64::NEG_INFINITY)]);
        let (kind, key, artifact) = ("sft".to_owned(), "00".to_owned(), "00".to_owned());
        let (outputs, files) = Default::default();
        let node = LockedNode {
            kind,
            platform: None,
            key,
            artifact,
            outputs,
            size: 1,
            files,
            origin: None,
            chosen: None,
            metrics,
        };
        lock.set("sft", &node);
        let back = Lock::read(&lock.write().unwrap()).unwrap().node("sft").unwrap();
        assert!(back.metrics["nan"].is_nan() && back.metrics["worst"] == f64::NEG_INFINITY);
    }

    #[test]
    fn published_tables_keep_their_order_and_content() {
        let text = "version: 1\npipeline: p\nluthflow: 0.1.0\nplatform: x\nnodes: {}\npublished:\n- title: T\n  \
            cells:\n  - tolerance: 0.5\n    value: 40\n    node: a\n    metric: b.acc\n  source: https://example.org\n";
        let lock = Lock::read(text).unwrap();
        let written = lock.write().unwrap();
        assert!(written.ends_with(text), "{written}");
        assert_eq!(Lock::read(&written).unwrap(), lock);
    }

    #[test]
    fn mistakes_have_a_place() {
        let head = "version: 1\npipeline: p\nluthflow: 0.1.0\nplatform: x\n";
        let wrong = |rest: &str| Lock::read(&format!("{head}{rest}")).unwrap_err();
        assert!(wrong("nodes: [").contains("line 5"), "{}", wrong("nodes: ["));
        let node = wrong("nodes:\n  a: {kind: sft, key: x, artifact: y, size: -1}\n");
        assert!(node.contains("node `a`") && node.contains("line 6 column 3"), "{node}");
        let cell = wrong("nodes: {}\npublished:\n- title: t\n  cells:\n  - {node: a, metric: b, valu: 1}\n");
        assert!(cell.contains("published[0].cells[0]") && cell.contains("`valu`") && cell.contains("line 9"), "{cell}");
        let deep = wrong(&format!("nodes: {}", "[".repeat(50_000)));
        assert!(deep.contains("lie in each other at line 5"), "{deep}");
        let alias = wrong("nodes: {a: &x 1, b: *x}");
        assert!(alias.contains("aliases") && alias.contains("line 5"), "{alias}");
    }
}
