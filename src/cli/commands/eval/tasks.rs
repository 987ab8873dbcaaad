//! `luthflow eval tasks`: the tasks that come with the program, and one of them as a task file.

use console::style;
use serde_json::{Value, json};

use super::JSON_VERSION;
use super::wrap::wrap;
use crate::cli::eval_args::TasksArgs;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::report::CliError;
use crate::spec::document::to_yaml;
use crate::spec::suggest;
use crate::spec::tasks::{self, Listed};

/// How many languages are named in the list.
const NAMED: usize = 12;
const WIDTH: usize = 76;

pub(super) fn run(args: &TasksArgs) -> Result<Exit, CliError> {
    if let Some(name) = &args.name {
        let definition = definition(name, args.language.as_deref(), args.profile.word())?;
        if args.json {
            output::json(&definition)?;
        } else {
            let internal = |error: &dyn std::fmt::Display| CliError::internal(error.to_string());
            output::data(to_yaml(&definition).map_err(|error| internal(&error))?.trim_end())?;
        }
        return Ok(Exit::Success);
    }
    let tasks = tasks::list();
    if args.json {
        let task = |task: &Listed| json!({"name": task.name, "about": task.about, "languages": task.languages, "dataset": task.dataset});
        output::json(&json!({"version": JSON_VERSION, "tasks": tasks.iter().map(task).collect::<Vec<_>>()}))?;
        return Ok(Exit::Success);
    }
    for task in &tasks {
        let more = task.languages.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and {more} more"));
        let languages = task.languages.iter().take(NAMED).cloned().chain(more).collect::<Vec<_>>().join(" ");
        output::data(format!("{}  {}", style(&task.name).bold(), style(languages).cyan()).trim_end())?;
        wrap(&task.about, WIDTH).iter().try_for_each(|line| output::data(&format!("    {line}")))?;
        if !task.dataset.is_empty() {
            output::data(&format!("    {}", style(&task.dataset).dim()))?;
        }
    }
    Ok(Exit::Success)
}

/// Returns a task as it is in one language and by one profile: what a task file may hold.
fn definition(name: &str, language: Option<&str>, profile: &str) -> Result<Value, CliError> {
    let (raw, language) = tasks::find(name, language, None).map_err(|why| {
        let help = suggest::help(name, tasks::names().iter().map(String::as_str));
        let error = CliError::user(why);
        match help {
            Some(help) => error.help(help),
            None => error,
        }
    })?;
    tasks::settle(raw, language.as_deref(), profile).map_err(|why| CliError::user(format!("the task `{name}`: {why}")))
}
