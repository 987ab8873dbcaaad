//! `luthflow cache gc` and `luthflow cache info`: what is needed, what is not, and how much of each.
//!
//! Lockfiles are read here, because only here both the cache and lockfiles are known. A lockfile that cannot be read ends
//! the command: nothing may go that it might have named. One that is gone protects nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::write_cache;
use crate::cache::{Amount, Cache, CacheInfo, GcOptions, GcReport};
use crate::cli::args::Cli;
use crate::cli::cache_args::GcArgs;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::project::read_cache;
use crate::cli::report::CliError;
use crate::digest::Digest;
use crate::spec::lock::Lock;

pub(super) fn gc(args: &GcArgs, json: bool, cli: &Cli) -> Result<Exit, CliError> {
    let cache = if args.dry_run { read_cache(cli)? } else { write_cache(cli)? };
    let GcArgs { dry_run, older_than, max_size, keep_runs, ref lock } = *args;
    let options = GcOptions { dry_run, older_than, max_size, keep_runs };
    let report = cache.gc_with(&mut || locked(&cache, lock), &options)?;
    if json {
        output::json(&gc_json(&report, dry_run))?;
        return Ok(Exit::Success);
    }
    for found in &report.artifacts {
        let kinds = if found.kinds.is_empty() {
            "orphan".to_owned()
        } else {
            found.kinds.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        output::data(&format!("artifact {}  {kinds:9}  {:>12}", found.digest.short(), output::bytes(found.size)))?;
    }
    for run in &report.runs {
        output::data(&format!("run {run}"))?;
    }
    for path in &report.leftovers {
        output::data(&format!("{}", path.display()))?;
    }
    let (gone, runs, bytes) = (report.artifacts.len(), report.runs.len(), output::bytes(report.bytes));
    let would = if dry_run { "would go: " } else { "removed: " };
    output::say(&format!("{would}{gone} artifacts, {} records, {runs} runs, {bytes}", report.actions.len()));
    output::say(&format!("{} artifacts stay, {}", report.kept, output::bytes(report.kept_bytes)));
    Ok(Exit::Success)
}

fn gc_json(report: &GcReport, dry_run: bool) -> serde_json::Value {
    let artifacts: Vec<_> = report
        .artifacts
        .iter()
        .map(|found| json!({"artifact": found.digest.hex(), "kinds": found.kinds, "size": found.size}))
        .collect();
    json!({
        "dry_run": dry_run, "artifacts": artifacts, "actions": report.actions.iter().map(Digest::hex).collect::<Vec<_>>(),
        "runs": report.runs, "leftovers": report.leftovers, "bytes": report.bytes,
        "kept": report.kept, "kept_bytes": report.kept_bytes,
    })
}

pub(super) fn info(locks: &[PathBuf], json: bool, cli: &Cli) -> Result<Exit, CliError> {
    let cache = read_cache(cli)?;
    let info = cache.info(&locked(&cache, locks)?)?;
    let (pins, known) = (cache.pins()?, cache.remembered_locks()?);
    if json {
        let amount = |amount: Amount| json!({"count": amount.count, "bytes": amount.bytes});
        let sizes = rows(&info).map(|(name, found)| (name.to_owned(), amount(found)));
        let mut value = serde_json::Value::Object(sizes.into_iter().collect());
        value["in_use"] = info.in_use.into();
        value["pins"] = pins.iter().map(|(artifact, name)| json!({"artifact": artifact.hex(), "name": name})).collect();
        value["lockfiles"] = known.iter().map(|path| json!({"path": path, "there": path.is_file()})).collect();
        output::json(&value)?;
        return Ok(Exit::Success);
    }
    for (name, amount) in rows(&info) {
        output::data(&format!("{name:>10}  {:>7}  {:>12}", amount.count, output::bytes(amount.bytes)))?;
    }
    for (artifact, name) in &pins {
        output::data(&format!("{:>10}  {}  {name}", "pinned", artifact.short()))?;
    }
    for path in &known {
        let gone = if path.is_file() { "" } else { " (gone)" };
        output::data(&format!("{:>10}  {}{gone}", "lockfile", path.display()))?;
    }
    Ok(Exit::Success)
}

fn rows(info: &CacheInfo) -> [(&'static str, Amount); 8] {
    [
        ("objects", info.objects),
        ("reachable", info.reachable),
        ("actions", info.actions),
        ("staging", info.staging),
        ("quarantine", info.quarantine),
        ("incoming", info.incoming),
        ("runs", info.runs),
        ("index", info.index),
    ]
}

/// Returns the artifacts that lockfiles hold: those named, which must be there, and those that the cache knows of.
fn locked(cache: &Cache, named: &[PathBuf]) -> Result<BTreeSet<Digest>, CliError> {
    let known = cache.remembered_locks()?;
    let mut artifacts = BTreeSet::new();
    for path in named.iter().chain(known.iter().filter(|path| path.exists())) {
        artifacts.extend(read_lock(path)?);
    }
    Ok(artifacts)
}

fn read_lock(path: &Path) -> Result<Vec<Digest>, CliError> {
    let refused = |why: String| {
        CliError::user(format!("{}: {why}", path.display())).help("mend it, or delete it if nobody needs what it names")
    };
    let text = fs_err::read_to_string(path).map_err(|error| CliError::user(error.to_string()))?;
    let lock = Lock::read(&text).map_err(refused)?;
    let nodes = lock.nodes.keys().filter_map(|name| lock.node(name));
    nodes.map(|node| node.artifact.parse().map_err(|error| refused(format!("`{}`: {error}", node.artifact)))).collect()
}
