//! From arguments to a plan: which pipeline file, with which parameters, over which cache.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::advice::{self, Advice};
use super::args::{Cli, PipelineArgs};
use super::output;
use super::report::CliError;
use crate::cache::{Access, Cache};
use crate::digest::Digest;
use crate::exec::outside::Outside;
use crate::exec::{Decider, rounds, unreadable};
use crate::plan::{InstanceId, Plan, resolve, select};
use crate::spec::lock::Lock;
use crate::spec::params::{Kind, Search};
use crate::spec::{Overrides, Pipeline, SourceFile, merge_file, parse_files, sweep};

/// The largest pipeline file that is read, in bytes.
const MAX_BYTES: u64 = crate::spec::document::MAX_BYTES as u64;

/// A pipeline file that was read.
pub(super) struct Written {
    /// The pipeline file.
    pub(super) file: PathBuf,
    /// The other names on the command line.
    pub(super) names: Vec<String>,
    /// Its text.
    pub(super) text: String,
    /// What the command line changes in it.
    pub(super) overrides: Overrides,
    /// What looks at its sources that do not lie on this machine.
    pub(super) outside: Rc<Outside>,
}

impl Written {
    /// Finds and reads the pipeline file that the arguments mean.
    pub(super) fn read(args: &PipelineArgs, cli: &Cli) -> Result<Self, CliError> {
        let (file, names) = find(args, cli)?;
        let text = read(&file)?;
        let mut written = Self { file, names, text, overrides: overrides(args)?, outside: Rc::default() };
        written.outside = Rc::new(written.looking());
        Ok(written)
    }

    /// Returns what looks at sources that do not lie on this machine, as the environment says.
    pub(super) fn looking(&self) -> Outside {
        Outside::of_environment(&|name| std::env::var_os(name), Some(self.lock_path()))
    }

    /// Returns the lockfile: beside the pipeline, with the same name, and that of the profile behind it.
    pub(super) fn lock_path(&self) -> PathBuf {
        match &self.overrides.profile {
            Some(profile) => self.file.with_extension(format!("{profile}.lock")),
            None => self.file.with_extension("lock"),
        }
    }

    /// Returns the digest of something else that the text stands for: `file:recipe.yaml`, `env:HOME`.
    pub(super) fn digest_of(&self, name: &str) -> Option<Digest> {
        let nothing = || Digest::of(b"not set");
        if let Some(variable) = name.strip_prefix("env:") {
            let value = self.overrides.env.get(variable);
            return Some(value.map_or_else(nothing, |value| Digest::of(format!("={value}").as_bytes())));
        }
        let folder = self.file.parent().unwrap_or(Path::new(""));
        Some(Digest::of(read(&folder.join(name.strip_prefix("file:")?)).ok()?.as_bytes()))
    }
}

/// A pipeline file that was read and understood.
pub(super) struct Project {
    /// The pipeline file.
    pub(super) file: PathBuf,
    /// What it means.
    pub(super) plan: Plan,
    /// The searches that are on, each with the name of its `select` node.
    pub(super) searches: Vec<(String, Search)>,
    /// The other names on the command line.
    pub(super) names: Vec<String>,
    /// What the text stands for besides: the files that it includes, and variables of the environment.
    pub(super) reads: Vec<String>,
    /// What is no mistake in it and probably not meant.
    pub(super) advice: Advice,
    written: Written,
}

impl Project {
    /// Finds, reads and resolves the pipeline that the arguments mean. Searches are where the cache knows them to be.
    pub(super) fn load(args: &PipelineArgs, cli: &Cli) -> Result<Self, CliError> {
        Self::understand(Written::read(args, cli)?, cli)
    }

    /// Resolves a pipeline file that was read. Searches are where the cache knows them to be.
    pub(super) fn understand(written: Written, cli: &Cli) -> Result<Self, CliError> {
        let mut project = Self::resolve(written)?;
        if project.searches.is_empty() || !cli.cache_dir.is_dir() {
            return Ok(project);
        }
        let cache = read_cache(cli)?;
        loop {
            let known = project.decider(&cache).known()?;
            let trials = rounds::next(&project.plan, &project.searches, &rounds::of_actions(&known));
            match trials {
                Some(trials) => project = project.with_trials(trials)?,
                None => return Ok(project),
            }
        }
    }

    fn resolve(written: Written) -> Result<Self, CliError> {
        let (plan, searches, reads, advice) = understand(&written)?;
        let (file, names) = (written.file.clone(), written.names.clone());
        Ok(Self { file, plan, searches, names, reads, advice, written })
    }

    /// Resolves the pipeline again, with the values that its searches have tried and are to try next, by the whole name
    /// of the parameter.
    pub(super) fn with_trials(self, trials: rounds::Trials) -> Result<Self, CliError> {
        let mut written = self.written;
        written.overrides.trials = trials;
        Self::resolve(written)
    }

    /// Returns the project with its searches where a lockfile has them.
    pub(super) fn at_lock(mut self, lock: &Lock) -> Result<Self, CliError> {
        loop {
            let known = rounds::of_lock(&self.plan, lock);
            let metrics = |id: InstanceId| known[id.index()].as_ref().map(|node| &node.metrics);
            match rounds::next(&self.plan, &self.searches, &metrics) {
                Some(trials) => self = self.with_trials(trials)?,
                None => return Ok(self),
            }
        }
    }

