//! The command line as clap reads it. Nothing is resolved here.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// A build system for language-model post-training: data curation, SFT, merge and eval as one cached graph.
#[derive(Debug, Parser)]
#[command(name = "luthflow", version, about, max_term_width = 100, after_help = EXIT_CODES)]
pub(super) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,

    /// Where results are kept.
    #[arg(long, global = true, env = "LUTHFLOW_CACHE_DIR", default_value = "cache", value_name = "DIR", value_parser = folder())]
    pub(super) cache_dir: PathBuf,

    /// When to use colour.
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub(super) color: ColorChoice,
}

/// Reads a folder; an empty environment variable counts as none.
fn folder() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(|name| if name.is_empty() { PathBuf::from("cache") } else { PathBuf::from(name) })
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a node failed, 2 a mistake in the pipeline or the arguments, \
3 something differs from the lockfile or the cache is damaged, 70 luthflow itself cannot go on, 130 interrupted.";

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run what is stale
    Run(RunArgs),
    /// Say what would run, and why
    Plan(LookArgs),
    /// Look for mistakes in a pipeline file
    Check(PipelineArgs),
    /// Say in a few lines how things stand
    Status(LookArgs),
    /// Print the graph as DOT or Mermaid
    Graph(GraphArgs),
    /// Show a node: its state, key, artifact and metrics
    Show(LookArgs),
    /// Say why a node is fresh or stale, and what its key is made of
    Explain(LookArgs),
    /// Print what a node wrote when it last ran
    Log(LookArgs),
    /// Copy a node's artifact into a folder, which is named last
    Export(ExportArgs),
    /// Merge models as a MergeKit configuration says, without a pipeline
    Merge(MergeArgs),
    /// Look after the cache
    Cache(CacheArgs),
    /// Print the JSON Schema of pipeline files
    Schema,
    /// Print shell completions
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Run one node for another luthflow process
    #[command(hide = true)]
    NodeWorker {
        /// The request file.
        request: PathBuf,
    },
}

/// Which pipeline, and with which parameters.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct PipelineArgs {
    /// The pipeline file, if not the first argument: else `pipeline.yaml`, else the one that ran last
    #[arg(short, long, value_name = "FILE")]
    pub(super) pipeline: Option<PathBuf>,

    /// Give a parameter another value
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Parameters")]
    pub(super) set: Vec<String>,

    /// Give a parameter several values: `t=0,0.5,1` or `t=0:1:0.25`
    #[arg(long, value_name = "NAME=VALUES", help_heading = "Parameters")]
    pub(super) sweep: Vec<String>,

    /// The pipeline file, then the nodes: `sft`, `merged`, `merged[t=0.5]`
    #[arg(value_name = "PIPELINE | NODE")]
    pub(super) names: Vec<String>,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Which pipeline and which nodes; without nodes, all of them.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// Run this node even if it is fresh
    #[arg(short, long, value_name = "NODE")]
    pub(super) force: Vec<String>,

    /// Go on with the nodes that do not depend on a failed one
    #[arg(short, long)]
    pub(super) keep_going: bool,

    /// How many nodes may run at once [default: 2, or 1 on a single core]
    #[arg(short, long, value_name = "N")]
    pub(super) jobs: Option<usize>,

    /// How many threads all nodes together use [default: one for every core]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,

    /// Refuse to run anything that would differ from the lockfile, and never write it
    #[arg(long)]
    pub(super) locked: bool,

    /// Print one JSON event a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of commands that look at a plan or a node.
#[derive(Debug, Args)]
pub(super) struct LookArgs {
    /// Which pipeline and which nodes.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `graph`.
#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    /// Which pipeline.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// The language of the graph
    #[arg(long, default_value = "dot", value_name = "FORMAT")]
    pub(super) format: GraphFormat,
}

/// A language for graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum GraphFormat {
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Which pipeline and which node; the last name is the folder.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,
}

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// The MergeKit configuration; models are folders, from here or from beside the file
    #[arg(value_name = "CONFIG")]
    pub(super) config: PathBuf,

    /// The folder for the merged model, empty or not there yet
    #[arg(value_name = "OUT_DIR")]
    pub(super) out: PathBuf,

    /// Where the random methods begin
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(super) seed: u32,

    /// The most bytes of weights in one file: `5GB`, `200MB`
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = bytes)]
    pub(super) shard_size: u64,

    /// Compute in single precision throughout, where MergeKit rounds after every operation
    #[arg(long)]
    pub(super) high_precision: bool,

    /// How many threads to use [default: one for every core]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,

    /// Print one JSON event a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Reads a number of bytes: `5GB`, `1.5G`, `200000`. Units are powers of ten.
fn bytes(text: &str) -> Result<u64, String> {
    let upper = text.trim().to_ascii_uppercase();
    let plain = upper.strip_suffix('B').unwrap_or(&upper);
    let (number, unit) = match plain.chars().last() {
        Some('K') => (&plain[..plain.len() - 1], 1e3),
        Some('M') => (&plain[..plain.len() - 1], 1e6),
        Some('G') => (&plain[..plain.len() - 1], 1e9),
        _ => (plain, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number * unit >= 1.0 && number * unit < 1e18 => Ok((number * unit) as u64),
        _ => Err("write a size such as `5GB` or `200MB`".to_owned()),
    }
}

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
    /// Read every byte again and compare it with its digest
    Verify,
    /// Rebuild the index from the results themselves
    Repair,
}
