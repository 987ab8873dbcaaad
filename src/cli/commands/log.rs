//! `luthflow log NODE`: what a node wrote when it last ran.

use crate::cli::args::{Cli, LookArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;

pub(in crate::cli) fn run(args: &LookArgs, cli: &Cli) -> Result<Exit, CliError> {
    let project = Project::load(&args.pipeline, cli)?;
    let cache = read_cache(cli)?;
    let name = &project.plan.instance(project.target()?).name;
    let Some(path) = cache.last_log(name)? else {
        return Err(CliError::user(format!("`{name}` has not run in this cache, so it has no log")));
    };
    // A program may print anything.
    let text = String::from_utf8_lossy(&fs_err::read(&path)?).into_owned();
    let answer = fs_err::read_to_string(path.with_extension("result.json")).unwrap_or_default();
    if args.json {
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
        output::json(&serde_json::json!({"node": name, "path": path, "log": text, "answer": answer}))?;
        return Ok(Exit::Success);
    }
    if !text.trim().is_empty() {
        output::data(text.trim_end())?;
    }
    if !answer.is_empty() {
        output::data(&answer)?;
    }
    output::say(&path.display().to_string());
    Ok(Exit::Success)
}
