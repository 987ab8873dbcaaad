//! The rows of an input as items, a block at a time: of an entry of `from`, and of what a step looks things up in (`against`,
//! `with`, `evals`).

use std::path::Path;
use std::sync::Arc;

use super::item::Item;
use crate::data::{self, Records};
use crate::ops::{OpCx, OpError};

/// Rows in a block.
const BLOCK_ROWS: usize = 2048;
/// Bytes of text (about) after which a block is full even with fewer rows.
const BLOCK_BYTES: u64 = 16 << 20;

/// The rows of a file, of a whole entry, or of another input. It ends when there are no more, and where the user wants it to.
pub(super) struct Reader<'a> {
    records: Records,
    from: u32,
    /// How many were read.
    number: u64,
    limit: Option<u64>,
    /// The file that is read.
    file: Arc<str>,
    cx: &'a OpCx<'a>,
}

impl<'a> Reader<'a> {
    /// Reads the rows of the entry `from`, at most so many of them.
    pub(super) fn of_entry(records: Records, from: u32, limit: Option<u64>, cx: &'a OpCx<'a>) -> Self {
        Self { records, from, number: 0, limit, file: "".into(), cx }
    }

    /// Reads all rows of the data set in a folder. Whose rows they are is known to the step that reads them.
    pub(super) fn of_folder(folder: &Path, cx: &'a OpCx<'a>) -> Result<Self, OpError> {
        Ok(Self::of_entry(open(folder, cx)?, 0, None, cx))
    }

    /// Does `work`, which is about a block that was read before, while the next one is read, and returns that.
    pub(super) fn while_reading<T>(
        &mut self,
        work: impl FnOnce() -> Result<T, OpError>,
    ) -> Result<(T, Option<Vec<Item>>), OpError> {
        let mut read = Ok(None);
        let done = rayon::in_place_scope(|scope| {
            scope.spawn(|_| read = self.next().transpose());
            work()
        });
        // What is wrong with this block comes before what is wrong with the next.
        Ok((done?, read?))
    }

    /// Returns how many rows were read.
    pub(super) fn rows(&self) -> u64 {
        self.number
    }

    fn next_block(&mut self) -> Result<Vec<Item>, OpError> {
        self.cx.check_cancelled()?;
        let mut block = Vec::new();
        let mut bytes = 0;
        while block.len() < BLOCK_ROWS && bytes < BLOCK_BYTES && self.limit.is_none_or(|limit| self.number < limit) {
            let Some(record) = self.records.next().transpose()? else { break };
            self.number += 1;
            let (file, line) = self.records.place();
            if *self.file != *file {
                self.file = file.into();
            }
            let item = Item::new(self.from, self.number, record).at(&self.file, line);
            bytes += item.bytes();
            block.push(item);
        }
        Ok(block)
    }
}

impl Iterator for Reader<'_> {
    type Item = Result<Vec<Item>, OpError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_block().map(|block| (!block.is_empty()).then_some(block)).transpose()
    }
}

/// Opens the data set in a folder.
pub(super) fn open(folder: &Path, cx: &OpCx<'_>) -> Result<Records, OpError> {
    Ok(data::open_records(folder)?.unpacking_in(cx.scratch))
}
