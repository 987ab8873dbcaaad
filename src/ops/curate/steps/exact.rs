//! `dedup_exact`: of rows that say the same, the best stays.
//!
//! Compared are 128-bit hashes of what is said in a form that the settings name. Where only the order of the rows decides
//! which one stays, rows pass as they come; otherwise they wait until the best of each is known.

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::near::{Ranks, compared, in_form};
use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict};
use crate::ops::curate::item::Item;
use crate::ops::curate::spool::{Spool, SpoolReader};
use crate::spec::params::{DedupExact, KeepRule};

pub(super) struct DropSame {
    settings: DedupExact,
    ranks: Ranks,
    /// The best row so far of each content.
    best: FxHashMap<u128, u32>,
    /// The content of every row; none if rows pass as they come.
    waiting: Option<(Spool, Vec<u128>)>,
    reading: Option<(SpoolReader, Vec<u128>, u32)>,
}

impl DropSame {
    pub(super) fn new(settings: &DedupExact, ranks: Ranks, spool: Spool) -> Self {
        let waits = settings.keep.first().is_some_and(|rule| *rule != KeepRule::First);
        let waiting = waits.then(|| (spool, Vec::new()));
        Self { settings: settings.clone(), ranks, best: FxHashMap::default(), waiting, reading: None }
    }

    fn judged(&self, row: u32, content: u128, item: Item) -> Verdict {
        let best = self.best[&content];
        if best == row {
            Verdict::Keep(item)
        } else {
            Verdict::Drop(item, format!("says the same as {}", self.ranks.place(best)).into())
        }
    }
}

impl Step for DropSame {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let first = self.ranks.len();
        if first + items.len() > u32::MAX as usize {
            return Err(OpError::new(format!("`dedup_exact` compares at most {} rows at once", u32::MAX)));
        }
        let hash = |item: &Item| {
            xxh3_128(in_form(&compared(item.row(), self.settings.key), self.settings.normalize).as_bytes())
        };
        let contents: Vec<u128> = items.par_iter().map(hash).collect();
        self.ranks.push(&items, false)?;
        for (row, &content) in (first as u32..).zip(&contents) {
            let ranks = &self.ranks;
            self.best
                .entry(content)
                .and_modify(|best| {
                    if ranks.better(row, *best) {
                        *best = row;
                    }
                })
                .or_insert(row);
        }
        if let Some((spool, all)) = &mut self.waiting {
            all.extend(contents);
            spool.push(items)?;
            return Ok(Vec::new());
        }
        let rows = (first as u32..).zip(contents).zip(items);
        Ok(rows.map(|((row, content), item)| self.judged(row, content, item)).collect())
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        if let Some((spool, contents)) = self.waiting.take() {
            self.reading = Some((spool.read()?, contents, 0));
        }
        let Some((mut reader, contents, first)) = self.reading.take() else { return Ok(None) };
        let items = reader.next_block()?;
        if items.is_empty() {
            return Ok(None);
        }
        let next = first + items.len() as u32;
        let judged = (first..).zip(items).map(|(row, item)| self.judged(row, contents[row as usize], item)).collect();
        self.reading = Some((reader, contents, next));
        Ok(Some(judged))
    }
}
