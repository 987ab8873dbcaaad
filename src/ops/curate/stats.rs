//! What the steps did, for `stats.json` and for the table of metrics.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::flow::Verdict;
use super::split::Written;
use crate::data::{Row, beginning};
use crate::spec::params::CurateStep;

/// How many dropped rows are shown of each step.
const SHOWN: usize = 5;

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) step: &'static str,
    pub(super) rows_in: u64,
    pub(super) rows_out: u64,
    rows_changed: u64,
    chars_in: u64,
    chars_out: u64,
    /// The first rows that were dropped.
    pub(super) dropped: Vec<Dropped>,
}

/// A row that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Dropped {
    pub(super) reason: String,
    /// How its text begins.
    pub(super) text: String,
}

impl Counts {
    pub(super) fn new(step: &CurateStep) -> Self {
        let step = match step {
            CurateStep::Normalize(_) => "normalize",
            CurateStep::Length(_) => "length",
            CurateStep::Language(_) => "language",
            CurateStep::Dedup(_) => "dedup",
            CurateStep::Sample(_) => "sample",
            CurateStep::Split(_) => "split",
        };
        Self { step, rows_in: 0, rows_out: 0, rows_changed: 0, chars_in: 0, chars_out: 0, dropped: Vec::new() }
    }

    /// Counts the rows that a step is given.
    pub(super) fn take_in(&mut self, rows: &[Row]) {
        self.rows_in += rows.len() as u64;
        self.chars_in += chars(rows);
    }

    /// Counts what a step says and returns the rows it keeps.
    pub(super) fn settle(&mut self, verdicts: Vec<Verdict>) -> Vec<Row> {
        let mut kept = Vec::with_capacity(verdicts.len());
        for verdict in verdicts {
            match verdict {
                Verdict::Keep(row) => kept.push(row),
                Verdict::Change(row) => {
                    self.rows_changed += 1;
                    kept.push(row);
                }
                Verdict::Drop(row, reason) if self.dropped.len() < SHOWN => {
                    self.dropped.push(Dropped { reason, text: beginning(&row.text()) });
                }
                Verdict::Drop(..) => {}
            }
        }
        self.rows_out += kept.len() as u64;
        self.chars_out += chars(&kept);
        kept
    }
}

fn chars(rows: &[Row]) -> u64 {
    rows.par_iter().map(Row::chars).sum()
}

/// What the node did; the content of `stats.json`.
#[derive(Debug, Serialize)]
pub(super) struct Stats<'a> {
    version: u32,
    rows_in: u64,
    rows_out: u64,
    steps: Vec<Counts>,
    outputs: &'a BTreeMap<&'static str, Written>,
}

impl<'a> Stats<'a> {
    pub(super) fn new(rows_in: u64, steps: Vec<Counts>, outputs: &'a BTreeMap<&'static str, Written>) -> Self {
        Self { version: 1, rows_in, rows_out: outputs.values().map(|written| written.rows).sum(), steps, outputs }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("counts always have a JSON form") + "\n"
    }

    /// Returns `rows_in`, `rows_out`, and with a split `train_rows` and `eval_rows`.
    pub(super) fn metrics(&self) -> BTreeMap<String, f64> {
        let all = [("rows_in".to_owned(), self.rows_in as f64), ("rows_out".to_owned(), self.rows_out as f64)];
        let parts = self.outputs.iter().filter(|(name, _)| **name != "rows");
        all.into_iter().chain(parts.map(|(name, part)| (format!("{name}_rows"), part.rows as f64))).collect()
    }
}
