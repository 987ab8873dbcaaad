//! The command line as clap reads it. Nothing is resolved here.

use std::path::PathBuf;

use clap::builder::{FalseyValueParser, OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::cache_args::CacheArgs;
use super::data_args::DataArgs;
use super::eval_args::EvalArgs;
use super::report::CliError;
use super::speech::{ChatArgs, GenerateArgs};
use crate::tensor::DeviceChoice;

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
    Plan(PlanArgs),
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
    /// Copy a node's artifact into a folder, which is named last; a model gets its card
    Export(ExportArgs),
    /// Write the lockfile from what the cache holds, without running anything
    Lock(LockArgs),
    /// Compare the lockfile with the pipeline, the cache, a second execution and published figures
    Verify(VerifyArgs),
    /// Say how two lockfiles or runs differ
    Diff(DiffArgs),
    /// List the runs that were, the newest first
    Runs(RunsArgs),
    /// Print where an artifact comes from, up to the sources
    Provenance(ProvenanceArgs),
    /// Let a model go on from prompts
    Generate(GenerateArgs),
    /// Talk to a model
    Chat(ChatArgs),
    /// Merge models as a MergeKit configuration says, without a pipeline
    Merge(MergeArgs),
    /// Look after the cache
    Cache(CacheArgs),
    /// Look at the rows of a node
    Data(DataArgs),
    /// Score a model on tasks, without a pipeline; look at the scores and rows of evals
    Eval(Box<EvalArgs>),
    /// Print the JSON Schema of pipeline files
    Schema,
    /// Print shell completions
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Run one node for another luthflow process
    #[command(hide = true)]
    NodeWorker,
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

    /// Let parameters with several values move together: `lr,epochs`
    #[arg(long, value_name = "NAMES", help_heading = "Parameters")]
    pub(super) zip: Vec<String>,

    /// Leave out combinations: `method=linear,t=0.3`
    #[arg(long, value_name = "NAME=VALUE,…", help_heading = "Parameters")]
    pub(super) exclude: Vec<String>,

    /// Take the parameters and sweeps of a profile
    #[arg(long, value_name = "NAME", env = "LUTHFLOW_PROFILE", help_heading = "Parameters")]
    pub(super) profile: Option<String>,

    /// The pipeline file, then the nodes: `sft`, `merged`, `merged[t=0.5]`
    #[arg(value_name = "PIPELINE | NODE")]
    pub(super) names: Vec<String>,
}

impl PipelineArgs {
    /// Returns the words that change what the pipeline means.
    pub(super) fn settings(&self) -> Vec<String> {
        let flags =
            [("--set", &self.set), ("--sweep", &self.sweep), ("--zip", &self.zip), ("--exclude", &self.exclude)];
        let words =
            flags.into_iter().flat_map(|(flag, values)| values.iter().map(move |value| format!("{flag} {value}")));
        words.chain(self.profile.iter().map(|profile| format!("--profile {profile}"))).collect()
    }

    /// Says whether parameters come from the command line, which the lockfile knows nothing of.
    pub(super) fn change_parameters(&self) -> bool {
        !(self.set.is_empty() && self.sweep.is_empty() && self.zip.is_empty() && self.exclude.is_empty())
    }
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each one is a flag of its own on the command line")]
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

    /// What nodes may have of this machine [default: all of it]: `gpu=1,memory=16GB,cpu=8`
    #[arg(long, value_name = "SLOTS")]
    pub(super) slots: Option<String>,

    /// Take results from this remote store that are not here, rather than make them
    #[arg(long, value_name = "URL", env = "LUTHFLOW_REMOTE")]
    pub(super) remote: Option<String>,

    /// Try a node that failed so often again, each time after twice as long a wait
    #[arg(long, value_name = "N")]
    pub(super) retries: Option<u32>,

    /// End a try of a node that takes longer: `90s`, `15m`, `2h`
    #[arg(long, value_name = "TIME", value_parser = crate::spec::execution::duration)]
    pub(super) timeout: Option<std::time::Duration>,

    /// Say what would run, and why, and run nothing: the same as `plan`
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,

    /// Go on watching the files that the pipeline is made from, and run again when one changes
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(super) watch: bool,

    /// How many threads all nodes together use [default: one for every core]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,

    #[command(flatten)]
    pub(super) device: DeviceArg,

    /// Refuse to run anything that would differ from the lockfile, and never write it
    #[arg(long, env = "LUTHFLOW_LOCKED", value_parser = FalseyValueParser::new())]
    pub(super) locked: bool,

    /// As `--locked`, and fetch nothing over the network
    #[arg(long, env = "LUTHFLOW_FROZEN", value_parser = FalseyValueParser::new())]
    pub(super) frozen: bool,

