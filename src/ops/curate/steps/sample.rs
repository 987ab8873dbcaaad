//! `sample`: keeps a reproducible random sample, in the rows' own order.
//!
//! The rows with the smallest hashes are kept (bottom-k sampling). One pass is enough, without knowing how many rows
//! there will be, and a row added to the data displaces one row at most. Of equal rows, which have equal hashes, the
//! earlier one goes first.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::ops::OpError;
use crate::ops::curate::flow::{Step, Verdict};
use crate::ops::curate::item::Item;
use crate::ops::curate::row_hash::row_hash;
use crate::spec::params::Sample;

const DOMAIN: &str = "luthflow curate sample 1";

pub(super) struct KeepSample {
    sample: Sample,
    /// The rows kept so far, by hash and position.
    kept: BTreeMap<(u64, u64), Item>,
    seen: u64,
}

impl KeepSample {
    pub(super) fn new(sample: Sample) -> Self {
        Self { sample, kept: BTreeMap::new(), seen: 0 }
    }
}

impl Step for KeepSample {
    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let seed = self.sample.seed;
        let hashes: Vec<u64> = items.par_iter().map(|item| row_hash(DOMAIN, seed, item.row())).collect();
        let mut dropped = Vec::new();
        for (item, hash) in items.into_iter().zip(hashes) {
            self.kept.insert((hash, self.seen), item);
            self.seen += 1;
            if self.kept.len() > self.sample.rows
                && let Some((_, item)) = self.kept.pop_last()
            {
                dropped.push(Verdict::Drop(item, "not drawn".into()));
            }
        }
        Ok(dropped)
    }

    fn held(&mut self) -> Result<Option<Vec<Verdict>>, OpError> {
        let mut items: Vec<(u64, Item)> =
            std::mem::take(&mut self.kept).into_iter().map(|((_, position), item)| (position, item)).collect();
        items.sort_by_key(|&(position, _)| position);
        let kept: Vec<Verdict> = items.into_iter().map(|(_, item)| Verdict::Keep(item)).collect();
        Ok(Some(kept).filter(|kept| !kept.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Row;

    fn sample(rows: &[usize], keep: usize, seed: u64) -> Vec<usize> {
        let mut step = KeepSample::new(Sample { rows: keep, seed });
        for block in rows.chunks(7) {
            step.judge(block.iter().map(|i| Row::Text(i.to_string()).into()).collect()).unwrap();
        }
        let number = |verdict| match verdict {
            Verdict::Keep(item) => item.row().text().parse().unwrap(),
            other => panic!("{other:?}"),
        };
        step.held().unwrap().unwrap().into_iter().map(number).collect()
    }

    #[test]
    fn a_sample_has_its_size_its_order_and_its_seed() {
        let rows: Vec<usize> = (0..100).collect();
        let kept = sample(&rows, 10, 0);
        assert_eq!(kept.len(), 10);
        assert!(kept.is_sorted());
        assert_ne!(kept, sample(&rows, 10, 1));
        assert_eq!(sample(&rows, 200, 0), rows);
    }

    #[test]
    fn an_added_row_displaces_at_most_one() {
        let rows: Vec<usize> = (0..100).collect();
        let before = sample(&rows, 10, 0);
        let after = sample(&(0..101).collect::<Vec<_>>(), 10, 0);
        assert!(before.iter().filter(|row| !after.contains(row)).count() <= 1);
    }
}
