//! `eval.json`: how a model was asked, beside its scores. No time, no place: two equal evals write the same.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OpError;
use crate::digest::Digest;
use crate::spec::params::EvalParams;

/// The name of the file in the artifact.
pub(in crate::ops) const FILE: &str = "eval.json";
/// The folder of the artifact with a file of rows for each task.
pub(in crate::ops) const SAMPLES: &str = "samples";
/// The version of the format.
const VERSION: u32 = 1;

/// How a model was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ops) struct EvalRecord {
    version: u32,
    /// The program and its version.
    pub(in crate::ops) program: String,
    pub(in crate::ops) profile: String,
    /// What the system says, where a pipeline says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ops) system: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ops) thinking: Option<bool>,
    /// The digest of the model's chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ops) chat_template: Option<String>,
    pub(in crate::ops) seed: u64,
    pub(in crate::ops) runs: usize,
    pub(in crate::ops) tasks: Vec<Task>,
}

/// How a task was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::ops) struct Task {
    /// The name in tables, which is that of its file of rows too.
    pub(in crate::ops) name: String,
    /// The task of the list.
    pub(in crate::ops) task: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ops) language: Option<String>,
    pub(in crate::ops) shots: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::ops) limit: Option<usize>,
    /// How many rows were there.
    pub(in crate::ops) rows: usize,
    /// Whether questions were put into the chat template.
    pub(in crate::ops) chat: bool,
    /// What the task asks.
    pub(in crate::ops) definition: Value,
}

impl EvalRecord {
    pub(super) fn new(params: &EvalParams, template: Option<String>, tasks: Vec<Task>) -> Self {
        Self {
            version: VERSION,
            program: format!("luthflow {}", env!("CARGO_PKG_VERSION")),
            profile: params.profile.word().to_owned(),
            system: params.system.clone(),
            thinking: params.thinking,
            chat_template: template.map(|template| Digest::of(template.as_bytes()).to_string()),
            seed: params.seed,
            runs: params.runs,
            tasks,
        }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), OpError> {
        let path = dir.join(FILE);
        let mut text = serde_json::to_string_pretty(self).map_err(|error| OpError::io(&path, error))?;
        text.push('\n');
        Ok(fs_err::write(path, text)?)
    }
}
