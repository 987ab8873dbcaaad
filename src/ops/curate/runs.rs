//! Records of one width in order, more of them than memory holds.
//!
//! A record is some bytes, and records are ordered as bytes are, so numbers are written highest byte first. Few records are
//! sorted in memory and touch no disk. Many become sorted runs, which are merged when they are read; many runs are merged
//! to one before that, since a process may open only so many files.
//!
//! What is sorted in memory is the first eight bytes of a record with its number: most comparisons end there, and neither
//! moves a record nor follows a pointer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rayon::prelude::*;

use crate::ops::OpError;

/// Bytes of a run that are read or written at once.
const BUFFER: usize = 1 << 18;
/// Runs that are merged at once, at most.
const MOST_RUNS: usize = 128;

/// Records in any order.
pub(super) struct Records {
    /// What the names of its files begin with.
    base: PathBuf,
    width: usize,
    limit: usize,
    waiting: Vec<u8>,
    /// Sorted runs, and those that were merged from many.
    runs: Vec<PathBuf>,
    merged: Vec<PathBuf>,
    files: usize,
}

impl Records {
    /// Returns an empty store for records of `width` bytes that keeps `limit` bytes of them in memory.
    pub(super) fn new((scratch, name): (&Path, &str), width: usize, limit: usize) -> Self {
        let base = scratch.join(name);
        Self { base, width, limit, waiting: Vec::new(), runs: Vec::new(), merged: Vec::new(), files: 0 }
    }

    /// Adds records that lie one after the other.
    pub(super) fn push(&mut self, records: &[u8]) -> Result<(), OpError> {
        self.extend(records);
        self.settle()
    }

    /// Adds bytes of records, which must be whole before anything else is asked of the store.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Lays records down on disk if there are too many.
    pub(super) fn settle(&mut self) -> Result<(), OpError> {
        if self.waiting.len() > self.limit { self.spill() } else { Ok(()) }
    }

    /// Returns how many runs lie on disk.
    pub(super) fn runs(&self) -> usize {
        self.runs.len() + self.merged.len()
    }

    fn spill(&mut self) -> Result<(), OpError> {
        let waiting = std::mem::take(&mut self.waiting);
        let order = in_order(&waiting, self.width);
        let path = self.write(|file| {
            order.iter().try_for_each(|(_, at)| Ok(file.write_all(&waiting[at * self.width..][..self.width])?))
        })?;
        self.files += 1;
        self.runs.push(path);
        self.waiting = waiting;
        self.waiting.clear();
        if self.runs.len() < MOST_RUNS {
            return Ok(());
        }
        let mut merge = Merge::open(&std::mem::take(&mut self.runs), self.width)?;
        let path = self.write(|file| {
            while let Some(record) = merge.head() {
                file.write_all(record)?;
                merge.advance()?;
            }
            Ok(())
        })?;
        self.files += 1;
        self.merged.push(path);
        Ok(())
    }

    fn write(&self, records: impl FnOnce(&mut BufWriter<fs::File>) -> Result<(), OpError>) -> Result<PathBuf, OpError> {
        let mut path = self.base.clone().into_os_string();
        path.push(format!(".{}", self.files));
        let path = PathBuf::from(path);
        let mut file = BufWriter::with_capacity(BUFFER, fs::File::create(&path)?);
        records(&mut file)?;
        file.flush()?;
        Ok(path)
    }

    /// Ends the adding.
    pub(super) fn sorted(mut self) -> Result<Sorted, OpError> {
        if self.runs() == 0 {
            let order = in_order(&self.waiting, self.width);
            return Ok(Sorted::Memory { records: self.waiting, width: self.width, order, at: 0 });
        }
        if !self.waiting.is_empty() {
            self.spill()?;
        }
        self.merged.append(&mut self.runs);
        Ok(Sorted::Disk(Merge::open(&self.merged, self.width)?))
    }
}

/// Returns the numbers of records in their order, each with what its record begins with.
fn in_order(records: &[u8], width: usize) -> Vec<(u64, usize)> {
    let begins = |record: &[u8]| {
        let mut first = [0; 8];
        let length = width.min(8);
        first[..length].copy_from_slice(&record[..length]);
        u64::from_be_bytes(first)
    };
    let record = |at: usize| &records[at * width..][..width];
    let mut order: Vec<(u64, usize)> =
        records.par_chunks_exact(width).enumerate().map(|(at, record)| (begins(record), at)).collect();
    order.par_sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| record(a.1).cmp(record(b.1))));
    order
}

/// Records in order.
pub(super) enum Sorted {
    Memory { records: Vec<u8>, width: usize, order: Vec<(u64, usize)>, at: usize },
    Disk(Merge),
}

impl Sorted {
    /// Returns the record that is next, none at the end.
    pub(super) fn head(&self) -> Option<&[u8]> {
        match self {
            Self::Memory { records, width, order, at } => {
                order.get(*at).map(|(_, place)| &records[place * width..][..*width])
            }
            Self::Disk(merge) => merge.head(),
        }
    }

