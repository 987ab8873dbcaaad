//! `dedup_fuzzy`: rows that are nearly the same, found by MinHash and LSH.
//!
//! Three looks at the rows. While they come, each one's shingles become a signature, whose bands are kept; the rows
//! themselves wait. Then bands that agree join rows to clusters. With `verify` the rows of clusters are looked at again, a
//! cluster at a time: the best row stays, and with it every row that is not like enough to one that stays. At last all rows
//! pass, each to its fate. Nothing is held for a row but some fifty bytes; rows and bands go to disk when they are many.

mod bands;
mod clusters;
mod rank;
mod scheme;
mod shingles;
mod verify;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use self::bands::Bands;
use self::clusters::Clusters;
use self::scheme::Signature;
use self::shingles::{Desk, Shingler};
use self::verify::Verified;
use crate::ops::curate::flow::{Needs, Step, Verdict, Why, prepare};
use crate::ops::curate::item::Item;
use crate::ops::curate::reader::Reader;
use crate::ops::curate::row_hash::row_hash;
use crate::ops::curate::spool::{Spool, SpoolReader};
use crate::ops::{OpCx, OpError};
use crate::spec::params::{DedupFuzzy, KeepRule};

pub(super) use self::rank::Ranks;
pub(super) use self::shingles::{compared, in_form};

const DOMAIN: &str = "luthflow curate cluster 1";

/// Where a row goes that does not stay: the row it is like, and how much, if that was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fate {
    like: u32,
    jaccard: Option<f32>,
}

/// What is known once all rows have come.
struct Decided {
    fates: FxHashMap<u32, Fate>,
    clusters: Clusters,
    next: u32,
    rows: SpoolReader,
}

pub(super) struct DropNear<'a> {
    settings: DedupFuzzy,
    shingler: Shingler,
    cx: &'a OpCx<'a>,
    bands: Option<Bands>,
    ranks: Ranks,
    spool: Option<Spool>,
    /// Hashes of rows, by which clusters are named.
    hashes: Vec<u64>,
    /// How many rows come from `against`; they are the first.
    others: u32,
    decided: Option<Decided>,
    figures: Value,
}

impl<'a> DropNear<'a> {
    pub(super) fn new(settings: &DedupFuzzy, at: usize, ranks: Ranks, cx: &'a OpCx<'a>) -> Result<Self, OpError> {
        let (bands, rows) = settings.cut();
        let shingler = Shingler::new(settings, bands * rows);
        let store = Bands::new(bands, rows, shingler.value_bytes(), cx.scratch, &format!("step{at}"));
        let mut step = Self {
            settings: settings.clone(),
            shingler,
            cx,
            bands: Some(store),
            ranks,
            spool: Some(Spool::new(cx.scratch, &format!("step{at}"))),
            hashes: Vec::new(),
            others: 0,
            decided: None,
            figures: Value::Null,
        };
        for other in cx.inputs.list(&format!("steps[{at}].dedup_fuzzy.against")) {
            for block in Reader::of_folder(&other.path, cx)? {
                let mut items = block?;
                prepare(&mut items, Needs::Row)?;
                step.others += items.len() as u32;
                step.take_in(items, true)?;
            }
        }
        Ok(step)
    }

    fn take_in(&mut self, items: Vec<Item>, other: bool) -> Result<(), OpError> {
        self.cx.check_cancelled()?;
        let first = self.ranks.len();
        if first + items.len() > u32::MAX as usize {
            return Err(OpError::new(format!("`dedup_fuzzy` compares at most {} rows at once", u32::MAX)));
        }
        let sign = |desk: &mut Desk, item: &Item| self.shingler.signature(item.row(), desk);
        let signed: Vec<Option<Signature>> = items.par_iter().map_init(Desk::default, sign).collect();
        let signed: Vec<(u32, Signature)> =
            (first as u32..).zip(signed).filter_map(|(row, signature)| Some((row, signature?))).collect();
        if let Some(bands) = &mut self.bands {
            bands.push(&signed)?;
        }
        if self.settings.cluster.is_some() {
            let hash = |item: &Item| row_hash(DOMAIN, 0, item.row());
            self.hashes.par_extend(items.par_iter().map(hash));
        }
        self.ranks.push(&items, other)?;
        self.spool.as_mut().map_or(Ok(()), |spool| spool.push(items))
    }

