//! `luthflow runs`: the runs that were.

use serde_json::{Value, json};

use super::plan::JSON_VERSION;
use crate::cache::RunRecord;
use crate::cli::args::{Cli, RunsArgs};
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::read_cache;
use crate::cli::report::CliError;
use crate::exec::locked;

pub(in crate::cli) fn run(args: &RunsArgs, cli: &Cli) -> Result<Exit, CliError> {
    let cache = read_cache(cli)?;
    let runs = cache.runs(args.limit)?;
    if args.json {
        let run = |run: &RunRecord| {
            json!({
                "id": run.id, "pipeline": run.pipeline, "started": run.started, "finished": run.finished,
                "outcome": outcome(run), "lock": locked::path_of_run(&cache, &run.id).is_file(), "summary": run.summary,
            })
        };
        output::json(&json!({"version": JSON_VERSION, "runs": runs.iter().map(run).collect::<Vec<_>>()}))?;
        return Ok(Exit::Success);
    }
    for run in &runs {
        let count = |what: &str| list(run, what).len();
        // The record has whole seconds; of a search with several rounds, the summary has those of the last one.
        let fine = run.summary.as_ref().and_then(|summary| summary["seconds"].as_f64()).unwrap_or(0.0);
        let took = run.finished.map(|finished| output::duration(fine.max(finished.saturating_sub(run.started) as f64)));
        let took = took.map_or_else(String::new, |took| format!(", {took}"));
        let counts = format!("{} ran, {} fresh{took}", count("ran"), count("fresh"));
        // The id is the time it began, in UTC.
        output::data(&format!("{}  {:11}  {counts}  {}", run.id, outcome(run), run.pipeline))?;
    }
    if runs.is_empty() {
        output::say("nothing has run in this cache");
    }
    Ok(Exit::Success)
}

fn list<'a>(run: &'a RunRecord, what: &str) -> &'a [Value] {
    run.summary.as_ref().and_then(|summary| summary[what].as_array()).map_or(&[], Vec::as_slice)
}

/// Returns how a run ended in one word.
fn outcome(run: &RunRecord) -> &'static str {
    match &run.summary {
        None => "unfinished",
        Some(summary) if summary["interrupted"] == true => "interrupted",
        Some(_) if !list(run, "failed").is_empty() => "failed",
        Some(_) => "done",
    }
}
