//! Arguments of `luthflow eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::args::{DeviceArg, PipelineArgs};

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct EvalArgs {
    #[command(subcommand)]
    pub(super) command: Option<EvalCommand>,

    #[command(flatten)]
    pub(super) ask: AskArgs,
}

/// What to do with evals.
#[derive(Debug, Subcommand)]
pub(super) enum EvalCommand {
    /// List the tasks that there are, or print one as a task file
    Tasks(TasksArgs),
    /// Show the scores of an eval
    Show(ShowArgs),
    /// Compare two evals row by row: the first, then the second
    Compare(CompareArgs),
    /// Read what was asked, what the model answered, and what that is worth
    Samples(SamplesArgs),
}

/// Arguments of `eval` itself: a model and tasks, without a pipeline.
#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// The model: a folder, a GGUF file, or `hf://OWNER/NAME@REVISION`
    #[arg(long, value_name = "MODEL", required = true)]
    pub(super) model: Option<String>,

    /// The tasks, by name (`luthflow eval tasks`) or as task files: `arc-challenge-fr,own.yaml`
    #[arg(long, value_name = "TASKS", value_delimiter = ',', required = true)]
    pub(super) tasks: Vec<String>,

    /// Ask only the first rows of each task
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,

    /// How many solved examples stand in front of each question [default: as each task says]
    #[arg(long, value_name = "N")]
    pub(super) shots: Option<usize>,

    /// Whose habits are followed: prompts, tokens and judgements
    #[arg(long, value_name = "PROFILE", default_value = "native")]
    pub(super) profile: ProfileArg,

    /// Whether questions are put into the chat template of the model [default: by the profile]
    #[arg(long, value_name = "BOOL")]
    pub(super) chat_template: Option<bool>,

    /// What the system says in a chat [default: by the profile]
    #[arg(long, value_name = "TEXT")]
    pub(super) system: Option<String>,

    /// Whether the model may think before it answers, for templates that know `enable_thinking`
    #[arg(long, value_name = "BOOL")]
    pub(super) thinking: Option<bool>,

    /// The most tokens of an answer [default: as each task says]
    #[arg(long, value_name = "N")]
    pub(super) max_tokens: Option<usize>,

    /// Where randomness begins
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,

    /// How often everything is asked, each time with the next seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) runs: usize,

    /// How many answers the model writes at once; decides no score
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(super) batch: usize,

    /// The rows of a task, from a file instead of the hub
    #[arg(long, value_name = "TASK=FILE", help_heading = "Rows")]
    pub(super) data: Vec<String>,

    /// The rows that solved examples are taken from
    #[arg(long, value_name = "TASK=FILE", help_heading = "Rows")]
    pub(super) examples: Vec<String>,

    #[command(flatten)]
    pub(super) device: DeviceArg,

    /// How many threads to use [default: one for every core]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,

    /// Write the scores in the layout of lm-evaluation-harness
    #[arg(long, value_name = "FILE", help_heading = "What is written")]
    pub(super) output: Option<PathBuf>,

    /// Write `samples_<task>.jsonl` in the layout of lm-evaluation-harness
    #[arg(long, value_name = "DIR", help_heading = "What is written")]
    pub(super) samples: Option<PathBuf>,

    /// Write a page to read all rows
    #[arg(long, value_name = "FILE", help_heading = "What is written")]
    pub(super) html: Option<PathBuf>,

    /// Copy the eval into a new folder, which `show`, `compare` and `samples` take for a node
    #[arg(long, value_name = "DIR", help_heading = "What is written")]
    pub(super) keep: Option<PathBuf>,

    /// Print JSON
    #[arg(long, help_heading = "What is written")]
    pub(super) json: bool,
}

/// Whose habits an eval follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ProfileArg {
    /// What a reader would accept, and what the model was made for.
    Native,
    /// lighteval 0.10.0 as Luth ran it.
    Luth,
    /// lm-evaluation-harness.
    LmEval,
}

impl ProfileArg {
    /// Returns the word that a pipeline has for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Luth => "luth",
            Self::LmEval => "lm-eval",
        }
    }
}

/// Arguments of `eval tasks`.
#[derive(Debug, Args)]
pub(super) struct TasksArgs {
    /// The task to print, with its language if it has several: `arc-challenge-fr`
    #[arg(value_name = "NAME")]
    pub(super) name: Option<String>,

    /// By whose habits the task is printed
    #[arg(long, value_name = "PROFILE", default_value = "native", requires = "name")]
    pub(super) profile: ProfileArg,

    /// The language of the task
    #[arg(long, value_name = "CODE", requires = "name")]
    pub(super) language: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `eval show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Which pipeline and which node, or the folder of an eval.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// Show the scores of the groups of rows too
    #[arg(long)]
    pub(super) groups: bool,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `eval compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Which pipeline and which two nodes, or folders of evals.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// Compare only this task
    #[arg(long, value_name = "TASK")]
    pub(super) task: Option<String>,

    /// Compare by this score [default: the first of each task that rows have]
    #[arg(long, value_name = "METRIC")]
    pub(super) metric: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `eval samples`.
#[derive(Debug, Args)]
pub(super) struct SamplesArgs {
    /// Which pipeline and which node, or the folder of an eval.
    #[command(flatten)]
    pub(super) pipeline: PipelineArgs,

    /// Only rows of this task
    #[arg(long, value_name = "TASK")]
    pub(super) task: Option<String>,

    /// Only this row of the data, counted from 1, with all of its prompt
    #[arg(long, value_name = "N", conflicts_with_all = ["wrong", "right"])]
    pub(super) row: Option<usize>,

    /// Only rows that are not right
    #[arg(long, conflicts_with = "right")]
    pub(super) wrong: bool,

    /// Only rows that are right
    #[arg(long)]
    pub(super) right: bool,

    /// Show at most so many rows of each task [default: 5; all of them with --json and --html]
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) limit: Option<usize>,

    /// Print one JSON object a line
    #[arg(long, conflicts_with = "html")]
    pub(super) json: bool,

    /// Write a page to read the rows
    #[arg(long, value_name = "FILE", conflicts_with_all = ["row", "limit"])]
    pub(super) html: Option<PathBuf>,
}
