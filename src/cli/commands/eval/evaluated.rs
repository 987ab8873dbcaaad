//! What an eval left: the artifact of a node, or a folder that such an artifact was copied into.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use crate::cli::args::{Cli, PipelineArgs};
use crate::cli::commands::export::origin;
use crate::cli::project::{Project, read_cache};
use crate::cli::report::CliError;
use crate::metrics::record::{self, EvalRecord, samples_file};
use crate::metrics::samples;
use crate::metrics::scores::Scores;
use crate::metrics::viewer::TaskRows;
use crate::spec::params::Kind;
use crate::spec::suggest;

/// The file that every eval has.
const SCORES: &str = "scores.json";
/// How many evals are named to somebody who named none.
const NAMED: usize = 6;

/// An eval.
pub(super) struct Evaluated {
    /// The node, or the folder.
    pub(super) name: String,
    pub(super) scores: Scores,
    /// How tasks were asked; not there where all of them are written out in the pipeline.
    pub(super) record: Option<EvalRecord>,
    folder: PathBuf,
}

impl Evaluated {
    /// Finds the eval that the arguments name.
    pub(super) fn find(args: &PipelineArgs, cli: &Cli) -> Result<Self, CliError> {
        if let Some(folder) = args.names.last().filter(|name| is_kept(name)) {
            return Self::read(Path::new(folder), folder.clone());
        }
        let project = Project::load(args, cli)?;
        let target = project.target()?;
        let is_eval = |kind: Kind| if kind == Kind::Eval { Ok(()) } else { Err(no_eval(&project, kind)) };
        if project.plan.instance(target).kind() != Kind::Select {
            is_eval(project.plan.instance(target).kind())?;
        }
        let cache = read_cache(cli)?;
        let decider = project.decider(&cache);
        let (id, action) = origin(&project, &decider, target, "no score to show")?;
        let instance = project.plan.instance(id);
        is_eval(instance.kind())?;
        cache.check(&action.artifact)?;
        Self::read(&cache.artifact_path(&action.artifact), instance.name.clone())
    }

    /// Reads the files of an eval.
    pub(super) fn read(folder: &Path, name: String) -> Result<Self, CliError> {
        let unusable = |file: &str, why: String| {
            let message = format!("{} cannot be read: {why}", folder.join(file).display());
            CliError::user(message).help("run the eval again with this version of luthflow")
        };
        let bytes = |file: &str| fs_err::read(folder.join(file)).map_err(|error| CliError::user(error.to_string()));
        let scores = Scores::parse(&bytes(SCORES)?).map_err(|why| unusable(SCORES, why))?;
        let record = if folder.join(record::FILE).is_file() {
            Some(EvalRecord::parse(&bytes(record::FILE)?).map_err(|why| unusable(record::FILE, why))?)
        } else {
            None
        };
        Ok(Self { name, scores, record, folder: folder.to_path_buf() })
    }

    /// Returns the tasks whose rows were kept: all of them, or the one that is wanted.
    pub(super) fn tasks(&self, only: Option<&str>) -> Result<Vec<String>, CliError> {
        let kept: Vec<String> =
            self.record.iter().flat_map(|record| &record.tasks).map(|task| task.name.clone()).collect();
        let Some(only) = only else {
            if kept.is_empty() {
                let why = format!("`{}` kept no rows", self.name);
                return Err(CliError::user(why).help("tasks that are named keep them: `luthflow eval tasks`"));
            }
            return Ok(kept);
        };
        if kept.iter().any(|name| name == only) {
            return Ok(vec![only.to_owned()]);
        }
        let help = suggest::help(only, kept.iter().map(String::as_str));
        let error = CliError::user(if self.scores.tasks.iter().any(|score| score.name == only) {
            format!("the task `{only}` of `{}` kept no rows", self.name)
        } else {
            format!("`{}` has no task `{only}`", self.name)
        });
        Err(match help {
            Some(help) => error.help(help),
            None => error,
        })
    }

    /// Reads the rows of a task.
    pub(super) fn rows(&self, task: &str) -> Result<TaskRows, CliError> {
        let mut runs = Vec::new();
        loop {
            let path = self.folder.join(record::SAMPLES).join(samples_file(task, runs.len()));
            if !path.is_file() && !runs.is_empty() {
                return Ok(TaskRows { name: task.to_owned(), runs });
            }
            let file = fs_err::File::open(&path).map_err(|error| CliError::user(error.to_string()))?;
            let read = samples::read(BufReader::new(file));
            runs.push(read.map_err(|why| CliError::user(format!("{} cannot be read: {why}", path.display())))?);
        }
    }

    /// Returns how it was asked, in a line.
    pub(super) fn asked(&self) -> Option<String> {
        let record = self.record.as_ref()?;
        let mut parts = vec![format!("profile {}", record.profile)];
        if record.seed != 0 || record.runs > 1 {
            parts.push(format!("seed {}", record.seed));
        }
        if record.runs > 1 {
            parts.push(format!("{} runs", record.runs));
        }
        let chats = record.tasks.iter().filter(|task| task.chat).count();
        parts.push(match chats {
            0 => "no chat template".to_owned(),
            all if all == record.tasks.len() => "chat template".to_owned(),
            some => format!("chat template in {some} of {} tasks", record.tasks.len()),
        });
        if let Some(thinking) = record.thinking {
            parts.push(if thinking { "thinking" } else { "no thinking" }.to_owned());
        }
        let mut shots: Vec<usize> = record.tasks.iter().map(|task| task.shots).collect();
        shots.sort_unstable();
        if let (Some(least), Some(most)) = (shots.first(), shots.last()) {
            let range = if least == most { least.to_string() } else { format!("{least} to {most}") };
            parts.push(format!("{range} examples"));
        }
        Some(parts.join(", "))
    }
}

/// Says whether a name is that of a folder with an eval. Such a name has a `/`, so that it is not mistaken for a node.
fn is_kept(name: &str) -> bool {
    name.contains(['/', '\\']) && Path::new(name).join(SCORES).is_file()
}

fn no_eval(project: &Project, kind: Kind) -> CliError {
    let name = project.names.last().map_or("", String::as_str);
    let why = format!("`{name}` is of kind `{}`, which scores nothing", kind.name());
    let evals: Vec<String> = project
        .plan
        .instances()
        .iter()
        .filter(|instance| instance.kind() == Kind::Eval)
        .map(|instance| format!("`{}`", instance.name))
        .collect();
    let more = if evals.len() > NAMED { format!(" and {} more", evals.len() - NAMED) } else { String::new() };
    CliError::user(why).help(match evals.len() {
        0 => "this pipeline has no eval".to_owned(),
        count => format!("name an eval: {}{more}", evals[..count.min(NAMED)].join(", ")),
    })
}
