//! `luthflow run`: bring nodes up to date.

use std::collections::HashSet;
use std::path::Path;

use console::style;

use crate::cache::{Access, Cache};
use crate::cli::args::{Cli, RunArgs};
use crate::cli::exit::Exit;
use crate::cli::json::JsonLines;
use crate::cli::progress::Human;
use crate::cli::project::{Project, notices};
use crate::cli::report::CliError;
use crate::cli::{interrupt, output};
use crate::exec::locked;
use crate::exec::{Decider, Event, ExecError, Observer, RunOptions, RunReport};
use crate::plan::select;
use crate::spec::lock::Lock;
use crate::spec::params::Kind;

pub(in crate::cli) fn run(args: &RunArgs, cli: &Cli) -> Result<Exit, CliError> {
    let started = std::time::Instant::now();
    let project = Project::load(&args.pipeline, cli)?;
    let is_locked = args.locked || args.frozen;
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
    if is_locked {
        demand_locked(&decider, lock.as_ref(), &lock_path, &wanted)?;
    }
    // The run would find the sources itself, but hashing them can take long, and until here Ctrl-C ends the program.
    decider.find_sources(&wanted)?;
    let cancelled = interrupt::flag()?;
    let cores = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let options = RunOptions {
        program: std::env::current_exe()?,
        jobs: args.jobs.unwrap_or_else(|| cores.min(2)).max(1),
        cores,
        keep_going: args.keep_going,
        wanted,
        forced,
        locked: lock.as_ref().filter(|_| is_locked),
        offline: args.frozen,
        rehearse: HashSet::new(),
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
    let built = locked::build(&decider, &report.actions, lock.as_ref())?;
    if let Some(run_id) = &report.run_id {
        locked::keep(&cache, run_id, &built)?;
    }
    if args.pipeline.set.is_empty() && args.pipeline.sweep.is_empty() {
        if !is_locked {
            locked::write(&lock_path, &built)?;
        }
    } else if !is_locked && !report.ran.is_empty() {
        output::say("note: the lockfile stays as it is, since parameters came from the command line");
    }
    Ok(match &report {
        report if report.interrupted => Exit::Interrupted,
        report if report.drifted => Exit::Differs,
        report if !report.failed.is_empty() => Exit::NodeFailed,
        _ => Exit::Success,
    })
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
        let text = format!("{} nodes are fresh, nothing to run ({took})", report.fresh.len());
        output::say(&style(text).for_stderr().green().to_string());
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
