//! `mix`: of every entry of `from` as much as its weight says.
//!
//! Quotas are exact and sampling is without replacement: the rows with the smallest hashes are taken. Only when a row may
//! be taken more than once is a small entry repeated, whole before any of its rows comes another time.

use std::path::Path;

use rayon::prelude::*;

use crate::ops::OpError;
use crate::ops::curate::flow::{Needs, Step, Verdict};
use crate::ops::curate::item::Item;
use crate::ops::curate::row_hash::row_hash;
use crate::ops::curate::spool::{Spool, SpoolReader};
use crate::spec::params::Mix;

const DOMAIN: &str = "luthflow curate mix 1";

/// One entry of `from`.
#[derive(Default)]
struct Entry {
    name: String,
    weight: f64,
    /// Hash and size of every row.
    rows: Vec<(u64, u64)>,
    size: u64,
}

/// How often rows of an entry are taken: those with smaller hashes than `below` once more than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Take {
    whole: u64,
    below: u64,
}

pub(super) struct TakeShares {
    settings: Mix,
    entries: Vec<Entry>,
    spool: Option<Spool>,
    reading: Option<(SpoolReader, Vec<Take>)>,
}

impl TakeShares {
    pub(super) fn new(settings: &Mix, names: &[String], scratch: &Path, file: &str) -> Result<Self, OpError> {
        if let Some(unknown) = settings.weights.keys().find(|name| !names.contains(name)) {
            let help = format!(
                "the entries of `from` are called `{}`; `{{node: NODE, name: NAME}}` names one",
                names.join("`, `")
            );
            return Err(OpError::new(format!("`weights` knows an entry `{unknown}` that `from` does not")).help(help));
        }
        let weigh = |name: &String| {
            let weight = settings.weights.get(name).copied();
            let help = "write the weight 0 to leave an entry out";
            let missing = || OpError::new(format!("`weights` says nothing about the entry `{name}`")).help(help);
            Ok(Entry { name: name.clone(), weight: weight.ok_or_else(missing)?, ..Entry::default() })
        };
        let entries = names.iter().map(weigh).collect::<Result<_, OpError>>()?;
        Ok(Self { settings: settings.clone(), entries, spool: Some(Spool::new(scratch, file)), reading: None })
    }

    /// Decides how much of every entry is taken.
    fn quotas(&mut self) -> Result<Vec<Take>, OpError> {
        let sum: f64 = self.entries.iter().map(|entry| entry.weight).sum();
        let most = self.settings.max_epochs;
        let wanted = self.entries.iter().filter(|entry| entry.weight > 0.0);
        let possible = wanted.map(|entry| most * entry.size as f64 * sum / entry.weight).fold(f64::INFINITY, f64::min);
        let total = self.settings.rows.map_or(possible, |rows| rows as f64);
        let unit = if self.settings.by_chars { "characters" } else { "rows" };
        let mut takes = Vec::new();
        for entry in &mut self.entries {
            let quota = (total * entry.weight / sum).round();
            if quota > most * entry.size as f64 + 0.5 {
                let (name, size) = (&entry.name, entry.size);
                let message = format!("the share of `{name}` is {quota} {unit}, and it has {size}");
                let help = format!("at most {possible:.0} {unit} in all are possible; or raise `max_epochs`");
                return Err(OpError::new(message).help(help));
            }
            takes.push(entry.take(quota as u64));
        }
        Ok(takes)
    }
}

impl Entry {
    fn take(&mut self, quota: u64) -> Take {
        if self.size == 0 {
            return Take { whole: 0, below: 0 };
        }
        let (whole, mut rest) = (quota / self.size, quota % self.size);
        self.rows.par_sort_unstable();
        for &(hash, size) in &self.rows {
            // A row goes in where leaving it out would be further from the quota than taking it.
            if rest < size.div_ceil(2).max(1) {
                return Take { whole, below: hash };
            }
            rest = rest.saturating_sub(size);
        }
        Take { whole, below: u64::MAX }
    }
}

