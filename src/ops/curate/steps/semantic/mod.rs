//! `dedup_semantic`: rows that mean nearly the same to a model.
//!
//! SemDeDup (Abbas et al. 2023): each row is the mean of its last hidden states, and rows whose means point the same way are
//! alike. The best row stays, and a row goes if it is like one that stays: never because it is like something that
//! went. Rows of `against` stay out of this: whatever is like one of them goes, and they are not compared with each other. Up to
//! `exact_rows` every row is compared with all that stay; more rows are first put into clusters, and compared inside theirs
//! alone. Rows wait on disk; the vectors are held in memory.

mod against;
mod alike;
mod embed;
mod said;

use std::sync::Arc;

use serde_json::{Value, json};

use self::against::Against;
use self::alike::{Fate, Vectors};
use self::embed::Embedder;
use self::said::Said;
use super::near::Ranks;
use crate::data;
use crate::ops::curate::flow::{Needs, Step, Verdict, Why, prepare};
use crate::ops::curate::item::Item;
use crate::ops::curate::reader::Reader;
use crate::ops::curate::spool::{Spool, SpoolReader};
use crate::ops::{OpCx, OpError};
use crate::spec::params::DedupSemantic;

pub(super) struct DropAlike<'a> {
    settings: DedupSemantic,
    cx: &'a OpCx<'a>,
    embedder: Embedder<'a>,
    said: Said,
    /// The names in `from`.
    entries: Arc<[String]>,
    ranks: Ranks,
    /// What comes from `against`; these rows are the first.
    against: Against,
    vectors: Vectors,
    spool: Option<Spool>,
    reading: Option<(SpoolReader, Vec<Option<Fate>>, usize)>,
    figures: Value,
}

impl<'a> DropAlike<'a> {
    pub(super) fn new(
        settings: &DedupSemantic,
        at: usize,
        (ranks, entries): (Ranks, &[String]),
        cx: &'a OpCx<'a>,
    ) -> Result<Self, OpError> {
        let input = cx.inputs.one(&format!("steps[{at}].dedup_semantic.model"))?;
        let embedder = Embedder::load(&input.path, settings.max_length, cx)?;
        let mut step = Self {
            settings: settings.clone(),
            cx,
            vectors: Vectors::new(embedder.width()),
            embedder,
            said: Said::new(settings)?,
            entries: entries.into(),
            ranks,
            against: Against::default(),
            spool: Some(Spool::new(cx.scratch, &format!("step{at}"))),
            reading: None,
            figures: Value::Null,
        };
        for other in cx.inputs.list(&format!("steps[{at}].dedup_semantic.against")) {
            step.against.begin();
            for block in Reader::of_folder(&other.path, cx)? {
                step.take_other(block?)?;
            }
        }
        Ok(step)
    }

    /// Takes in rows of a data set that this one is kept apart from.
    fn take_other(&mut self, mut items: Vec<Item>) -> Result<(), OpError> {
        if self.said.of_rows() {
            prepare(&mut items, Needs::Row)?;
        } else {
            // A template reads columns, and those that make a row look the same to it there as in rows of `from`.
            items.iter_mut().filter(|item| item.to_row().is_some()).for_each(|item| drop(item.shape()));
        }
        let texts = self.embed(&items, &[])?;
        self.against.extend(texts.iter().map(|text| data::beginning(text)));
        self.ranks.push(&items, true)
    }

    /// Adds the vectors of rows, and returns what was read of each.
    fn embed(&mut self, items: &[Item], entries: &[String]) -> Result<Vec<String>, OpError> {
        if self.vectors.len() + items.len() > u32::MAX as usize {
            return Err(OpError::new(format!("`dedup_semantic` compares at most {} rows at once", u32::MAX)));
        }
        let texts = self.said.of_all(items, entries)?;
        for vector in self.embedder.means(&texts)? {
            self.vectors.push(vector.as_deref());
        }
        Ok(texts)
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
        let fates = self.vectors.fates(&order, (&clusters, count), self.against.rows(), least, &check)?;
        self.figures = json!({
            "clusters": count,
            "rows_alike": fates.iter().flatten().count(),
            "rows_without_tokens": self.vectors.empty(),
        });
        Ok(fates)
    }

    fn judged(&mut self, item: Item, fate: Option<Fate>) -> Result<Verdict, OpError> {
        let Some(fate) = fate else { return Ok(Verdict::Keep(item)) };
        let like = if fate.like < self.against.rows() {
            let text = data::beginning(&self.said.of(&item, &self.entries)?);
            let source = self.entries.get(item.from as usize).map_or("", String::as_str);
            self.against.hit(fate, (source, item.number), text);
            self.against.said(fate.like)
        } else {
            self.ranks.place(fate.like)
        };
        let why = format!("means nearly the same as {like} (cosine {:.4})", fate.cosine);
        Ok(Verdict::Drop(item, Why::from(why)))
    }
}

impl Step for DropAlike<'_> {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        self.embed(&items, &Arc::clone(&self.entries))?;
        self.ranks.push(&items, false)?;
        self.spool.as_mut().map_or(Ok(()), |spool| spool.push(items))?;
        Ok(Vec::new())
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        if let Some(spool) = self.spool.take() {
            let fates = self.decide()?;
            self.reading = Some((spool.read()?, fates, self.against.rows() as usize));
        }
        let Some((mut reader, fates, first)) = self.reading.take() else { return Ok(None) };
        let items = reader.next_block()?;
        if items.is_empty() {
            return Ok(None);
        }
        let next = first + items.len();
        let judged = items.into_iter().zip(&fates[first..next]).map(|(item, fate)| self.judged(item, *fate));
        let judged = judged.collect::<Result<Vec<Verdict>, OpError>>()?;
        self.reading = Some((reader, fates, next));
        Ok(Some(judged))
    }

    fn figures(&self) -> Option<Value> {
        let mut figures = self.figures.clone();
        self.against.report(&mut figures);
        Some(figures)
    }
}
