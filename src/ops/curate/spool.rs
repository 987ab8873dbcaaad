//! Items that wait: in memory while they are few, on disk when they are many.
//!
//! A step that must see all rows before it can judge one keeps them here. On disk they lie as lines in compressed frames,
//! written and read in order; a frame is packed, unpacked and parsed by one thread, several of them at a time.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rayon::prelude::*;
use zstd::bulk::Compressor;

use super::item::Item;
use crate::ops::OpError;

/// Bytes of text (about) that a spool keeps in memory.
pub(super) const IN_MEMORY: u64 = 256 << 20;
/// Items in a frame.
const FRAME_ITEMS: usize = 512;
/// Bytes of text (about) after which a frame is full even with fewer items.
const FRAME_BYTES: u64 = 4 << 20;
/// Frames in a block that is read back.
const BLOCK_FRAMES: usize = 4;
/// Frames that are packed before they are written.
const FRAMES_AT_ONCE: usize = 16;
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
    file: Option<BufWriter<fs::File>>,
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

    /// Writes items to disk at once, behind those that are there.
    pub(super) fn write(&mut self, items: &[Item]) -> Result<(), OpError> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(BufWriter::new(fs::File::create(&self.path)?)),
        };
        for frames in cut(items).chunks(FRAMES_AT_ONCE) {
            let packed: Vec<std::io::Result<Vec<u8>>> = frames
                .par_iter()
                .map_init(packer, |packer, items| match packer {
                    Ok(packer) => pack(packer, items),
                    Err(error) => Err(std::io::Error::new(error.kind(), error.to_string())),
                })
                .collect();
            for frame in packed {
                let frame = frame?;
                file.write_all(&(frame.len() as u64).to_le_bytes())?;
                file.write_all(&frame)?;
            }
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), OpError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        self.write(&waiting)
    }

    /// Ends the writing; what was added can be read once.
    pub(super) fn read(self) -> Result<SpoolReader, OpError> {
        self.finish()?.last_reader()
    }

    /// Ends the writing into the file, which stays.
    pub(super) fn finish_file(mut self) -> Result<(), OpError> {
        self.spill()?;
        self.file.as_mut().map_or(Ok(()), |file| Ok(file.flush()?))
    }

    /// Ends the writing; what was added can be read as often as is wanted.
    pub(super) fn finish(mut self) -> Result<Kept, OpError> {
        if self.file.is_some() {
            self.spill()?;
        }
        let Some(mut file) = self.file.take() else {
            return Ok(Kept { memory: std::mem::take(&mut self.waiting), path: None });
        };
        file.flush()?;
        Ok(Kept { memory: Vec::new(), path: Some(self.path.clone()) })
    }
}

/// Cuts items into frames.
fn cut(items: &[Item]) -> Vec<&[Item]> {
    let (mut frames, mut rest) = (Vec::new(), items);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |item: &&Item| {
            let begun = bytes < FRAME_BYTES;
            bytes += size(item);
            begun
        };
        let (frame, after) = rest.split_at(rest.iter().take(FRAME_ITEMS).take_while(fits).count());
        frames.push(frame);
        rest = after;
    }
    frames
}

/// Packs a frame in one piece, which is faster than line by line.
fn pack(packer: &mut Compressor<'_>, items: &[Item]) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for item in items {
        item.to_line(&mut lines);
    }
    packer.compress(&lines)
}

fn packer() -> std::io::Result<Compressor<'static>> {
    let mut packer = Compressor::new(LEVEL)?;
    packer.include_checksum(true)?;
    Ok(packer)
}

/// Unpacks what [`pack`] made; the error says what is wrong with it.
fn unpack(frame: &[u8]) -> Result<Vec<Item>, String> {
    let lines = zstd::decode_all(frame).map_err(|error| error.to_string())?;
    lines.split_inclusive(|&byte| byte == b'\n').map(Item::from_line).collect()
}

fn damaged(file: &BufReader<fs::File>, why: &str) -> OpError {
    let path = file.get_ref().path().display();
    OpError::new(format!("rows that waited in {path} came back damaged: {why}"))
        .help("run it again; if that does not help, the disk loses what is written to it")
}

/// Items that were all added.
pub(super) struct Kept {
    memory: Vec<Item>,
    path: Option<PathBuf>,
}