impl Step for TakeShares {
    fn needs(&self) -> Needs {
        Needs::Row
    }

    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let (seed, by_chars) = (self.settings.seed, self.settings.by_chars);
        let measured = items.par_iter().map(|item| (hash(seed, item), if by_chars { item.chars() } else { 1 }));
        for (item, (hash, size)) in items.iter().zip(measured.collect::<Vec<_>>()) {
            let entry = &mut self.entries[item.from as usize];
            entry.rows.push((hash, size));
            entry.size += size;
        }
        self.spool.as_mut().map_or(Ok(()), |spool| spool.push(items))?;
        Ok(Vec::new())
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        if let Some(spool) = self.spool.take() {
            self.reading = Some((spool.read()?, self.quotas()?));
        }
        let Some((reader, takes)) = &mut self.reading else { return Ok(None) };
        let items = reader.next_block()?;
        if items.is_empty() {
            return Ok(None);
        }
        let seed = self.settings.seed;
        let judge = |item: Item| {
            let Take { whole, below } = takes[item.from as usize];
            match whole + u64::from(hash(seed, &item) < below) {
                0 => Verdict::Drop(item, "beyond the share of its source".into()),
                1 => Verdict::Keep(item),
                times => Verdict::Become(vec![item; times as usize]),
            }
        };
        Ok(Some(items.into_par_iter().map(judge).collect()))
    }
}

/// Returns a number by which rows are taken. Equal rows of one entry have different ones.
fn hash(seed: u64, item: &Item) -> u64 {
    row_hash(DOMAIN, seed ^ item.number.wrapping_mul(0x9E37_79B9_7F4A_7C15), item.row())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::data::Record;

    fn mixed(settings: serde_json::Value, sizes: &[u64]) -> Result<BTreeMap<u32, usize>, String> {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..sizes.len()).map(|i| format!("s{i}")).collect();
        let settings = serde_json::from_value(settings).unwrap();
        let mut step = TakeShares::new(&settings, &names, dir.path(), "mix").map_err(|error| error.to_string())?;
        for (from, &size) in (0..).zip(sizes) {
            let mut items: Vec<Item> = (1..=size)
                .map(|i| Item::new(from, i, Record::from_json(&format!(r#"{{"text": "{from} {i}"}}"#)).unwrap()))
                .collect();
            for item in &mut items {
                item.shape().unwrap();
            }
            assert!(step.judge(items).unwrap().is_empty());
        }
        let mut counts = BTreeMap::new();
        while let Some(verdicts) = step.held().map_err(|error| error.to_string())? {
            for verdict in verdicts {
                match verdict {
                    Verdict::Keep(item) => *counts.entry(item.from).or_default() += 1,
                    Verdict::Become(items) => *counts.entry(items[0].from).or_default() += items.len(),
                    _ => {}
                }
            }
        }
        Ok(counts)
    }

    #[test]
    fn quotas_are_exact() {
        let all =
            |settings, sizes: &[u64]| mixed(settings, sizes).map(|counts| counts.into_values().collect::<Vec<_>>());
        assert_eq!(all(json!({"weights": {"s0": 3, "s1": 1}}), &[300, 50]), Ok(vec![150, 50]));
        assert_eq!(all(json!({"weights": {"s0": 3, "s1": 1}, "rows": 40}), &[300, 50]), Ok(vec![30, 10]));
        assert_eq!(
            all(json!({"weights": {"s0": 1, "s1": 1}, "rows": 100, "max_epochs": 3}), &[300, 20]),
            Ok(vec![50, 50])
        );
        assert_eq!(all(json!({"weights": {"s0": 1, "s1": 0}}), &[7, 20]), Ok(vec![7]));
    }

    #[test]
    fn what_cannot_be_is_told() {
        let error = mixed(json!({"weights": {"s0": 1, "s1": 1}, "rows": 100}), &[300, 20]).unwrap_err();
        assert_eq!(error, "the share of `s1` is 50 rows, and it has 20");
        assert!(
            mixed(json!({"weights": {"s0": 1}}), &[1, 1]).unwrap_err().contains("says nothing about the entry `s1`")
        );
        assert!(mixed(json!({"weights": {"x": 1}}), &[1]).unwrap_err().contains("`from` does not"));
    }
}
