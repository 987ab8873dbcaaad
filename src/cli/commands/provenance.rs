//! `luthflow provenance NODE`: where an artifact comes from, for other programs.

use crate::cli::args::{Cli, ProvenanceArgs, ProvenanceFormat};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::exec::chain::Chain;
use crate::exec::{Decider, chain, provenance};
use crate::plan::InstanceId;

pub(in crate::cli) fn run(args: &ProvenanceArgs, cli: &Cli) -> Result<Exit, CliError> {
    let project = Project::load(&args.pipeline, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let chain = chain_of(&decider, project.target()?, &project)?;
    output::json(&match args.format {
        ProvenanceFormat::Prov => provenance::prov(&decider, &chain),
        ProvenanceFormat::Slsa => provenance::slsa(&decider, &chain)?,
    })?;
    Ok(Exit::Success)
}

/// Returns the history of an instance that is up to date.
pub(in crate::cli) fn chain_of(decider: &Decider<'_>, id: InstanceId, project: &Project) -> Result<Chain, CliError> {
    chain::of(decider, id)?.map_err(|missing| {
        let name = &decider.plan.instance(id).name;
        let why = format!("nothing is known of how `{name}` was made: it has to run first");
        let help = format!("`luthflow run {} {name}`", project.file.display());
        CliError::user(why).help(help).details(missing.into_iter().map(|name| format!("not on record: {name}")))
    })
}
