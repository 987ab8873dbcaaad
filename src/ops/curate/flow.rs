//! The steps in a row, and what passes between them.
//!
//! Items flow through in blocks. A step judges a block; one that must see everything first (a sort, a near-duplicate
//! search) holds items back, on disk if they are many, and gives them out when there are no more. What a filter drops is
//! counted by rule and sampled, and a filter in the mode `flag` only writes down what it has against an item.

use std::borrow::Cow;

use rayon::prelude::*;

use super::item::Item;
use super::stats::Counts;
use super::tokens::TokenCounter;
use crate::ops::{OpCx, OpError};
use crate::spec::params::{CurateStep, FilterMode};

/// What a step says about an item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It stays as it is.
    Keep(Item),
    /// It stays, changed.
    Change(Item),
    /// It becomes several, or none.
    Become(Vec<Item>),
    /// It stays, with what rules that only flag have against it.
    Flag(Item, Vec<Why>),
    /// It goes.
    Drop(Item, Why),
}

/// Why an item goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Why {
    /// The rule that it broke, if its step has several: what drops are counted by.
    pub(super) rule: Option<Cow<'static, str>>,
    /// What a person is told.
    pub(super) reason: String,
}

impl Why {
    /// Returns a reason of a step with many rules.
    pub(super) fn of_rule(rule: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self { rule: Some(rule.into()), reason: reason.into() }
    }
}

impl<T: Into<String>> From<T> for Why {
    fn from(reason: T) -> Self {
        Self { rule: None, reason: reason.into() }
    }
}

/// What a step wants to see of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// What it says: prose, a chat, a pair.
    Row,
    /// All its columns.
    Columns,
    /// Neither.
    Nothing,
}

/// A step of curation.
pub(super) trait Step {
    /// What the items must be when they are judged.
    fn needs(&self) -> Needs {
        Needs::Row
    }

    /// Judges a block of items, in their order. What it returns no verdict on, it holds back.
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError>;

    /// Judges some of what was held back, once nothing more comes; called until it returns nothing.
    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        Ok(None)
    }

    /// Returns what else is worth knowing about what it did, for `stats.json`.
    fn figures(&self) -> Option<serde_json::Value> {
        None
    }
}

/// Judges every item by itself, in parallel and in order.
pub(super) fn each(items: Vec<Item>, judge: impl Fn(Item) -> Verdict + Sync + Send) -> Vec<Verdict> {
    items.into_par_iter().map(judge).collect()
}

/// As [`each`], for judges that can fail; of several failures the first one is returned, whatever the threads do.
pub(super) fn try_each(
    items: Vec<Item>,
    judge: impl Fn(Item) -> Result<Verdict, OpError> + Sync + Send,
) -> Result<Vec<Verdict>, OpError> {
    let all: Vec<Result<Verdict, OpError>> = items.into_par_iter().map(judge).collect();
    all.into_iter().collect()
}

/// One step with what is counted about it.
struct Stage<'a> {
    step: Box<dyn Step + 'a>,
    mode: FilterMode,
    counts: Counts,
}

/// All steps of a node but the split, which decides where a row goes and not whether it stays.
pub(super) struct Flow<'a> {
    stages: Vec<Stage<'a>>,
    counter: Option<&'a TokenCounter>,
    cx: &'a OpCx<'a>,
}

