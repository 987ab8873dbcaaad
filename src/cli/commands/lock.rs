//! `luthflow lock`: write the lockfile from what the cache holds, check it, or merge two of them.

use std::path::{Path, PathBuf};

use serde_json::Map;

use super::diff::sentences;
use crate::cli::args::{Cli, LockArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::exec::locked;
use crate::spec::lock::{Lock, diff, merge};

/// How many differences `--check` names.
const NAMED: usize = 10;

pub(in crate::cli) fn run(args: &LockArgs, cli: &Cli) -> Result<Exit, CliError> {
    if let [base, ours, theirs] = args.merge.as_slice() {
        return merge_files(base, ours, theirs);
    }
    if (args.locked || args.frozen) && !args.check {
        let word = if args.frozen { "FROZEN" } else { "LOCKED" };
        let why = format!("the lockfile must stay as it is (`--{}` or LUTHFLOW_{word})", word.to_lowercase());
        return Err(CliError::user(why).help("`luthflow lock --check` only compares"));
    }
    if !args.pipeline.set.is_empty() || !args.pipeline.sweep.is_empty() {
        let why = "the lockfile is of the pipeline as its file has it, without `--set` and `--sweep`";
        return Err(CliError::user(why).help("write the values into the file"));
    }
    let project = Project::load(&args.pipeline, cli)?;
    if let Some(name) = project.names.first() {
        return Err(CliError::user(format!("the lockfile is of the whole pipeline, not of `{name}`")));
    }
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let path = project.lock_path();
    let old = locked::read(&path)?;
    let (lock, missing) = locked::current(&decider, old.as_ref())?;
    if !missing.is_empty() {
        let why = format!("{} nodes have to run before they can be locked", missing.len());
        let help = format!("`luthflow run {}`", project.file.display());
        let error = CliError::user(why).help(help).details(missing);
        return Err(if args.check { error.differs() } else { error });
    }
    if args.check {
        return check(&path, old.as_ref(), &lock);
    }
    locked::write(&path, &lock)?;
    output::say(&format!("{} nodes are locked in {}", lock.nodes.len(), path.display()));
    Ok(Exit::Success)
}

fn check(path: &Path, old: Option<&Lock>, lock: &Lock) -> Result<Exit, CliError> {
    let mut differences = match old {
        Some(old) if old.says_the_same(lock) => {
            output::say(&format!("{} is as it should be", path.display()));
            return Ok(Exit::Success);
        }
        Some(old) => sentences(&diff::diff(old, lock)),
        None => vec!["there is no lockfile".to_owned()],
    };
    if differences.is_empty() {
        differences.push("its order is another one".to_owned());
    }
    let more = differences.len().saturating_sub(NAMED);
    differences.truncate(NAMED);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    let why = format!("{} would change", path.display());
    Err(CliError::user(why).differs().help("`luthflow lock` writes it").details(differences))
}

/// The merge driver of git (`docs/lockfile.md`): the result goes where ours was.
fn merge_files(base: &PathBuf, ours: &PathBuf, theirs: &PathBuf) -> Result<Exit, CliError> {
    let read = |path: &PathBuf| {
        locked::read(path)?.ok_or_else(|| CliError::user(format!("there is no file {}", path.display())))
    };
    let (our, their) = (read(ours)?, read(theirs)?);
    // Where both sides began the file, git gives an empty one.
    let empty = fs_err::metadata(base).is_ok_and(|found| found.len() == 0);
    let nothing =
        || Lock { params: Map::new(), sweep: Map::new(), nodes: Map::new(), published: Vec::new(), ..our.clone() };
    let base = if empty { nothing() } else { read(base)? };
    let merged = merge::merge(&base, &our, &their);
    locked::write(ours, &merged.lock)?;
    if merged.conflicts.is_empty() {
        return Ok(Exit::Success);
    }
    for conflict in &merged.conflicts {
        output::say(&format!("both sides changed the {conflict}"));
    }
    output::say("ours stands for now; run the merged pipeline, which writes the lockfile anew");
    Ok(Exit::NodeFailed)
}
