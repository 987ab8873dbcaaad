//! `dedup_semantic`: rows that mean nearly the same to a model.
//!
//! SemDeDup (Abbas et al. 2023): each row is the mean of its last hidden states, and rows whose means point the same way are
//! alike. The best row stays, and a row goes if it is like one that stays: never because it is like something that
//! went. Up to `exact_rows` every row is compared with all that stay; more rows are first put into clusters, and compared
//! inside theirs alone. Rows wait on disk; the vectors are held in memory.

mod alike;
mod embed;

use serde_json::{Value, json};

use self::alike::{Fate, Vectors};
use self::embed::Embedder;
use super::near::{Ranks, compared};
use crate::ops::curate::flow::{Step, Verdict, Why};
use crate::ops::curate::item::Item;
use crate::ops::curate::spool::{Spool, SpoolReader};
use crate::ops::{OpCx, OpError};
use crate::spec::params::DedupSemantic;

pub(super) struct DropAlike<'a> {
    settings: DedupSemantic,
    cx: &'a OpCx<'a>,
    embedder: Embedder<'a>,
    ranks: Ranks,
    vectors: Vectors,
    spool: Option<Spool>,
    reading: Option<(SpoolReader, Vec<Option<Fate>>, usize)>,
    figures: Value,
}

impl<'a> DropAlike<'a> {
    pub(super) fn new(settings: &DedupSemantic, at: usize, ranks: Ranks, cx: &'a OpCx<'a>) -> Result<Self, OpError> {
        let input = cx.inputs.one(&format!("steps[{at}].dedup_semantic.model"))?;
        let embedder = Embedder::load(&input.path, settings.max_length, cx)?;
        Ok(Self {
            settings: settings.clone(),
            cx,
            vectors: Vectors::new(embedder.width()),
            embedder,
            ranks,
            spool: Some(Spool::new(cx.scratch, &format!("step{at}"))),
            reading: None,
            figures: Value::Null,
        })
    }

    /// Finds out what becomes of every row.
    fn decide(&mut self) -> Result<Vec<Option<Fate>>, OpError> {
        let rows = self.vectors.len();
        let mut order: Vec<u32> = (0..rows as u32).collect();
        order.sort_by(|a, b| {
            if a == b {
                std::cmp::Ordering::Equal
            } else if self.ranks.better(*a, *b) {
                std::cmp::Ordering::Less
            } else {
                std::cmp::Ordering::Greater
            }
        });
        let least = self.settings.threshold as f32;
        let check = || self.cx.check_cancelled();
        let count = if rows <= self.settings.exact_rows { 1 } else { self.settings.clusters_of(rows) };
        let clusters = self.vectors.clusters(count, self.settings.seed, &check)?;
        let fates = self.vectors.fates(&order, &clusters, count, least, &check)?;
        self.figures = json!({
            "clusters": count,
            "rows_alike": fates.iter().flatten().count(),
            "rows_without_tokens": self.vectors.empty(),
        });
        Ok(fates)
    }

    fn judged(&self, item: Item, fate: Option<Fate>) -> Verdict {
        match fate {
            None => Verdict::Keep(item),
            Some(Fate { like, cosine }) => {
                let why = format!("means nearly the same as {} (cosine {cosine:.4})", self.ranks.place(like));
                Verdict::Drop(item, Why::from(why))
            }
        }
    }
}

impl Step for DropAlike<'_> {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        if self.vectors.len() + items.len() > u32::MAX as usize {
            return Err(OpError::new(format!("`dedup_semantic` compares at most {} rows at once", u32::MAX)));
        }
        let texts: Vec<String> =
            items.iter().map(|item| compared(item.row(), self.settings.key).into_owned()).collect();
        for vector in self.embedder.means(&texts)? {
            self.vectors.push(vector.as_deref());
        }
        self.ranks.push(&items, false)?;
        self.spool.as_mut().map_or(Ok(()), |spool| spool.push(items))?;
        Ok(Vec::new())
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        if let Some(spool) = self.spool.take() {
            let fates = self.decide()?;
            self.reading = Some((spool.read()?, fates, 0));
        }
        let Some((mut reader, fates, first)) = self.reading.take() else { return Ok(None) };
        let items = reader.next_block()?;
        if items.is_empty() {
            return Ok(None);
        }
        let next = first + items.len();
        let judged = items.into_iter().zip(&fates[first..next]).map(|(item, fate)| self.judged(item, *fate)).collect();
        self.reading = Some((reader, fates, next));
        Ok(Some(judged))
    }

    fn figures(&self) -> Option<Value> {
        Some(self.figures.clone())
    }
}
