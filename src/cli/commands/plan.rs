//! `luthflow plan`: what would run, and why.

use std::collections::HashSet;
use std::fmt::Write as _;

use console::style;
use serde::{Deserialize as _, Serialize, Serializer};
use serde_json::Value;

use crate::cache::{Cache, SnapshotInstance};
use crate::cli::args::{Cli, PipelineArgs, PlanArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::{Project, Written, quiet_cache, read_cache};
use crate::cli::recall::recall;
use crate::cli::report::CliError;
use crate::exec::NodeState;
use crate::exec::select::Chosen;
use crate::plan::select;
use crate::spec::params::Kind;

/// The version of the JSON that `plan`, `status` and `show` print.
pub(in crate::cli) const JSON_VERSION: u32 = 1;

pub(in crate::cli) fn run(args: &PlanArgs, cli: &Cli) -> Result<Exit, CliError> {
    if args.estimate {
        return super::estimate::show(args, cli);
    }
    show(&args.look.pipeline, &[], args.look.json, cli)
}

/// Says what a run would do that forces some nodes.
pub(super) fn show(args: &PipelineArgs, force: &[String], json: bool, cli: &Cli) -> Result<Exit, CliError> {
    let written = Written::read(args, cli)?;
    if let Some(cache) = quiet_cache(cli).filter(|_| force.is_empty())
        && let Some(state) = recall(&written, args, &cache)
    {
        return print(&state.pipeline, state.instances.iter().map(|instance| Line::fresh(instance, &cache)), json);
    }
    let project = Project::understand(written, cli)?;
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let mut targets = project.targets()?;
    let mut forced = HashSet::new();
    for name in force {
        forced.extend(select::select(&project.plan, name).map_err(CliError::user)?);
    }
    targets.extend(&forced);
    let wanted = project.plan.with_ancestors(&targets);
    let states = decider.preview_forced(&wanted, &forced)?;
    let lines = project.plan.order().iter().filter_map(|id| {
        let (instance, state) = (project.plan.instance(*id), states[id.index()].as_ref()?);
        let action = if let NodeState::Fresh(action) = state { Some(action) } else { None };
        let (kind, state, reasons) = (instance.kind().name(), word(state), reasons(state));
        let chosen = action.and_then(|action| action.chosen.clone());
        Some(Line { name: &instance.name, kind, state, reasons, chosen })
    });
    print(&project.plan.name, lines, json)
}

/// What is said of one node instance.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    kind: &'a str,
    state: &'static str,
    reasons: Vec<String>,
    /// What a selection chose, as it stands in its record.
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<Value>,
}

impl<'a> Line<'a> {
    fn fresh(instance: &'a SnapshotInstance, cache: &Cache) -> Self {
        let chosen = || cache.action(&instance.key).ok().flatten()?.chosen;
        let chosen = if instance.kind == Kind::Select.name() { chosen() } else { None };
        Self { name: &instance.name, kind: &instance.kind, state: WORDS[0], reasons: Vec::new(), chosen }
    }
}

/// Says what a selection chose.
pub(super) fn chose(chosen: &Value) -> Option<String> {
    Some(Chosen::deserialize(chosen).ok()?.to_string())
}

/// The JSON of a plan.
#[derive(Serialize)]
struct Listing<'a, I: Iterator<Item = Line<'a>> + Clone> {
    version: u32,
    pipeline: &'a str,
    #[serde(serialize_with = "each")]
    nodes: I,
}

fn each<'a, I: Iterator<Item = Line<'a>> + Clone, S: Serializer>(lines: &I, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(lines.clone())
}

fn print<'a>(
    pipeline: &'a str,
    lines: impl Iterator<Item = Line<'a>> + Clone,
    as_json: bool,
) -> Result<Exit, CliError> {
    if as_json {
        output::json(&Listing { version: JSON_VERSION, pipeline, nodes: lines })?;
        return Ok(Exit::Success);
    }
    let mut counts = [0usize; 3];
    let mut text = String::new();
    for Line { name, kind, state, reasons, chosen } in lines {
        let why = chosen.as_ref().and_then(chose).unwrap_or_else(|| reasons.join("; "));
        let why = if why.is_empty() { why } else { format!("  {}", style(why).dim()) };
        counts[WORDS.iter().position(|word| *word == state).unwrap_or(0)] += 1;
        let _ = writeln!(text, "{:>9}  {name} {}{why}", painted(state), style(kind).dim());
        // A line at a time would be a system call a node.
        if text.len() > CHUNK {
            output::data(text.trim_end_matches('\n'))?;
            text.clear();
        }
    }
    if !text.is_empty() {
        output::data(text.trim_end_matches('\n'))?;
    }
    let [fresh, stale, pending] = counts;
    output::say(&format!("{stale} to run, {pending} that may run, {fresh} fresh"));
    Ok(Exit::Success)
}

/// How much is printed at once, in bytes.
const CHUNK: usize = 1 << 16;

/// The states of a node instance: fresh, to run, may run.
const WORDS: [&str; 3] = ["fresh", "stale", "pending"];

/// Returns the state as a word: `fresh`, `stale`, `pending`.
pub(in crate::cli) fn word(state: &NodeState) -> &'static str {
    WORDS[match state {
        NodeState::Fresh(_) => 0,
        NodeState::Stale(_) => 1,
        NodeState::Pending(_) => 2,
    }]
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
    painted(word(state))
}

fn painted(word: &'static str) -> console::StyledObject<&'static str> {
    match word {
        "fresh" => style(word).green(),
        "stale" => style(word).yellow(),
        _ => style(word).cyan(),
    }
}
