//! Actions and their records: what was done, from what, and where the result is.
//!
//! A record is a JSON file that a person can read and that `repair` makes the index from. It ends with a seal, the digest
//! of all the rest, so that a record cut short or with a flipped bit is no record at all and never a wrong answer. A
//! record of another version is passed over, never deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::{Digest, value_digest};

/// The format of records.
const VERSION: u64 = 1;

/// The longest record that is read, in bytes.
pub(super) const LONGEST_RECORD: u64 = 64 << 20;

/// A committed action: a node ran once with these parts and made this artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// The digest of all that decides the result.
    pub key: Digest,
    /// The kind of node.
    pub kind: String,
    /// What the key was made of, readable, so that two keys can be compared.
    pub parts: Value,
    /// The artifact, as the digest of its listing.
    pub artifact: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// How many files it has.
    pub files: u64,
    /// The digests of its outputs, by name: `train`.
    pub outputs: BTreeMap<String, Digest>,
    /// Figures about the result.
    #[serde(with = "crate::digest::figures")]
    pub metrics: BTreeMap<String, f64>,
    /// Figures about that very run, such as its speed.
    #[serde(with = "crate::digest::figures")]
    pub measured: BTreeMap<String, f64>,
    /// How long the node ran, in milliseconds.
    pub duration_ms: u64,
    /// When it was committed, in seconds since 1970.
    pub created: u64,
    /// The program that made it: `luthflow 0.1.0 x86_64-linux`.
    pub producer: String,
    /// For an action that only chose among artifacts: what it chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Value>,
}

/// An action to commit: what the cache cannot see in the files.
#[derive(Debug, Clone)]
pub struct NewAction {
    /// The digest of all that decides the result.
    pub key: Digest,
    /// The kind of node.
    pub kind: String,
    /// What the key was made of.
    pub parts: Value,
    /// The outputs, each with its name and the folder or file it is, relative to the artifact; empty for all of it.
    pub outputs: Vec<(String, String)>,
    /// Figures about the result.
    pub metrics: BTreeMap<String, f64>,
    /// Figures about this very run.
    pub measured: BTreeMap<String, f64>,
    /// How long the node ran, in milliseconds.
    pub duration_ms: u64,
    /// The program that made it.
    pub producer: String,
    /// For an action that only chose among artifacts: what it chose.
    pub chosen: Option<Value>,
}

/// What a node instance was the last time, to say what changed since.
#[derive(Debug, Clone, PartialEq)]
pub struct Previous {
    /// Its key then.
    pub key: Digest,
    /// What that key was made of.
    pub parts: Value,
}

impl Action {
    /// Returns the text of the record.
    pub(super) fn to_record(&self) -> Result<String, serde_json::Error> {
        let mut record = Map::from_iter([("version".to_owned(), VERSION.into())]);
        if let Value::Object(fields) = serde_json::to_value(self)? {
            record.extend(fields);
        }
        let seal = value_digest(&Value::Object(record.clone()));
        record.insert("seal".to_owned(), seal.hex().into());
        Ok(serde_json::to_string_pretty(&record)? + "\n")
    }

    /// Reads a record back: `None` unless it is whole, of this version, and for this key.
    pub(super) fn from_record(text: &[u8], key: &Digest) -> Option<Self> {
        let mut record: Map<String, Value> = serde_json::from_slice(text).ok()?;
        // In place of `remove`, which would put the last field where the first one was.
        let seal = record.shift_remove("seal")?;
        let record = Value::Object(record);
        // Letter by letter: a digest reads the same in capitals, and one flipped bit makes such a letter.
        if seal.as_str()? != value_digest(&record).hex() {
            return None;
        }
        if record.get("version")?.as_u64() != Some(VERSION) {
            return None;
        }
        let action: Self = serde_json::from_value(record).ok()?;
        (action.key == *key).then_some(action)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn action() -> Action {
        Action {
            key: Digest::of(b"key"),
            kind: "sft".to_owned(),
            parts: json!({"settings": {"learning_rate": 2e-5, "seed": 42, "packing": true}, "inputs": ["é", null, -0.0]}),
            artifact: Digest::of(b"artifact"),
            size: u64::MAX,
            files: 3,
            outputs: BTreeMap::from([("train".to_owned(), Digest::of(b"train"))]),
            metrics: BTreeMap::from([("loss".to_owned(), 0.1 + 0.2), ("rows".to_owned(), 3.0)]),
            measured: BTreeMap::from([("best".to_owned(), f64::INFINITY), ("worst".to_owned(), f64::NEG_INFINITY)]),
            duration_ms: 7,
            created: 1_700_000_000,
            producer: "luthflow 0.1.0 x86_64-linux".to_owned(),
            chosen: None,
        }
    }

    #[test]
    fn a_record_brings_the_action_back() {
        let text = action().to_record().unwrap();
        assert_eq!(Action::from_record(text.as_bytes(), &action().key), Some(action()));
        assert_eq!(Action::from_record(text.as_bytes(), &Digest::of(b"another key")), None);
        assert!(!text.contains("chosen"), "records of actions that choose nothing are as they were");
        let chose = Action { chosen: Some(json!({"t": 0.5})), ..action() };
        assert_eq!(Action::from_record(chose.to_record().unwrap().as_bytes(), &chose.key), Some(chose));
        let mut odd = action();
        odd.metrics.insert("diverged".to_owned(), f64::NAN);
        let back = Action::from_record(odd.to_record().unwrap().as_bytes(), &odd.key).unwrap();
        assert!(back.metrics["diverged"].is_nan());
    }

    #[test]
    fn a_record_cut_anywhere_is_no_record() {
        let text = action().to_record().unwrap();
        let whole = text.trim_end().len();
        for length in 0..whole {
            assert_eq!(Action::from_record(&text.as_bytes()[..length], &action().key), None, "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_unless_it_says_the_same() {
        let text = action().to_record().unwrap();
        let original: Value = serde_json::from_str(&text).unwrap();
        for index in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[index / 8] ^= 1 << (index % 8);
            let read = Action::from_record(&bytes, &action().key);
            // `1e-7` and `1E-7` are one number.
            let same = serde_json::from_slice::<Value>(&bytes).is_ok_and(|value| value == original);
            assert_eq!(read, same.then(action), "bit {index}");
        }
    }

    #[test]
    fn a_record_of_a_later_version_is_passed_over() {
        let text = action().to_record().unwrap();
        let mut record: Map<String, Value> = serde_json::from_str(&text).unwrap();
        record.shift_remove("seal");
        record.insert("version".to_owned(), 2.into());
        let seal = value_digest(&Value::Object(record.clone()));
        record.insert("seal".to_owned(), seal.hex().into());
        assert_eq!(Action::from_record(&serde_json::to_vec(&record).unwrap(), &action().key), None);
    }
}
