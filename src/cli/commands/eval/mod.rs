//! `luthflow eval`: a model scored without a pipeline, and the scores and rows of evals to look at.

mod ask;
mod compare;
mod evaluated;
mod pipeline;
mod row;
mod samples;
mod show;
mod table;
mod tasks;
mod wrap;

use crate::cli::args::Cli;
use crate::cli::eval_args::{EvalArgs, EvalCommand};
use crate::cli::exit::Exit;
use crate::cli::report::CliError;

/// The version of what `--json` prints.
const JSON_VERSION: u32 = 1;

pub(in crate::cli) fn run(args: &EvalArgs, cli: &Cli) -> Result<Exit, CliError> {
    match &args.command {
        None => ask::run(&args.ask, cli),
        Some(EvalCommand::Tasks(args)) => tasks::run(args),
        Some(EvalCommand::Show(args)) => show::run(args, cli),
        Some(EvalCommand::Compare(args)) => compare::run(args, cli),
        Some(EvalCommand::Samples(args)) => samples::run(args, cli),
    }
}
