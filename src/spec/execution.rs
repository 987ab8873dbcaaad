//! How a node is to be run, as opposed to what it makes: `needs`, `retries`, `timeout`. Never part of a key.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::path::FieldPath;
use super::suggest;

/// How a node is to be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Execution {
    /// What it takes of the machine while it runs.
    pub needs: Needs,
    /// How often it is tried again after a failure.
    pub retries: u32,
    /// How long one try may take; as long as it likes when nothing is said.
    pub timeout: Option<Duration>,
}

/// What a node takes of the machine while it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Cores, and so threads. When nothing is said, the scheduler shares them out.
    pub cpu: Option<u32>,
    /// GPUs.
    pub gpu: u32,
    /// Memory in bytes.
    pub memory: u64,
}

/// The fields that every kind of node has.
pub const FIELDS: [&str; 3] = ["needs", "retries", "timeout"];

const NEEDS: [&str; 3] = ["cpu", "gpu", "memory"];

/// The most that a failed node is tried again.
const MAX_RETRIES: u64 = 1000;

const MEMORY_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// In milliseconds.
const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A mistake in how a node is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The field, below the node.
    pub(super) at: FieldPath,
    /// Whether the name of the field is wrong rather than its value.
    pub(super) key: bool,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Takes the fields that say how a node is to be run out of its settings.
pub(super) fn take(fields: &mut Map<String, Value>) -> Value {
    let taken = FIELDS.into_iter().filter_map(|name| Some((name.to_owned(), fields.shift_remove(name)?)));
    Value::Object(taken.collect())
}

/// Reads how a node is to be run, parameters filled in, and notes what is wrong.
pub(super) fn read(value: &Value) -> (Execution, Vec<Wrong>) {
    let (mut execution, mut wrong) = (Execution::default(), Vec::new());
    let root = FieldPath::root();
    let mut field = |name: &str, result: Result<(), String>, at: FieldPath| {
        if let Err(message) = result {
            wrong.push(Wrong { at, key: false, message: format!("`{name}`: {message}"), help: None });
        }
    };
    if let Some(retries) = value.get("retries") {
        let read = retries.as_u64().filter(|retries| *retries <= MAX_RETRIES);
        execution.retries = read.unwrap_or(0) as u32;
        let message = || format!("expected a whole number from 0 to {MAX_RETRIES}, found {retries}");
        field("retries", read.map(|_| ()).ok_or_else(message), root.key("retries"));
    }
    if let Some(timeout) = value.get("timeout") {
        let read = seconds(timeout);
        execution.timeout = read.as_ref().ok().copied();
        field("timeout", read.map(|_| ()), root.key("timeout"));
    }
    let Some(needs) = value.get("needs").filter(|needs| !needs.is_null()) else { return (execution, wrong) };
    let Some(needs) = needs.as_object() else {
        field("needs", Err("expected a block such as `{cpu: 4, memory: 16GB}`".into()), root.key("needs"));
        return (execution, wrong);
    };
    let at = root.key("needs");
    for (name, value) in needs {
        let read = need(&mut execution.needs, name, value);
        field(&format!("needs.{name}"), read.unwrap_or(Ok(())), at.key(name));
    }
    for name in needs.keys().filter(|name| !NEEDS.contains(&name.as_str())) {
        let message = format!("unknown field `{name}` in `needs`");
        wrong.push(Wrong { at: at.key(name), key: true, message, help: suggest::help(name, NEEDS) });
    }
    (execution, wrong)
}

/// Reads one need; nothing if there is none of this name.
fn need(needs: &mut Needs, name: &str, value: &Value) -> Option<Result<(), String>> {
    let count = |least: u64| {
        let count = value.as_u64().filter(|count| (least..=4096).contains(count));
        count
            .map(|count| count as u32)
            .ok_or_else(|| format!("expected a whole number from {least} to 4096, found {value}"))
    };
    Some(match name {
        "cpu" => count(1).map(|cpu| needs.cpu = Some(cpu)),
        "gpu" => count(0).map(|gpu| needs.gpu = gpu),
        "memory" => bytes(value).map(|memory| needs.memory = memory),
        _ => return None,
    })
}

