//! `dedup_substring`: passages that stand in the data more than once.
//!
//! All texts together are one string. A window of `min_bytes` within a text that stood earlier in the string is a
//! repetition; repetitions that overlap are one passage. Only later occurrences are repetitions, so that one of each
//! passage stays (Lee et al. 2022, "Deduplicating training data makes language models better"). They take a suffix array,
//! which has to lie in memory with all text; here what may be equal is brought together by sorting on disk ([`search`]).
//!
//! Three looks at the rows: while they come, at those of their passages that may stand twice, and to give them on.

mod cut;
mod groups;
mod minimizers;
mod search;

use rayon::prelude::*;

use self::cut::{Span, spans, without};
use self::search::{Limits, Places, Search, clipped};
use crate::ops::curate::flow::{Step, Verdict, Why};
use crate::ops::curate::item::Item;
use crate::ops::curate::runs::Sorted;
use crate::ops::curate::spool::{Spool, SpoolReader};
use crate::ops::{OpCx, OpError};
use crate::spec::params::{DedupSubstring, PassageAction};

pub(super) struct DropPassages<'a> {
    settings: DedupSubstring,
    coming: Option<(Search<'a>, Spool)>,
    reading: Option<Reading>,
    found: (u64, u64),
}

impl<'a> DropPassages<'a> {
    pub(super) fn new(settings: &DedupSubstring, name: &str, cx: &'a OpCx<'a>) -> Self {
        let search = Search::new(settings.min_bytes, name, Limits::default(), cx);
        let coming = Some((search, Spool::new(cx.scratch, name)));
        Self { settings: settings.clone(), coming, reading: None, found: (0, 0) }
    }

    /// Judges an item by the repetitions in each of its texts.
    fn judged(&self, mut item: Item, passages: &[Vec<Span>]) -> Verdict {
        let DedupSubstring { min_bytes, action, .. } = self.settings;
        let bytes = length(passages);
        if bytes == 0 {
            return Verdict::Keep(item);
        }
        match action {
            PassageAction::Drop => Verdict::Drop(
                item,
                Why::from(format!("{bytes} bytes of it stood earlier, in passages of {min_bytes} and more")),
            ),
            PassageAction::Remove => {
                without(item.row_mut(), passages);
                if item.row().chars() == 0 {
                    return Verdict::Drop(item, "nothing is left of it".into());
                }
                Verdict::Change(item)
            }
        }
    }
}

impl Step for DropPassages<'_> {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        if let Some((search, spool)) = &mut self.coming {
            search.take(&items)?;
            spool.push(items)?;
        }
        Ok(Vec::new())
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        if let Some((search, spool)) = self.coming.take() {
            let rows = spool.finish()?;
            let repeated = search.repetitions(&rows)?;
            self.reading = Some(Reading { rows: rows.last_reader()?, repeated, places: Places::default() });
        }
        let Some(reading) = &mut self.reading else { return Ok(None) };
        let items = reading.rows.next_block()?;
        if items.is_empty() {
            return Ok(None);
        }
        let passages = reading.passages(&items)?;
        for passages in &passages {
            self.found.0 += passages.iter().map(Vec::len).sum::<usize>() as u64;
            self.found.1 += length(passages) as u64;
        }
        let both = items.into_par_iter().zip(&passages);
        Ok(Some(both.map(|(item, passages)| self.judged(item, passages)).collect()))
    }

    fn figures(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({"passages": self.found.0, "bytes": self.found.1}))
    }
}

fn length(passages: &[Vec<Span>]) -> usize {
    passages.iter().flatten().map(|(from, to)| to - from).sum()
}

/// The last time that rows pass.
struct Reading {
    rows: SpoolReader,
    repeated: Sorted,
    places: Places,
}

impl Reading {
    /// Returns the repetitions in each text of each row.
    fn passages(&mut self, items: &[Item]) -> Result<Vec<Vec<Vec<Span>>>, OpError> {
        let mut of_rows = Vec::new();
        for texts in self.places.of(items) {
            let mut of_texts = Vec::new();
            for (begin, text) in texts {
                of_texts.push(spans(&text, clipped(&mut self.repeated, begin, text.len())?));
            }
            of_rows.push(of_texts);
        }
        Ok(of_rows)
    }
}

#[cfg(test)]
mod tests;
