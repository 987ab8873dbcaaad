//! Which numbers of a tensor are kept by their size: without sorting.
//!
//! MergeKit sorts all magnitudes. A threshold is enough, and the bits of a positive float are in the order of the
//! floats, so it is found by counting: once by the upper half of the bits, and for f32 and f16 once more by the lower
//! half. Equal magnitudes are kept in the order of their places, as a stable sort would; PyTorch's default sort breaks
//! such ties in an order that depends on the processor. So what is kept is all between two magnitudes, and at each of
//! them what lies before or after some place: no mask of it is made, each number says for itself whether it is kept.

use std::ops::Range;

use rayon::prelude::*;

use super::super::fused::{Kernel, vectorized};

/// Numbers counted into one table, at least, and how many tables there are, at most.
const BLOCK: usize = 1 << 20;
const BLOCKS: usize = 64;

/// Numbers read at a time.
const PIECE: usize = 1 << 13;

/// Tensors of at most so many numbers are searched without tables.
const SMALL: usize = 1 << 14;

/// Writes the numbers that begin at a place.
pub(super) type Read<'a> = &'a (dyn Fn(usize, &mut [f32]) + Sync);

/// Which numbers are kept: by the bits of their magnitude, and by their place where these are at an edge.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Between {
    low: u32,
    low_ties: Range<usize>,
    high: u32,
    high_ties: Range<usize>,
}

/// Magnitudes of which all are kept, both ends included, up to the place `until`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) least: u32,
    pub(super) most: u32,
    pub(super) until: usize,
}

impl Between {
    pub(super) const ALL: Self = Self { low: 0, low_ties: 0..usize::MAX, high: u32::MAX, high_ties: 0..usize::MAX };
    const NONE: Self = Self { low: 1, low_ties: 0..0, high: 1, high_ties: 0..0 };

    /// Says what is kept from a place on, and up to where that holds.
    pub(super) fn span(&self, place: usize) -> Span {
        let least = if self.low_ties.contains(&place) { self.low } else { self.low.saturating_add(1) };
        let most = if self.high_ties.contains(&place) { self.high } else { self.high.saturating_sub(1) };
        let ends = [self.low_ties.start, self.low_ties.end, self.high_ties.start, self.high_ties.end];
        let until = ends.into_iter().filter(|end| *end > place).min().unwrap_or(usize::MAX);
        Span { least, most, until }
    }

    /// Calls `look` with the ranges of `from .. to` in which the same magnitudes are kept.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    pub(super) fn spans(&self, from: usize, to: usize, mut look: impl FnMut(Range<usize>, Span)) {
        let mut place = from;
        while place < to {
            let span = self.span(place);
            let end = span.until.min(to);
            look(place..end, span);
            place = end;
        }
    }
}

impl Span {
    /// Returns 1 for a number that is kept, and 0 for others.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    #[expect(clippy::needless_bitwise_bool, reason = "a choice between comparisons would keep the loop narrow")]
    pub(super) fn flag(self, number: f32) -> f32 {
        let key = key(number);
        if (key >= self.least) & (key <= self.most) { 1.0 } else { 0.0 }
    }
}

/// Returns the bits of a magnitude.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn key(number: f32) -> u32 {
    number.to_bits() & 0x7fff_ffff
}

/// Keeps the `keep` largest magnitudes. `short` if the lower half of all bits is zero, as in bfloat16.
pub(super) fn largest(count: usize, keep: usize, short: bool, read: Read<'_>) -> Between {
    if keep >= count {
        return Between::ALL;
    }
    if keep == 0 {
        return Between::NONE;
    }
    let numbers = Numbers::of(count, short, read);
    let edge = numbers.edge(count - keep);
    // Of the ties the first ones are kept.
    let kept = keep - (count - edge.below - edge.ties);
    let end = numbers.tie(&edge, kept);
    Between { low: edge.key, low_ties: 0..end, ..Between::ALL }
}

