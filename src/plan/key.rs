//! What decides a node's result, as a record that can be read and compared.
//!
//! In the record: the kind and its semantic version, the settings with their defaults, and the digest of everything
//! read. Not in it, on purpose: the names of nodes and parameters, paths, times, the host, the number of threads, and
//! anything about how the YAML was written. Inputs count by content: an upstream node that ran again and gave the same
//! bytes changes no key below it.
//!
//! Only a slot that gathers a sweep also counts names: they stand in what it makes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::graph::Instance;
use crate::digest::{Digest, value_digest};

/// The version of the record below. Raising it makes every node of every user stale.
pub const KEY_FORMAT: u32 = 1;

/// All that decides the result of a node instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyParts {
    /// The version of this record.
    pub format: u32,
    /// The kind of the node.
    pub kind: String,
    /// The semantic version of the kind.
    pub version: u32,
    /// The settings, defaults included.
    pub config: Value,
    /// What is read, by slot.
    pub inputs: BTreeMap<String, Vec<InputPart>>,
}

/// One thing that a slot reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPart {
    /// The digest of its content.
    pub digest: Digest,
    /// What it is called, where that matters: a file of a source, an instance in a gathering slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl KeyParts {
    /// Returns the record of an instance whose inputs have these contents.
    pub fn new(instance: &Instance, inputs: BTreeMap<String, Vec<InputPart>>) -> Self {
        Self {
            format: KEY_FORMAT,
            kind: instance.kind().name().to_owned(),
            version: instance.op.version(),
            config: instance.op.config(),
            inputs,
        }
    }

    /// Returns the record as it is stored beside the result.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Reads a stored record; nothing if it is from a version that wrote it otherwise.
    pub fn from_value(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// Returns the digest of what is done, whatever is read.
    pub fn work(&self) -> Digest {
        value_digest(&serde_json::json!([self.format, self.kind, self.version, self.config]))
    }

    /// Returns the key: the digest of the record.
    pub fn key(&self) -> Digest {
        value_digest(&self.to_value())
    }
}
