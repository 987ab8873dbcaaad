//! `luthflow explain NODE`: why a node is fresh or stale, what its key is made of, and what follows from it.

use console::style;
use serde_json::json;

use super::plan::{JSON_VERSION, colored, reasons, word};
use super::show::state_of;
use crate::cli::args::{Cli, LookArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::exec::NodeState;

pub(in crate::cli) fn run(args: &LookArgs, cli: &Cli) -> Result<Exit, CliError> {
    let project = Project::load(&args.pipeline, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let id = project.target()?;
    let state = state_of(&decider, id)?;
    let instance = project.plan.instance(id);
    let mut below: Vec<_> = project.plan.downstream(id).collect();
    below.sort_unstable();
    let below: Vec<&str> = below.into_iter().map(|id| project.plan.instance(id).name.as_str()).collect();
    let parts = match &state {
        NodeState::Fresh(action) => cache.on_record(&action.key)?.map(|action| action.parts),
        _ => None,
    };
    if args.json {
        output::json(&json!({
            "version": JSON_VERSION, "name": instance.name, "kind": instance.kind().name(), "state": word(&state),
            "reasons": reasons(&state), "downstream": below, "key_parts": parts,
        }))?;
        return Ok(Exit::Success);
    }
    let reasons = reasons(&state);
    let why = if reasons.is_empty() { "its key is in the cache".to_owned() } else { reasons.join("; ") };
    output::data(&format!("{}  {}: {why}", colored(&state), style(&instance.name).bold()))?;
    if !below.is_empty() && !matches!(state, NodeState::Fresh(_)) {
        output::data(&format!("       then {} would run again if what it gives differs", below.join(", ")))?;
    }
    if let NodeState::Fresh(action) = &state {
        output::data(&format!("  key  {}, the digest of:", action.key))?;
    } else {
        output::data("  its key will be the digest of these, and of what it reads:")?;
    }
    let shown = parts.unwrap_or_else(|| json!({"kind": instance.kind().name(), "config": instance.op.config()}));
    output::json(&shown)?;
    Ok(Exit::Success)
}
