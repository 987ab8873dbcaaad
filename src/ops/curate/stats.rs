//! What the steps did, for `stats.json`, the page and the table of metrics.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::account::Written;
use super::flow::{Verdict, Why};
use super::item::Item;
use crate::spec::params::FilterMode;

/// How many dropped rows are shown of each rule of a step.
const SHOWN: usize = 5;
/// How many rules are shown with samples: a step whose every reason is another must not fill the disk.
const RULES: usize = 50;
/// The version of `stats.json`.
const VERSION: u32 = 2;

/// What one step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) step: Cow<'static, str>,
    pub(super) rows_in: u64,
    pub(super) rows_out: u64,
    pub(super) rows_changed: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) rows_flagged: u64,
    chars_in: u64,
    pub(super) chars_out: u64,
    /// The same in tokens, where the node names a tokenizer.
    #[serde(flatten)]
    pub(super) tokens: Option<StepTokens>,
    /// The rows that came out, of each entry of `from`.
    pub(super) rows_by_source: Vec<u64>,
    /// How many rows each rule was against.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rules: BTreeMap<String, u64>,
    /// The first rows that were dropped or flagged, of each rule.
    pub(super) dropped: Vec<Dropped>,
    /// What the step has to say beyond that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) figures: Option<Value>,
    /// How many samples there are of each rule.
    #[serde(skip)]
    sampled: BTreeMap<String, usize>,
}

/// The tokens of the rows of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepTokens {
    pub(super) tokens_in: u64,
    pub(super) tokens_out: u64,
    /// Of the rows that it changed, as they came out.
    pub(super) tokens_changed: u64,
    /// The rows that came out and that the chat template refuses: of them the words alone were counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) rows_refused: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A row that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dropped {
    /// Which entry of `from` it came from, and its number there.
    pub(super) source: u32,
    pub(super) row: u64,
    /// The rule that it broke, if the step has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    pub(super) reason: String,
    /// How its text begins.
    pub(super) text: String,
}

impl Counts {
    /// Returns the counts of a step that has done nothing, with tokens if they are counted.
    pub(super) fn new(step: &'static str, sources: usize, tokens: bool) -> Self {
        Self {
            step: step.into(),
            rows_in: 0,
            rows_out: 0,
            rows_changed: 0,
            rows_flagged: 0,
            chars_in: 0,
            chars_out: 0,
            tokens: tokens.then(StepTokens::default),
            rows_by_source: vec![0; sources],
            rules: BTreeMap::new(),
            dropped: Vec::new(),
            figures: None,
            sampled: BTreeMap::new(),
        }
    }

    /// Returns what was counted so far, and begins anew.
    pub(super) fn take(&mut self) -> Self {
        let mut fresh = Self::new("", self.rows_by_source.len(), self.tokens.is_some());
        fresh.step.clone_from(&self.step);
        std::mem::replace(self, fresh)
    }

    /// Returns how many rows each rule was against.
    pub(super) fn rules(&self) -> &BTreeMap<String, u64> {
        &self.rules
    }

    /// Counts the items that a step is given.
    pub(super) fn take_in(&mut self, items: &[Item]) {
        self.rows_in += items.len() as u64;
        self.chars_in += chars(items);
        if let Some(tokens) = &mut self.tokens {
            tokens.tokens_in += self::tokens(items);
        }
    }