/// Keeps the magnitudes with the ranks `from .. to`, smallest first.
pub(super) fn ranks(count: usize, from: usize, to: usize, short: bool, read: Read<'_>) -> Between {
    let to = to.min(count);
    if from >= to {
        return Between::NONE;
    }
    let numbers = Numbers::of(count, short, read);
    let (low, high) = (numbers.edge(from), numbers.edge(to - 1));
    let (start, end) = (numbers.tie(&low, from - low.below), numbers.tie(&high, to - high.below));
    if low.key == high.key {
        return Between { low: low.key, low_ties: start..end, high: high.key, high_ties: start..end };
    }
    Between { low: low.key, low_ties: start..usize::MAX, high: high.key, high_ties: 0..end }
}

/// A magnitude at which ties are broken by place.
struct Edge {
    key: u32,
    /// How many smaller ones there are.
    below: usize,
    /// How many numbers have this magnitude, and how many of them each block holds.
    ties: usize,
    each: Vec<u32>,
}

/// Magnitudes, counted by the upper half of their bits.
struct Numbers<'a> {
    count: usize,
    read: Read<'a>,
    /// Whether the upper half is all there is.
    short: bool,
    block: usize,
    /// A table for each block; none if the numbers are few.
    tables: Vec<Vec<u32>>,
    /// All of them, if they are few.
    keys: Vec<u32>,
}

impl<'a> Numbers<'a> {
    fn of(count: usize, short: bool, read: Read<'a>) -> Self {
        let block = BLOCK.max(count.div_ceil(BLOCKS).next_multiple_of(PIECE));
        let mut numbers = Self { count, read, short, block, tables: Vec::new(), keys: Vec::new() };
        if count <= SMALL {
            let mut all = vec![0.0; count];
            read(0, &mut all);
            numbers.keys = all.into_iter().map(key).collect();
        } else {
            numbers.tables = numbers.blocks(|block| {
                // Two tables, so that equal neighbours need not wait for each other.
                let mut tables = vec![[0_u32; 2]; 1 << 15];
                let mut keys = vec![0_u16; PIECE];
                numbers.pieces(block, |_, piece| {
                    let keys = &mut keys[..piece.len()];
                    vectorized(Upper { numbers: piece, keys });
                    let (pairs, rest) = keys.as_chunks::<2>();
                    for pair in pairs {
                        for (which, key) in pair.iter().enumerate() {
                            tables[usize::from(*key & 0x7fff)][which] += 1;
                        }
                    }
                    for key in rest {
                        tables[usize::from(*key & 0x7fff)][0] += 1;
                    }
                });
                tables.iter().map(|[first, second]| first + second).collect()
            });
        }
        numbers
    }

    /// Returns what `look` makes of each block.
    fn blocks<T: Send>(&self, look: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
        (0..self.count.div_ceil(self.block)).into_par_iter().map(look).collect()
    }

    /// Calls `look` with the numbers of a block, piece by piece, and the place of each piece.
    fn pieces(&self, block: usize, mut look: impl FnMut(usize, &[f32])) {
        let mut numbers = vec![0.0; PIECE];
        let end = self.count.min((block + 1) * self.block);
        for from in (block * self.block..end).step_by(PIECE) {
            let numbers = &mut numbers[..PIECE.min(end - from)];
            (self.read)(from, numbers);
            look(from, numbers);
        }
    }

    /// Returns the magnitude of this rank, smallest first.
    fn edge(&self, rank: usize) -> Edge {
        if !self.keys.is_empty() {
            let mut keys = self.keys.clone();
            let key = *keys.select_nth_unstable(rank).1;
            let ties = self.keys.iter().filter(|other| **other == key).count();
            let below = self.keys.iter().filter(|other| **other < key).count();
            return Edge { key, below, ties, each: vec![ties as u32] };
        }
        let (upper, below) = find(&self.tables, rank, 0);
        if self.short {
            let each: Vec<u32> = self.tables.iter().map(|table| table[upper]).collect();
            return Edge { key: (upper as u32) << 16, below, ties: total(&each), each };
        }
        let lower = self.blocks(|block| {
            let mut table = vec![0_u32; 1 << 16];
            if self.tables[block][upper] > 0 {
                self.pieces(block, |_, piece| {
                    for key in piece.iter().map(|number| key(*number)).filter(|key| key >> 16 == upper as u32) {
                        table[(key & 0xffff) as usize] += 1;
                    }
                });
            }
            table
        });
        let (low, below) = find(&lower, rank, below);
        let each: Vec<u32> = lower.iter().map(|table| table[low]).collect();
        Edge { key: (upper as u32) << 16 | low as u32, below, ties: total(&each), each }
    }

