//! The lockfile: what a pipeline gave, so that anyone can check that it gives the same again.
//!
//! Made for git: one block a node in the order of the graph, no time, host or path, and numbers as they are, so that two
//! people's changes to two nodes merge without a conflict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::document;

/// The version of the lockfile that this program reads and writes.
pub const LOCK_VERSION: u64 = 1;

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
    /// Every node instance, by name.
    pub nodes: Map<String, Value>,
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
    /// Its metrics.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// For a selection: what it chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Value>,
}

impl Lock {
    /// Reads a lockfile.
    pub fn read(text: &str) -> Result<Self, String> {
        let lock: Self = document::from_yaml(text)
            .map_err(|error| format!("it is no lockfile: {}", error.replace("struct Lock", "a mapping")))?;
        if lock.version != LOCK_VERSION {
            return Err(format!("it has version {}, and this luthflow reads version {LOCK_VERSION}", lock.version));
        }
        for (name, node) in &lock.nodes {
            LockedNode::deserialize(node).map_err(|error| format!("node `{name}`: {error}"))?;
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
}
