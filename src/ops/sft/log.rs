//! The logs of a training: a line a step, a line an evaluation, with nothing in them that differs between equal runs.
//!
//! Each line is written through at once, so that the file can be watched.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ops::OpError;

const LOSS: &str = "loss.jsonl";
const EVALUATIONS: &str = "eval.jsonl";

/// The logs of a training.
pub(super) struct Logs {
    folder: PathBuf,
    loss: fs_err::File,
    /// Only there if something is evaluated.
    evaluations: Option<fs_err::File>,
}

impl Logs {
    /// Begins the logs in a folder, or goes on with those in another one.
    pub(super) fn begin(folder: &Path, evaluates: bool, before: Option<&Path>) -> Result<Self, OpError> {
        fs_err::create_dir_all(folder)?;
        let open = |name: &str| {
            let mut file = fs_err::File::create(folder.join(name))?;
            if let Some(before) = before {
                file.write_all(&fs_err::read(before.join(name))?)?;
            }
            Ok::<_, OpError>(file)
        };
        let evaluations = if evaluates { Some(open(EVALUATIONS)?) } else { None };
        Ok(Self { folder: folder.to_owned(), loss: open(LOSS)?, evaluations })
    }

    /// Returns the files.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let evaluations = self.evaluations.is_some().then_some(EVALUATIONS);
        std::iter::once(LOSS).chain(evaluations).map(|name| self.folder.join(name)).collect()
    }

    /// Adds the line of a step.
    pub(super) fn step(&mut self, line: &Value) -> Result<(), OpError> {
        Ok(self.loss.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Adds the line of an evaluation.
    pub(super) fn evaluation(&mut self, line: &Value) -> Result<(), OpError> {
        match &mut self.evaluations {
            Some(file) => Ok(file.write_all(format!("{line}\n").as_bytes())?),
            None => Ok(()),
        }
    }
}
