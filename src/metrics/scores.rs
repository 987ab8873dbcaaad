//! `scores.json`: what an eval leaves for the report, and for anybody else. Reading and writing files is the node's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the format that is written and read. Fields that came later are optional.
const VERSION: u32 = 1;

/// The scores of one model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scores {
    version: u32,
    /// Of each task its scores; the first of a task is the one that tables show.
    pub tasks: Vec<Score>,
    /// The same for each group of rows, where a task has groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Score>,
}

/// A score on one task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// What the pipeline calls the task.
    pub name: String,
    /// What the task is: one of the list, `bits_per_byte`, `minimal_pairs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The group of rows that were scored; all of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What the value is called: `bits_per_byte`, `acc`.
    pub metric: String,
    /// The score.
    pub value: f64,
    /// Its standard error. Absent where a single row says nothing about the spread.
    pub stderr: Option<f64>,
    /// What holds the true value 95 times of 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// How many rows were scored.
    pub n: usize,
    /// How many clusters of rows the standard error rests on, where rows are not independent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<usize>,
    /// The value in each run, where there were several. All of them together are `value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<f64>,
    /// The standard deviation over the runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub std: Option<f64>,
    /// What is counted.
    pub unit: String,
    /// Whether more is better.
    pub higher_is_better: bool,
}

impl Scores {
    /// Puts scores together; those of groups stand apart.
    pub fn new(scores: Vec<Score>) -> Self {
        let (groups, tasks) = scores.into_iter().partition(|score| score.group.is_some());
        Self { version: VERSION, tasks, groups }
    }

    /// Reads what `scores.json` holds, or says what is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let scores: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if scores.version != VERSION {
            return Err(format!("it is of version {}, not {VERSION}", scores.version));
        }
        Ok(scores)
    }

    /// Returns `<task>.<metric>` and `<task>.<metric>_stderr` for every task. Groups are left out: a task may have many.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let value = |score: &Score| (format!("{}.{}", score.name, score.metric), score.value);
        let stderr =
            |score: &Score| score.stderr.map(|stderr| (format!("{}.{}_stderr", score.name, score.metric), stderr));
        self.tasks.iter().map(value).chain(self.tasks.iter().filter_map(stderr)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_before_are_read() {
        let old = br#"{"version": 1, "tasks": [{"name": "fr", "type": "bits_per_byte", "metric": "bits_per_byte",
            "value": 1.5, "stderr": null, "n": 3, "unit": "bits per byte", "higher_is_better": false}]}"#;
        let scores = Scores::parse(old).unwrap();
        assert_eq!((scores.tasks[0].n, scores.tasks[0].interval, scores.groups.len()), (3, None, 0));
        let again = serde_json::to_string(&scores).unwrap();
        for later in ["group", "interval", "clusters", "runs", "std"] {
            assert!(!again.contains(&format!("\"{later}\"")), "{again}");
        }
        assert!(Scores::parse(br#"{"version": 2, "tasks": []}"#).unwrap_err().contains("version 2"));
    }

    #[test]
    fn groups_stand_apart() {
        let score = |group: Option<&str>| Score {
            name: "mmlu".into(),
            metric: "acc".into(),
            group: group.map(str::to_owned),
            ..Score::default()
        };
        let scores = Scores::new(vec![score(None), score(Some("law"))]);
        assert_eq!((scores.tasks.len(), scores.groups.len()), (1, 1));
        assert_eq!(scores.metrics().into_keys().collect::<Vec<_>>(), ["mmlu.acc"]);
    }
}
