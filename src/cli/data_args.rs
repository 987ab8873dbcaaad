//! Arguments of `luthflow data`.

use clap::{Args, Subcommand};

use super::args::PipelineArgs;

/// Arguments of `data`.
#[derive(Debug, Args)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    pub(super) command: DataCommand,
}

/// What to do with rows.
#[derive(Debug, Subcommand)]
pub(super) enum DataCommand {
    /// Show the first rows of a node
    Head(RowsArgs),
    /// Show some rows of a node, drawn by chance
    Sample(RowsArgs),
    /// Count the rows, columns, messages and characters of a node
    Stats(StatsArgs),
    /// Show which rows two nodes do not share: the node before, then the node after
    Diff(RowsArgs),
}

/// Arguments of commands that show rows.
#[derive(Debug, Args)]
pub(super) struct RowsArgs {
    /// Which pipeline and which node.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// How many rows to show
    #[arg(short = 'n', long, default_value_t = 5, value_name = "N")]
    pub(super) rows: usize,

    /// What decides which rows are drawn
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) seed: u64,

    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `data stats`.
#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// Which pipeline and which node.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}
