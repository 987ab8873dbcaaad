//! Items in another order, more of them than memory holds.
//!
//! An external merge sort: runs are sorted in memory and laid down compressed, then merged. Equal keys keep the order in
//! which they came. Keys are bytes; what they mean is the step's business.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::item::Item;
use super::spool::{IN_MEMORY, Spool, SpoolReader, size};
use crate::ops::OpError;

/// Items in a block of the result.
const BLOCK_ITEMS: usize = 2048;

/// A key and the item that goes where it says.
type Keyed = (Vec<u8>, Item);

/// Takes items in any order and gives them back by key.
pub(super) struct Sorter {
    scratch: PathBuf,
    name: String,
    limit: u64,
    waiting: Vec<Keyed>,
    bytes: u64,
    /// The runs on disk: the keys of each, and its items in the order of the keys.
    runs: Vec<(Vec<Vec<u8>>, SpoolReader)>,
}

impl Sorter {
    /// Returns an empty sorter; `name` is what its files begin with.
    pub(super) fn new(scratch: &Path, name: &str) -> Self {
        Self::with_limit(scratch, name, IN_MEMORY)
    }

    fn with_limit(scratch: &Path, name: &str, limit: u64) -> Self {
        let (scratch, name) = (scratch.to_owned(), name.to_owned());
        Self { scratch, name, limit, waiting: Vec::new(), bytes: 0, runs: Vec::new() }
    }

    /// Adds items with their keys.
    pub(super) fn push(&mut self, items: Vec<Keyed>) -> Result<(), OpError> {
        self.bytes += items.par_iter().map(|(key, item)| key.len() as u64 + size(item)).sum::<u64>();
        self.waiting.extend(items);
        if self.bytes > self.limit { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), OpError> {
        let mut run = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        run.par_sort_by(|(a, _), (b, _)| a.cmp(b));
        let (keys, items): (Vec<_>, Vec<_>) = run.into_iter().unzip();
        let mut spool = Spool::on_disk(&self.scratch, &format!("{}.{}", self.name, self.runs.len()));
        spool.push(items)?;
        self.runs.push((keys, spool.read()?));
        Ok(())
    }

    /// Ends the adding.
    pub(super) fn sorted(mut self) -> Result<Sorted, OpError> {
        if !self.runs.is_empty() && !self.waiting.is_empty() {
            self.spill()?;
        }
        if self.runs.is_empty() {
            self.waiting.par_sort_by(|(a, _), (b, _)| a.cmp(b));
            let items: Vec<Item> = self.waiting.into_iter().map(|(_, item)| item).collect();
            return Ok(Sorted { memory: items.into_iter(), runs: Vec::new(), heads: BinaryHeap::new() });
        }
        let runs = self.runs.into_iter().map(|(keys, items)| Run {
            keys: keys.into_iter(),
            items,
            block: Vec::new().into_iter(),
        });
        let mut sorted = Sorted { memory: Vec::new().into_iter(), runs: runs.collect(), heads: BinaryHeap::new() };
        for at in 0..sorted.runs.len() {
            sorted.refill(at);
        }
        Ok(sorted)
    }
}

struct Run {
    keys: std::vec::IntoIter<Vec<u8>>,
    items: SpoolReader,
    block: std::vec::IntoIter<Item>,
}

/// Items by key, in blocks.
pub(super) struct Sorted {
    memory: std::vec::IntoIter<Item>,
    runs: Vec<Run>,
    /// The next key of every run. The run's number decides between equal ones: runs were filled one after the other.
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl Sorted {
    fn refill(&mut self, at: usize) {
        if let Some(key) = self.runs[at].keys.next() {
            self.heads.push(Reverse((key, at)));
        }
    }

    /// Returns the next items, none at the end.
    pub(super) fn next_block(&mut self) -> Result<Vec<Item>, OpError> {
        if self.runs.is_empty() {
            return Ok(self.memory.by_ref().take(BLOCK_ITEMS).collect());
        }
        let mut items = Vec::new();
        while items.len() < BLOCK_ITEMS {
            let Some(Reverse((_, at))) = self.heads.pop() else { break };
            let run = &mut self.runs[at];
            if run.block.as_slice().is_empty() {
                run.block = run.items.next_block()?.into_iter();
            }
            items.extend(run.block.next());
            self.refill(at);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Row;

    #[test]
    fn equal_keys_keep_their_order_in_memory_and_on_disk() {
        let keyed: Vec<Keyed> = (0..4000u32)
            .map(|i| (vec![(i.wrapping_mul(2_654_435_761) >> 26) as u8], Item::from(Row::Text(i.to_string()))))
            .collect();
        let mut expected = keyed.clone();
        expected.sort_by(|(a, _), (b, _)| a.cmp(b));
        let expected: Vec<Item> = expected.into_iter().map(|(_, item)| item).collect();
        for limit in [u64::MAX, 100_000, 0] {
            let dir = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::with_limit(dir.path(), "sort", limit);
            for block in keyed.chunks(300) {
                sorter.push(block.to_vec()).unwrap();
            }
            let mut sorted = sorter.sorted().unwrap();
            let mut back = Vec::new();
            loop {
                let block = sorted.next_block().unwrap();
                if block.is_empty() {
                    break;
                }
                back.extend(block);
            }
            assert_eq!(back, expected);
        }
    }
}
