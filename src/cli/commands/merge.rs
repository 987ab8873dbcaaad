//! `luthflow merge CONFIG OUT_DIR`: one merge without a pipeline.
//!
//! It is a pipeline all the same, made here: a source for every model and one merge. So the same cache stands behind it,
//! and a merge that was made before is only copied.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde_json::{Value, json};

use super::export;
use super::references::{self, Reference};
use crate::cache::{Access, Cache};
use crate::cli::args::{Cli, MergeArgs};
use crate::cli::exit::Exit;
use crate::cli::json::JsonLines;
use crate::cli::machine::resources;
use crate::cli::progress::Human;
use crate::cli::project::{notices, read};
use crate::cli::report::CliError;
use crate::cli::{interrupt, output};
use crate::exec::outside::Outside;
use crate::exec::{Decider, Event, Observer, RunOptions};
use crate::plan::{Plan, resolve};
use crate::spec::document::to_yaml;
use crate::spec::merge_file::MergeFile;
use crate::spec::params::{Compat, MergeParams, Params, Precision};
use crate::spec::{Diagnostic, Overrides, merge_file, parse};

/// The name of the merge in the pipeline that is made for it.
const MERGED: &str = "merged";

pub(in crate::cli) fn run(args: &MergeArgs, cli: &Cli) -> Result<Exit, CliError> {
    if args.out.is_dir() && fs_err::read_dir(&args.out)?.next().is_some() {
        let why = format!("{} is not empty", args.out.display());
        return Err(CliError::user(why).help("merge into a new folder"));
    }
    let text = read(&args.config)?;
    let mistakes = |diagnostics| CliError::mistakes(&args.config, &[(args.config.clone(), text.clone())], diagnostics);
    let (config, document) = merge_file::read(&text).map_err(mistakes)?;
    check_options(args, &config)?;
    let models = references::find(&config.references(), &document, &args.config).map_err(mistakes)?;
    let plan = plan(args, &config, &document.value, &models)?;
    let mut observer: Box<dyn Observer> = if args.json { Box::new(JsonLines) } else { Box::new(Human::new()) };
    let waiting = &mut |holder: &str| observer.event(&Event::Waiting { holder: holder.to_owned() });
    let cache = Cache::open(&cli.cache_dir, Access::Write, waiting)?;
    notices(&cache);
    let outside = Rc::new(Outside::of_environment(&|name| std::env::var_os(name), None));
    let decider = Decider::new(&plan, &cache, &args.config).looking(&outside);
    let wanted = vec![true; plan.instances().len()];
    decider.find_sources(&wanted)?;
    let cancelled = interrupt::flag()?;
    let cores = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let options = RunOptions {
        program: std::env::current_exe()?,
        jobs: 1,
        cores,
        device: args.device.checked()?,
        resources: resources(None, cores)?,
        keep_going: false,
        retries: 0,
        timeout: None,
        wanted,
        forced: HashSet::new(),
        rehearse: HashSet::new(),
        locked: None,
        run: None,
        cancelled: &cancelled,
    };
    let mut report = crate::exec::run(&decider, &options, &mut *observer)?;
    drop(observer);
    if let Some(error) = report.broken.take() {
        return Err(error.into());
    }
    if report.interrupted {
        return Ok(Exit::Interrupted);
    }
    let merged = plan.instances().iter().position(|instance| instance.name == MERGED);
    let Some(action) = merged.and_then(|merged| report.actions[merged].as_ref()) else { return Ok(Exit::NodeFailed) };
    // What was made just now was digested when it was put into the cache; what was there before may have been damaged.
    if !report.ran.iter().any(|name| name == MERGED) {
        cache.check(&action.artifact)?;
    }
    let count = export::copy(&cache.artifact_path(&action.artifact), &args.out)?;
    if !args.json {
        output::say(&format!("{count} files of the merged model are in {}", args.out.display()));
    }
    Ok(Exit::Success)
}

/// Checks what the command line adds to the configuration.
fn check_options(args: &MergeArgs, config: &MergeFile) -> Result<(), CliError> {
    let MergeFile::Merge(config) = config else { return Ok(()) };
    let mut params = MergeParams::of_config((**config).clone());
    params.compat = if args.compat == "0.1.4" { Compat::Older } else { Compat::Newest };
    params.precision = if args.high_precision { Precision::High } else { Precision::Mergekit };
    let Some(mistake) = params.check().into_iter().next() else { return Ok(()) };
    let error = CliError::user(format!("--{}: {}", mistake.field, mistake.message));
    Err(match mistake.help {
        Some(help) => error.help(help),
        None => error,
    })
}

/// Makes the pipeline of one merge.
fn plan(
    args: &MergeArgs,
    config: &MergeFile,
    value: &Value,
    models: &BTreeMap<String, Reference>,
) -> Result<Plan, CliError> {
    let mut nodes = serde_json::Map::new();
    let names = references::nodes(models, &mut nodes)?;
    let precision = if args.high_precision { "high" } else { "mergekit" };
    let merge = match config {
        MergeFile::Merge(_) => json!({
            "kind": "merge", "config": plain(value), "nodes": names, "seed": args.seed, "shard_size": args.shard_size,
            "precision": precision, "compat": args.compat
        }),
        MergeFile::Moe(moe) => {
            let mut node = plain(value);
            moe.call_models(&mut node, &names);
            node["kind"] = "moe".into();
            node["shard_size"] = args.shard_size.into();
            if node.get("seed").is_none() {
                node["seed"] = args.seed.into();
            }
            node
        }
    };
    nodes.insert(MERGED.into(), merge);
    let internal = |why: String| CliError::internal(format!("the pipeline of the merge cannot be made: {why}"));
    let text = to_yaml(&json!({"version": 1, "nodes": nodes})).map_err(|error| internal(error.to_string()))?;
    let parsed = parse(&text, "merge", &Overrides::default());
    let first =
        |diagnostics: &[Diagnostic]| diagnostics.first().map_or_else(String::new, |first| first.message.clone());
    match &parsed.pipeline {
        Some(pipeline) if parsed.diagnostics.is_empty() => {
            resolve(pipeline).map_err(|diagnostics| internal(first(&diagnostics)))
        }
        _ => Err(internal(first(&parsed.diagnostics))),
    }
}

/// Returns the configuration with `${` meaning itself, as in a chat template.
fn plain(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace("${", "$${").into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.replace("${", "$${"), plain(value))).collect(),
        other => other.clone(),
    }
}
