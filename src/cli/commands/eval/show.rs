//! `luthflow eval show NODE`: the scores of an eval.

use console::style;
use serde_json::{Value, json};

use super::evaluated::Evaluated;
use super::{JSON_VERSION, table};
use crate::cli::args::Cli;
use crate::cli::eval_args::ShowArgs;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::report::CliError;

pub(super) fn run(args: &ShowArgs, cli: &Cli) -> Result<Exit, CliError> {
    let eval = Evaluated::find(&args.pipeline, cli)?;
    if args.json {
        output::json(&as_json(&eval))?;
        return Ok(Exit::Success);
    }
    table::scores(&eval.scores.tasks, false)?;
    let groups = &eval.scores.groups;
    if args.groups && !groups.is_empty() {
        output::data("")?;
        table::scores(groups, true)?;
    } else if args.groups {
        output::say("no task has groups");
    }
    if let Some(asked) = eval.asked() {
        output::data(&style(asked).dim().to_string())?;
    }
    Ok(Exit::Success)
}

/// Returns an eval as programs read it.
pub(super) fn as_json(eval: &Evaluated) -> Value {
    json!({
        "version": JSON_VERSION,
        "name": eval.name,
        "tasks": eval.scores.tasks,
        "groups": eval.scores.groups,
        "asked": eval.record,
    })
}
