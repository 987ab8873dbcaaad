//! `luthflow run`: bring nodes up to date.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use console::style;

use crate::cache::{Access, Cache};
use crate::cli::args::{Cli, RunArgs};
use crate::cli::exit::Exit;
use crate::cli::json::JsonLines;
use crate::cli::progress::Human;
use crate::cli::project::{Project, Written, notices, quiet_cache};
use crate::cli::recall;
use crate::cli::report::CliError;
use crate::cli::{interrupt, output};
use crate::digest::Digest;
use crate::exec::{Decider, Event, ExecError, Observer, RunOptions, RunReport, locked, snapshot};
use crate::plan::select;
use crate::spec::lock::Lock;
use crate::spec::params::Kind;

pub(in crate::cli) fn run(args: &RunArgs, cli: &Cli) -> Result<Exit, CliError> {
    let started = Instant::now();
    let written = Written::read(&args.pipeline, cli)?;
    if all_fresh(&written, args, cli, started) {
        return Ok(Exit::Success);
    }
    let project = Project::understand(&written, &args.pipeline)?;
    let targets = project.targets()?;
    let mut forced = HashSet::new();
    for name in &args.force {
        forced.extend(select::select(&project.plan, name).map_err(CliError::user)?);
    }
    let mut observer: Box<dyn Observer> = if args.json { Box::new(JsonLines) } else { Box::new(Human::new()) };
    let waiting = &mut |holder: &str| observer.event(&Event::Waiting { holder: holder.to_owned() });
    let cache = Cache::open(&cli.cache_dir, Access::Write, waiting)?;
    notices(&cache);
    let decider = project.decider(&cache);
    let lock_path = project.lock_path();
    let lock = locked::read(&lock_path)?;
    let mut targets = targets;
    targets.extend(&forced);
    let wanted = project.plan.with_ancestors(&targets);
    if args.locked {
        demand_locked(&decider, lock.as_ref(), &lock_path, &wanted)?;
    }
    // The run would find the sources itself, but hashing them can take long, and until here Ctrl-C ends the program.
    decider.find_sources(&wanted)?;
    let cancelled = interrupt::flag()?;
    snapshot::forget(&decider)?;
    let cores = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let options = RunOptions {
        program: std::env::current_exe()?,
        jobs: args.jobs.unwrap_or_else(|| cores.min(2)).max(1),
        cores,
        keep_going: args.keep_going,
        wanted,
        forced,
        locked: lock.as_ref().filter(|_| args.locked),
        cancelled: &cancelled,
    };
    let mut report = crate::exec::run(&decider, &options, &mut *observer)?;
    drop(observer);
    if !args.json {
        summary(&project, &cache, &report, started.elapsed().as_secs_f64())?;
    }
    if let Some(error) = report.broken.take() {
        return Err(error.into());
    }
    let locked = settle_lock(args, &decider, &report, lock.as_ref(), &lock_path)?;
    if let Some(question) = recall::question(&written, &args.pipeline) {
        let lock = locked.or_else(|| locked::digest(&lock_path));
        snapshot::keep(&decider, &question, &report.actions, (lock, locked.is_some()), Vec::new())?;
    }
    Ok(match &report {
        report if report.interrupted => Exit::Interrupted,
        report if report.drifted => Exit::Differs,
        report if !report.failed.is_empty() => Exit::NodeFailed,
        _ => Exit::Success,
    })
}

/// Says that everything is fresh, if a snapshot of the last run tells so.
fn all_fresh(written: &Written, args: &RunArgs, cli: &Cli, started: Instant) -> bool {
    let cache = if args.force.is_empty() { quiet_cache(cli) } else { None };
    let state = cache.and_then(|cache| recall::recall(written, &args.pipeline, &cache));
    let Some(state) = state.filter(|state| state.locked || !args.locked) else { return false };
    let mut observer: Box<dyn Observer> = if args.json { Box::new(JsonLines) } else { Box::new(Human::new()) };
    snapshot::tell(&state, &mut *observer, started);
    drop(observer);
    if !args.json {
        nothing_to_run(state.instances.len(), started.elapsed().as_secs_f64());
    }
    true
}

/// Writes the lockfile where it should follow the run. Returns its digest if it now holds just what the run gave.
fn settle_lock(
    args: &RunArgs,
    decider: &Decider<'_>,
    report: &RunReport,
    old: Option<&Lock>,
    path: &Path,
) -> Result<Option<Digest>, CliError> {
    if args.pipeline.set.is_empty() && args.pipeline.sweep.is_empty() {
        let lock = locked::build(decider, &report.actions, old)?;
        return Ok(if args.locked { locked::is_written(path, &lock)? } else { Some(locked::write(path, &lock)?) });
    }
    if !args.locked && !report.ran.is_empty() {
        output::say("note: the lockfile stays as it is, since parameters came from the command line");
    }
    Ok(None)
}

fn nothing_to_run(nodes: usize, seconds: f64) {
    let text = format!("{nodes} nodes are fresh, nothing to run ({})", output::duration(seconds));
    output::say(&style(text).for_stderr().green().to_string());
}

/// Refuses to begin when something would differ from the lockfile.
fn demand_locked(decider: &Decider<'_>, lock: Option<&Lock>, path: &Path, wanted: &[bool]) -> Result<(), CliError> {
    let Some(lock) = lock else {
        let why = format!("there is no lockfile at {}", path.display());
        return Err(CliError::user(why).help("run once without `--locked`, and commit the lockfile that it writes"));
    };
    let differences = locked::differences(decider, lock, wanted)?;
    if differences.is_empty() {
        return Ok(());
    }
    Err(ExecError::Locked { lock: path.to_path_buf(), differences }.into())
}

fn summary(project: &Project, cache: &Cache, report: &RunReport, seconds: f64) -> Result<(), CliError> {
    let plan = &project.plan;
    // A table that was just made is what the run was for.
    for (instance, action) in plan.instances().iter().zip(&report.actions) {
        if let (Kind::Report, Some(action), true) = (instance.kind(), action, report.ran.contains(&instance.name)) {
            let folder = cache.artifact_path(&action.artifact);
            output::say("");
            output::data(fs_err::read_to_string(folder.join("report.txt"))?.trim_end())?;
            output::say("");
            output::say(&format!("{:>9}  {}", "page", folder.join("report.html").display()));
        }
    }
    let took = output::duration(seconds);
    if report.ran.is_empty() && report.failed.is_empty() && report.skipped.is_empty() {
        nothing_to_run(report.fresh.len(), seconds);
        return Ok(());
    }
    let mut parts = vec![format!("{} ran", report.ran.len()), format!("{} fresh", report.fresh.len())];
    if !report.failed.is_empty() {
        parts.push(format!("{} failed", report.failed.len()));
    }
    if !report.skipped.is_empty() {
        parts.push(format!("{} not run", report.skipped.len()));
    }
    if report.interrupted {
        parts.push("interrupted: run again to go on".into());
    }
    output::say(&format!("{:>9}  {}", "artifacts", cache.root().join("objects").display()));
    output::say(&format!("{:>9}  {} in {took}", "summary", parts.join(", ")));
    Ok(())
}