impl<'a> Flow<'a> {
    /// Returns the steps that `steps` asks for, of which there are `before` others before.
    pub(super) fn new(
        before: usize,
        steps: &[CurateStep],
        (names, priorities): (&[String], &[i64]),
        (counter, cx): (Option<&'a TokenCounter>, &'a OpCx<'a>),
    ) -> Result<Self, OpError> {
        let mut stages = Vec::new();
        for (i, step) in (before..).zip(steps) {
            let begun = super::steps::begin(i, step, (names, priorities), cx)
                .map_err(|error| OpError::caused(at(i, step), error))?;
            if let Some(begun) = begun {
                let counts = Counts::new(step.name(), names.len(), counter.is_some());
                stages.push(Stage { step: begun, mode: step.mode(), counts });
            }
        }
        Ok(Self { stages, counter, cx })
    }

    /// Sends items through all steps and returns those that come out now.
    pub(super) fn push(&mut self, items: Vec<Item>) -> Result<Vec<Item>, OpError> {
        run(&mut self.stages, items, self.counter)
    }

    /// Gives what was held back to `out`, block by block.
    pub(super) fn finish(&mut self, mut out: impl FnMut(Vec<Item>) -> Result<(), OpError>) -> Result<(), OpError> {
        for i in 0..self.stages.len() {
            let (here, after) = self.stages.split_at_mut(i + 1);
            let stage = &mut here[i];
            let mut judged = 0;
            while let Some(verdicts) = stage.step.held()? {
                if judged == 0 {
                    self.cx.progress.phase(&stage.counts.step, Some(stage.counts.rows_in), "rows");
                }
                judged += verdicts.len() as u64;
                self.cx.progress.position(judged);
                let kept = stage.settle(verdicts, self.counter)?;
                out(run(after, kept, self.counter)?)?;
            }
        }
        Ok(())
    }

    /// Returns what every step did so far, and begins to count anew.
    pub(super) fn take_counts(&mut self) -> Vec<Counts> {
        self.stages.iter_mut().map(|stage| stage.counts.take()).collect()
    }

    /// Returns what every step did.
    pub(super) fn into_counts(self) -> Vec<Counts> {
        let ended = |mut stage: Stage<'_>| {
            stage.counts.figures = stage.step.figures();
            stage.counts
        };
        self.stages.into_iter().map(ended).collect()
    }
}

/// Returns an error that names the step after which no row was left, if there is one; `before` are the steps before these.
pub(super) fn check_not_empty(before: usize, steps: &[Counts]) -> Result<(), OpError> {
    let Some((i, counts)) = steps.iter().enumerate().find(|(_, counts)| counts.rows_out == 0) else { return Ok(()) };
    let message = format!("step {} (`{}`) dropped all {} rows", before + i + 1, counts.step, counts.rows_in);
    let example = counts.dropped.first().map(|sample| format!(": `{}`: {}", sample.text, sample.reason));
    Err(OpError::new(message + &example.unwrap_or_default()).help("loosen the step or take it out"))
}

fn at(i: usize, step: &CurateStep) -> String {
    format!("step {} (`{}`)", i + 1, step.name())
}

impl Stage<'_> {
    /// Counts what the step says and returns the items it keeps.
    fn settle(&mut self, mut verdicts: Vec<Verdict>, counter: Option<&TokenCounter>) -> Result<Vec<Item>, OpError> {
        if let Some(counter) = counter {
            counter.count_kept(&mut verdicts, self.mode)?;
        }
        Ok(self.counts.settle(verdicts, self.mode))
    }
}

fn run(stages: &mut [Stage<'_>], mut items: Vec<Item>, counter: Option<&TokenCounter>) -> Result<Vec<Item>, OpError> {
    for stage in stages {
        if items.is_empty() {
            break;
        }
        prepare(&mut items, stage.step.needs())?;
        if let Some(counter) = counter {
            counter.count(&mut items)?;
        }
        stage.counts.take_in(&items);
        let verdicts = stage.step.judge(items)?;
        items = stage.settle(verdicts, counter)?;
    }
    Ok(items)
}

/// Makes items what a step needs them to be. One that can't is an error which says where it came from.
pub(super) fn prepare(items: &mut [Item], needs: Needs) -> Result<(), OpError> {
    match needs {
        Needs::Nothing => Ok(()),
        Needs::Columns => {
            items.par_iter_mut().for_each(Item::unshape);
            Ok(())
        }
        Needs::Row => {
            let failed: Vec<Option<String>> = items.par_iter_mut().map(|item| item.shape().err()).collect();
            let first = items.iter().zip(failed).find_map(|(item, why)| Some((item, why?)));
            first.map_or(Ok(()), |(item, why)| {
                let columns: Vec<&str> = item.columns().keys().map(String::as_str).collect();
                let help = format!(
                    "bring its columns (`{}`) to a form that is known, with a step `messages`, `rename` or `template` \
                     before this one",
                    columns.join("`, `")
                );
                Err(OpError::new(format!("{}: {why}", item.place())).help(help))
            })
        }
    }
}
