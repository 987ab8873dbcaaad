//! `luthflow run`: bring nodes up to date.

use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use console::style;

use super::cache::remote;
use super::plan;
use crate::cache::{Access, Cache, Epoch};
use crate::cli::args::{Cli, RunArgs};
use crate::cli::exit::Exit;
use crate::cli::json::JsonLines;
use crate::cli::machine::resources;
use crate::cli::progress::Human;
use crate::cli::project::{Project, Written, notices, quiet_cache};
use crate::cli::report::CliError;
use crate::cli::rounds::{self, Open, Rounds};
use crate::cli::{interrupt, output, recall, watch};
use crate::digest::Digest;
use crate::exec::{Decider, Event, ExecError, Observer, RunOptions, RunReport, locked, snapshot};
use crate::plan::{InstanceId, select};
use crate::spec::lock::Lock;
use crate::spec::params::Kind;

pub(in crate::cli) fn run(args: &RunArgs, cli: &Cli) -> Result<Exit, CliError> {
    if args.dry_run {
        return plan::show(&args.pipeline, &args.force, args.json, cli);
    }
    if !args.watch {
        return once(args, cli, interrupt::flag);
    }
    let cancelled = interrupt::flag()?;
    loop {
        let looked = watched(args, cli);
        match once(args, cli, || Ok(Arc::clone(&cancelled))) {
            Ok(Exit::Interrupted) => return Ok(Exit::Interrupted),
            Ok(_) => {}
            // What is wrong may be mended in the next moment.
            Err(error) => output::error(error),
        }
        if cancelled.load(Ordering::Relaxed) {
            return Ok(Exit::Interrupted);
        }
        output::say(&style("watching for changes; Ctrl-C ends").for_stderr().dim().to_string());
        if !watch::wait(&looked, || watched(args, cli), &cancelled) {
            return Ok(Exit::Interrupted);
        }
    }
}

/// Returns how everything looks that the pipeline is made from; of one with mistakes, all pipeline files beside it.
fn watched(args: &RunArgs, cli: &Cli) -> watch::Look {
    let Ok(written) = Written::read(&args.pipeline, cli) else { return watch::Look::default() };
    let file = written.file.clone();
    let files = Project::understand(written, cli).ok().zip(quiet_cache(cli));
    watch::look(files.map_or_else(|| watch::beside(&file), |(project, cache)| project.files(&cache)))
}

/// Runs once; a search makes several rounds of it. `flag` is asked for once the run begins: until then Ctrl-C simply ends
/// the program.
fn once(args: &RunArgs, cli: &Cli, flag: impl FnOnce() -> std::io::Result<Arc<AtomicBool>>) -> Result<Exit, CliError> {
    let started = Instant::now();
    let mut written = Written::read(&args.pipeline, cli)?;
    if !args.update && all_fresh(&written, args, cli, started) {
        return Ok(Exit::Success);
    }
    if args.frozen || args.update {
        let outside = written.looking();
        written.outside = Rc::new(if args.frozen { outside.offline() } else { outside.update() });
    }
    let mut project = Project::understand(written, cli)?;
    let mut observer: Box<dyn Observer> = if args.json { Box::new(JsonLines) } else { Box::new(Human::new()) };
    let waiting = &mut |holder: &str| observer.event(&Event::Waiting { holder: holder.to_owned() });
    let cache = Cache::open(&cli.cache_dir, Access::Write, waiting)?;
    notices(&cache);
    if !args.frozen {
        remote::attach(&cache, args.remote.as_deref())?;
    }
    let lock_path = project.lock_path();
    let lock = locked::read(&lock_path)?;
    if let (true, Some(lock)) = (args.is_locked(), &lock) {
        project = project.at_lock(lock)?;
    }
    let mut rounds = Rounds::new(&mut *observer);
    let (project, report, epoch) = all_rounds(project, &cache, args, lock.as_ref(), flag, &mut rounds)?;
    rounds.end(&report, started);
    drop(observer);
    if !args.json {
        summary(&project, &cache, &report, started.elapsed().as_secs_f64())?;
    }
    settle(&project, &cache, args, report, lock.as_ref(), epoch)
}

/// Runs until no search has a value to try.
fn all_rounds(
    mut project: Project,
    cache: &Cache,
    args: &RunArgs,
    lock: Option<&Lock>,
    flag: impl FnOnce() -> std::io::Result<Arc<AtomicBool>>,
    observer: &mut Rounds<'_>,
) -> Result<(Project, RunReport, Epoch), CliError> {
    let (mut earlier, mut epoch): (Option<RunReport>, _) = (None, None);
    let (mut flag, mut cancelled) = (Some(flag), None);
    let mut open = Open::new(&project.searches);
    loop {
        let decider = project.decider(cache);
        let (wanted, mut forced) = wanted(&project, args)?;
        if args.is_locked() {
            demand_locked(&decider, lock, &project.lock_path(), &wanted)?;
        }
        // The run would find the sources itself, but hashing them can take long, and until here Ctrl-C ends the program.
        decider.find_sources(&wanted)?;
        if let Some(flag) = flag.take() {
            cancelled = Some(flag()?);
        }
        let cancelled = cancelled.as_ref().expect("it was set in the first round");
        let current = snapshot::forget(&decider)?;
        let epoch = *epoch.get_or_insert(current);
        if let Some(earlier) = &earlier {
            forced.retain(|id| !earlier.ran.contains(&project.plan.instance(*id).name));
        }
        let now = open.hold(&project.plan, &wanted);
        forced.retain(|id| now[id.index()]);
        let options = options(args, now.clone(), forced, lock, cancelled, earlier.as_ref())?;
        let mut report = rounds::after(earlier, crate::exec::run(&decider, &options, observer)?);
        let clean = !report.interrupted && report.failed.is_empty() && report.broken.is_none();
        let metrics = crate::exec::rounds::of_actions(&report.actions);
        let trials = crate::exec::rounds::next(&project.plan, &project.searches, &metrics).filter(|_| clean);
        drop(metrics);
        drop(decider);
        match trials {
            Some(trials) => project = project.with_trials(trials)?,
            None if clean && now != wanted && open.close(&project.plan, &now) => {}
            None if !clean => {
                rounds::give_up(&project.plan, &mut report, &wanted, &now, observer);
                return Ok((project, report, epoch));
            }
            None => return Ok((project, report, epoch)),
        }
        earlier = Some(report);
    }
}

