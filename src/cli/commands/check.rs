//! `luthflow check`: look for mistakes in a pipeline file.

use crate::cli::args::{Cli, PipelineArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::spec::params::Kind;

pub(in crate::cli) fn run(args: &PipelineArgs, cli: &Cli) -> Result<Exit, CliError> {
    let project = Project::load(args, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    // The files of the sources are part of what can be wrong.
    for id in project.plan.ids().filter(|id| project.plan.instance(*id).kind() == Kind::Source) {
        decider.source_files(id)?;
    }
    let nodes = project.plan.instances().len();
    output::say(&format!("{} is right: {nodes} nodes", project.file.display()));
    Ok(Exit::Success)
}
