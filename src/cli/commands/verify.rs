//! `luthflow verify`: one table for each thing that can be compared with the lockfile.

use std::collections::{BTreeMap, HashSet};

use console::style;
use serde_json::json;

use super::plan::JSON_VERSION;
use crate::cache::{Access, Cache};
use crate::cli::args::{Cli, VerifyArgs};
use crate::cli::exit::Exit;
use crate::cli::machine::resources;
use crate::cli::progress::Human;
use crate::cli::project::{Project, notices, read_cache};
use crate::cli::report::CliError;
use crate::cli::{interrupt, output};
use crate::exec::verify::{self, CellRow, Row, Tolerances, Verdict};
use crate::exec::{Decider, Event, ExecError, NodeState, Observer, Rehearsed, RunOptions, locked};
use crate::plan::{InstanceId, select};
use crate::spec::lock::Lock;
use crate::spec::lock::published::CellVerdict;

/// Tables longer than this show only what is not identical.
const LONG: usize = 40;

/// All that was found.
struct Findings {
    plan: Vec<String>,
    artifacts: Vec<Row>,
    cache: Vec<String>,
    reruns: Vec<Row>,
    published: Vec<CellRow>,
    mistakes: Vec<String>,
}

pub(in crate::cli) fn run(args: &VerifyArgs, cli: &Cli) -> Result<Exit, CliError> {
    let tolerances = Tolerances::read(&args.tolerance).map_err(CliError::user)?;
    let project = Project::load(&args.pipeline, cli)?;
    let path = project.lock_path();
    let Some(lock) = locked::read(&path)? else {
        let why = format!("there is no lockfile at {}", path.display());
        return Err(CliError::user(why).help("`luthflow lock` writes one from what the cache holds"));
    };
    let project = project.at_lock(&lock)?;
    let wanted = project.plan.with_ancestors(&project.targets()?);
    let cache = read_cache(cli)?;
    let decider = project.decider(&cache);
    let names = names(&project, &lock, &wanted);
    let bar = indicatif::ProgressBar::new(names.len() as u64);
    let artifacts = verify::artifacts(&decider, &lock, &names, &tolerances, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let mut found = Findings {
        plan: verify::plan(&decider, &lock, &wanted)?,
        cache: cache.audit()?,
        artifacts,
        reruns: Vec::new(),
        published: Vec::new(),
        mistakes: Vec::new(),
    };
    let mut gave = BTreeMap::new();
    if !args.rerun.is_empty() {
        let chosen = chosen(args, &decider, &lock, &wanted, &found.artifacts)?;
        let names: Vec<String> = chosen.iter().map(|id| project.plan.instance(*id).name.clone()).collect();
        gave = rehearse(args, cli, &project, chosen)?;
        found.reruns = verify::reruns(&lock, &names, &gave, &tolerances);
    }
    (found.published, found.mistakes) = verify::published(&decider, &lock, &names, &gave)?;
    if args.json {
        as_json(&found, &project)?;
    } else {
        print(&found, &path.display().to_string())?;
    }
    Ok(if found.agrees() { Exit::Success } else { Exit::Differs })
}

impl Findings {
    fn agrees(&self) -> bool {
        let rows = self.artifacts.iter().chain(&self.reruns);
        let sound = rows.clone().all(|row| !row.verdict.is_bad());
        let on = self.published.iter().all(|cell| cell.verdict != CellVerdict::Off);
        sound && on && self.plan.is_empty() && self.cache.is_empty() && self.mistakes.is_empty() && !self.is_empty()
    }

    /// Says whether there was nothing to compare, which is no agreement.
    fn is_empty(&self) -> bool {
        self.artifacts.iter().chain(&self.reruns).all(|row| row.verdict == Verdict::NotHere)
    }
}

/// Returns the locked instances to look at: the wanted ones, or all that are locked if all are wanted.
fn names(project: &Project, lock: &Lock, wanted: &[bool]) -> Vec<String> {
    if project.names.is_empty() {
        return lock.nodes.keys().cloned().collect();
    }
    let ids = project.plan.ids().filter(|id| wanted[id.index()]);
    ids.map(|id| project.plan.instance(id).name.clone()).filter(|name| lock.nodes.contains_key(name)).collect()
}

/// Returns the instances to execute again. They and all they are made from must be here and sound.
fn chosen(
    args: &VerifyArgs,
    decider: &Decider<'_>,
    lock: &Lock,
    wanted: &[bool],
    rows: &[Row],
) -> Result<Vec<InstanceId>, CliError> {
    let plan = decider.plan;
    let states = decider.preview(wanted)?;
    let damaged: HashSet<&str> =
        rows.iter().filter(|row| row.verdict == Verdict::Damaged).map(|row| row.node.as_str()).collect();
    let can = |id: InstanceId| {
        let fresh = matches!(states[id.index()], Some(NodeState::Fresh(_)));
        let up = plan.with_ancestors(&[id]);
        let sound = plan.ids().all(|id| !up[id.index()] || !damaged.contains(plan.instance(id).name.as_str()));
        fresh && sound && lock.nodes.contains_key(&plan.instance(id).name)
    };
    let able: Vec<InstanceId> = plan.ids().filter(|id| wanted[id.index()] && can(*id)).collect();
    let mut chosen = HashSet::new();
    for word in &args.rerun {
        if word == "all" {
            chosen.extend(&able);
        } else if let Ok(count) = word.parse() {
            chosen.extend(verify::sample(lock, able.clone(), count, |id| plan.instance(id).name.clone()));
        } else {
            let named = select::select(plan, word).map_err(CliError::user)?;
            if let Some(id) = named.iter().find(|id| !able.contains(id)) {
                let name = &plan.instance(*id).name;
                let why =
                    format!("`{name}` cannot be executed again: it, or what it reads, is not here as it was locked");
                return Err(CliError::user(why).differs().help("run the pipeline with `--locked` first"));
            }
            chosen.extend(named);
        }
    }
    if chosen.is_empty() {
        let why = "nothing can be executed again: the cache does not hold what the nodes read";
        return Err(CliError::user(why).differs().help("run the pipeline with `--locked` first"));
    }
    let mut chosen: Vec<InstanceId> = chosen.into_iter().collect();
    chosen.sort_unstable_by_key(|id| plan.rank(*id));
    Ok(chosen)
}

/// Executes instances again and keeps nothing of it.
fn rehearse(
    args: &VerifyArgs,
    cli: &Cli,
    project: &Project,
    chosen: Vec<InstanceId>,
) -> Result<BTreeMap<String, Rehearsed>, CliError> {
    let mut observer: Box<dyn Observer> = if args.json { Box::new(Silent) } else { Box::new(Human::new()) };
    let waiting = &mut |holder: &str| observer.event(&Event::Waiting { holder: holder.to_owned() });
    let cache = Cache::open(&cli.cache_dir, Access::Write, waiting)?;
    notices(&cache);
    let decider = project.decider(&cache);
    let cancelled = interrupt::flag()?;
    let cores = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let options = RunOptions {
        program: std::env::current_exe()?,
        jobs: cores.min(2),
        cores,
        device: args.device.checked()?,
        keep_going: true,
        wanted: project.plan.with_ancestors(&chosen),
        forced: HashSet::new(),
        locked: None,
        resources: resources(None, cores)?,
        retries: 0,
        timeout: None,
        run: None,
        rehearse: chosen.into_iter().collect(),
        cancelled: &cancelled,
    };
    let mut report = crate::exec::run(&decider, &options, &mut *observer)?;
    match report.broken.take() {
        Some(error) => Err(ExecError::into(error)),
        None => Ok(report.rehearsed),
    }
}

struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: &Event) {}
}

