//! Which bytes of all texts lie in a window that stood earlier.
//!
//! 1. While rows come, every window's [`minimizers`](super::minimizers) become records: the hash of the piece, a hash of its
//!    context (all bytes that a window which holds the piece can have), its place.
//! 2. In order, equal contexts lie side by side. All but the first are repetitions as they stand. Where the contexts of a
//!    piece are not all equal, one of each kind is noted.
//! 3. The rows are read again, and the contexts that were noted are written out, by piece.
//! 4. Equal windows always lie in contexts of the same piece, where they are compared ([`groups`](super::groups)).
//!
//! Equal means equal 128-bit hashes. What is held in memory is bounded by [`Limits`], whatever the texts; the result
//! depends on neither them nor threads.

use std::borrow::Cow;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::cut::{Span, texts};
use super::groups::Groups;
use super::minimizers::{Chosen, Windows};
use crate::ops::curate::item::Item;
use crate::ops::curate::runs::{Records, Sorted};
use crate::ops::curate::spool::Kept;
use crate::ops::{OpCx, OpError};

/// Bytes of the hash of a piece, and of a place.
pub(super) const NUMBER: usize = 8;
/// Bytes of the hash of a context or a window.
pub(super) const HASH: usize = 16;

/// What may be in memory at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of records that wait to be sorted, of each kind.
    pub(super) records: usize,
    /// Bytes of contexts that a thread compares in memory.
    pub(super) contexts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: 256 << 20, contexts: 2 << 20 }
    }
}

/// Gives texts their places in the string of all texts.
#[derive(Default)]
pub(super) struct Places {
    next: u64,
}

impl Places {
    /// Returns the texts of rows, which come in order, with the places where they begin.
    pub(super) fn of<'i>(&mut self, items: &'i [Item]) -> Vec<Vec<(u64, Cow<'i, str>)>> {
        let mut placed = |text: Cow<'i, str>| {
            let begin = self.next;
            self.next += text.len() as u64;
            (begin, text)
        };
        items.iter().map(|item| texts(item.row()).into_iter().map(&mut placed).collect()).collect()
    }
}

/// The search, while rows come.
pub(super) struct Search<'a> {
    cx: &'a OpCx<'a>,
    name: String,
    limits: Limits,
    windows: Windows,
    places: Places,
    /// Of chosen pieces: hash, hash of the context, twice the place and one more if the piece stands again.
    chosen: Records,
}

impl<'a> Search<'a> {
    /// Returns a search for windows of `length` bytes; `name` is what its files begin with.
    pub(super) fn new(length: usize, name: &str, limits: Limits, cx: &'a OpCx<'a>) -> Self {
        let chosen = Records::new((cx.scratch, &format!("{name}.chosen")), NUMBER + HASH + NUMBER, limits.records);
        let (name, windows) = (name.to_owned(), Windows::new(length));
        Self { cx, name, limits, windows, places: Places::default(), chosen }
    }

    /// Looks at rows for the first time.
    pub(super) fn take(&mut self, items: &[Item]) -> Result<(), OpError> {
        self.cx.check_cancelled()?;
        let windows = &self.windows;
        let records = |texts: &Vec<(u64, Cow<'_, str>)>| {
            let mut records = Vec::new();
            for (begin, text) in texts {
                windows.minimizers(text.as_bytes(), |Chosen { hash, at, again }| {
                    let (from, to) = context(windows, at, text.len());
                    // The piece stands at the same place of equal contexts.
                    let equal = xxh3_128(&text.as_bytes()[from..to]).wrapping_add((at - from) as u128);
                    records.extend_from_slice(&hash.to_be_bytes());
                    records.extend_from_slice(&equal.to_be_bytes());
                    records.extend_from_slice(&((begin + at as u64) << 1 | u64::from(again)).to_be_bytes());
                });
            }
            records
        };
        let found: Vec<Vec<u8>> = self.places.of(items).par_iter().map(records).collect();
        found.iter().try_for_each(|records| self.chosen.push(records))
    }

