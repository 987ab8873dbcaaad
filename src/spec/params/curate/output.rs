//! How a curation writes its rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurateOutput {
    /// The files' format.
    #[serde(default)]
    pub format: OutputFormat,
    /// Bytes of rows (as JSON) after which `jsonl_zst` and `parquet` begin another file. `jsonl` is one file.
    #[serde(default = "shard_size")]
    pub shard_size: std::num::NonZeroU64,
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

fn shard_size() -> std::num::NonZeroU64 {
    const USUAL: std::num::NonZeroU64 = std::num::NonZeroU64::new(500_000_000).expect("a constant above 0");
    USUAL
}

impl Default for CurateOutput {
    fn default() -> Self {
        Self { format: OutputFormat::default(), shard_size: shard_size() }
    }
}

impl CurateOutput {
    /// Returns whether it is the usual one, which is not written into keys.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
