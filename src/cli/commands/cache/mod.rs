//! `luthflow cache`: look after the cache.

mod collect;
mod pins;
pub(in crate::cli) mod remote;
pub(in crate::cli) mod units;

use serde_json::{Value, json};

use crate::cache::{Access, Action, Cache};
use crate::cli::args::Cli;
use crate::cli::cache_args::{CacheArgs, CacheCommand};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{notices, read_cache};
use crate::cli::report::CliError;

pub(in crate::cli) fn run(args: &CacheArgs, cli: &Cli) -> Result<Exit, CliError> {
    // Only what brings results in may begin with nothing.
    if !cli.cache_dir.is_dir() && !matches!(args.command, CacheCommand::Pull(_)) {
        let why = format!("there is no cache at {}", cli.cache_dir.display());
        return Err(CliError::user(why).help("`--cache-dir` says where it is"));
    }
    match &args.command {
        CacheCommand::Ls => list(args, cli),
        CacheCommand::Info { lock } => collect::info(lock, args.json, cli),
        CacheCommand::Gc(gc) => collect::gc(gc, args.json, cli),
        CacheCommand::Pin(pin) => pins::pin(pin, cli),
        CacheCommand::Unpin(pin) => pins::unpin(pin, cli),
        CacheCommand::Push(push) => remote::push(push, args.json, cli),
        CacheCommand::Pull(pull) => remote::pull(pull, args.json, cli),
        CacheCommand::Verify => verify(args, cli),
        CacheCommand::Repair => repair(args, cli),
    }
}

fn list(args: &CacheArgs, cli: &Cli) -> Result<Exit, CliError> {
    let actions = read_cache(cli)?.actions()?;
    if args.json {
        let action = |action: &Action| json!({"key": action.key.hex(), "kind": action.kind, "artifact": action.artifact.hex(), "size": action.size});
        output::json(&Value::Array(actions.iter().map(action).collect()))?;
        return Ok(Exit::Success);
    }
    for action in &actions {
        let size = output::bytes(action.size);
        output::data(&format!("{}  {:9}  {:>12}  {}", action.artifact.short(), action.kind, size, action.producer))?;
    }
    Ok(Exit::Success)
}

fn verify(args: &CacheArgs, cli: &Cli) -> Result<Exit, CliError> {
    let cache = read_cache(cli)?;
    let bar = indicatif::ProgressBar::new(0);
    let report = cache.verify(&mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let damaged = report.damaged.iter().map(|damage| {
        let moved = damage.moved_to.as_ref().map_or_else(String::new, |path| format!("; moved to {}", path.display()));
        format!("artifact {} is damaged: {} {}{moved}", damage.digest.short(), damage.file, damage.problem)
    });
    let missing = report.missing.iter().map(|key| format!("the artifact of {} is gone", key.short()));
    let unreadable = report.unreadable.iter().map(|path| format!("{} is no record", path.display()));
    let problems: Vec<String> = damaged.chain(missing).chain(unreadable).collect();
    if args.json {
        output::json(&json!({"checked": report.checked, "problems": problems, "orphans": report.orphans.len()}))?;
    } else {
        for problem in &problems {
            output::data(problem)?;
        }
        output::say(&format!("{} artifacts checked, {} problems", report.checked, problems.len()));
    }
    Ok(if problems.is_empty() { Exit::Success } else { Exit::Differs })
}

/// Opens the cache to write.
fn write_cache(cli: &Cli) -> Result<Cache, CliError> {
    let waiting = &mut |holder: &str| output::say(&format!("waiting for {holder}"));
    let cache = Cache::open(&cli.cache_dir, Access::Write, waiting)?;
    notices(&cache);
    Ok(cache)
}

fn repair(args: &CacheArgs, cli: &Cli) -> Result<Exit, CliError> {
    let cache = write_cache(cli)?;
    let report = cache.repair()?;
    if args.json {
        output::json(&json!({"results": report.actions, "moved_aside": report.moved_aside}))?;
    } else {
        for path in &report.moved_aside {
            output::data(&format!("moved aside: {}", path.display()))?;
        }
        output::say(&format!("the index holds {} results", report.actions));
    }
    Ok(Exit::Success)
}