    /// Ask the hub anew which commit a branch or a tag of a source is, and write that into the lockfile
    #[arg(long, conflicts_with_all = ["locked", "frozen"])]
    pub(super) update: bool,

    /// Print one JSON event a line
    #[arg(long)]
    pub(super) json: bool,
}

impl RunArgs {
    /// Says whether the run must agree with the lockfile.
    pub(super) fn is_locked(&self) -> bool {
        self.locked || self.frozen
    }
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

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// What to look at.
    #[command(flatten)]
    pub(super) look: LookArgs,

    /// Say what it would cost: operations, tokens, disk, memory and hours of each node
    #[arg(long)]
    pub(super) estimate: bool,

    /// The device of the estimate: `h100`, `a100`, `4090`, `m3-max`, or `this`, which is measured [default: this]
    #[arg(long, value_name = "DEVICE", requires = "estimate")]
    pub(super) device: Option<String>,

    /// How fast downloads are, for the estimate: `1Gbit`, `50MB`
    #[arg(long, value_name = "SPEED", requires = "estimate")]
    pub(super) bandwidth: Option<String>,
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

/// Arguments of `lock`.
#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// Which pipeline.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// Write nothing, and exit with 3 if the lockfile would change
    #[arg(long)]
    pub(super) check: bool,

    /// Merge two lockfiles node by node into OURS, as a merge driver of git
    #[arg(long, num_args = 3, value_names = ["BASE", "OURS", "THEIRS"], conflicts_with_all = ["check", "pipeline", "names"])]
    pub(super) merge: Vec<PathBuf>,

    /// Refused unless with `--check`: the lockfile must stay as it is
    #[arg(long, env = "LUTHFLOW_LOCKED", hide = true, value_parser = FalseyValueParser::new())]
    pub(super) locked: bool,

    /// Refused unless with `--check`: the lockfile must stay as it is
    #[arg(long, env = "LUTHFLOW_FROZEN", hide = true, value_parser = FalseyValueParser::new())]
    pub(super) frozen: bool,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Which pipeline and which nodes, with all they are made from; without nodes, all of them.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// Execute nodes again, compare what they give, and keep nothing of it: `all`, so many, or a node
    #[arg(long, value_name = "all | N | NODE")]
    pub(super) rerun: Vec<String>,

    /// By how much a metric may differ: `scores.acc=0.01`, `*.acc=0.01`
    #[arg(long, value_name = "METRIC=ABS")]
    pub(super) tolerance: Vec<String>,

    /// How many threads `--rerun` uses [default: one for every core]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,

    #[command(flatten)]
    pub(super) device: DeviceArg,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What to compute on.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct DeviceArg {
    /// What to compute on: `auto`, `cpu`, `cuda:N` or `metal`
    #[arg(long, value_name = "DEVICE", env = "LUTHFLOW_DEVICE", default_value_t)]
    device: DeviceChoice,
}

impl DeviceArg {
    /// Returns the device, unless this program can never use it.
    pub(super) fn checked(self) -> Result<DeviceChoice, CliError> {
        self.device.check().map_err(|error| {
            let help = error.help().unwrap_or_default().to_owned();
            CliError::user(error.to_string()).help(help)
        })?;
        Ok(self.device)
    }
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
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = crate::spec::execution::memory)]
    pub(super) shard_size: u64,
    /// Compute in single precision throughout, where MergeKit rounds after every operation
    #[arg(long)]
    pub(super) high_precision: bool,
    /// The release of MergeKit whose arithmetic `linear` and `slerp` have: `0.1.5` or `0.1.4`
    #[arg(long, value_name = "RELEASE", default_value = "0.1.5", value_parser = ["0.1.4", "0.1.5"])]
    pub(super) compat: String,
    /// How many threads to use [default: one for every core]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
    #[command(flatten)]
    pub(super) device: DeviceArg,
    /// Print one JSON event a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `diff`.
#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The first lockfile, or the id of a run
    #[arg(value_name = "A")]
    pub(super) old: String,

    /// The second one
    #[arg(value_name = "B")]
    pub(super) new: String,

    /// Print JSON
    #[arg(long, conflicts_with = "md")]
    pub(super) json: bool,

    /// Print Markdown, for a pull request
    #[arg(long)]
    pub(super) md: bool,
}

/// Arguments of `runs`.
#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    /// List at most so many
    #[arg(short, long, default_value_t = 20, value_name = "N")]
    pub(super) limit: usize,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `provenance`.
#[derive(Debug, Args)]
pub(super) struct ProvenanceArgs {
    /// Which pipeline and which node.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// The format
    #[arg(long, default_value = "prov", value_name = "FORMAT")]
    pub(super) format: ProvenanceFormat,
}

/// A format for provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProvenanceFormat {
    /// W3C PROV-JSON.
    Prov,
    /// An in-toto Statement with SLSA provenance.
    Slsa,
}
