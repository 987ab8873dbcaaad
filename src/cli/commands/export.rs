//! `luthflow export NODE DIR`: copy a node's artifact out of the cache. A model gets a card, unless it has one.

use std::path::Path;

use super::provenance::chain_of;
use super::show::state_of;
use crate::cache::Action;
use crate::cli::args::{Cli, ExportArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::exec::select::Chosen;
use crate::exec::{Decider, NodeState, card};
use crate::plan::{Instance, InstanceId};

pub(in crate::cli) fn run(args: &ExportArgs, cli: &Cli) -> Result<Exit, CliError> {
    let mut pipeline = args.pipeline.clone();
    let Some(folder) = pipeline.names.pop().filter(|_| !pipeline.names.is_empty()) else {
        return Err(CliError::user("name a node and a folder").help("for example `luthflow export merged[t=0.5] out/`"));
    };
    let folder = Path::new(&folder);
    // The output that is meant: `sft` is the model, `sft.log` its loss curve.
    let output = pipeline.names.last_mut().and_then(output_of);
    let project = Project::load(&pipeline, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let (id, action) = origin(&project, &decider, project.target()?, "nothing to export")?;
    let instance = project.plan.instance(id);
    let wanted = output.clone().unwrap_or_default();
    let subfolder = folder_of(instance, output.as_deref())?;
    cache.check(&action.artifact)?;
    let from = cache.artifact_path(&action.artifact).join(subfolder);
    let mut count = copy(&from, folder)?;
    let card = folder.join("README.md");
    if wanted.is_empty() {
        let written = card::model_card(&decider, &chain_of(&decider, id, &project)?)?;
        // A card that came with the model is somebody's own words.
        if let Some(text) = written.filter(|_| !card.exists()) {
            fs_err::write(&card, text)?;
            count += 1;
        }
    }
    output::say(&format!("{count} files of `{}` are in {}", instance.name, folder.display()));
    Ok(Exit::Success)
}

/// Returns what an instance gives and the instance that made it: a selection makes nothing of its own. `missing` says
/// what there is not as long as the instance is stale.
pub(in crate::cli) fn origin(
    project: &Project,
    decider: &Decider<'_>,
    id: InstanceId,
    missing: &str,
) -> Result<(InstanceId, Box<Action>), CliError> {
    let name = &project.plan.instance(id).name;
    let NodeState::Fresh(action) = state_of(decider, id)? else {
        let why = format!("`{name}` is not up to date, so there is {missing}");
        return Err(CliError::user(why).help(format!("`luthflow run {} {name}`", project.file.display())));
    };
    let Some(chosen) = Chosen::of_action(&action) else { return Ok((id, action)) };
    match project.plan.ids().find(|id| project.plan.instance(*id).name == chosen.instance) {
        Some(id) => origin(project, decider, id, missing),
        None => Ok((id, action)),
    }
}

/// Returns the folder, below its artifact, of an output of an instance; without a name, that of what its bare name means.
pub(in crate::cli) fn folder_of(instance: &Instance, output: Option<&str>) -> Result<String, CliError> {
    let wanted = output.unwrap_or_default();
    match instance.op.outputs().iter().find(|output| output.name == wanted) {
        Some(output) => Ok(output.path.to_string()),
        None if output.is_none() => Ok(String::new()),
        None => Err(CliError::user(format!("`{}` has no output `{wanted}`", instance.name))),
    }
}

/// Takes the output off a name: `merged[t=0.5].log`, `trial.metrics.json`. No name of a node holds a dot.
pub(in crate::cli) fn output_of(name: &mut String) -> Option<String> {
    let after_point = name.rfind(']').unwrap_or(0);
    let dot = after_point + name[after_point..].find('.')?;
    let output = name.split_off(dot);
    Some(output[1..].to_owned())
}

/// Copies a folder, or one file, into a folder that is empty or not there. Returns the number of files.
pub(super) fn copy(from: &Path, to: &Path) -> Result<usize, CliError> {
    if to.is_dir() && fs_err::read_dir(to)?.next().is_some() {
        return Err(CliError::user(format!("{} is not empty", to.display())).help("export into a new folder"));
    }
    fs_err::create_dir_all(to)?;
    if let (true, Some(name)) = (from.is_file(), from.file_name()) {
        copy_file(from, &to.join(name))?;
        return Ok(1);
    }
    let mut count = 0;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            count += copy(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Copies the content only: the files of the cache are read-only, and a copy should not be.
fn copy_file(from: &Path, to: &Path) -> Result<(), CliError> {
    let mut source = fs_err::File::open(from)?;
    std::io::copy(&mut source, &mut fs_err::File::create(to)?)?;
    Ok(())
}