    /// Returns the files that it is made from: the text and what it includes, and what its nodes take from outside.
    pub(super) fn files(&self, cache: &Cache) -> Vec<PathBuf> {
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let included = self.reads.iter().filter_map(|name| Some(folder.join(name.strip_prefix("file:")?)));
        std::iter::once(self.file.clone()).chain(included).chain(self.decider(cache).files_outside()).collect()
    }

    /// Returns the pipeline as it was read.
    pub(super) fn written(&self) -> &Written {
        &self.written
    }

    /// Returns the lockfile.
    pub(super) fn lock_path(&self) -> PathBuf {
        self.written.lock_path()
    }

    /// Returns what decides about freshness, over `cache`.
    pub(super) fn decider<'a>(&'a self, cache: &'a Cache) -> Decider<'a> {
        Decider::new(&self.plan, cache, &self.file).looking(&self.written.outside)
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

/// What a pipeline means, its searches, and what its text stands for besides.
type Understood = (Plan, Vec<(String, Search)>, Vec<String>, Advice);

/// Reads all that a pipeline includes, and resolves it.
fn understand(written: &Written) -> Result<Understood, CliError> {
    let Written { file, text, overrides, .. } = written;
    let name = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let folder = file.parent().unwrap_or(Path::new(""));
    let main = SourceFile { path: file.file_name().map(PathBuf::from).unwrap_or_default(), text: text.clone() };
    let include = |path: &Path| read(&folder.join(path)).map_err(|error| error.to_string());
    let mut parsed = parse_files(main, &name, overrides, &include);
    if let Some(pipeline) = &mut parsed.pipeline {
        parsed.files.extend(merge_files(pipeline, folder)?);
        parsed.diagnostics.extend(merge_file::settle(pipeline));
        pipeline.further = Some(unreadable);
    }
    let mut diagnostics = parsed.diagnostics;
    let mut understood = None;
    if let Some(pipeline) = &parsed.pipeline {
        match resolve(pipeline) {
            Ok(plan) => {
                let advice = Advice { said: advice::of_plan(&plan, pipeline), files: Vec::new() };
                understood = Some((plan, pipeline.searches.clone(), reads(&parsed.files), advice));
            }
            Err(more) => diagnostics.extend(more),
        }
    }
    diagnostics.sort();
    diagnostics.dedup();
    let files: Vec<(PathBuf, String)> =
        parsed.files.into_iter().map(|source| (folder.join(source.path), source.text)).collect();
    match understood {
        Some(mut understood) if diagnostics.is_empty() => {
            understood.3.files = files;
            Ok(understood)
        }
        _ => Err(CliError::mistakes(file, &files, diagnostics)),
    }
}

/// Returns the names of what the files stand for besides: those that are included, and variables of the environment.
fn reads(files: &[SourceFile]) -> Vec<String> {
    let mut reads: Vec<String> = files.iter().skip(1).map(|file| format!("file:{}", file.path.display())).collect();
    for file in files {
        let variables = file.text.split("${env:").skip(1);
        let name =
            |rest: &str| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().map(str::to_owned);
        reads.extend(variables.filter_map(name).map(|name| format!("env:{name}")));
    }
    reads.sort_unstable();
    reads.dedup();
    reads
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

/// Opens the cache for looking, if that can be done without a word.
pub(super) fn quiet_cache(cli: &Cli) -> Option<Cache> {
    let cache = cli.cache_dir.is_dir().then(|| Cache::open(&cli.cache_dir, Access::Read, &mut |_| {}))?;
    cache.ok().filter(|cache| cache.notices().is_empty())
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

/// Reads the MergeKit configurations that merges name by their file, relative to that of the pipeline, and returns these
/// files.
fn merge_files(pipeline: &mut Pipeline, folder: &Path) -> Result<Vec<SourceFile>, CliError> {
    let mut files = Vec::new();
    for node in pipeline.nodes.iter_mut().filter(|node| node.kind == Kind::Merge) {
        let Some(config) = node.fields.get_mut("config") else { continue };
        let Some(name) = config.as_str() else { continue };
        let path = node.base.join(name);
        let full = folder.join(&path);
        let text = read(&full)?;
        let (value, diagnostics) = merge_file::value(&text);
        // With parameters of the pipeline in it, it can only be checked once these are filled in.
        if !diagnostics.is_empty() && !text.contains("${") {
            return Err(CliError::mistakes(&full, &[(full.clone(), text)], diagnostics));
        }
        *config = value;
        files.push(SourceFile { path, text });
    }
    Ok(files)
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
    // A variable that is no text cannot stand in a setting, so it is as if it were not there.
    let env =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let profile = args.profile.clone().filter(|name| !name.is_empty());
    let mut overrides = Overrides { profile, env: env.collect(), ..Overrides::default() };
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
    for argument in &args.zip {
        overrides.zip.push(argument.split(',').map(|name| name.trim().to_owned()).collect());
    }
    for argument in &args.exclude {
        let pairs = argument.split(',').map(|pair| split(pair, "--exclude"));
        let pairs = pairs.map(|pair| pair.map(|(name, value)| (name, sweep::scalar(value.trim()))));
        overrides.exclude.push(pairs.collect::<Result<_, _>>()?);
    }
    Ok(overrides)
}

fn split<'a>(argument: &'a str, flag: &str) -> Result<(String, &'a str), CliError> {
    let (name, value) = argument
        .split_once('=')
        .ok_or_else(|| CliError::user(format!("`{flag} {argument}`: write `{flag} name=value`")))?;
    Ok((name.trim().to_owned(), value))
}
