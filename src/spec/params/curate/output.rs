//! How a curation writes its rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurateOutput {
    /// The files' format.
    #[serde(default)]
    pub format: OutputFormat,
    /// Rows in a file; all in one when left out.
    #[serde(default)]
    pub rows_per_file: Option<std::num::NonZeroU64>,
}

/// A format that rows are written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputFormat {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// As `jsonl`, compressed with zstd.
    JsonlZst,
    /// Parquet, compressed with zstd.
    Parquet,
}

impl CurateOutput {
    /// Returns whether it is the usual one, which is not written into keys.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