fn as_json(found: &Findings, project: &Project) -> Result<(), CliError> {
    output::json(&json!({
        "version": JSON_VERSION,
        "pipeline": project.plan.name,
        "agrees": found.agrees(),
        "plan": found.plan,
        "artifacts": found.artifacts,
        "cache": found.cache,
        "reruns": found.reruns,
        "published": found.published,
        "mistakes": found.mistakes,
    }))
}

fn print(found: &Findings, lock: &str) -> Result<(), CliError> {
    heading("plan and lockfile")?;
    for difference in &found.plan {
        output::data(&format!("  {:16}  {difference}", style("differs").red()))?;
    }
    if found.plan.is_empty() {
        output::data(&format!("  the pipeline is the one in {lock}"))?;
    }
    heading("lockfile and cache")?;
    table(&found.artifacts)?;
    for problem in &found.cache {
        output::data(&format!("  {:16}  {problem}", style("damaged").red()))?;
    }
    if !found.reruns.is_empty() {
        heading("lockfile and second execution")?;
        table(&found.reruns)?;
    }
    if !found.published.is_empty() || !found.mistakes.is_empty() {
        heading("published figures")?;
        cells(&found.published)?;
        for mistake in &found.mistakes {
            output::data(&format!("  {:16}  {mistake}", style("mistake").red()))?;
        }
    }
    if found.is_empty() {
        output::say("nothing of it is in this cache: `luthflow run --locked` makes it, and compares");
    }
    output::say(if found.agrees() { "everything that can be compared agrees" } else { "not everything agrees" });
    Ok(())
}

fn heading(text: &str) -> Result<(), CliError> {
    output::data(&style(text).bold().to_string())
}

fn table(rows: &[Row]) -> Result<(), CliError> {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.verdict).or_default() += 1;
        if rows.len() <= LONG || row.verdict != Verdict::Identical {
            let why = if row.why.is_empty() { String::new() } else { format!("  {}", style(row.why.join("; ")).dim()) };
            let words = format!("{:16}", row.verdict.words());
            let words = match row.verdict {
                Verdict::Identical | Verdict::WithinTolerance => style(words).green(),
                verdict if verdict.is_bad() => style(words).red(),
                _ => style(words).yellow(),
            };
            output::data(&format!("  {words}  {}{why}", row.node))?;
        }
    }
    let counts: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {}", verdict.words())).collect();
    output::data(&format!("  {}", counts.join(", ")))
}

fn cells(rows: &[CellRow]) -> Result<(), CliError> {
    let mut title = None;
    for row in rows {
        if title != Some(&row.table) {
            output::data(&format!("  {}", row.table))?;
            title = Some(&row.table);
        }
        let words = format!("{:16}", row.verdict.words());
        let words = match row.verdict {
            CellVerdict::Off => style(words).red(),
            CellVerdict::Reproduced | CellVerdict::WithinTolerance => style(words).green(),
            _ => style(words).yellow(),
        };
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let (published, measured) = (figure(row.cell.value), figure(row.measured));
        let within = row.cell.tolerance.map_or_else(String::new, |tolerance| format!(" ±{tolerance}"));
        let (node, metric) = (&row.cell.node, &row.cell.metric);
        output::data(&format!("  {words}  {node} {metric}: {published}{within} published, {measured} measured"))?;
    }
    Ok(())
}