    /// Returns the place of one of the numbers at an edge, counted from 0; beyond all places if there are fewer.
    fn tie(&self, edge: &Edge, number: usize) -> usize {
        if number >= edge.ties {
            return usize::MAX;
        }
        if !self.keys.is_empty() {
            let ties = self.keys.iter().enumerate().filter(|(_, key)| **key == edge.key);
            return ties.map(|(place, _)| place).nth(number).unwrap_or(usize::MAX);
        }
        let mut left = number;
        for (block, ties) in edge.each.iter().enumerate() {
            if left >= *ties as usize {
                left -= *ties as usize;
                continue;
            }
            let mut place = usize::MAX;
            self.pieces(block, |from, piece| {
                for (i, _) in piece.iter().enumerate().filter(|(_, number)| key(**number) == edge.key) {
                    if left == 0 && place == usize::MAX {
                        place = from + i;
                    }
                    left = left.saturating_sub(1);
                }
            });
            return place;
        }
        usize::MAX
    }
}

/// Returns the entry of all tables together that holds a rank, and how many come before it, `below` among them.
fn find(tables: &[Vec<u32>], rank: usize, mut below: usize) -> (usize, usize) {
    for entry in 0..tables.first().map_or(0, Vec::len) {
        let here: usize = tables.iter().map(|table| table[entry] as usize).sum();
        if below + here > rank {
            return (entry, below);
        }
        below += here;
    }
    (0, below)
}

fn total(each: &[u32]) -> usize {
    each.iter().map(|count| *count as usize).sum()
}

/// The upper halves of the bits, signs and all.
struct Upper<'a> {
    numbers: &'a [f32],
    keys: &'a mut [u16],
}

impl Kernel for Upper<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        for (key, number) in self.keys.iter_mut().zip(self.numbers) {
            *key = (number.to_bits() >> 16) as u16;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(between: &Between, numbers: &[f32]) -> Vec<usize> {
        let mut kept = Vec::new();
        between.spans(0, numbers.len(), |range, span| kept.extend(range.filter(|i| span.flag(numbers[*i]) > 0.0)));
        kept
    }

    fn sorted(numbers: &[f32], descending: bool) -> Vec<usize> {
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by(|a, b| {
            let order = numbers[*a].abs().total_cmp(&numbers[*b].abs());
            if descending { order.reverse() } else { order }
        });
        order
    }

    fn check(numbers: &[f32], short: bool, from: usize, size: usize) -> Result<(), TestCaseError> {
        let count = numbers.len();
        let read: Read<'_> = &|from, out: &mut [f32]| out.copy_from_slice(&numbers[from..from + out.len()]);
        let mut wanted: Vec<usize> = sorted(numbers, false).into_iter().skip(from).take(size).collect();
        wanted.sort_unstable();
        prop_assert_eq!(kept(&ranks(count, from, from + size, short, read), numbers), wanted);
        let mut wanted = sorted(numbers, true);
        wanted.truncate(size.min(count));
        wanted.sort_unstable();
        prop_assert_eq!(kept(&largest(count, size.min(count), short, read), numbers), wanted);
        Ok(())
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_sorting_keeps(
            numbers in prop::collection::vec(prop_oneof![-1e-3_f32..1e-3, Just(0.0), Just(0.5), Just(-0.5)], 1..300),
            from in 0..300_usize,
            size in 0..300_usize,
        ) {
            check(&numbers, false, from, size)?;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Enough numbers for tables, and for two blocks of them.
        #[test]
        fn so_it_is_with_tables(seed in any::<u32>(), short in any::<bool>(), blocks in 0..2_usize, at in 0.0..1.0_f64, share in 0.0..1.0_f64) {
            let count = SMALL + 1000 + blocks * BLOCK;
            let mut state = seed | 1;
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state
            };
            let numbers: Vec<f32> = (0..count)
                .map(|_| {
                    let number = if next() % 3 == 0 { 0.25 } else { (next() as f32 / u32::MAX as f32) - 0.5 };
                    if short { f32::from_bits(number.to_bits() & 0xffff_0000) } else { number }
                })
                .collect();
            check(&numbers, short, (at * count as f64) as usize, (share * count as f64) as usize)?;
        }
    }
}