    /// Returns what is a repetition, given all rows that were taken, for [`clipped`].
    pub(super) fn repetitions(self, rows: &Kept) -> Result<Sorted, OpError> {
        let Self { cx, name, limits, windows, chosen, .. } = self;
        let store = |kind: &str, width| Records::new((cx.scratch, &format!("{name}.{kind}")), width, limits.records);
        let mut repeated = store("repeated", NUMBER + 8);
        let mut noted = store("noted", 2 * NUMBER);
        cx.progress.phase("looking for equal passages", None, "places");
        compare(chosen.sorted()?, &windows, (&mut repeated, &mut noted), cx)?;
        let mut noted = noted.sorted()?;
        if noted.head().is_some() {
            let groups = Groups::new(&windows, limits, &store, cx);
            let mut contexts = store("contexts", groups.width);
            cx.progress.phase("reading passages", None, "rows");
            let (mut places, mut read) = (Places::default(), 0);
            rows.blocks(|items| {
                cx.check_cancelled()?;
                for (begin, text) in places.of(items).into_iter().flatten() {
                    groups.write((begin, text.as_bytes()), &mut noted, &mut contexts)?;
                }
                read += items.len() as u64;
                cx.progress.position(read);
                Ok(())
            })?;
            cx.progress.phase("comparing passages", None, "passages");
            groups.compare(contexts.sorted()?, &mut repeated)?;
        }
        cx.progress.phase("curating", None, "rows");
        repeated.sorted()
    }
}

/// Returns where the windows begin and end that hold the piece at `at` of a text.
pub(super) fn context(windows: &Windows, at: usize, text: usize) -> Span {
    (at.saturating_sub(windows.reach()), at.saturating_add(windows.length).min(text))
}

/// Writes a place from which `back` bytes before and `ahead` bytes after are a repetition, as far as its text goes.
pub(super) fn repetition(at: u64, back: u32, ahead: u32) -> [u8; 16] {
    (u128::from(at) << 64 | u128::from(back) << 32 | u128::from(ahead)).to_be_bytes()
}

/// Takes the repetitions of the text of `length` bytes at `begin`.
pub(super) fn clipped(repeated: &mut Sorted, begin: u64, length: usize) -> Result<Vec<Span>, OpError> {
    let mut spans: Vec<Span> = Vec::new();
    repeated.before(&(begin + length as u64).to_be_bytes(), |record| {
        let (at, rest) = ((number(record) - begin) as usize, number(&record[NUMBER..]));
        let (back, ahead) = ((rest >> 32) as usize, rest as u32 as usize);
        let (from, to) = (at.saturating_sub(back), at.saturating_add(ahead).min(length));
        match spans.last_mut() {
            Some(last) if last.0 <= from && from <= last.1 => last.1 = last.1.max(to),
            _ => spans.push((from, to)),
        }
    })?;
    Ok(spans)
}

/// Returns the number with which bytes begin.
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |number| u64::from_be_bytes(*number))
}

/// Looks at all contexts of each piece: those that are equal to an earlier one are `repeated`, and where there are others,
/// one of each is `noted`, by place, with the hash of the piece. So is one that may hold equal windows by itself.
fn compare(
    mut chosen: Sorted,
    windows: &Windows,
    (repeated, noted): (&mut Records, &mut Records),
    cx: &OpCx<'_>,
) -> Result<(), OpError> {
    // The first place with the context that is looked at, and whether it is noted.
    let mut last: Option<([u8; NUMBER + HASH + NUMBER], bool)> = None;
    let place = |record: &[u8]| number(&record[NUMBER + HASH..]);
    let note = |noted: &mut Records, record: &[u8]| {
        noted.push(&[&(place(record) >> 1).to_be_bytes(), &record[..NUMBER]].concat())
    };
    for count in 0_u64.. {
        let Some(record) = chosen.head().and_then(<[u8]>::first_chunk) else { break };
        let equal = |bytes: usize| last.filter(|(last, _)| last[..bytes] == record[..bytes]);
        if equal(NUMBER + HASH).is_some() {
            let at = place(record) >> 1;
            repeated.push(&repetition(at, windows.reach() as u32, windows.length as u32))?;
        } else {
            let first = equal(NUMBER);
            if let Some((first, false)) = first {
                note(noted, &first)?;
            }
            let is_noted = first.is_some() || place(record) & 1 == 1;
            if is_noted {
                note(noted, record)?;
            }
            last = Some((*record, is_noted));
        }
        chosen.advance()?;
        if count.is_multiple_of(1 << 16) {
            cx.check_cancelled()?;
            cx.progress.position(count);
        }
    }
    Ok(())
}
