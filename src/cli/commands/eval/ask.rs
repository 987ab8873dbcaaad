//! `luthflow eval --model … --tasks …`: scores without a pipeline. It is a pipeline all the same, made here, so that the same
//! cache stands behind it: what was asked before is not asked again, and an eval that was stopped goes on.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::evaluated::Evaluated;
use super::{pipeline, samples, show, table};
use crate::cli::alone::{self, Made, Wish};
use crate::cli::args::Cli;
use crate::cli::commands::export;
use crate::cli::eval_args::AskArgs;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::progress::Human;
use crate::cli::report::CliError;
use crate::exec::{Event, Observer};
use crate::metrics::harness::{self, About};

/// What the pipeline would be called, were it a file.
const FILE: &str = "eval.yaml";

pub(super) fn run(args: &AskArgs, cli: &Cli) -> Result<Exit, CliError> {
    let plan = pipeline::plan(args)?;
    places(args)?;
    let device = args.device.checked()?;
    let wish = Wish { plan: &plan, node: pipeline::SCORES, file: Path::new(FILE), device, threads: args.threads };
    let (cache, action) = match alone::make(&wish, Box::new(Quietly(Human::new())), cli).map_err(out_of_reach)? {
        Made::There(made) => *made,
        Made::Ended(exit) => return Ok(exit),
    };
    let folder = cache.artifact_path(&action.artifact);
    let model = args.model.clone().unwrap_or_default();
    let eval = Evaluated::read(&folder, model.clone())?;
    if args.json {
        output::json(&show::as_json(&eval))?;
    } else {
        table::scores(&eval.scores.tasks, false)?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let about = About { model, device: device.to_string(), batch: args.batch, date: now };
    if let Some(file) = &args.output {
        let results = harness::results(&eval.scores, eval.record.as_ref(), &about);
        let text = serde_json::to_string_pretty(&results).map_err(std::io::Error::from)?;
        write(file, &(text + "\n"))?;
    }
    if let Some(folder) = &args.samples {
        write_samples(&eval, folder)?;
    }
    if let Some(file) = &args.html {
        write(file, &samples::page(&eval, None, &|_| true)?)?;
    }
    if let Some(target) = &args.keep {
        let count = export::copy(&folder, target)?;
        output::say(&format!("{count} files of the eval are in {}", target.display()));
    }
    Ok(Exit::Success)
}

/// A run without the reasons for it: they would tell how this eval differs from another one that was asked for before.
struct Quietly(Human);

impl Observer for Quietly {
    fn event(&mut self, event: &Event) {
        match event.clone() {
            Event::NodeStarted { node, kind, threads, .. } => {
                self.0.event(&Event::NodeStarted { node, kind, reasons: Vec::new(), threads });
            }
            other => self.0.event(&other),
        }
    }
}

/// Names the way out that a pipeline does not have, where the rows of a task cannot be had.
fn out_of_reach(error: CliError) -> CliError {
    let names = ["`task-data/", "`data-of-", "`examples-of-"];
    if !names.iter().any(|name| error.to_string().contains(name)) {
        return error;
    }
    error.help("run it once with the network, or give the rows: `--data TASK=FILE`, and `--examples` for solved ones")
}

/// Makes the folders of what is to be written, before hours are spent on what cannot be.
fn places(args: &AskArgs) -> Result<(), CliError> {
    if let Some(folder) = &args.keep
        && folder.is_dir()
        && fs_err::read_dir(folder)?.next().is_some()
    {
        let why = format!("{} is not empty", folder.display());
        return Err(CliError::user(why).help("keep the eval in a new folder"));
    }
    let above = [&args.output, &args.html].into_iter().flatten().filter_map(|file| file.parent());
    for folder in above.chain(args.samples.as_deref()).filter(|folder| !folder.as_os_str().is_empty()) {
        fs_err::create_dir_all(folder).map_err(|error| CliError::user(error.to_string()))?;
    }
    match [&args.output, &args.html].into_iter().flatten().find(|file| file.is_dir()) {
        Some(file) => Err(CliError::user(format!("{} is a folder", file.display())).help("name a file")),
        None => Ok(()),
    }
}

/// Writes the rows of each task as lm-evaluation-harness does. Further runs are answers to the same rows.
fn write_samples(eval: &Evaluated, folder: &Path) -> Result<(), CliError> {
    let Some(record) = &eval.record else { return Ok(()) };
    for task in &record.tasks {
        let rows = eval.rows(&task.name)?;
        let lines = rows.runs.iter().flat_map(|rows| harness::samples(rows, task));
        let mut text = lines.map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
        text.push('\n');
        write(&folder.join(format!("samples_{}.jsonl", task.name)), &text)?;
    }
    Ok(())
}

/// Writes what the user asked for where the user asked for it.
pub(super) fn write(file: &Path, text: &str) -> Result<(), CliError> {
    fs_err::write(file, text).map_err(|error| CliError::user(error.to_string()))?;
    output::say(&format!("wrote {}", file.display()));
    Ok(())
}
