//! What answers are worth. A judge is made of a task's metrics once, says of each row what it is worth, and of all rows what the
//! score is. It asks no model, so a row that was kept is judged again to the same bytes.
//!
//! What a model writes is foreign: an answer of more than a megabyte is endless and counts as empty, a likelihood that is no
//! number is never the best, and no expression searches without a bound. What a *task* has wrong is an error that names task,
//! row and score.
//!
//! Metrics read these columns of a row, beside its reference ([`Judge::columns`]): `ifeval` its `instruction_id_list` and `kwargs`
//! (lists, or JSON of lists), and `letter` how many `choices` there are (a number or a list; 4 when left out).

mod answer;
mod fit;
mod gold;
mod instructions;
mod likely;
mod several;
#[cfg(test)]
mod tests;
mod total;

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::sampled::Sampled;
use super::{OpError, Score};
use crate::metrics::ifeval::Rules;
use crate::metrics::pattern::Pattern;
use crate::metrics::text::choice::Weight;
use crate::spec::params::{Average, Metric, MetricName, Profile, TaskDefinition};

use answer::Kind;

/// Judges the answers to one task.
pub(in crate::ops) struct Judge {
    /// What the pipeline calls the task.
    name: String,
    /// What the list of tasks calls it.
    task: String,
    profile: Profile,
    seed: u64,
    metrics: Vec<Judged>,
    grouped: bool,
    average: Average,
    clustered: bool,
}

/// A metric, ready to judge.
struct Judged {
    metric: MetricName,
    /// What the score is called.
    name: String,
    how: How,
    pass_at: Option<usize>,
    maj_at: Option<usize>,
}

/// What a metric looks at.
enum How {
    /// Which choice is the likeliest; what stands before each is taken off where it is no part of its length.
    Choice(Weight, String),
    /// Which of two texts is likelier.
    Pair(Weight),
    /// How likely the right choices are.
    Share,
    /// How far the likelihoods are from the truth.
    Brier,
    /// How likely a text is.
    Text,
    /// What the model wrote, answer by answer.
    Answer(Option<(Pattern, bool)>, Kind),
    /// What the model wrote, over the whole task.
    Corpus(Option<(Pattern, bool)>),
    /// Whether instructions were followed.
    Instructions(Rules),
}

/// What is wrong, and the way out. The judge adds task, row and score.
#[derive(Debug)]
struct Fault {
    message: String,
    help: String,
}

impl Fault {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// What a row is worth, by the name of the score, and what that rests on.
#[derive(Default)]
struct Worth {
    values: Map<String, Value>,
    extracted: Map<String, Value>,
}

impl Judge {
    /// Makes the judge of a task that the pipeline calls `name`. `seed` is where the bootstrap begins.
    pub(in crate::ops) fn new(
        definition: &TaskDefinition,
        name: &str,
        profile: Profile,
        seed: u64,
    ) -> Result<Self, OpError> {
        let mut metrics: Vec<Judged> = Vec::with_capacity(definition.metrics.len());
        for (i, metric) in definition.metrics.iter().enumerate() {
            let field = format!("metrics[{i}]");
            let fault = |fault: Fault| {
                let message = format!("`{}` of task `{name}`: {}", metric.name(), fault.message);
                OpError::new(message).help(fault.help).at(&field)
            };
            let judged = fit::judged(definition, metric, profile).map_err(fault)?;
            let twice = judged.scores().into_iter().find(|new| metrics.iter().any(|old| old.scores().contains(new)));
            if let Some(twice) = twice {
                let message = format!("two scores of task `{name}` are called `{twice}`");
                return Err(OpError::new(message).help("give one of the metrics another `name`").at(field));
            }
            metrics.push(judged);
        }
        if metrics.is_empty() {
            return Err(OpError::new(format!("task `{name}` has no metrics")).help("list some under `metrics`"));
        }
        Ok(Self {
            name: name.to_owned(),
            task: definition.task.clone(),
            profile,
            seed,
            metrics,
            grouped: definition.group.is_some(),
            average: definition.average,
            clustered: definition.cluster.is_some(),
        })
    }

    /// Returns the columns that the metrics of a task read, to be kept with each row that has them.
    pub(in crate::ops) fn columns(metrics: &[Metric]) -> Vec<&'static str> {
        let has = |name: MetricName| metrics.iter().any(|metric| metric.metric == name);
        let mut columns = Vec::new();
        if has(MetricName::Ifeval) {
            columns.extend(["instruction_id_list", "kwargs"]);
        }
        if has(MetricName::Letter) {
            columns.push("choices");
        }
        columns
    }

    /// Judges a row: fills `values` and `extracted` anew.
    pub(in crate::ops) fn row(&self, sampled: &mut Sampled) -> Result<(), OpError> {
        let mut worth = Worth::default();
        for judged in &self.metrics {
            judged.row(sampled, self.profile, &mut worth).map_err(|fault| {
                let (row, score) = (sampled.row + 1, &judged.name);
                OpError::new(format!("row {row} of task `{}`, `{score}`: {}", self.name, fault.message))
                    .help(fault.help)
            })?;
        }
        sampled.values = worth.values;
        sampled.extracted = worth.extracted;
        Ok(())
    }

    /// Judges many rows at once. Of several mistakes the first row's is told.
    pub(in crate::ops) fn rows(&self, rows: &mut [Sampled]) -> Result<(), OpError> {
        let verdicts: Vec<Result<(), OpError>> = rows.par_iter_mut().map(|row| self.row(row)).collect();
        verdicts.into_iter().collect()
    }

    /// Returns the scores of rows that were judged: of every metric over all rows and, where the task has groups, over each group.
    /// Rows without a value do not count.
    #[cfg(test)]
    pub(in crate::ops) fn scores(&self, rows: &[Sampled]) -> Vec<Score> {
        self.scores_of_runs(&[rows])
    }

    /// Returns the scores of several runs: over all of them, with the value of each beside. The runs of one question are a cluster:
    /// asking again does not make a score surer of other questions.
    pub(in crate::ops) fn scores_of_runs(&self, runs: &[&[Sampled]]) -> Vec<Score> {
        total::scores(self, runs)
    }
}

impl Judged {
    /// Returns what its scores are called.
    fn scores(&self) -> Vec<String> {
        self.metric.scores(&self.name)
    }

    fn row(&self, sampled: &Sampled, profile: Profile, worth: &mut Worth) -> Result<(), Fault> {
        let value = match &self.how {
            How::Choice(weight, before) => likely::choice(sampled, *weight, before)?,
            How::Pair(weight) => likely::pair(sampled, *weight, profile)?,
            How::Share => likely::share(sampled)?,
            How::Brier => likely::brier(sampled)?,
            How::Text => match likely::bits_per_byte(sampled)? {
                Some(bits) if self.metric == MetricName::BitsPerByte => bits,
                _ => return Ok(()),
            },
            How::Answer(extract, kind) => several::answers(self, sampled, extract.as_ref(), kind, worth)?,
            How::Corpus(_) => {
                gold::texts(&sampled.gold)?;
                return several::any(sampled).map(|_| ());
            }
            How::Instructions(rules) => return instructions::row(self, sampled, *rules, worth),
        };
        worth.values.insert(self.name.clone(), Value::from(value));
        Ok(())
    }
}
