//! What the steps did, for `stats.json`, the page and the table of metrics.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::flow::{Verdict, Why};
use super::item::Item;
use super::outputs::Written;
use crate::spec::params::FilterMode;

/// How many dropped rows are shown of each rule of a step.
const SHOWN: usize = 5;
/// How many rules are shown with samples: a step whose every reason is another must not fill the disk.
const RULES: usize = 50;
/// The version of `stats.json`.
const VERSION: u32 = 2;

/// What one step did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Counts {
    pub(super) step: &'static str,
    pub(super) rows_in: u64,
    pub(super) rows_out: u64,
    rows_changed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    rows_flagged: u64,
    chars_in: u64,
    chars_out: u64,
    /// The rows that came out, of each entry of `from`.
    rows_by_source: Vec<u64>,
    /// How many rows each rule was against.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rules: BTreeMap<String, u64>,
    /// The first rows that were dropped or flagged, of each rule.
    pub(super) dropped: Vec<Dropped>,
    /// What the step has to say beyond that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) figures: Option<Value>,
    /// How many samples there are of each rule.
    #[serde(skip)]
    sampled: BTreeMap<String, usize>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A row that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Dropped {
    /// Which entry of `from` it came from, and its number there.
    source: u32,
    row: u64,
    pub(super) reason: String,
    /// How its text begins.
    pub(super) text: String,
}

impl Counts {
    pub(super) fn new(step: &'static str, sources: usize) -> Self {
        Self {
            step,
            rows_in: 0,
            rows_out: 0,
            rows_changed: 0,
            rows_flagged: 0,
            chars_in: 0,
            chars_out: 0,
            rows_by_source: vec![0; sources],
            rules: BTreeMap::new(),
            dropped: Vec::new(),
            figures: None,
            sampled: BTreeMap::new(),
        }
    }

    /// Counts the items that a step is given.
    pub(super) fn take_in(&mut self, items: &[Item]) {
        self.rows_in += items.len() as u64;
        self.chars_in += chars(items);
    }

    /// Counts what a step says and returns the items it keeps.
    pub(super) fn settle(&mut self, verdicts: Vec<Verdict>, mode: FilterMode) -> Vec<Item> {
        let mut kept = Vec::with_capacity(verdicts.len());
        for verdict in verdicts {
            match verdict {
                Verdict::Keep(item) => kept.push(item),
                Verdict::Change(item) => {
                    self.rows_changed += 1;
                    kept.push(item);
                }
                Verdict::Become(items) => kept.extend(items),
                Verdict::Drop(mut item, why) => {
                    self.show(&item, &why);
                    if mode == FilterMode::Flag {
                        self.rows_flagged += 1;
                        item.flags.push(why.rule.unwrap_or(self.step.into()).into_owned());
                        kept.push(item);
                    }
                }
            }
        }
        self.rows_out += kept.len() as u64;
        self.chars_out += chars(&kept);
        for item in &kept {
            if let Some(rows) = self.rows_by_source.get_mut(item.from as usize) {
                *rows += 1;
            }
        }
        kept
    }

    fn show(&mut self, item: &Item, why: &Why) {
        let rule = why.rule.as_deref().unwrap_or_default();
        if why.rule.is_some() {
            *self.rules.entry(rule.to_owned()).or_default() += 1;
        }
        if self.sampled.len() >= RULES && !self.sampled.contains_key(rule) {
            return;
        }
        let shown = self.sampled.entry(rule.to_owned()).or_default();
        if *shown < SHOWN {
            *shown += 1;
            let (reason, text) = (why.reason.clone(), item.beginning());
            self.dropped.push(Dropped { source: item.from, row: item.number, reason, text });
        }
    }
}

fn chars(items: &[Item]) -> u64 {
    items.par_iter().map(Item::chars).sum()
}

/// What was read of one entry of `from`, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) rows_in: u64,
    pub(super) rows_out: u64,
    pub(super) chars_out: u64,
}

/// What the node did; the content of `stats.json`.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    version: u32,
    pub(super) rows_in: u64,
    pub(super) rows_out: u64,
    pub(super) sources: Vec<Source>,
    pub(super) steps: Vec<Counts>,
    pub(super) outputs: BTreeMap<&'static str, Written>,
}

impl Stats {
    /// Returns the stats of what was read of each source, what the steps did, and what was written.
    pub(super) fn new(mut sources: Vec<Source>, steps: Vec<Counts>, outputs: BTreeMap<&'static str, Written>) -> Self {
        let sum = |rows: &dyn Fn(&Written) -> u64| outputs.values().map(rows).sum::<u64>();
        for (i, source) in sources.iter_mut().enumerate() {
            source.rows_out = sum(&|written| written.by_source[i].0);
            source.chars_out = sum(&|written| written.by_source[i].1);
        }
        let rows_in = sources.iter().map(|source| source.rows_in).sum();
        Self { version: VERSION, rows_in, rows_out: sum(&|written| written.rows), sources, steps, outputs }
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
