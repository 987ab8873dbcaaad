//! `luthflow check`: look for mistakes in a pipeline file.

use crate::cli::args::{Cli, PipelineArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;

pub(in crate::cli) fn run(args: &PipelineArgs, cli: &Cli) -> Result<Exit, CliError> {
    let project = Project::load(args, cli)?;
    let cache = read_cache(cli)?;
    let nodes = project.plan.instances().len();
    // The files of the sources are part of what can be wrong. No request is made: a file is as right without a network.
    project.decider(&cache).find_sources_here()?;
    for advice in project.advice.reports() {
        output::report(&advice);
    }
    output::say(&format!("{} is right: {nodes} nodes", project.file.display()));
    Ok(Exit::Success)
}
