//! What the steps of a curation did, out of the `stats.json` beside its rows.

use std::path::Path;

use serde_json::Value;

/// What is told of every step, if it is counted.
const FIGURES: [&str; 2] = ["rows", "tokens"];

/// Returns the steps that made the data set in `folder`; none if it was not curated.
pub(super) fn steps_of(folder: &Path) -> Vec<Value> {
    let read = |dir: &Path| serde_json::from_slice::<Value>(&fs_err::read(dir.join("stats.json")).ok()?).ok();
    // The rows lie one below: `rows`, or `train` and `eval`.
    let Some(Value::Object(mut stats)) = folder.parent().and_then(read) else { return Vec::new() };
    let Some(Value::Array(steps)) = stats.remove("steps") else { return Vec::new() };
    steps.into_iter().map(figures).collect()
}

/// Keeps what is one word or number.
fn figures(step: Value) -> Value {
    let Value::Object(mut step) = step else { return step };
    step.retain(|_, value| value.is_string() || value.is_number());
    Value::Object(step)
}

/// Returns a step on one line: `rows 20 → 19, 3 changed; tokens 512 → 480, 90 changed`.
pub(super) fn line(step: &Value) -> String {
    let told = |what: &&str| {
        let figure = |which: &str| step[format!("{what}_{which}")].as_u64();
        let changed = figure("changed").map_or_else(String::new, |changed| format!(", {changed} changed"));
        Some(format!("{what} {} → {}{changed}", figure("in")?, figure("out")?))
    };
    let all: Vec<String> = FIGURES.iter().filter_map(told).collect();
    format!("{}: {}", step["step"].as_str().unwrap_or_default(), all.join("; "))
}
