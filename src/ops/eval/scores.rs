//! `scores.json`: what an eval leaves for the report, and for anybody else.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::OpError;
use super::statistics::Estimate;

/// The name of the file in the artifact.
pub(super) const SCORES_FILE: &str = "scores.json";

/// The version of the format that is written and read.
const VERSION: u32 = 1;

/// The largest score table that is read, in bytes.
const MAX_SIZE: u64 = 64 << 20;

/// The scores of one model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ops) struct Scores {
    version: u32,
    pub(in crate::ops) tasks: Vec<Score>,
}

/// The score on one task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ops) struct Score {
    /// What the pipeline calls the task.
    pub(in crate::ops) name: String,
    #[serde(rename = "type")]
    pub(in crate::ops) kind: String,
    /// What the value is: `bits_per_byte`, `acc`.
    pub(in crate::ops) metric: String,
    pub(in crate::ops) value: f64,
    /// Absent where a single row says nothing about the spread.
    pub(in crate::ops) stderr: Option<f64>,
    /// How many rows were scored.
    pub(in crate::ops) n: usize,
    pub(in crate::ops) unit: String,
    pub(in crate::ops) higher_is_better: bool,
}

impl Score {
    pub(super) fn bits_per_byte(name: &str, estimate: Estimate, n: usize) -> Self {
        Self {
            name: name.to_owned(),
            kind: "bits_per_byte".to_owned(),
            metric: "bits_per_byte".to_owned(),
            value: estimate.value,
            stderr: estimate.stderr,
            n,
            unit: "bits per byte".to_owned(),
            higher_is_better: false,
        }
    }

    pub(super) fn accuracy(name: &str, estimate: Estimate, n: usize) -> Self {
        Self {
            name: name.to_owned(),
            kind: "minimal_pairs".to_owned(),
            metric: "acc".to_owned(),
            value: estimate.value,
            stderr: estimate.stderr,
            n,
            unit: "share of pairs".to_owned(),
            higher_is_better: true,
        }
    }
}

impl Scores {
    pub(super) fn new(tasks: Vec<Score>) -> Self {
        Self { version: VERSION, tasks }
    }

    /// Reads the scores in an artifact.
    pub(in crate::ops) fn read(dir: &Path) -> Result<Self, OpError> {
        let path = dir.join(SCORES_FILE);
        let size = fs_err::metadata(&path)?.len();
        if size > MAX_SIZE {
            return Err(OpError::new(format!("{} is too large for a score table: {size} bytes", path.display())));
        }
        let scores: Self = serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| OpError::io(&path, error))?;
        if scores.version != VERSION {
            let message = format!("{} is of version {}, not {VERSION}", path.display(), scores.version);
            return Err(OpError::new(message).help("run the eval again with this version of luthflow"));
        }
        Ok(scores)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), OpError> {
        let path = dir.join(SCORES_FILE);
        let mut text = serde_json::to_string_pretty(self).map_err(|error| OpError::io(&path, error))?;
        text.push('\n');
        Ok(fs_err::write(path, text)?)
    }

    /// Returns `<task>.<metric>` and `<task>.<metric>_stderr` for every task.
    pub(super) fn metrics(&self) -> BTreeMap<String, f64> {
        let value = |score: &Score| (format!("{}.{}", score.name, score.metric), score.value);
        let stderr =
            |score: &Score| score.stderr.map(|stderr| (format!("{}.{}_stderr", score.name, score.metric), stderr));
        self.tasks.iter().map(value).chain(self.tasks.iter().filter_map(stderr)).collect()
    }
}
