//! `luthflow status`: how things stand, in a few lines.

use std::path::Path;

use serde_json::json;

use super::plan::JSON_VERSION;
use crate::cache::Cache;
use crate::cli::args::{Cli, LookArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, Written, quiet_cache, read_cache};
use crate::cli::recall::recall;
use crate::cli::report::CliError;
use crate::exec::NodeState;
use crate::exec::locked;

pub(in crate::cli) fn run(args: &LookArgs, cli: &Cli) -> Result<Exit, CliError> {
    let written = Written::read(&args.pipeline, cli)?;
    if let Some(cache) = quiet_cache(cli)
        && let Some(state) = recall(&written, &args.pipeline, &cache).filter(|state| state.locked)
    {
        let fresh = state.instances.iter().map(|instance| instance.name.as_str()).collect();
        let standing = Standing { fresh, stale: Vec::new(), pending: Vec::new(), lock: "agrees" };
        return standing.print(&state.pipeline, &written.file, &cache, args.json);
    }
    let project = Project::understand(written, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let wanted = project.plan.with_ancestors(&project.targets()?);
    let states = decider.preview(&wanted)?;
    let named = |pick: fn(&NodeState) -> bool| -> Vec<&str> {
        let ids = project.plan.order().iter().filter(|id| states[id.index()].as_ref().is_some_and(pick));
        ids.map(|id| project.plan.instance(*id).name.as_str()).collect()
    };
    let lock = match locked::read(&project.lock_path())? {
        None => "missing",
        Some(lock) if locked::differences(&decider, &lock, &wanted)?.is_empty() => "agrees",
        Some(_) => "differs",
    };
    let standing = Standing {
        fresh: named(|state| matches!(state, NodeState::Fresh(_))),
        stale: named(|state| matches!(state, NodeState::Stale(_))),
        pending: named(|state| matches!(state, NodeState::Pending(_))),
        lock,
    };
    standing.print(&project.plan.name, &project.file, &cache, args.json)
}

/// How things stand.
struct Standing<'a> {
    fresh: Vec<&'a str>,
    stale: Vec<&'a str>,
    pending: Vec<&'a str>,
    lock: &'static str,
}

impl Standing<'_> {
    fn print(&self, pipeline: &str, file: &Path, cache: &Cache, as_json: bool) -> Result<Exit, CliError> {
        let Self { fresh, stale, pending, lock } = self;
        let last = cache.runs(1)?.into_iter().next();
        if as_json {
            output::json(&json!({
                "version": JSON_VERSION, "pipeline": pipeline, "fresh": fresh, "stale": stale, "pending": pending,
                "lock": lock, "last_run": last.map(|run| run.id.to_string()),
            }))?;
            return Ok(Exit::Success);
        }
        output::data(&format!("pipeline  {pipeline} ({})", file.display()))?;
        output::data(&format!("   fresh  {}", fresh.len()))?;
        output::data(&format!("   stale  {}", listed(stale)))?;
        output::data(&format!(" pending  {}", listed(pending)))?;
        output::data(&format!("lockfile  {lock}"))?;
        output::data(&format!("   cache  {}", cache.root().display()))?;
        Ok(Exit::Success)
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
    let more = if names.len() > 8 { ", …" } else { "" };
    if names.is_empty() { "0".into() } else { format!("{}: {shown}{more}", names.len()) }
}
