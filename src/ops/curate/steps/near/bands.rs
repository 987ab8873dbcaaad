//! The bands of all signatures, sorted: rows with an equal band come to lie side by side.
//!
//! A record is a band's values and the number of its row. Records of a band are sorted in memory while they are few; more
//! of them become sorted runs on disk, which are merged. So the number of rows is bounded by the disk alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use rayon::prelude::*;

use crate::ops::{OpCx, OpError};

/// Bytes of a row's number at the end of a record.
const NUMBER: usize = 4;
/// Bytes of records (of all bands) that are kept in memory.
const IN_MEMORY: usize = 1 << 30;

/// The bands of many signatures.
pub(super) struct Bands {
    scratch: PathBuf,
    name: String,
    limit: usize,
    /// Bytes of a record.
    width: usize,
    /// Records of each band, one after the other.
    waiting: Vec<Vec<u8>>,
    runs: Vec<Vec<PathBuf>>,
}

impl Bands {
    /// Returns an empty store for `bands` bands of `values` values of `bytes` bytes.
    pub(super) fn new(bands: usize, values: usize, bytes: usize, scratch: &Path, name: &str) -> Self {
        Self {
            scratch: scratch.to_owned(),
            name: name.to_owned(),
            limit: IN_MEMORY,
            width: values * bytes + NUMBER,
            waiting: vec![Vec::new(); bands],
            runs: vec![Vec::new(); bands],
        }
    }

    /// Adds signatures of rows. Values are written lowest byte last, so that bytes compare as numbers do.
    pub(super) fn push(&mut self, signatures: &[(u32, Vec<u64>)]) -> Result<(), OpError> {
        let bands = self.waiting.len();
        let values = signatures.first().map_or(0, |(_, signature)| signature.len() / bands);
        let bytes = (self.width - NUMBER) / values.max(1);
        self.waiting.par_iter_mut().enumerate().for_each(|(band, records)| {
            for (row, signature) in signatures {
                for value in &signature[band * values..(band + 1) * values] {
                    records.extend_from_slice(&value.to_be_bytes()[8 - bytes..]);
                }
                records.extend_from_slice(&row.to_be_bytes());
            }
        });
        if self.waiting.iter().map(Vec::len).sum::<usize>() > self.limit { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), OpError> {
        for (band, records) in self.waiting.iter_mut().enumerate() {
            let path = self.scratch.join(format!("{}.band{band}.{}", self.name, self.runs[band].len()));
            let mut file = BufWriter::with_capacity(1 << 20, fs::File::create(&path)?);
            for record in in_order(records, self.width) {
                file.write_all(record)?;
            }
            file.flush()?;
            self.runs[band].push(path);
            records.clear();
        }
        Ok(())
    }

    /// Gives `join` every two rows that lie side by side in a band and agree there, band by band. Within a band equal
    /// rows form a chain: a thousand rows that agree give 999 pairs.
    pub(super) fn pairs(mut self, cx: &OpCx<'_>, mut join: impl FnMut(u32, u32)) -> Result<u64, OpError> {
        let spilled = self.runs.iter().any(|runs| !runs.is_empty());
        if spilled {
            self.spill()?;
        }
        let mut count = 0;
        let width = self.width;
        if !spilled {
            let found: Vec<Vec<(u32, u32)>> = self.waiting.par_iter().map(|records| chained(records, width)).collect();
            for (a, b) in found.into_iter().flatten() {
                count += 1;
                join(a, b);
            }
            return Ok(count);
        }
        for runs in std::mem::take(&mut self.runs) {
            let mut merge = Merge::open(&runs, width)?;
            let mut last: Option<Vec<u8>> = None;
            while let Some(record) = merge.next()? {
                if last.as_ref().is_some_and(|last| last[..width - NUMBER] == record[..width - NUMBER]) {
                    count += 1;
                    join(row_of(last.as_deref().unwrap_or_default()), row_of(&record));
                }
                if count.is_multiple_of(1 << 16) {
                    cx.check_cancelled()?;
                }
                last = Some(record);
            }
            runs.iter().try_for_each(fs::remove_file)?;
        }
        Ok(count)
    }
}

/// Returns the records in order.
fn in_order(records: &[u8], width: usize) -> Vec<&[u8]> {
    let mut sorted: Vec<&[u8]> = records.chunks_exact(width).collect();
    sorted.par_sort_unstable();
    sorted
}

fn chained(records: &[u8], width: usize) -> Vec<(u32, u32)> {
    let sorted = in_order(records, width);
    let same = sorted.windows(2).filter(|pair| pair[0][..width - NUMBER] == pair[1][..width - NUMBER]);
    same.map(|pair| (row_of(pair[0]), row_of(pair[1]))).collect()
}

fn row_of(record: &[u8]) -> u32 {
    record.last_chunk().map_or(0, |row| u32::from_be_bytes(*row))
}

/// Sorted runs as one.
struct Merge {
    runs: Vec<BufReader<fs::File>>,
    heads: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    width: usize,
}

impl Merge {
    fn open(paths: &[PathBuf], width: usize) -> Result<Self, OpError> {
        let open = |path: &PathBuf| Ok(BufReader::with_capacity(1 << 18, fs::File::open(path)?));
        let runs = paths.iter().map(open).collect::<Result<_, OpError>>()?;
        let mut merge = Self { runs, heads: BinaryHeap::new(), width };
        (0..paths.len()).try_for_each(|at| merge.refill(at))?;
        Ok(merge)
    }

