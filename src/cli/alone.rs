//! Pipelines that a command makes for itself (`merge`, `eval`): run over the cache like any other, so that what was made before
//! is there, and a run that was stopped goes on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::args::Cli;
use super::exit::Exit;
use super::interrupt;
use super::machine::resources;
use super::project::{notices, read};
use super::report::CliError;
use crate::cache::{Access, Action, Cache};
use crate::exec::outside::Outside;
use crate::exec::{Decider, Event, Observer, RunOptions, unreadable};
use crate::plan::{Plan, resolve};
use crate::spec::document::to_yaml;
use crate::spec::{Diagnostic, Overrides, SourceFile, parse_files};
use crate::tensor::DeviceChoice;

/// What is to be made.
pub(super) struct Wish<'a> {
    /// The pipeline.
    pub(super) plan: &'a Plan,
    /// The node whose artifact is wanted.
    pub(super) node: &'a str,
    /// The file that paths in the pipeline are relative to, were it one.
    pub(super) file: &'a Path,
    pub(super) device: DeviceChoice,
    pub(super) threads: Option<usize>,
}

/// What came of it.
pub(super) enum Made {
    /// The node is there.
    There(Box<(Cache, Action)>),
    /// It is not, which was told.
    Ended(Exit),
}

/// What is wrong with such a pipeline.
pub(super) struct Mistaken {
    /// The mistakes. Those of the first file are the command's own.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// The files: first the one that nobody wrote, then those that the user named (tasks).
    pub(super) files: Vec<(PathBuf, String)>,
}

/// Makes the pipeline of these nodes.
pub(super) fn plan(nodes: &Map<String, Value>, name: &str) -> Result<Plan, Mistaken> {
    let wrong = |diagnostics| Mistaken { diagnostics, files: Vec::new() };
    let unwritable = |error| wrong(vec![Diagnostic::new(0..0, format!("it cannot be written: {error}"))]);
    let text = to_yaml(&json!({"version": 1, "nodes": nodes})).map_err(unwritable)?;
    let main = SourceFile { path: PathBuf::from("pipeline.yaml"), text };
    let named = |path: &Path| read(path).map_err(|error| error.to_string());
    let mut parsed = parse_files(main, name, &Overrides::default(), &named);
    let resolved = match &mut parsed.pipeline {
        Some(pipeline) if parsed.diagnostics.is_empty() => {
            pipeline.further = Some(unreadable);
            resolve(pipeline)
        }
        _ => Err(parsed.diagnostics),
    };
    let files = parsed.files.into_iter().map(|file| (file.path, file.text));
    resolved.map_err(|diagnostics| Mistaken { diagnostics, files: files.collect() })
}

/// Returns a value with `${` meaning itself, as in a chat template.
pub(super) fn plain(value: &Value) -> Value {
    match value {
        Value::String(text) => text.replace("${", "$${").into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.replace("${", "$${"), plain(value))).collect(),
        other => other.clone(),
    }
}

/// Makes what is wished for, unless it is there.
pub(super) fn make(wish: &Wish<'_>, mut observer: Box<dyn Observer>, cli: &Cli) -> Result<Made, CliError> {
    let waiting = &mut |holder: &str| observer.event(&Event::Waiting { holder: holder.to_owned() });
    let cache = Cache::open(&cli.cache_dir, Access::Write, waiting)?;
    notices(&cache);
    let outside = Rc::new(Outside::of_environment(&|name| std::env::var_os(name), None));
    let decider = Decider::new(wish.plan, &cache, wish.file).looking(&outside);
    let wanted = vec![true; wish.plan.instances().len()];
    decider.find_sources(&wanted)?;
    let cancelled = interrupt::flag()?;
    let cores = wish.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let options = RunOptions {
        program: std::env::current_exe()?,
        jobs: 1,
        cores,
        device: wish.device,
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
        return Ok(Made::Ended(Exit::Interrupted));
    }
    let made = wish.plan.instances().iter().position(|instance| instance.name == wish.node);
    let Some(action) = made.and_then(|made| report.actions[made].take()) else {
        return Ok(Made::Ended(Exit::NodeFailed));
    };
    // What was made just now was digested when it was put into the cache; what was there before may have been damaged.
    if !report.ran.iter().any(|name| name == wish.node) {
        cache.check(&action.artifact)?;
    }
    drop(decider);
    Ok(Made::There(Box::new((cache, action))))
}