    /// Goes on to the record after it.
    pub(super) fn advance(&mut self) -> Result<(), OpError> {
        match self {
            Self::Memory { at, .. } => {
                *at += 1;
                Ok(())
            }
            Self::Disk(merge) => merge.advance(),
        }
    }

    /// Gives those that are next and begin with less than `bound` to `take`.
    pub(super) fn before(&mut self, bound: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), OpError> {
        while let Some(record) = self.head().filter(|record| &record[..bound.len()] < bound) {
            take(record);
            self.advance()?;
        }
        Ok(())
    }
}

/// Sorted runs as one.
pub(super) struct Merge {
    runs: Vec<BufReader<fs::File>>,
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
}

impl Merge {
    /// Opens runs. Their names go now, their content with the reader.
    fn open(paths: &[PathBuf], width: usize) -> Result<Self, OpError> {
        let mut merge = Self { runs: Vec::new(), heads: BinaryHeap::new() };
        for path in paths {
            let mut run = BufReader::with_capacity(BUFFER, fs::File::open(path)?);
            fs::remove_file(path)?;
            let mut record = vec![0; width];
            if read(&mut run, &mut record)? {
                merge.heads.push(Reverse((record, merge.runs.len())));
            }
            merge.runs.push(run);
        }
        Ok(merge)
    }

    fn head(&self) -> Option<&[u8]> {
        self.heads.peek().map(|Reverse((record, _))| record.as_slice())
    }

    fn advance(&mut self) -> Result<(), OpError> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(()) };
        let Reverse((record, run)) = &mut *head;
        if !read(&mut self.runs[*run], record)? {
            PeekMut::pop(head);
        }
        Ok(())
    }
}

/// Reads the next record of a run; false at the end.
fn read(run: &mut BufReader<fs::File>, record: &mut [u8]) -> Result<bool, OpError> {
    if run.fill_buf()?.is_empty() {
        return Ok(false);
    }
    run.read_exact(record).map_err(|error| {
        let path = run.get_ref().path().display();
        OpError::new(format!("records that waited in {path} came back damaged: {error}"))
            .help("run it again; if that does not help, the disk loses what is written to it")
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(count: u32, width: usize) -> Vec<u8> {
        let bytes = |i: u32| {
            let mixed = (u64::from(i) % 977).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            mixed.into_iter().chain(i.to_be_bytes()).cycle().take(width).collect::<Vec<u8>>()
        };
        (0..count).flat_map(bytes).collect()
    }

    fn sorted(records: &[u8], width: usize, limit: usize) -> (Vec<Vec<u8>>, usize, usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Records::new((folder.path(), "records"), width, limit);
        for part in records.chunks(width * 19) {
            store.push(part).unwrap();
        }
        let (runs, files) = (store.runs(), store.files);
        let mut sorted = store.sorted().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the runs are gone");
        let mut back = Vec::new();
        while let Some(record) = sorted.head() {
            back.push(record.to_vec());
            sorted.advance().unwrap();
        }
        sorted.advance().unwrap();
        assert!(sorted.head().is_none());
        (back, runs, files)
    }

    #[test]
    fn records_come_back_in_order_from_memory_from_runs_and_from_merged_runs() {
        for width in [5, 8, 13, 40] {
            let records = drawn(6000, width);
            let mut expected: Vec<Vec<u8>> = records.chunks(width).map(<[u8]>::to_vec).collect();
            expected.sort();
            assert_eq!(sorted(&records, width, usize::MAX), (expected.clone(), 0, 0));
            let (back, runs, _) = sorted(&records, width, 19 * width * 20);
            assert!(back == expected && (10..MOST_RUNS).contains(&runs), "{width}: {runs}");
            let (back, runs, files) = sorted(&records, width, 0);
            assert!(back == expected && files > 2 * MOST_RUNS && runs < MOST_RUNS, "{width}: {runs} of {files}");
        }
    }

    #[test]
    fn those_before_a_bound_are_taken_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Records::new((folder.path(), "records"), 2, 100);
        store.push(&[3, 0, 1, 9, 2, 2, 3, 1, 1, 0]).unwrap();
        let mut sorted = store.sorted().unwrap();
        let mut taken = Vec::new();
        sorted.before(&[3], |record| taken.push(record.to_vec())).unwrap();
        assert_eq!(taken, [[1, 0], [1, 9], [2, 2]]);
        assert_eq!(sorted.head(), Some(&[3, 0][..]));
    }

    #[test]
    fn a_run_that_ends_in_a_record_is_told_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.0");
        fs::write(&path, [1, 2, 3, 4, 5]).unwrap();
        let mut merge = Merge::open(std::slice::from_ref(&path), 2).unwrap();
        merge.advance().unwrap();
        let error = merge.advance().unwrap_err();
        assert!(error.to_string().contains("/records.0 came back damaged"), "{error}");
        assert!(error.way_out().is_some_and(|way| way.contains("the disk")));
        let store = Records::new((&folder.path().join("nowhere"), "records"), 2, 0).push(&[1, 2]);
        assert!(store.unwrap_err().to_string().contains("nowhere/records.0"));
    }
}
