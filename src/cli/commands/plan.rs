//! `luthflow plan`: what would run, and why.

use console::style;
use serde_json::{Value, json};

use crate::cli::args::{Cli, LookArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::exec::NodeState;

/// The version of the JSON that `plan`, `status` and `show` print.
pub(in crate::cli) const JSON_VERSION: u32 = 1;

pub(in crate::cli) fn run(args: &LookArgs, cli: &Cli) -> Result<Exit, CliError> {
    let project = Project::load(&args.pipeline, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let wanted = project.plan.with_ancestors(&project.targets()?);
    let states = decider.preview(&wanted)?;
    let listed = project.plan.order().iter().filter_map(|id| Some((*id, states[id.index()].as_ref()?)));
    if args.json {
        let node = |(id, state): (_, &NodeState)| {
            let instance = project.plan.instance(id);
            json!({"name": instance.name, "kind": instance.kind().name(), "state": word(state), "reasons": reasons(state)})
        };
        let nodes: Vec<Value> = listed.map(node).collect();
        output::json(&json!({"version": JSON_VERSION, "pipeline": project.plan.name, "nodes": nodes}))?;
        return Ok(Exit::Success);
    }
    let mut counts = [0usize; 3];
    for (id, state) in listed {
        let instance = project.plan.instance(id);
        let why = reasons(state).join("; ");
        let why = if why.is_empty() { why } else { format!("  {}", style(why).dim()) };
        output::data(&format!(
            "{:>9}  {} {}{why}",
            colored(state),
            instance.name,
            style(instance.kind().name()).dim()
        ))?;
        counts[match state {
            NodeState::Fresh(_) => 0,
            NodeState::Stale(_) => 1,
            NodeState::Pending(_) => 2,
        }] += 1;
    }
    let [fresh, stale, pending] = counts;
    output::say(&format!("{stale} to run, {pending} that may run, {fresh} fresh"));
    Ok(Exit::Success)
}

/// Returns the state as a word: `fresh`, `stale`, `pending`.
pub(in crate::cli) fn word(state: &NodeState) -> &'static str {
    match state {
        NodeState::Fresh(_) => "fresh",
        NodeState::Stale(_) => "stale",
        NodeState::Pending(_) => "pending",
    }
}

/// Returns why a node is not fresh, one sentence each.
pub(in crate::cli) fn reasons(state: &NodeState) -> Vec<String> {
    match state {
        NodeState::Fresh(_) => Vec::new(),
        NodeState::Stale(reasons) | NodeState::Pending(reasons) => reasons.iter().map(ToString::to_string).collect(),
    }
}

/// Returns the state as a word in its colour.
pub(in crate::cli) fn colored(state: &NodeState) -> console::StyledObject<&'static str> {
    match state {
        NodeState::Fresh(_) => style(word(state)).green(),
        NodeState::Stale(_) => style(word(state)).yellow(),
        NodeState::Pending(_) => style(word(state)).cyan(),
    }
}