/// Returns the instances to bring up to date, and those that run whatever the cache holds.
fn wanted(project: &Project, args: &RunArgs) -> Result<(Vec<bool>, HashSet<InstanceId>), CliError> {
    let mut targets = project.targets()?;
    let mut forced = HashSet::new();
    for name in &args.force {
        forced.extend(select::select(&project.plan, name).map_err(CliError::user)?);
    }
    targets.extend(&forced);
    Ok((project.plan.with_ancestors(&targets), forced))
}

fn options<'a>(
    args: &RunArgs,
    wanted: Vec<bool>,
    forced: HashSet<InstanceId>,
    lock: Option<&'a Lock>,
    cancelled: &'a AtomicBool,
    earlier: Option<&RunReport>,
) -> Result<RunOptions<'a>, CliError> {
    let cores = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    Ok(RunOptions {
        program: std::env::current_exe()?,
        jobs: args.jobs.unwrap_or_else(|| cores.min(2)).max(1),
        cores,
        device: args.device.checked()?,
        resources: resources(args.slots.as_deref(), cores)?,
        keep_going: args.keep_going,
        retries: args.retries.unwrap_or(0),
        timeout: args.timeout,
        wanted,
        forced,
        rehearse: HashSet::new(),
        locked: lock.filter(|_| args.is_locked()),
        run: earlier.and_then(|earlier| earlier.id.clone()),
        cancelled,
    })
}

/// Writes the lockfile and the snapshot, and says how the program ends.
fn settle(
    project: &Project,
    cache: &Cache,
    args: &RunArgs,
    mut report: RunReport,
    lock: Option<&Lock>,
    epoch: Epoch,
) -> Result<Exit, CliError> {
    if let Some(error) = report.broken.take() {
        return Err(error.into());
    }
    let (decider, lock_path) = (project.decider(cache), project.lock_path());
    // Before the lockfile is written, so that no collection finds one that it does not know.
    cache.remember_lock(&lock_path)?;
    let built = locked::build(&decider, &report.actions, lock)?;
    if let Some(run) = &report.id {
        locked::keep(cache, run, &built)?;
    }
    let locked = settle_lock(args, &report, &built, &lock_path)?;
    if let Some(question) = recall::question(project.written(), &args.pipeline) {
        let lock = locked.or_else(|| locked::digest(&lock_path));
        let read = |name: &String| Some((name.clone(), project.written().digest_of(name)?));
        let reads = project.reads.iter().filter_map(read).collect();
        snapshot::keep(&decider, &question, &report.actions, (lock, locked.is_some()), reads, epoch)?;
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
    let Some(state) = state.filter(|state| state.locked || !args.is_locked()) else { return false };
    let mut observer: Box<dyn Observer> = if args.json { Box::new(JsonLines) } else { Box::new(Human::new()) };
    snapshot::tell(&state, &mut *observer, started);
    drop(observer);
    if !args.json {
        nothing_to_run(state.instances.len(), started.elapsed().as_secs_f64());
    }
    true
}

/// Writes the lockfile where it should follow the run. Returns its digest if it now holds just what the run gave.
fn settle_lock(args: &RunArgs, report: &RunReport, lock: &Lock, path: &Path) -> Result<Option<Digest>, CliError> {
    if !args.pipeline.change_parameters() {
        return Ok(if args.is_locked() { locked::is_written(path, lock)? } else { Some(locked::write(path, lock)?) });
    }
    if !args.is_locked() && !report.ran.is_empty() {
        output::say("note: the lockfile stays as it is, since parameters came from the command line");
    }
    Ok(None)
}

fn nothing_to_run(nodes: usize, seconds: f64) {
    let text = format!("{nodes} nodes are fresh, nothing to run ({})", output::duration(seconds));
    output::say(&style(text).for_stderr().green().to_string());
}

/// How many differences from the lockfile are named.
const NAMED: usize = 20;

/// Refuses to begin when something would differ from the lockfile.
fn demand_locked(decider: &Decider<'_>, lock: Option<&Lock>, path: &Path, wanted: &[bool]) -> Result<(), CliError> {
    let Some(lock) = lock else {
        let why = format!("there is no lockfile at {}", path.display());
        return Err(CliError::user(why).help("run once without `--locked`, and commit the lockfile that it writes"));
    };
    let mut differences = locked::differences(decider, lock, wanted)?;
    if differences.is_empty() {
        return Ok(());
    }
    let more = differences.len().saturating_sub(NAMED);
    differences.truncate(NAMED);
    if more > 0 {
        differences.push(format!("and {more} more"));
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
    if report.ran.is_empty() && report.fetched.is_empty() && report.failed.is_empty() && report.skipped.is_empty() {
        nothing_to_run(report.fresh.len(), seconds);
        return Ok(());
    }
    let mut parts = vec![format!("{} ran", report.ran.len()), format!("{} fresh", report.fresh.len())];
    if !report.fetched.is_empty() {
        parts.insert(1, format!("{} fetched", report.fetched.len()));
    }
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
