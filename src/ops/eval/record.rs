//! `eval.json`: how a model was asked. The format is pure and stands with the judges, where the terminal finds it too.

use std::path::Path;

use super::OpError;
use crate::digest::Digest;
use crate::metrics::record::{FILE, VERSION};
use crate::spec::params::{EvalParams, Exit};

pub(in crate::ops) use crate::metrics::record::{EvalRecord, SAMPLES, TaskRecord as Task, samples_file};

impl EvalRecord {
    pub(super) fn new(params: &EvalParams, template: Option<String>, tasks: Vec<Task>) -> Self {
        Self {
            version: VERSION,
            program: format!("luthflow {}", env!("CARGO_PKG_VERSION")),
            profile: params.profile.word().to_owned(),
            system: params.system.clone(),
            thinking: params.thinking,
            exit: params.exit.and_then(Exit::layers),
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