/// Reads `16GB`, `512MiB`, or a number of bytes.
fn bytes(value: &Value) -> Result<u64, String> {
    if let Some(bytes) = value.as_u64() {
        return Ok(bytes);
    }
    let read = value.as_str().and_then(|text| measured(text, &MEMORY_UNITS));
    let exact = read.filter(|bytes| (1.0..9e15).contains(bytes)).map(|bytes| bytes as u64);
    exact.ok_or_else(|| format!("expected an amount of memory such as `16GB` or `512MiB`, found {value}"))
}

/// Reads `90s`, `90m`, `1.5h`, `2d`.
fn seconds(value: &Value) -> Result<Duration, String> {
    let read = value.as_str().and_then(|text| measured(text, &TIME_UNITS));
    let seconds = read.map(|milliseconds| milliseconds / 1000.0);
    let usable = seconds.filter(|seconds| (0.001..1e9).contains(seconds)).map(Duration::from_secs_f64);
    usable.ok_or_else(|| format!("expected a time such as `90s`, `90m`, `1.5h` or `2d`, found {value}"))
}

/// Reads an amount of memory as the command line writes it: `16GB`, or a number of bytes.
pub fn memory(text: &str) -> Result<u64, String> {
    bytes(&text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from))
}

/// Reads a time as the command line writes it: `90s`, `15m`, `2h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    seconds(&Value::from(text))
}

/// Reads a decimal number and a unit behind it.
fn measured(text: &str, units: &[(&str, u64)]) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = (text[..end].parse::<f64>().ok()?, text[end..].trim_start());
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    Some(number * *factor as f64)
}

/// Returns the schema of these fields.
pub(super) fn schema() -> Map<String, Value> {
    let count = |least: u32, what: &str| json!({"description": what, "type": ["integer", "string"], "minimum": least});
    let fields = json!({
        "needs": {
            "description": "What the node takes of the machine while it runs. No part of its key.",
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "cpu": count(1, "Cores, and so threads."),
                "gpu": count(0, "GPUs."),
                "memory": {
                    "description": "Memory: `16GB`, `512MiB`, or a number of bytes.",
                    "type": ["string", "integer"]
                }
            }
        },
        "retries": {
            "description": "How often the node is tried again after a failure. No part of its key.",
            "type": ["integer", "string"],
            "minimum": 0
        },
        "timeout": {
            "description": "How long one try may take: `90s`, `90m`, `1.5h`, `2d`. No part of its key.",
            "type": "string"
        }
    });
    fields.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_times_have_units() {
        let (execution, wrong) = read(&json!({
            "needs": {"cpu": 4, "gpu": 1, "memory": "1.5GiB"}, "retries": 2, "timeout": "90m"
        }));
        assert!(wrong.is_empty(), "{wrong:?}");
        let needs = Needs { cpu: Some(4), gpu: 1, memory: 3 << 29 };
        assert_eq!(execution, Execution { needs, retries: 2, timeout: Some(Duration::from_mins(90)) });
        for (text, bytes) in [("16GB", 16_000_000_000), ("1 KiB", 1024), ("7B", 7), ("2TB", 2_000_000_000_000)] {
            assert_eq!(read(&json!({"needs": {"memory": text}})).0.needs.memory, bytes, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        for value in [
            json!({"retries": -1}),
            json!({"retries": "two"}),
            json!({"timeout": 90}),
            json!({"timeout": "90 minutes"}),
            json!({"timeout": "0s"}),
            json!({"needs": {"memory": "16gb"}}),
            json!({"needs": {"memory": "1e999GB"}}),
            json!({"needs": {"cpu": 0}}),
            json!({"needs": {"cpus": 4}}),
            json!({"needs": 4}),
        ] {
            assert_eq!(read(&value).1.len(), 1, "{value}");
        }
        assert_eq!(read(&json!({"needs": {"gpus": 1}})).1[0].help.as_deref(), Some("did you mean `gpu`?"));
    }
}
