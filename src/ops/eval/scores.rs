//! `scores.json` in an artifact, and the scores of the two tasks that are written out in a pipeline.

use std::path::Path;

use super::OpError;
use crate::metrics::statistics::Estimate;
use crate::spec::params::MetricName;

pub(in crate::ops) use crate::metrics::scores::{Score, Scores};

/// The name of the file in the artifact.
pub(super) const SCORES_FILE: &str = "scores.json";

/// The largest score table that is read, in bytes.
const MAX_SIZE: u64 = 64 << 20;

impl Score {
    pub(super) fn bits_per_byte(name: &str, estimate: Estimate, n: usize) -> Self {
        Self {
            name: name.to_owned(),
            kind: "bits_per_byte".to_owned(),
            metric: MetricName::BitsPerByte.word().to_owned(),
            value: estimate.mean,
            stderr: known(estimate.error),
            n,
            unit: "bits per byte".to_owned(),
            higher_is_better: false,
            ..Self::default()
        }
    }

    pub(super) fn accuracy(name: &str, estimate: Estimate, n: usize) -> Self {
        Self {
            name: name.to_owned(),
            kind: "minimal_pairs".to_owned(),
            metric: MetricName::Acc.word().to_owned(),
            value: estimate.mean,
            stderr: known(estimate.error),
            n,
            unit: "share of pairs".to_owned(),
            higher_is_better: true,
            ..Self::default()
        }
    }
}

/// What is no number is not written.
pub(super) fn known(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

impl Scores {
    /// Reads the scores in an artifact.
    pub(in crate::ops) fn read(dir: &Path) -> Result<Self, OpError> {
        let path = dir.join(SCORES_FILE);
        let size = fs_err::metadata(&path)?.len();
        if size > MAX_SIZE {
            return Err(OpError::new(format!("{} is too large for a score table: {size} bytes", path.display())));
        }
        Self::parse(&fs_err::read(&path)?).map_err(|why| {
            let message = format!("{} is no score table: {why}", path.display());
            OpError::new(message).help("run the eval again with this version of luthflow")
        })
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), OpError> {
        let path = dir.join(SCORES_FILE);
        let mut text = serde_json::to_string_pretty(self).map_err(|error| OpError::io(&path, error))?;
        text.push('\n');
        Ok(fs_err::write(path, text)?)
    }
}