    /// Finds out what becomes of every row.
    fn decide(&mut self, spool: Spool) -> Result<Decided, OpError> {
        let rows = self.ranks.len();
        let mut clusters = Clusters::new(rows);
        let bands = self.bands.take();
        let pairs = bands.map_or(Ok(0), |bands| bands.pairs(self.cx, |a, b| clusters.join(a, b)))?;
        let kept = spool.finish()?;
        let mut verified = Verified::default();
        let fates = match self.settings.verify {
            Some(least) => {
                verified.run(&kept, &mut clusters, &self.ranks, &self.shingler, (least as f32, self.cx))?;
                std::mem::take(&mut verified.fates)
            }
            None => self.unverified(&mut clusters),
        };
        let sizes: Vec<u32> =
            (0..rows as u32).map(|row| if clusters.root(row) == row { clusters.size(row) } else { 0 }).collect();
        self.figures = json!({
            "candidate_pairs": pairs,
            "clusters": sizes.iter().filter(|&&size| size > 1).count(),
            "largest_cluster": sizes.iter().max(),
            "rows_alike": fates.len(),
        });
        if self.settings.verify.is_some() {
            self.figures["checked_pairs_by_jaccard"] = json!(verified.histogram);
        }
        Ok(Decided { fates, clusters, next: 0, rows: kept.last_reader()? })
    }

    /// Of each cluster the best row stays.
    fn unverified(&self, clusters: &mut Clusters) -> FxHashMap<u32, Fate> {
        let rows = self.ranks.len() as u32;
        let by_root = self.settings.keep == [KeepRule::Datatrove];
        let mut best: FxHashMap<u32, u32> = FxHashMap::default();
        for row in (0..rows).filter(|_| !by_root) {
            let root = clusters.root(row);
            best.entry(root)
                .and_modify(|best| {
                    if self.ranks.better(row, *best) {
                        *best = row;
                    }
                })
                .or_insert(row);
        }
        let stays = |root: u32| if by_root { root } else { best[&root] };
        let fate = |row: u32, like: u32| (like != row).then_some((row, Fate { like, jaccard: None }));
        (0..rows).filter_map(|row| fate(row, stays(clusters.root(row)))).collect()
    }

    fn judge_held(&self, row: u32, mut item: Item, decided: &Decided, roots: &[u32]) -> Verdict {
        if let Some(column) = &self.settings.cluster {
            let name = self.hashes[roots[(row - decided.next) as usize] as usize];
            item.columns_mut().insert(column.clone(), format!("{name:016x}").into());
        }
        match decided.fates.get(&row) {
            None => Verdict::Keep(item),
            Some(fate) => {
                let share = fate.jaccard.map(|share| format!(" (Jaccard {share:.2})")).unwrap_or_default();
                Verdict::Drop(item, Why::from(format!("nearly the same as {}{share}", self.ranks.place(fate.like))))
            }
        }
    }
}

impl Step for DropNear<'_> {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        self.take_in(items, false)?;
        Ok(Vec::new())
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        if let Some(spool) = self.spool.take() {
            self.decided = Some(self.decide(spool)?);
        }
        let Some(mut decided) = self.decided.take() else { return Ok(None) };
        let items = decided.rows.next_block()?;
        if items.is_empty() {
            return Ok(None);
        }
        let first = decided.next;
        let roots: Vec<u32> = (first..first + items.len() as u32).map(|row| decided.clusters.root(row)).collect();
        // The rows of `against` come first and go no further.
        let ours = (first..).zip(items).filter(|(row, _)| *row >= self.others);
        let judged: Vec<Verdict> = ours.map(|(row, item)| self.judge_held(row, item, &decided, &roots)).collect();
        decided.next += roots.len() as u32;
        self.decided = Some(decided);
        Ok(Some(judged))
    }

    fn figures(&self) -> Option<Value> {
        Some(self.figures.clone())
    }
}
