//! `luthflow status`: how things stand, in a few lines.

use serde_json::json;

use super::plan::JSON_VERSION;
use crate::cli::args::{Cli, LookArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::exec::NodeState;
use crate::exec::locked;

pub(in crate::cli) fn run(args: &LookArgs, cli: &Cli) -> Result<Exit, CliError> {
    let project = Project::load(&args.pipeline, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let wanted = project.plan.with_ancestors(&project.targets()?);
    let states = decider.preview(&wanted)?;
    let named = |pick: fn(&NodeState) -> bool| -> Vec<&str> {
        let ids = project.plan.order().iter().filter(|id| states[id.index()].as_ref().is_some_and(pick));
        ids.map(|id| project.plan.instance(*id).name.as_str()).collect()
    };
    let fresh = named(|state| matches!(state, NodeState::Fresh(_)));
    let stale = named(|state| matches!(state, NodeState::Stale(_)));
    let pending = named(|state| matches!(state, NodeState::Pending(_)));
    let lock = match locked::read(&project.lock_path())? {
        None => "missing",
        Some(lock) if locked::differences(&decider, &lock, &wanted)?.is_empty() => "agrees",
        Some(_) => "differs",
    };
    let last = cache.runs(1)?.into_iter().next();
    if args.json {
        output::json(&json!({
            "version": JSON_VERSION, "pipeline": project.plan.name, "fresh": fresh, "stale": stale, "pending": pending,
            "lock": lock, "last_run": last.map(|run| run.id.to_string()),
        }))?;
        return Ok(Exit::Success);
    }
    output::data(&format!("pipeline  {} ({})", project.plan.name, project.file.display()))?;
    output::data(&format!("   fresh  {}", fresh.len()))?;
    output::data(&format!("   stale  {}", listed(&stale)))?;
    output::data(&format!(" pending  {}", listed(&pending)))?;
    output::data(&format!("lockfile  {lock}"))?;
    output::data(&format!("   cache  {}", cache.root().display()))?;
    Ok(Exit::Success)
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(8).copied().collect::<Vec<_>>().join(", ");
    let more = if names.len() > 8 { ", …" } else { "" };
    if names.is_empty() { "0".into() } else { format!("{}: {shown}{more}", names.len()) }
}
