//! `luthflow eval samples NODE`: the rows of an eval, on the terminal, for programs, or as a page.

use serde_json::{Value, json};

use super::ask::write;
use super::evaluated::Evaluated;
use super::row::Shown;
use crate::cli::args::Cli;
use crate::cli::eval_args::SamplesArgs;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::report::CliError;
use crate::metrics::samples::Sampled;
use crate::metrics::verdict::{Verdict, deciding, verdict};
use crate::metrics::viewer;

/// How many rows of a task are shown on the terminal.
const SHOWN: usize = 5;

pub(super) fn run(args: &SamplesArgs, cli: &Cli) -> Result<Exit, CliError> {
    let eval = Evaluated::find(&args.pipeline, cli)?;
    if let Some(file) = &args.html {
        write(file, &page(&eval, args.task.as_deref(), &|verdict| wanted(args, verdict))?)?;
        return Ok(Exit::Success);
    }
    let mut found = 0;
    for task in eval.tasks(args.task.as_deref())? {
        found += show_task(&eval, &task, args)?;
    }
    match (found, args.row) {
        (0, Some(row)) => {
            let help = "rows are counted from 1; an eval with `limit` has only the first";
            Err(CliError::user(format!("`{}` has no row {row}", eval.name)).help(help))
        }
        (0, None) => {
            output::say("there is no such row");
            Ok(Exit::Success)
        }
        _ => Ok(Exit::Success),
    }
}

/// Shows rows of one task; returns how many.
fn show_task(eval: &Evaluated, task: &str, args: &SamplesArgs) -> Result<usize, CliError> {
    let rows = eval.rows(task)?;
    let several = rows.runs.len() > 1;
    let most = args.limit.unwrap_or(if args.json || args.row.is_some() { usize::MAX } else { SHOWN });
    let mut found = 0;
    for (run, sampled) in rows.runs.iter().enumerate() {
        let deciding = deciding(&eval.scores, task, sampled);
        for row in sampled {
            let verdict = deciding.and_then(|score| verdict(row, score));
            let is_row = args.row.is_none_or(|wanted| wanted == row.row + 1);
            if !is_row || !wanted(args, verdict) {
                continue;
            }
            found += 1;
            if found > most {
                continue;
            }
            if args.json {
                output::data(&as_json(task, run + 1, verdict, row)?.to_string())?;
            } else {
                let run = several.then_some(run + 1);
                Shown { task, run, verdict, whole: args.row.is_some(), row }.print()?;
                output::data("")?;
            }
        }
    }
    if found > most {
        output::say(&format!("{task}: {} more rows; --limit shows more, --html FILE makes a page", found - most));
    }
    Ok(found)
}

fn wanted(args: &SamplesArgs, verdict: Option<Verdict>) -> bool {
    match verdict {
        Some(Verdict::Right) => !args.wrong,
        Some(_) => !args.right,
        None => !args.right && !args.wrong,
    }
}

fn as_json(task: &str, run: usize, verdict: Option<Verdict>, row: &Sampled) -> Result<Value, CliError> {
    let mut line = json!({"task": task, "run": run, "verdict": verdict});
    let row = serde_json::to_value(row).map_err(std::io::Error::from)?;
    if let (Some(line), Value::Object(row)) = (line.as_object_mut(), row) {
        line.extend(row);
    }
    Ok(line)
}

/// Returns the page of all rows that are to be kept.
pub(super) fn page(
    eval: &Evaluated,
    task: Option<&str>,
    keep: &dyn Fn(Option<Verdict>) -> bool,
) -> Result<String, CliError> {
    let tasks = eval.tasks(task)?.iter().map(|task| eval.rows(task)).collect::<Result<Vec<_>, _>>()?;
    let about = eval.asked().unwrap_or_default();
    Ok(viewer::render(&eval.name, &about, &eval.scores, &tasks, keep).map_err(std::io::Error::from)?)
}
