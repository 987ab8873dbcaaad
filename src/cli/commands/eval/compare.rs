//! `luthflow eval compare A B`: two evals on the rows that both were asked, which cancels out how hard a row is.

use console::style;
use serde_json::{Value, json};

use super::JSON_VERSION;
use super::evaluated::Evaluated;
use crate::cli::args::Cli;
use crate::cli::commands::data::{clean, is_file};
use crate::cli::eval_args::CompareArgs;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::report::CliError;
use crate::metrics::compare::{Compared, compare};
use crate::metrics::samples::Sampled;
use crate::metrics::verdict::deciding;
use crate::spec::suggest;

pub(super) fn run(args: &CompareArgs, cli: &Cli) -> Result<Exit, CliError> {
    let (first, second) = both(args, cli)?;
    let names = common(&first, &second, args.task.as_deref())?;
    let mut compared = Vec::new();
    for name in names {
        let (one, two) = (rows(&first, &name)?, rows(&second, &name)?);
        let metric = metric(&first, &name, &one, args.metric.as_deref())?;
        let result = compare(&one, &two, &metric);
        compared.push((result.map_err(|error| CliError::user(format!("the task `{name}`: {error}")))?, name));
    }
    if args.json {
        let tasks: Vec<Value> = compared
            .iter()
            .map(|(compared, task)| {
                let mut line = json!({"task": task});
                if let (Some(line), Ok(Value::Object(fields))) = (line.as_object_mut(), serde_json::to_value(compared))
                {
                    line.extend(fields);
                }
                line
            })
            .collect();
        let all = json!({"version": JSON_VERSION, "first": first.name, "second": second.name, "tasks": tasks});
        output::json(&all)?;
        return Ok(Exit::Success);
    }
    output::data(&format!("A  {}\nB  {}", first.name, second.name))?;
    compared.iter().try_for_each(|(compared, task)| show(compared, task, &first))?;
    Ok(Exit::Success)
}

/// Reads the two evals that are named.
fn both(args: &CompareArgs, cli: &Cli) -> Result<(Evaluated, Evaluated), CliError> {
    let mut first = args.pipeline.clone();
    let last = first.names.pop();
    let (Some(last), true) = (last, first.names.last().is_some_and(|name| !is_file(name))) else {
        let help = "for example `luthflow eval compare scores_base scores[t=0.5]`";
        return Err(CliError::user("name two evals").help(help));
    };
    let mut second = first.clone();
    second.names.pop();
    second.names.push(last);
    Ok((Evaluated::find(&first, cli)?, Evaluated::find(&second, cli)?))
}

/// Returns the tasks whose rows both kept.
fn common(first: &Evaluated, second: &Evaluated, only: Option<&str>) -> Result<Vec<String>, CliError> {
    let (one, two) = (first.tasks(only)?, second.tasks(only)?);
    let alone = |mine: &[String], other: &[String]| -> Vec<String> {
        mine.iter().filter(|name| !other.contains(name)).map(|name| format!("`{name}`")).collect()
    };
    for (eval, alone) in [(first, alone(&one, &two)), (second, alone(&two, &one))] {
        if !alone.is_empty() {
            output::say(&format!("note: only `{}` has {}", eval.name, alone.join(", ")));
        }
    }
    let names: Vec<String> = one.into_iter().filter(|name| two.contains(name)).collect();
    if names.is_empty() {
        let why = format!("`{}` and `{}` have no task in common", first.name, second.name);
        return Err(CliError::user(why).help("tasks are compared by their names"));
    }
    Ok(names)
}

/// Returns the rows of all runs.
fn rows(eval: &Evaluated, task: &str) -> Result<Vec<Sampled>, CliError> {
    Ok(eval.rows(task)?.runs.into_iter().flatten().collect())
}

fn metric(eval: &Evaluated, task: &str, rows: &[Sampled], wanted: Option<&str>) -> Result<String, CliError> {
    let Some(wanted) = wanted else {
        let missing = || CliError::user(format!("the rows of `{task}` have no values of their own to compare"));
        return deciding(&eval.scores, task, rows).map(|score| score.metric.clone()).ok_or_else(missing);
    };
    let known: Vec<&str> = rows.first().map_or_else(Vec::new, |row| row.values.keys().map(String::as_str).collect());
    if known.contains(&wanted) {
        return Ok(wanted.to_owned());
    }
    let error = CliError::user(format!("the rows of `{task}` have no `{wanted}`"));
    Err(match suggest::help(wanted, known) {
        Some(help) => error.help(help),
        None => error,
    })
}

fn show(compared: &Compared, task: &str, first: &Evaluated) -> Result<(), CliError> {
    let line = |name: &str, text: &str| output::data(&format!("{name:>16}  {text}"));
    let higher = first.scores.tasks.iter().find(|score| score.name == task && score.metric == compared.metric);
    let arrow = higher.map_or("", |score| if score.higher_is_better { " ↑" } else { " ↓" });
    let left_out = if compared.left_out > 0 { format!(", {} left out", compared.left_out) } else { String::new() };
    let count = compared.questions;
    let rows = if count == 1 { "row" } else { "rows" };
    output::data("")?;
    output::data(&format!("{}  {}{arrow}  {count} {rows}{left_out}", style(task).bold(), clean(&compared.metric)))?;
    line("A", &format!("{:.4}", compared.first))?;
    line("B", &format!("{:.4}", compared.second))?;
    let stderr = compared.stderr.map_or_else(String::new, |stderr| format!(" ± {stderr:.4}"));
    line("B − A", &format!("{:+.4}{stderr}", compared.difference))?;
    if let Some([low, high]) = compared.interval {
        let says = if low > 0.0 || high < 0.0 { "" } else { ", which holds 0" };
        line("95 % interval", &format!("{low:+.4} to {high:+.4}{says}"))?;
    }
    if let Some(correlation) = compared.correlation {
        line("correlation", &format!("{correlation:.3}"))?;
    }
    match &compared.right {
        Some(right) => {
            let counts = [right.both, right.only_first, right.only_second, right.neither];
            let [both, only_first, only_second, neither] = counts;
            line("right", &format!("both {both}, only A {only_first}, only B {only_second}, neither {neither}"))?;
            line("McNemar's p", &format!("{:.4}", right.p))
        }
        None => line("higher", &format!("A {}, B {}", compared.higher[0], compared.higher[1])),
    }
}
