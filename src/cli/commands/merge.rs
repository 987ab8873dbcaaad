//! `luthflow merge CONFIG OUT_DIR`: one merge without a pipeline.
//!
//! It is a pipeline all the same, made here: a source for every model and one merge. So the same cache stands behind it,
//! and a merge that was made before is only copied.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::export;
use super::references::{self, Reference};
use crate::cli::alone::{self, Made, Wish};
use crate::cli::args::{Cli, MergeArgs};
use crate::cli::exit::Exit;
use crate::cli::json::JsonLines;
use crate::cli::output;
use crate::cli::progress::Human;
use crate::cli::project::read;
use crate::cli::report::CliError;
use crate::exec::Observer;
use crate::plan::Plan;
use crate::spec::merge_file;
use crate::spec::merge_file::MergeFile;
use crate::spec::params::{Compat, MergeParams, Params, Precision};

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
    let observer: Box<dyn Observer> = if args.json { Box::new(JsonLines) } else { Box::new(Human::new()) };
    let (device, threads) = (args.device.checked()?, args.threads);
    let wish = Wish { plan: &plan, node: MERGED, file: &args.config, device, threads };
    let (cache, action) = match alone::make(&wish, observer, cli)? {
        Made::There(made) => *made,
        Made::Ended(exit) => return Ok(exit),
    };
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
            "kind": "merge", "config": alone::plain(value), "nodes": names, "seed": args.seed, "shard_size": args.shard_size,
            "precision": precision, "compat": args.compat
        }),
        MergeFile::Moe(moe) => {
            let mut node = alone::plain(value);
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
    alone::plan(&nodes, "merge").map_err(|mistaken| {
        let first = mistaken.diagnostics.first().map_or_else(String::new, |first| first.message.clone());
        CliError::internal(format!("the pipeline of the merge cannot be made: {first}"))
    })
}
