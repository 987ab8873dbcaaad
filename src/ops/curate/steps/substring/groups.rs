//! The contexts of each piece, and the windows in them that stood earlier.
//!
//! Contexts are written out by piece. Those of a piece, a group, are mostly few: their windows are hashed and sorted in
//! memory, groups side by side. A group may also be every page of a site with one line at its foot. The windows of a group
//! that is too much for memory become records of their own, sorted on disk with those of all such groups: windows of
//! different groups that are equal are equal all the same.
//!
//! Windows of several contexts may be the same window, so only those that begin later than the first of their kind count.

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::minimizers::Windows;
use super::search::{HASH, Limits, NUMBER, context, number, repetition};
use crate::ops::curate::runs::{Records, Sorted};
use crate::ops::{OpCx, OpError};

/// Bytes of a context's record before the context: the hash of the piece, where the context begins, its length.
const HEAD: usize = 3 * NUMBER;
/// Pieces of work for all threads together.
const AT_ONCE: usize = 8;

/// The comparison of contexts.
pub(super) struct Groups<'a> {
    windows: &'a Windows,
    limits: Limits,
    cx: &'a OpCx<'a>,
    /// Bytes of a context's record.
    pub(super) width: usize,
    /// Groups that wait for threads.
    waiting: Vec<Group>,
    /// Windows of groups that are too much for memory: hash, place.
    many: Records,
}

/// Contexts of one piece: all of them, or some of too many.
struct Group {
    records: Vec<u8>,
    whole: bool,
}

impl<'a> Groups<'a> {
    pub(super) fn new(
        windows: &'a Windows,
        limits: Limits,
        store: &dyn Fn(&str, usize) -> Records,
        cx: &'a OpCx<'a>,
    ) -> Self {
        let width = HEAD + windows.length + windows.reach();
        Self { windows, limits, cx, width, waiting: Vec::new(), many: store("many", HASH + NUMBER) }
    }

    /// Writes out the contexts of a text that are noted.
    pub(super) fn write(
        &self,
        (begin, text): (u64, &[u8]),
        noted: &mut Sorted,
        contexts: &mut Records,
    ) -> Result<(), OpError> {
        let (mut record, mut written) = (Vec::new(), Ok(()));
        noted.before(&(begin + text.len() as u64).to_be_bytes(), |note| {
            let (from, to) = context(self.windows, (number(note) - begin) as usize, text.len());
            record.clear();
            record.extend_from_slice(&note[NUMBER..]);
            record.extend_from_slice(&(begin + from as u64).to_be_bytes());
            record.extend_from_slice(&((to - from) as u64).to_be_bytes());
            record.extend_from_slice(&text[from..to]);
            record.resize(self.width, 0);
            if written.is_ok() {
                written = contexts.push(&record);
            }
        })?;
        written
    }

    /// Compares the windows of each group, and adds those that stood earlier to `repeated`.
    pub(super) fn compare(mut self, mut contexts: Sorted, repeated: &mut Records) -> Result<(), OpError> {
        let (mut group, mut bytes, mut count) = (Group { records: Vec::new(), whole: true }, 0, 0);
        while let Some(record) = contexts.head() {
            let same = group.records.get(..NUMBER) == record.get(..NUMBER);
            let full = group.records.len() + record.len() > self.limits.contexts;
            if !group.records.is_empty() && (full || !same) {
                // What is left of a group that was cut is no whole one either.
                let next = Group { records: Vec::new(), whole: !same };
                let done = std::mem::replace(&mut group, next);
                bytes += done.records.len();
                self.waiting.push(Group { whole: done.whole && !same, ..done });
            }
            group.records.extend_from_slice(record);
            contexts.advance()?;
            count += 1;
            if bytes > AT_ONCE * self.limits.contexts {
                self.settle(repeated)?;
                self.cx.progress.position(count);
                bytes = 0;
            }
        }
        self.waiting.push(group);
        self.settle(repeated)?;
        self.compare_many(repeated)
    }

    fn settle(&mut self, repeated: &mut Records) -> Result<(), OpError> {
        self.cx.check_cancelled()?;
        let (width, length) = (self.width, self.windows.length);
        let found = |group: &Group| {
            let windows = hashed(&group.records, (width, length));
            if group.whole { repetitions(windows, length) } else { records(&windows) }
        };
        let found: Vec<Vec<u8>> = self.waiting.par_iter().map(found).collect();
        for (group, records) in self.waiting.drain(..).zip(found) {
            if group.whole { repeated.push(&records)? } else { self.many.push(&records)? }
        }
        Ok(())
    }

    /// Compares the windows of groups that were too much for memory.
    fn compare_many(self, repeated: &mut Records) -> Result<(), OpError> {
        let mut sorted = self.many.sorted()?;
        let mut first: Option<[u8; HASH + NUMBER]> = None;
        for count in 0_u64.. {
            let Some(window) = sorted.head().and_then(<[u8]>::first_chunk) else { break };
            match first {
                Some(first) if first[..HASH] == window[..HASH] => {
                    if first != *window {
                        repeated.push(&repetition(number(&window[HASH..]), 0, self.windows.length as u32))?;
                    }
                }
                _ => first = Some(*window),
            }
            sorted.advance()?;
            if count.is_multiple_of(1 << 16) {
                self.cx.check_cancelled()?;
            }
        }
        Ok(())
    }
}

/// Returns the windows of contexts: their hashes and where they begin.
fn hashed(contexts: &[u8], (width, length): (usize, usize)) -> Vec<(u128, u64)> {
    let mut windows = Vec::new();
    for record in contexts.chunks_exact(width) {
        let begin = number(&record[NUMBER..]);
        let bytes = number(&record[2 * NUMBER..]) as usize;
        let context = &record[HEAD..][..bytes];
        windows.extend((begin..).zip(context.windows(length).map(xxh3_128)).map(|(begin, hash)| (hash, begin)));
    }
    windows
}

fn records(windows: &[(u128, u64)]) -> Vec<u8> {
    windows.iter().flat_map(|(hash, begin)| hash.to_be_bytes().into_iter().chain(begin.to_be_bytes())).collect()
}

/// Returns the windows that begin later than the first that is equal, those that overlap as one.
fn repetitions(mut windows: Vec<(u128, u64)>, length: usize) -> Vec<u8> {
    windows.sort_unstable();
    let mut later = Vec::new();
    for equal in windows.chunk_by(|a, b| a.0 == b.0) {
        later.extend(equal.iter().map(|(_, begin)| *begin).filter(|begin| *begin > equal[0].1));
    }
    later.sort_unstable();
    let (length, mut records) = (length as u64, Vec::new());
    // Windows of two texts never overlap.
    let overlap = |a: &u64, b: &u64| *b < a + length;
    for run in later.chunk_by(overlap) {
        let (from, to) = (run[0], run[run.len() - 1] + length);
        for from in (from..to).step_by(u32::MAX as usize) {
            let ahead = u32::try_from(to - from).unwrap_or(u32::MAX);
            records.extend_from_slice(&repetition(from, 0, ahead));
        }
    }
    records
}