impl Kept {
    /// Gives all items to `look`, block by block, and leaves them where they are.
    pub(super) fn blocks(&self, mut look: impl FnMut(&[Item]) -> Result<(), OpError>) -> Result<(), OpError> {
        let Some(path) = &self.path else { return self.memory.chunks(BLOCK_FRAMES * FRAME_ITEMS).try_for_each(look) };
        let mut reader = SpoolReader::open(path)?;
        loop {
            let block = reader.next_block()?;
            if block.is_empty() {
                return Ok(());
            }
            look(&block)?;
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

/// Returns about what an item takes in memory.
pub(super) fn size(item: &Item) -> u64 {
    ITEM_BYTES + item.bytes()
}

/// The items of a spool, in blocks.
pub(super) struct SpoolReader {
    memory: std::vec::IntoIter<Item>,
    file: Option<BufReader<fs::File>>,
}

impl SpoolReader {
    /// Opens a file that a spool wrote.
    pub(super) fn open(path: &Path) -> Result<Self, OpError> {
        Ok(Self { memory: Vec::new().into_iter(), file: Some(BufReader::new(fs::File::open(path)?)) })
    }

    /// Reads all items of a file, and returns how many there are.
    pub(super) fn count(&mut self) -> Result<u64, OpError> {
        let mut count = 0;
        while let Some(file) = &mut self.file {
            let frames = next_frames(file)?;
            if frames.is_empty() {
                break;
            }
            let lines = |frame: &Vec<u8>| -> std::io::Result<usize> {
                Ok(memchr::memchr_iter(b'\n', &zstd::decode_all(frame.as_slice())?).count())
            };
            let counts: std::io::Result<Vec<usize>> = frames.par_iter().map(lines).collect();
            count += counts?.iter().sum::<usize>() as u64;
        }
        Ok(count)
    }

    /// Returns the next items, none at the end.
    pub(super) fn next_block(&mut self) -> Result<Vec<Item>, OpError> {
        let Some(file) = &mut self.file else {
            return Ok(self.memory.by_ref().take(BLOCK_FRAMES * FRAME_ITEMS).collect());
        };
        let items: Vec<Result<Vec<Item>, String>> = next_frames(file)?.par_iter().map(|frame| unpack(frame)).collect();
        let items: Result<Vec<Vec<Item>>, String> = items.into_iter().collect();
        Ok(items.map_err(|why| damaged(file, &why))?.into_iter().flatten().collect())
    }
}

/// Reads the next frames, none at the end.
fn next_frames(file: &mut BufReader<fs::File>) -> Result<Vec<Vec<u8>>, OpError> {
    let mut frames = Vec::new();
    while frames.len() < BLOCK_FRAMES && !file.fill_buf()?.is_empty() {
        let (mut length, mut frame) = (Vec::new(), Vec::new());
        file.by_ref().take(8).read_to_end(&mut length)?;
        let length = length.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        file.by_ref().take(length.unwrap_or_default()).read_to_end(&mut frame)?;
        if length != Some(frame.len() as u64) {
            return Err(damaged(file, "they end too early"));
        }
        frames.push(frame);
    }
    Ok(frames)
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
            let (kept, mut seen) = (spool.finish().unwrap(), Vec::new());
            let look = |block: &[Item]| {
                seen.extend_from_slice(block);
                Ok(())
            };
            kept.blocks(look).unwrap();
            assert_eq!(seen, items);
            let mut reader = kept.last_reader().unwrap();
            let blocks = std::iter::from_fn(|| Some(reader.next_block().unwrap()).filter(|block| !block.is_empty()));
            let back: Vec<Item> = blocks.flatten().collect();
            assert_eq!(back, items);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_was_lost_is_told_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::on_disk(dir.path(), "rows");
        spool.push((0..600).map(|i| Item::from(Row::Text(format!("rangée {i}")))).collect()).unwrap();
        spool.finish_file().unwrap();
        let path = dir.path().join("rows");
        let whole = fs::read(&path).unwrap();
        let told = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let mut reader = SpoolReader::open(&path).unwrap();
            let error = reader.next_block().unwrap_err();
            assert!(SpoolReader::open(&path).unwrap().count().is_err());
            assert!(error.way_out().is_some_and(|way| way.contains("the disk")));
            error.to_string()
        };
        // In the first frame, and in the length of the second.
        let second = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
        for length in [3, 8, 200, second + 4, whole.len() - 1] {
            let error = told(&whole[..length]);
            assert!(error.contains("/rows came back damaged: they end too early"), "{length}: {error}");
        }
        let mut turned = whole;
        turned[second + 60] ^= 1;
        assert!(told(&turned).contains("/rows came back damaged: "));
    }
}
