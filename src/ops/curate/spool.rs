//! Items that wait: in memory while they are few, on disk when they are many.
//!
//! A step that must see all rows before it can judge one keeps them here. On disk they lie as compressed lines, written
//! and read once, in order; the parsing is spread over the threads.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rayon::prelude::*;

use super::item::Item;
use crate::ops::OpError;

/// Bytes of text (about) that a spool keeps in memory.
pub(super) const IN_MEMORY: u64 = 64 << 20;
/// Items in a block that is read back.
const BLOCK_ITEMS: usize = 2048;
/// Bytes of lines after which a block is full even with fewer items.
const BLOCK_BYTES: usize = 16 << 20;
/// What an item takes beside its text, about.
const ITEM_BYTES: u64 = 200;
/// zstd's fastest level: the disk is slower.
const LEVEL: i32 = 1;

/// Items to be read back in the order in which they came.
pub(super) struct Spool {
    path: PathBuf,
    limit: u64,
    waiting: Vec<Item>,
    bytes: u64,
    file: Option<zstd::Encoder<'static, BufWriter<fs::File>>>,
}

impl Spool {
    /// Returns an empty spool, whose file, if it needs one, is called `name` in the folder `scratch`.
    pub(super) fn new(scratch: &Path, name: &str) -> Self {
        Self::with_limit(scratch, name, IN_MEMORY)
    }

    /// As [`Spool::new`], for what is known to be too much for memory.
    pub(super) fn on_disk(scratch: &Path, name: &str) -> Self {
        Self::with_limit(scratch, name, 0)
    }

    fn with_limit(scratch: &Path, name: &str, limit: u64) -> Self {
        Self { path: scratch.join(name), limit, waiting: Vec::new(), bytes: 0, file: None }
    }

    /// Adds items.
    pub(super) fn push(&mut self, items: Vec<Item>) -> Result<(), OpError> {
        self.bytes += items.par_iter().map(size).sum::<u64>();
        self.waiting.extend(items);
        if self.bytes > self.limit { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), OpError> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => {
                let file = BufWriter::new(fs::File::create(&self.path)?);
                let mut packer = zstd::Encoder::new(file, LEVEL)?;
                packer.include_checksum(true)?;
                empty.insert(packer)
            }
        };
        for block in std::mem::take(&mut self.waiting).chunks(BLOCK_ITEMS) {
            let lines: Vec<Vec<u8>> = block.par_iter().map(line).collect();
            lines.iter().try_for_each(|line| file.write_all(line))?;
        }
        self.bytes = 0;
        Ok(())
    }

    /// Ends the writing; what was added can be read once.
    pub(super) fn read(self) -> Result<SpoolReader, OpError> {
        self.finish()?.last_reader()
    }

    /// Ends the writing into the file, which stays.
    pub(super) fn finish_file(mut self) -> Result<(), OpError> {
        self.spill()?;
        if let Some(file) = self.file.take() {
            file.finish()?.flush()?;
        }
        Ok(())
    }

    /// Ends the writing; what was added can be read as often as is wanted.
    pub(super) fn finish(mut self) -> Result<Kept, OpError> {
        if self.file.is_some() {
            self.spill()?;
        }
        let Some(file) = self.file.take() else {
            return Ok(Kept { memory: std::mem::take(&mut self.waiting), path: None });
        };
        file.finish()?.flush()?;
        Ok(Kept { memory: Vec::new(), path: Some(self.path.clone()) })
    }
}

/// Items that were all added.
pub(super) struct Kept {
    memory: Vec<Item>,
    path: Option<PathBuf>,
}

impl Kept {
    /// Returns a reader that leaves the items where they are.
    pub(super) fn reader(&self) -> Result<SpoolReader, OpError> {
        match &self.path {
            None => Ok(SpoolReader { memory: self.memory.clone().into_iter(), file: None }),
            Some(path) => SpoolReader::open(path),
        }
    }

    /// Returns the last reader.
    pub(super) fn last_reader(self) -> Result<SpoolReader, OpError> {
        let Some(path) = self.path else { return Ok(SpoolReader { memory: self.memory.into_iter(), file: None }) };
        let reader = SpoolReader::open(&path)?;
        // The name goes now, the content with the reader.
        fs::remove_file(&path)?;
        Ok(reader)
    }
}

fn line(item: &Item) -> Vec<u8> {
    let mut line = Vec::new();
    item.to_line(&mut line);
    line
}

/// Returns about what an item takes in memory.
pub(super) fn size(item: &Item) -> u64 {
    ITEM_BYTES + item.bytes()
}

/// The items of a spool, in blocks.
pub(super) struct SpoolReader {
    memory: std::vec::IntoIter<Item>,
    file: Option<BufReader<zstd::Decoder<'static, BufReader<fs::File>>>>,
}

impl SpoolReader {
    /// Opens a file that a spool wrote.
    pub(super) fn open(path: &Path) -> Result<Self, OpError> {
        let file = zstd::Decoder::new(fs::File::open(path)?)?;
        Ok(Self { memory: Vec::new().into_iter(), file: Some(BufReader::with_capacity(1 << 18, file)) })
    }

    /// Reads all items of a file, and returns how many there are.
    pub(super) fn count(&mut self) -> Result<u64, OpError> {
        let (mut count, mut line) = (0, Vec::new());
        while let Some(file) = &mut self.file
            && file.read_until(b'\n', &mut line)? > 0
        {
            count += 1;
            line.clear();
        }
        Ok(count)
    }

    /// Returns the next items, none at the end.
    pub(super) fn next_block(&mut self) -> Result<Vec<Item>, OpError> {
        let Some(file) = &mut self.file else { return Ok(self.memory.by_ref().take(BLOCK_ITEMS).collect()) };
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while lines.len() < BLOCK_ITEMS && bytes < BLOCK_BYTES {
            let mut line = Vec::new();
            if file.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            bytes += line.len();
            lines.push(line);
        }
        let items: Vec<Result<Item, String>> = lines.par_iter().map(|line| Item::from_line(line)).collect();
        let damaged = |why: String| OpError::new(format!("rows that waited on disk came back damaged: {why}"));
        items.into_iter().map(|item| item.map_err(damaged)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Row;

    #[test]
    fn what_goes_in_comes_out_from_memory_and_from_disk() {
        let items: Vec<Item> = (0..5000).map(|i| Item::from(Row::Text(format!("rangée {i}\n")))).collect();
        for limit in [u64::MAX, 100_000, 0] {
            let dir = tempfile::tempdir().unwrap();
            let mut spool = Spool::with_limit(dir.path(), "rows", limit);
            for block in items.chunks(700) {
                spool.push(block.to_vec()).unwrap();
            }
            let mut reader = spool.read().unwrap();
            let mut back = Vec::new();
            loop {
                let block = reader.next_block().unwrap();
                if block.is_empty() {
                    break;
                }
                back.extend(block);
            }
            assert_eq!(back, items);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
