//! What a curation read and what its steps did, out of the `stats.json` beside its rows.

use std::path::Path;

use serde_json::Value;

/// What is told of every source and step, if it is counted.
const FIGURES: [&str; 2] = ["rows", "tokens"];

/// What made a data set; nothing of one that was not curated.
#[derive(Default)]
pub(super) struct Receipt {
    pub(super) sources: Vec<Value>,
    pub(super) steps: Vec<Value>,
}

impl Receipt {
    /// Reads what made the data set in `folder`.
    pub(super) fn of(folder: &Path) -> Self {
        let read = |dir: &Path| serde_json::from_slice::<Value>(&fs_err::read(dir.join("stats.json")).ok()?).ok();
        // The rows lie one below: `rows`, or `train` and `eval`.
        let Some(Value::Object(mut stats)) = folder.parent().and_then(read) else { return Self::default() };
        let mut all = |what: &str| match stats.remove(what) {
            Some(Value::Array(all)) => all.into_iter().map(figures).collect(),
            _ => Vec::new(),
        };
        Self { sources: all("sources"), steps: all("steps") }
    }
}

/// Keeps what is one word or number.
fn figures(part: Value) -> Value {
    let Value::Object(mut part) = part else { return part };
    part.retain(|_, value| value.is_string() || value.is_number());
    Value::Object(part)
}

/// Returns a source or a step on one line: `rows 20 → 19, 3 changed; tokens 512 → 480, 90 changed`.
pub(super) fn line(part: &Value) -> String {
    let told = |what: &&str| {
        let figure = |which: &str| part[format!("{what}_{which}")].as_u64();
        let changed = figure("changed").map_or_else(String::new, |changed| format!(", {changed} changed"));
        Some(format!("{what} {} → {}{changed}", figure("in")?, figure("out")?))
    };
    let all: Vec<String> = FIGURES.iter().filter_map(told).collect();
    let name = part["step"].as_str().or(part["name"].as_str());
    format!("{}: {}", name.unwrap_or_default(), all.join("; "))
}
