//! The steps in a row, and what passes between them.

use rayon::prelude::*;

use super::dedup::DropRepeats;
use super::language::KeepLanguages;
use super::length::KeepLengths;
use super::normalize::Tidy;
use super::sample::KeepSample;
use super::stats::Counts;
use crate::data::Row;
use crate::ops::OpError;
use crate::spec::params::CurateStep;

/// What a step says about a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays as it is.
    Keep(Row),
    /// It stays with another text.
    Change(Row),
    /// It goes, with a reason that a person understands.
    Drop(Row, String),
}

/// A step of curation.
pub(super) trait Step {
    /// Judges a block of rows, in their order. A step that must see all rows first holds them back.
    fn judge(&mut self, rows: Vec<Row>) -> Vec<Verdict>;

    /// Judges what was held back.
    fn finish(&mut self) -> Vec<Verdict> {
        Vec::new()
    }
}

/// Judges every row by itself, in parallel and in order.
pub(super) fn each(rows: Vec<Row>, judge: impl Fn(Row) -> Verdict + Sync + Send) -> Vec<Verdict> {
    rows.into_par_iter().map(judge).collect()
}

/// All steps of a node but the split, which decides where a row goes and not whether it stays.
pub(super) struct Flow {
    steps: Vec<(Box<dyn Step>, Counts)>,
}

impl Flow {
    /// Returns the steps that `steps` asks for.
    pub(super) fn new(steps: &[CurateStep]) -> Self {
        Self { steps: steps.iter().filter_map(|step| Some((implementation(step)?, Counts::new(step)))).collect() }
    }

    /// Sends rows through all steps and returns those that come out now.
    pub(super) fn push(&mut self, rows: Vec<Row>) -> Vec<Row> {
        run(&mut self.steps, rows)
    }

    /// Returns the rows that were held back.
    pub(super) fn finish(&mut self) -> Vec<Row> {
        let mut out = Vec::new();
        for i in 0..self.steps.len() {
            let (here, after) = self.steps.split_at_mut(i + 1);
            let (step, counts) = &mut here[i];
            let kept = counts.settle(step.finish());
            out.extend(run(after, kept));
        }
        out
    }

    /// Returns an error that names the step after which no row was left, if there is one.
    pub(super) fn check_not_empty(&self) -> Result<(), OpError> {
        let Some((i, (_, counts))) = self.steps.iter().enumerate().find(|(_, (_, counts))| counts.rows_out == 0) else {
            return Ok(());
        };
        let message = format!("step {} (`{}`) dropped all {} rows", i + 1, counts.step, counts.rows_in);
        let example = counts.dropped.first().map(|sample| format!(": `{}`: {}", sample.text, sample.reason));
        Err(OpError::new(message + &example.unwrap_or_default()).help("loosen the step or take it out"))
    }

    /// Returns what every step did.
    pub(super) fn into_counts(self) -> Vec<Counts> {
        self.steps.into_iter().map(|(_, counts)| counts).collect()
    }
}

fn run(steps: &mut [(Box<dyn Step>, Counts)], mut rows: Vec<Row>) -> Vec<Row> {
    for (step, counts) in steps {
        if rows.is_empty() {
            break;
        }
        counts.take_in(&rows);
        rows = counts.settle(step.judge(rows));
    }
    rows
}

fn implementation(step: &CurateStep) -> Option<Box<dyn Step>> {
    Some(match step {
        CurateStep::Normalize(normalize) => Box::new(Tidy { form: normalize.form }),
        CurateStep::Length(length) => Box::new(KeepLengths { bounds: *length }),
        CurateStep::Language(language) => Box::new(KeepLanguages { keep: language.keep.clone() }),
        CurateStep::Dedup(_) => Box::new(DropRepeats::default()),
        CurateStep::Sample(sample) => Box::new(KeepSample::new(*sample)),
        CurateStep::Split(_) => return None,
    })
}
