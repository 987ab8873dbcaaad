//! `luthflow show NODE`: state, key, artifact and metrics of a node.

use std::path::Path;

use console::style;
use serde_json::{Value, json};

use super::plan::{JSON_VERSION, chose, colored, reasons, word};
use crate::cache::{Action, Cache};
use crate::cli::args::{Cli, LookArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::exec::{Decider, NodeState, locked};
use crate::plan::InstanceId;

pub(in crate::cli) fn run(args: &LookArgs, cli: &Cli) -> Result<Exit, CliError> {
    let project = Project::load(&args.pipeline, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let id = project.target()?;
    let state = state_of(&decider, id)?;
    let action = if let NodeState::Fresh(action) = &state { Some(&**action) } else { None };
    if args.json {
        output::json(&as_json(&decider, &cache, id, &state, action)?)?;
        return Ok(Exit::Success);
    }
    let instance = project.plan.instance(id);
    output::data(&format!("{}  {} {}", style(&instance.name).bold(), instance.kind().name(), colored(&state)))?;
    for reason in reasons(&state) {
        output::data(&format!("    reason  {reason}"))?;
    }
    if let Some(pin) = locked::source_pin(&decider, id)? {
        output::data(&format!("    digest  {pin}"))?;
    }
    if let Some(action) = action {
        if let Some(chose) = action.chosen.as_ref().and_then(chose) {
            output::data(&format!("    choice  {chose}"))?;
        }
        let path = absolute(&cache.artifact_path(&action.artifact));
        output::data(&format!("       key  {}", action.key))?;
        output::data(&format!("  artifact  {}", action.artifact))?;
        output::data(&format!("      path  {path}"))?;
        output::data(&format!("      size  {} in {} files", output::bytes(action.size), action.files))?;
        output::data(&format!(
            "   made by  {} in {}",
            action.producer,
            output::duration(action.duration_ms as f64 / 1e3)
        ))?;
        for (name, value) in action.metrics.iter().chain(&action.measured) {
            output::data(&format!("    metric  {name} = {value}"))?;
        }
    }
    Ok(Exit::Success)
}

/// Returns the state of one instance.
pub(in crate::cli) fn state_of(decider: &Decider<'_>, id: InstanceId) -> Result<NodeState, CliError> {
    let mut states = decider.preview(&decider.plan.with_ancestors(&[id]))?;
    states[id.index()].take().ok_or_else(|| CliError::internal("the node was not looked at"))
}

fn as_json(
    decider: &Decider<'_>,
    cache: &Cache,
    id: InstanceId,
    state: &NodeState,
    action: Option<&Action>,
) -> Result<Value, CliError> {
    let instance = decider.plan.instance(id);
    let slot = |slot: &crate::plan::Slot| {
        let names: Vec<&str> = slot.artifacts.iter().map(|a| decider.plan.instance(a.from).name.as_str()).collect();
        (slot.name.clone(), json!(names))
    };
    let inputs: serde_json::Map<String, Value> = instance.slots.iter().map(slot).collect();
    Ok(json!({
        "version": JSON_VERSION,
        "name": instance.name,
        "kind": instance.kind().name(),
        "state": word(state),
        "reasons": reasons(state),
        "axes": instance.axes,
        "inputs": inputs,
        "config": instance.op.config(),
        "key": action.map(|action| action.key.hex()),
        "artifact": action.map(|action| action.artifact.hex()),
        "path": action.map(|action| absolute(&cache.artifact_path(&action.artifact))),
        "size": action.map(|action| action.size),
        "files": action.map(|action| action.files),
        "chosen": action.and_then(|action| action.chosen.as_ref()),
        "metrics": action.map(|action| &action.metrics),
        "measured": action.map(|action| &action.measured),
        "producer": action.map(|action| &action.producer),
        "seconds": action.map(|action| action.duration_ms as f64 / 1e3),
        "digest": locked::source_pin(decider, id)?,
    }))
}

fn absolute(path: &Path) -> String {
    fs_err::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}