    fn refill(&mut self, at: usize) -> Result<(), OpError> {
        let mut record = vec![0; self.width];
        match self.runs[at].read_exact(&mut record) {
            Ok(()) => self.heads.push(Reverse((record, at))),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, OpError> {
        let Some(Reverse((record, at))) = self.heads.pop() else { return Ok(None) };
        self.refill(at)?;
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::ops::{DeviceChoice, Inputs, Progress};

    struct Silent;

    impl Progress for Silent {
        fn phase(&self, _: &str, _: Option<u64>, _: &'static str) {}
        fn position(&self, _: u64) {}
        fn note(&self, _: &str) {}
    }

    /// Signatures of 3 bands of 2 values, drawn so that many rows agree in some band.
    fn signatures(rows: u32) -> Vec<(u32, Vec<u64>)> {
        let mut state = 7_u64;
        let mut draw = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % 23
        };
        (0..rows).map(|row| (row, (0..6).map(|_| draw()).collect())).collect()
    }

    /// The pairs that a store gives which keeps so many bytes in memory, and how many runs of a band went to the disk.
    fn pairs(limit: usize) -> (BTreeSet<(u32, u32)>, u64, usize) {
        let folder = tempfile::tempdir().unwrap();
        let (inputs, cancelled) = (Inputs::default(), AtomicBool::new(false));
        let cx = OpCx {
            inputs: &inputs,
            out: folder.path(),
            scratch: folder.path(),
            checkpoint: None,
            memo: None,
            environment: &|_| None,
            threads: 1,
            device: DeviceChoice::Cpu,
            progress: &Silent,
            cancelled: &cancelled,
        };
        let mut bands = Bands { limit, ..Bands::new(3, 2, 4, folder.path(), "step") };
        for part in signatures(2000).chunks(190) {
            bands.push(part).unwrap();
        }
        let runs = bands.runs[0].len();
        let mut found = BTreeSet::new();
        let join = |a, b| {
            found.insert((a, b));
        };
        let count = bands.pairs(&cx, join).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the runs are gone");
        (found, count, runs)
    }

    #[test]
    fn what_goes_to_the_disk_comes_back_in_order() {
        let (in_memory, count, none) = pairs(IN_MEMORY);
        let (spilled, again, runs) = pairs(10_000);
        assert!(none == 0 && runs > 3, "{none} {runs}");
        assert!(in_memory.len() > 1000, "{}", in_memory.len());
        assert_eq!((spilled, again), (in_memory, count));
    }
}
