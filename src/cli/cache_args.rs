//! The arguments of `luthflow cache`, apart from the others for the length of the file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::commands::cache::units;

/// Arguments of `cache`.
#[derive(Debug, Args)]
pub(super) struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: CacheCommand,

    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// The commands below `cache`.
#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// List the results that are kept
    Ls,
    /// Say how much there is of everything, what is pinned, and what nothing needs
    Info {
        /// What these lockfiles hold is needed too
        #[arg(long, value_name = "FILE", num_args = 1..)]
        lock: Vec<PathBuf>,
    },
    /// Remove results that no lockfile, pin or running program needs
    Gc(GcArgs),
    /// Keep a result whatever happens
    Pin(PinArgs),
    /// Let go of a pinned result
    Unpin(PinArgs),
    /// Send results to a remote store
    Push(RemoteArgs),
    /// Bring results in from a remote store
    Pull(RemoteArgs),
    /// Read every byte again and compare it with its digest
    Verify,
    /// Rebuild the index from the results themselves
    Repair,
}

/// Arguments of `cache gc`.
#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Only say what would go
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Only what was not used for so long: `30d`, `12h`; also empties quarantine of what is older
    #[arg(long, value_name = "AGE", value_parser = units::age)]
    pub(super) older_than: Option<Duration>,

    /// Only until the results fit, the least recently used first: `50GB`, `500MiB`
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(super) max_size: Option<u64>,

    /// How many of the last runs to keep, with their logs
    #[arg(long, value_name = "N", default_value_t = crate::cache::RUNS_KEPT)]
    pub(super) keep_runs: usize,

    /// Keep what these lockfiles hold, beside those of every pipeline that ran over this cache
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(super) lock: Vec<PathBuf>,
}

/// Arguments of `cache pin` and `cache unpin`.
#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// A node as it ran last, or the first digits of its artifact or key
    #[arg(value_name = "NAME | DIGEST", required = true)]
    pub(super) names: Vec<String>,
}

/// Arguments of `cache push` and `cache pull`.
#[derive(Debug, Args)]
pub(super) struct RemoteArgs {
    /// The store: `file:///…`, `s3://bucket/prefix`, `gs://…`, `az://…`, `https://…`
    #[arg(long, env = "LUTHFLOW_REMOTE", value_name = "URL")]
    pub(super) remote: Option<String>,

    /// Nodes as they ran last, or first digits of artifacts or keys; to pull, whole keys; without any, everything
    #[arg(value_name = "NAME | DIGEST")]
    pub(super) names: Vec<String>,
}
