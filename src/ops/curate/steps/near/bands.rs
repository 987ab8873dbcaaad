//! The bands of all signatures, sorted: rows with an equal band come to lie side by side.
//!
//! A record is a band's values and the number of its row. The records of each band are a store of their own, which goes to
//! disk when there are many, so the number of rows is bounded by the disk alone.

use std::path::Path;

use rayon::prelude::*;

use crate::ops::curate::runs::{Records, Sorted};
use crate::ops::{OpCx, OpError};

/// Bytes of a row's number at the end of a record.
const NUMBER: usize = 4;
/// Bytes of records (of all bands) that are kept in memory.
const IN_MEMORY: usize = 1 << 30;

/// The bands of many signatures.
pub(super) struct Bands {
    /// Bytes of a record.
    width: usize,
    /// Records of each band.
    bands: Vec<Records>,
}

impl Bands {
    /// Returns an empty store for `bands` bands of `values` values of `bytes` bytes.
    pub(super) fn new(bands: usize, values: usize, bytes: usize, scratch: &Path, name: &str) -> Self {
        Self::with_limit((bands, values, bytes), (scratch, name), IN_MEMORY)
    }

    fn with_limit((bands, values, bytes): (usize, usize, usize), (scratch, name): (&Path, &str), limit: usize) -> Self {
        let width = values * bytes + NUMBER;
        let band = |band| Records::new((scratch, &format!("{name}.band{band}")), width, limit / bands.max(1));
        Self { width, bands: (0..bands).map(band).collect() }
    }

    /// Adds signatures of rows. Values are written lowest byte last, so that bytes compare as numbers do.
    pub(super) fn push(&mut self, signatures: &[(u32, Vec<u64>)]) -> Result<(), OpError> {
        let values = signatures.first().map_or(0, |(_, signature)| signature.len() / self.bands.len());
        let bytes = (self.width - NUMBER) / values.max(1);
        self.bands.par_iter_mut().enumerate().for_each(|(band, records)| {
            for (row, signature) in signatures {
                for value in &signature[band * values..(band + 1) * values] {
                    records.extend(&value.to_be_bytes()[8 - bytes..]);
                }
                records.extend(&row.to_be_bytes());
            }
        });
        self.bands.iter_mut().try_for_each(Records::settle)
    }

    /// Gives `join` every two rows that lie side by side in a band and agree there, band by band. Within a band equal
    /// rows form a chain: a thousand rows that agree give 999 pairs.
    pub(super) fn pairs(self, cx: &OpCx<'_>, mut join: impl FnMut(u32, u32)) -> Result<u64, OpError> {
        let (width, mut bands, mut count) = (self.width, self.bands, 0);
        let (all, at_once) = (bands.len(), rayon::current_num_threads());
        let chained = |records: Records| -> Result<Vec<(u32, u32)>, OpError> {
            let mut found = Vec::new();
            chain(&mut records.sorted()?, width, cx, |a, b| found.push((a, b)))?;
            Ok(found)
        };
        cx.progress.phase("looking for near-duplicates", Some(all as u64), "bands");
        while !bands.is_empty() {
            let part: Vec<Records> = bands.drain(..at_once.min(bands.len())).collect();
            let found: Vec<Result<Vec<_>, OpError>> = part.into_par_iter().map(chained).collect();
            for pairs in found {
                for (a, b) in pairs? {
                    count += 1;
                    join(a, b);
                }
            }
            cx.progress.position((all - bands.len()) as u64);
        }
        Ok(count)
    }
}

/// Gives `join` the rows of every two records side by side that are equal but for their rows.
fn chain(sorted: &mut Sorted, width: usize, cx: &OpCx<'_>, mut join: impl FnMut(u32, u32)) -> Result<(), OpError> {
    let mut last: Option<Vec<u8>> = None;
    for number in 0_u64.. {
        let Some(record) = sorted.head() else { break };
        if last.as_ref().is_some_and(|last| last[..width - NUMBER] == record[..width - NUMBER]) {
            join(row_of(last.as_deref().unwrap_or_default()), row_of(record));
        }
        let place = last.get_or_insert_with(|| vec![0; width]);
        place.copy_from_slice(record);
        sorted.advance()?;
        if number.is_multiple_of(1 << 16) {
            cx.check_cancelled()?;
        }
    }
    Ok(())
}

fn row_of(record: &[u8]) -> u32 {
    record.last_chunk().map_or(0, |row| u32::from_be_bytes(*row))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fs_err as fs;

    use super::*;
    use crate::ops::curate::testing::in_folder;

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
        let mut bands = Bands::with_limit((3, 2, 4), (folder.path(), "step"), limit);
        for part in signatures(2000).chunks(190) {
            bands.push(part).unwrap();
        }
        let runs = bands.bands[0].runs();
        let mut found = BTreeSet::new();
        let join = |a, b| {
            found.insert((a, b));
        };
        let count = in_folder(folder.path(), |cx| bands.pairs(cx, join).unwrap());
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