    /// Counts what a step says and returns the items it keeps.
    pub(super) fn settle(&mut self, verdicts: Vec<Verdict>, mode: FilterMode) -> Vec<Item> {
        let mut kept = Vec::with_capacity(verdicts.len());
        for verdict in verdicts {
            match verdict {
                Verdict::Keep(item) => kept.push(item),
                Verdict::Change(item) => {
                    self.rows_changed += 1;
                    if let Some(tokens) = &mut self.tokens {
                        tokens.tokens_changed += tokens_of(&item);
                    }
                    kept.push(item);
                }
                Verdict::Become(items) => kept.extend(items),
                Verdict::Flag(mut item, all) => {
                    self.rows_flagged += 1;
                    for why in all {
                        self.show(&item, &why);
                        item.flags.push(why.rule.unwrap_or(self.step.clone()).into_owned());
                    }
                    kept.push(item);
                }
                Verdict::Drop(mut item, why) => {
                    self.show(&item, &why);
                    if mode == FilterMode::Flag {
                        self.rows_flagged += 1;
                        item.flags.push(why.rule.unwrap_or_else(|| self.step.clone()).into_owned());
                        kept.push(item);
                    }
                }
            }
        }
        self.rows_out += kept.len() as u64;
        self.chars_out += chars(&kept);
        if let Some(tokens) = &mut self.tokens {
            tokens.tokens_out += self::tokens(&kept);
            tokens.rows_refused += kept.iter().filter(|item| item.tokens().is_some_and(|of| of.refused)).count() as u64;
        }
        for item in &kept {
            if let Some(rows) = self.rows_by_source.get_mut(item.from as usize) {
                *rows += 1;
            }
        }
        kept
    }

    fn show(&mut self, item: &Item, why: &Why) {
        let rule = why.rule.as_deref().map(str::to_owned);
        if let Some(rule) = &rule {
            *self.rules.entry(rule.clone()).or_default() += 1;
        }
        if self.has_room(rule.as_deref()) {
            let (reason, text) = (why.reason.clone(), item.beginning());
            self.dropped.push(Dropped { source: item.from, row: item.number, rule, reason, text });
        }
    }

    /// Returns whether another sample of a rule is to be shown, and counts it then.
    fn has_room(&mut self, rule: Option<&str>) -> bool {
        let rule = rule.unwrap_or_default();
        if self.sampled.len() >= RULES && !self.sampled.contains_key(rule) {
            return false;
        }
        let shown = self.sampled.entry(rule.to_owned()).or_default();
        *shown += 1;
        *shown <= SHOWN
    }

    /// Adds what the step did to a file of the entry `from`, before which `offset` rows of that entry were read.
    pub(super) fn merge(&mut self, file: Self, from: usize, offset: u64) {
        self.rows_in += file.rows_in;
        self.rows_out += file.rows_out;
        self.rows_changed += file.rows_changed;
        self.rows_flagged += file.rows_flagged;
        self.chars_in += file.chars_in;
        self.chars_out += file.chars_out;
        if let (Some(tokens), Some(more)) = (&mut self.tokens, file.tokens) {
            tokens.add(more);
        }
        self.rows_by_source[from] += file.rows_out;
        for (rule, rows) in file.rules {
            *self.rules.entry(rule).or_default() += rows;
        }
        for mut row in file.dropped {
            if self.has_room(row.rule.as_deref()) {
                (row.source, row.row) = (from as u32, row.row + offset);
                self.dropped.push(row);
            }
        }
    }
}

impl StepTokens {
    fn add(&mut self, more: Self) {
        self.tokens_in += more.tokens_in;
        self.tokens_out += more.tokens_out;
        self.tokens_changed += more.tokens_changed;
        self.rows_refused += more.rows_refused;
    }
}

fn tokens_of(item: &Item) -> u64 {
    item.tokens().map_or(0, |tokens| tokens.count)
}

/// Returns the tokens of items that were counted.
pub(super) fn tokens(items: &[Item]) -> u64 {
    items.iter().map(tokens_of).sum()
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
    /// The same in tokens, where the node names a tokenizer.
    #[serde(flatten)]
    pub(super) tokens: Option<SourceTokens>,
}

/// The tokens of the rows of an entry: as they were read, and as they were written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct SourceTokens {
    pub(super) tokens_in: u64,
    pub(super) tokens_out: u64,
    /// The rows that were written and that the chat template refuses: of them the words alone were counted.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) rows_refused: u64,
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
            source.rows_out = sum(&|written| written.by_source[i].rows);
            source.chars_out = sum(&|written| written.by_source[i].chars);
            if let Some(tokens) = &mut source.tokens {
                tokens.tokens_out = sum(&|written| written.by_source[i].tokens);
                tokens.rows_refused = sum(&|written| written.by_source[i].refused);
            }
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
