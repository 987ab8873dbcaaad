//! `eval.json`: how a model was asked, beside its scores. No time, no place: two equal evals write the same.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The name of the file in the artifact.
pub const FILE: &str = "eval.json";
/// The folder of the artifact with a file of rows for each task.
pub const SAMPLES: &str = "samples";
/// The version of the format.
pub const VERSION: u32 = 1;

/// How a model was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EvalRecord {
    /// The version of the format.
    pub version: u32,
    /// The program and its version.
    pub program: String,
    /// Whose habits were followed.
    pub profile: String,
    /// What the system says, where a pipeline says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Whether the model was to think first, where a pipeline says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thinking: Option<bool>,
    /// After how many layers the model stopped, where a pipeline says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<usize>,
    /// The digest of the model's chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Where randomness began.
    pub seed: u64,
    /// How often everything was asked.
    pub runs: usize,
    /// The tasks that were asked by row.
    pub tasks: Vec<TaskRecord>,
}

/// How a task was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskRecord {
    /// The name in tables, which is that of its file of rows too.
    pub name: String,
    /// The task of the list.
    pub task: String,
    /// Its language, where the pipeline says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// How many solved examples stood in front of each question.
    pub shots: usize,
    /// Only the first rows were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How many rows were there.
    pub rows: usize,
    /// Whether questions were put into the chat template.
    pub chat: bool,
    /// What the task asks.
    pub definition: Value,
}

impl EvalRecord {
    /// Reads what `eval.json` holds, or says what is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if record.version != VERSION {
            return Err(format!("it is of version {}, not {VERSION}", record.version));
        }
        Ok(record)
    }

    /// Returns how a task was asked.
    pub fn task(&self, name: &str) -> Option<&TaskRecord> {
        self.tasks.iter().find(|task| task.name == name)
    }
}

/// Returns the name of a task's file of rows in one run, counted from 0, below [`SAMPLES`].
pub fn samples_file(task: &str, run: usize) -> String {
    if run == 0 { format!("{task}.jsonl") } else { format!("{task}.run{}.jsonl", run + 1) }
}
