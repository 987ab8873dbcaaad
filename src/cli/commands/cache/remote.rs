//! `luthflow cache push` and `pull`, and the remote store that a run reads through.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::write_cache;
use crate::cache::Cache;
use crate::cli::args::Cli;
use crate::cli::cache_args::RemoteArgs;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::report::CliError;
use crate::digest::Digest;

/// What cloud stores read from the environment begins so.
const SETTINGS: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

/// Gives a cache its remote store, with the settings of the environment. An empty address is none.
pub(in crate::cli) fn attach(cache: &Cache, url: Option<&str>) -> Result<(), CliError> {
    let Some(url) = url.filter(|url| !url.is_empty()) else { return Ok(()) };
    // Not `vars`, which panics at a variable that is not UTF-8.
    let settings =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings: Vec<_> = settings.filter(|(name, _)| SETTINGS.iter().any(|start| name.starts_with(start))).collect();
    Ok(cache.set_remote_with(url, &settings)?)
}

fn open(args: &RemoteArgs, cli: &Cli) -> Result<Cache, CliError> {
    if args.remote.as_ref().is_none_or(String::is_empty) {
        return Err(CliError::user("no remote store is named").help("`--remote` or LUTHFLOW_REMOTE says which"));
    }
    let cache = write_cache(cli)?;
    attach(&cache, args.remote.as_deref())?;
    Ok(cache)
}

pub(super) fn push(args: &RemoteArgs, json: bool, cli: &Cli) -> Result<Exit, CliError> {
    let cache = open(args, cli)?;
    let mut keys = Vec::new();
    if args.names.is_empty() {
        for action in cache.actions()? {
            // A record whose artifact is gone has nothing to send.
            if cache.action(&action.key)?.is_some() {
                keys.push(action.key);
            }
        }
    }
    for name in &args.names {
        let found = cache.find(name)?;
        if found.is_empty() {
            return Err(CliError::user(format!("nothing here is named `{name}`"))
                .help("`luthflow cache ls` lists what is kept; a node is known once it ran"));
        }
        keys.extend(found.iter().map(|action| action.key));
    }
    let bar = bar();
    let report = cache.push(&keys, &mut |done, total| show(&bar, done, total));
    bar.finish_and_clear();
    let report = report?;
    if json {
        output::json(
            &json!({"results": report.actions, "files": report.sent, "there": report.there, "bytes": report.bytes}),
        )?;
    } else {
        let (results, sent, there) = (report.actions, report.sent, report.there);
        output::say(&format!("{results} results: {sent} files sent, {there} there, {}", output::bytes(report.bytes)));
    }
    Ok(Exit::Success)
}

pub(super) fn pull(args: &RemoteArgs, json: bool, cli: &Cli) -> Result<Exit, CliError> {
    let key = |name: &String| {
        let digits = name.strip_prefix("blake3:").unwrap_or(name);
        let why = |error| CliError::user(format!("`{name}` is no key: {error}")).help("a lockfile holds whole keys");
        digits.parse::<Digest>().map_err(why)
    };
    let keys: Vec<Digest> = args.names.iter().map(key).collect::<Result<_, _>>()?;
    let cache = open(args, cli)?;
    let wanted = if keys.is_empty() { None } else { Some(keys.as_slice()) };
    let bar = bar();
    let report = cache.pull(wanted, &mut |done, total| show(&bar, done, total));
    bar.finish_and_clear();
    let report = report?;
    super::notices(&cache);
    if json {
        let absent: Vec<_> = report.absent.iter().map(Digest::hex).collect();
        output::json(&json!({"results": report.actions, "here": report.here, "absent": absent}))?;
    } else {
        output::say(&format!("{} results brought in, {} were here", report.actions, report.here));
    }
    if report.absent.is_empty() {
        return Ok(Exit::Success);
    }
    let absent = report.absent.iter().map(Digest::hex);
    Err(CliError::user("the remote store does not have all of it").details(absent))
}

/// A bar with bytes, rate and the time it will take; nothing where nobody looks.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{bar:24} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}
