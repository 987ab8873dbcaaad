//! Why a node has to run: which part of its key changed, old and new.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::key::KeyParts;

/// Why a node has to run. Written as one sentence, in JSON too.
#[derive(Debug, Clone, PartialEq)]
pub enum StaleReason {
    /// It has never run in this cache.
    NeverRun,
    /// A setting has another value. A side is missing where the setting did not exist.
    SettingChanged {
        /// The path of the setting: `learning_rate`, `steps[1].length.min_chars`.
        setting: String,
        /// The value of the last run.
        old: Option<Value>,
        /// The value now.
        new: Option<Value>,
    },
    /// What a slot reads has other content.
    InputChanged {
        /// The slot: `data[0]`.
        slot: String,
        /// What fills it now: `corpus.train`.
        from: String,
    },
    /// The slots are others, or hold another number of artifacts.
    InputsChanged {
        /// The slot that came, went or grew.
        slot: String,
    },
    /// luthflow computes this kind differently now.
    VersionChanged {
        /// The version of the last run.
        old: u32,
        /// The version now.
        new: u32,
    },
    /// The key is known, but its artifact is missing or damaged.
    ArtifactMissing,
    /// The user asked for it.
    Forced,
    /// The cache holds another artifact for its key than the lockfile demands.
    NotAsLocked,
    /// It reads nodes that have to run first; whether it runs depends on what they give.
    Waiting {
        /// Those nodes.
        on: Vec<String>,
    },
}

impl Serialize for StaleReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for StaleReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StaleReason::NeverRun => formatter.write_str("never run before"),
            StaleReason::SettingChanged { setting, old: Some(old), new: Some(new) } => {
                write!(formatter, "{setting}: {} -> {}", show(old), show(new))
            }
            StaleReason::SettingChanged { setting, old: None, new: Some(new) } => {
                write!(formatter, "{setting}: {} is new", show(new))
            }
            StaleReason::SettingChanged { setting, old, .. } => {
                write!(formatter, "{setting}: {} is gone", old.as_ref().map_or_else(String::new, show))
            }
            StaleReason::InputChanged { slot, from } => write!(formatter, "{slot}: the content of {from} changed"),
            StaleReason::InputsChanged { slot } => write!(formatter, "{slot}: it reads other things"),
            StaleReason::VersionChanged { old, new } => {
                write!(formatter, "luthflow computes this kind differently now (version {old} -> {new})")
            }
            StaleReason::ArtifactMissing => formatter.write_str("its artifact is missing or damaged"),
            StaleReason::Forced => formatter.write_str("forced"),
            StaleReason::NotAsLocked => formatter.write_str("its artifact is not the one in the lockfile"),
            StaleReason::Waiting { on } if on.len() > 5 => {
                write!(formatter, "waits for {} and {} others", on[..4].join(", "), on.len() - 4)
            }
            StaleReason::Waiting { on } => write!(formatter, "waits for {}", on.join(", ")),
        }
    }
}

/// Returns why `new` is not `old`, settings first. `from` names what fills a slot now.
pub fn compare(old: &KeyParts, new: &KeyParts, from: impl Fn(&str) -> String) -> Vec<StaleReason> {
    let mut reasons = Vec::new();
    if old.version != new.version || old.kind != new.kind || old.format != new.format {
        reasons.push(StaleReason::VersionChanged { old: old.version, new: new.version });
    }
    let (old_settings, new_settings) = (flat(&old.config), flat(&new.config));
    let names = old_settings.keys().chain(new_settings.keys()).collect::<std::collections::BTreeSet<_>>();
    for setting in names {
        let (old, new) = (old_settings.get(setting), new_settings.get(setting));
        if old != new {
            reasons.push(StaleReason::SettingChanged {
                setting: setting.clone(),
                old: old.cloned(),
                new: new.cloned(),
            });
        }
    }
    let slots = old.inputs.keys().chain(new.inputs.keys()).collect::<std::collections::BTreeSet<_>>();
    for slot in slots {
        match (old.inputs.get(slot), new.inputs.get(slot)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) if old.len() == new.len() => {
                reasons.push(StaleReason::InputChanged { slot: slot.clone(), from: from(slot) });
            }
            _ => reasons.push(StaleReason::InputsChanged { slot: slot.clone() }),
        }
    }
    reasons
}

/// Returns every single value of the settings by its path.
fn flat(config: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, path: String, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(value, path, out);
                }
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                for (i, item) in items.iter().enumerate() {
                    walk(item, format!("{path}[{i}]"), out);
                }
            }
            other => {
                out.insert(path, other.clone());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(config, String::new(), &mut out);
    out
}

fn show(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(f64::NAN);
            if float != 0.0 && (float.abs() < 1e-2 || float.abs() >= 1e6) {
                format!("{float:e}")
            } else {
                float.to_string()
            }
        }
        other => other.to_string(),
    }
}
