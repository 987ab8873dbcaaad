//! From arguments to a plan: which pipeline file, with which parameters, over which cache.

use std::path::{Path, PathBuf};

use super::args::{Cli, PipelineArgs};
use super::output;
use super::report::CliError;
use crate::cache::{Access, Cache};
use crate::exec::Decider;
use crate::plan::{InstanceId, Plan, resolve, select};
use crate::spec::params::Kind;
use crate::spec::{Overrides, Pipeline, merge_file, parse, sweep};

/// The largest pipeline file that is read, in bytes.
const MAX_BYTES: u64 = crate::spec::document::MAX_BYTES as u64;

/// A pipeline file that was read and understood.
pub(super) struct Project {
    /// The pipeline file.
    pub(super) file: PathBuf,
    /// What it means.
    pub(super) plan: Plan,
    /// The other names on the command line.
    pub(super) names: Vec<String>,
}

impl Project {
    /// Finds, reads and resolves the pipeline that the arguments mean.
    pub(super) fn load(args: &PipelineArgs, cli: &Cli) -> Result<Self, CliError> {
        let (file, names) = find(args, cli)?;
        let overrides = overrides(args)?;
        let text = read(&file)?;
        let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let mut parsed = parse(&text, &name, &overrides);
        if let Some(pipeline) = &mut parsed.pipeline {
            merge_files(pipeline, &file)?;
        }
        let mut diagnostics = parsed.diagnostics;
        let plan = match &parsed.pipeline {
            None => None,
            Some(pipeline) => match resolve(pipeline) {
                Ok(plan) => Some(plan),
                Err(more) => {
                    diagnostics.extend(more);
                    None
                }
            },
        };
        diagnostics.sort();
        diagnostics.dedup();
        match plan {
            Some(plan) if diagnostics.is_empty() => Ok(Self { file, plan, names }),
            _ => Err(CliError::mistakes(&file, &text, diagnostics)),
        }
    }

    /// Returns the lockfile: beside the pipeline, with the same name.
    pub(super) fn lock_path(&self) -> PathBuf {
        self.file.with_extension("lock")
    }

    /// Returns what decides about freshness, over `cache`.
    pub(super) fn decider<'a>(&'a self, cache: &'a Cache) -> Decider<'a> {
        Decider::new(&self.plan, cache, &self.file)
    }

    /// Returns the instances that the names mean; all of them without names.
    pub(super) fn targets(&self) -> Result<Vec<InstanceId>, CliError> {
        if self.names.is_empty() {
            return Ok(self.plan.ids().collect());
        }
        let mut targets = Vec::new();
        for name in &self.names {
            targets.extend(select::select(&self.plan, name).map_err(CliError::user)?);
        }
        Ok(targets)
    }

    /// Returns the one instance that the one name means.
    pub(super) fn target(&self) -> Result<InstanceId, CliError> {
        match self.names.as_slice() {
            [name] => select::select_one(&self.plan, name).map_err(CliError::user),
            [] => Err(CliError::user("name a node").help("`luthflow status` lists them")),
            _ => Err(CliError::user("name one node only")),
        }
    }
}

/// Opens the cache for looking.
pub(super) fn read_cache(cli: &Cli) -> Result<Cache, CliError> {
    if cli.cache_dir.exists() && !cli.cache_dir.is_dir() {
        return Err(CliError::user(format!("{} is not a folder, so it is no cache", cli.cache_dir.display())));
    }
    let cache = Cache::open(&cli.cache_dir, Access::Read, &mut |_| {})?;
    notices(&cache);
    Ok(cache)
}

/// Says what the cache mended or could not use as it opened.
pub(super) fn notices(cache: &Cache) {
    for notice in cache.notices() {
        output::say(&format!("note: {notice}"));
    }
}

/// Finds the pipeline file: `--pipeline`, the first name that looks like one, `pipeline.yaml`, or the one that ran last.
fn find(args: &PipelineArgs, cli: &Cli) -> Result<(PathBuf, Vec<String>), CliError> {
    if let Some(file) = &args.pipeline {
        return Ok((file.clone(), args.names.clone()));
    }
    if let Some((first, rest)) = args.names.split_first()
        && is_pipeline(Path::new(first))
    {
        return Ok((PathBuf::from(first), rest.to_vec()));
    }
    for name in ["pipeline.yaml", "pipeline.yml"] {
        if Path::new(name).is_file() {
            return Ok((PathBuf::from(name), args.names.clone()));
        }
    }
    let last = read_cache(cli)?.runs(1)?.into_iter().next().map(|run| PathBuf::from(run.pipeline));
    match last.filter(|file| file.is_file()) {
        Some(file) => Ok((file, args.names.clone())),
        None => Err(CliError::user("there is no pipeline here")
            .help("name its file, for example `luthflow run pipelines/quickstart.yaml`")),
    }
}

/// Reads the MergeKit configurations that merges name by their file, relative to that of the pipeline.
fn merge_files(pipeline: &mut Pipeline, file: &Path) -> Result<(), CliError> {
    for node in pipeline.nodes.iter_mut().filter(|node| node.kind == Kind::Merge) {
        let Some(config) = node.fields.get_mut("config") else { continue };
        let Some(name) = config.as_str() else { continue };
        let path = file.parent().unwrap_or(Path::new("")).join(name);
        let text = read(&path)?;
        let (value, diagnostics) = merge_file::value(&text);
        // With parameters of the pipeline in it, it can only be checked once these are filled in.
        if !diagnostics.is_empty() && !text.contains("${") {
            return Err(CliError::mistakes(&path, &text, diagnostics));
        }
        *config = value;
    }
    Ok(())
}

fn is_pipeline(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

pub(super) fn read(file: &Path) -> Result<String, CliError> {
    if !file.exists() {
        let why = format!("there is no file {}", file.display());
        return Err(CliError::user(why).help("paths on the command line are relative to the current folder"));
    }
    let size = fs_err::metadata(file).map_err(|error| cannot_read(&error))?.len();
    if size > MAX_BYTES {
        return Err(CliError::user(format!("{} has {size} bytes: that is no pipeline", file.display())));
    }
    let bytes = fs_err::read(file).map_err(|error| cannot_read(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        let why = format!("{} is not UTF-8 text: line {line} holds a byte that is no character", file.display());
        CliError::user(why).help("save the file as UTF-8")
    })?;
    // Some editors begin a file with a byte order mark.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn cannot_read(error: &std::io::Error) -> CliError {
    CliError::user(error.to_string())
}

fn overrides(args: &PipelineArgs) -> Result<Overrides, CliError> {
    let mut overrides = Overrides::default();
    for argument in &args.set {
        let (name, value) = split(argument, "--set")?;
        overrides.set.push((name, sweep::scalar(value)));
    }
    for argument in &args.sweep {
        let (name, values) = split(argument, "--sweep")?;
        let values =
            sweep::values_of_argument(values).map_err(|why| CliError::user(format!("`--sweep {argument}`: {why}")))?;
        if overrides.sweep.iter().any(|(earlier, _)| *earlier == name) {
            return Err(CliError::user(format!("`--sweep {name}` is given twice")).help("give all its values at once"));
        }
        overrides.sweep.push((name, values));
    }
    Ok(overrides)
}

fn split<'a>(argument: &'a str, flag: &str) -> Result<(String, &'a str), CliError> {
    let (name, value) = argument
        .split_once('=')
        .ok_or_else(|| CliError::user(format!("`{flag} {argument}`: write `{flag} name=value`")))?;
    Ok((name.trim().to_owned(), value))
}
