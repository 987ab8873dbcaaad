//! Which numbers of a tensor are kept by their size: without sorting.
//!
//! MergeKit sorts all magnitudes. A threshold is enough, and the bits of a positive float are in the order of the
//! floats, so it is found by counting: once by the upper half of the bits, and for f32 and f16 once more by the lower
//! half. In bfloat16 there is only the upper one, and a sample says which few magnitudes the threshold is among: to
//! compare all numbers with these takes a fifth of the time. If the sample was wrong, everything is counted after all.
//!
//! Equal magnitudes are kept in the order of their places, as a stable sort would; PyTorch's default sort breaks
//! such ties in an order that depends on the processor. So what is kept is all between two magnitudes, and at each of
//! them what lies before or after some place: no mask of it is made, each number says for itself whether it is kept.

use std::ops::Range;

use rayon::prelude::*;

use super::super::fused::{Kernel, vectorized};

/// Numbers counted into one table, at least, and how many tables there are, at most.
const BLOCK: usize = 1 << 20;
const BLOCKS: usize = 64;

/// Numbers read at a time.
const PIECE: usize = 1 << 12;

/// Tensors of at most so many numbers are searched without tables.
const SMALL: usize = 1 << 14;

/// Numbers of a sample, how many of them lie side by side, and how many places around the one that is looked for its
/// neighbours are taken: more than three and a half times what chance moves it.
const SAMPLE: usize = 1 << 14;
const BESIDE: usize = 1 << 8;
const AROUND: usize = 240;

/// Magnitudes that are counted one by one, at most, and numbers of which they are counted together.
const WINDOW: u16 = 40;
const SHORT_BLOCK: usize = 1 << 17;

/// What writes the numbers that begin at a place.
#[derive(Clone, Copy)]
pub(super) enum Read<'a> {
    /// As they are.
    Numbers(&'a (dyn Fn(usize, &mut [f32]) + Sync)),
    /// The upper halves of the bits of their magnitudes. The lower ones are zero, as in bfloat16.
    Keys(&'a (dyn Fn(usize, &mut [u16]) + Sync)),
}

impl Read<'_> {
    fn numbers(self, from: usize, out: &mut [f32]) {
        match self {
            Read::Numbers(read) => read(from, out),
            Read::Keys(read) => {
                let mut keys = vec![0; out.len()];
                read(from, &mut keys);
                out.iter_mut().zip(keys).for_each(|(number, key)| *number = f32::from_bits(u32::from(key) << 16));
            }
        }
    }
}

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
    pub(super) const NONE: Self = Self { low: 1, low_ties: 0..0, high: 1, high_ties: 0..0 };

    /// Says what is kept from a place on, and up to where that holds.
    pub(super) fn span(&self, place: usize) -> Span {
        let least = if self.low_ties.contains(&place) { self.low } else { self.low.saturating_add(1) };
        let most = if self.high_ties.contains(&place) { self.high } else { self.high.saturating_sub(1) };
        let ends = [self.low_ties.start, self.low_ties.end, self.high_ties.start, self.high_ties.end];
        let until = ends.into_iter().filter(|end| *end > place).min().unwrap_or(usize::MAX);
        Span { least, most, until }
    }

    /// Calls `look` with the ranges of `from .. to` in which the same magnitudes are kept. A loop that must be fast asks for
    /// each [`Self::span`] itself: a closure as large as that is compiled on its own, without the features of its caller.
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

/// Keeps the `keep` largest magnitudes.
pub(super) fn largest(count: usize, keep: usize, read: Read<'_>) -> Between {
    if keep >= count {
        return Between::ALL;
    }
    if keep == 0 {
        return Between::NONE;
    }
    let mut numbers = Numbers::of(count, read);
    let edge = numbers.edge(count - keep);
    // Of the ties the first ones are kept.
    let kept = keep - (count - edge.below - edge.ties);
    let end = numbers.tie(&edge, kept);
    Between { low: edge.key, low_ties: 0..end, ..Between::ALL }
}

/// Keeps the magnitudes with the ranks `from .. to`, smallest first.
pub(super) fn ranks(count: usize, from: usize, to: usize, read: Read<'_>) -> Between {
    let to = to.min(count);
    if from >= to {
        return Between::NONE;
    }
    let mut numbers = Numbers::of(count, read);
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
    /// How many numbers have this magnitude, and how many of them each block of so many numbers holds.
    ties: usize,
    each: Vec<u32>,
    block: usize,
}

impl Edge {
    fn new(key: u32, below: usize, each: Vec<u32>, block: usize) -> Self {
        let ties = each.iter().map(|count| *count as usize).sum();
        Self { key, below, ties, each, block }
    }
}

/// Magnitudes, counted by the upper half of their bits.
struct Numbers<'a> {
    count: usize,
    read: Read<'a>,
    block: usize,
    /// A table for each block; none before they are needed.
    tables: Vec<Vec<u32>>,
    /// All of them, if they are few.
    keys: Vec<u32>,
}

impl<'a> Numbers<'a> {
    fn of(count: usize, read: Read<'a>) -> Self {
        let block = BLOCK.max(count.div_ceil(BLOCKS).next_multiple_of(PIECE));
        let mut numbers = Self { count, read, block, tables: Vec::new(), keys: Vec::new() };
        if count <= SMALL {
            let mut all = vec![0.0; count];
            read.numbers(0, &mut all);
            numbers.keys = all.into_iter().map(key).collect();
        }
        numbers
    }

    /// Returns what `look` makes of each block of `size` numbers.
    fn blocks<T: Send>(&self, size: usize, look: impl Fn(Range<usize>) -> T + Sync + Send) -> Vec<T> {
        let block = |block: usize| look(block * size..self.count.min((block + 1) * size));
        (0..self.count.div_ceil(size)).into_par_iter().map(block).collect()
    }

    /// Calls `look` with the numbers of a block, piece by piece.
    fn pieces(&self, block: Range<usize>, mut look: impl FnMut(&[f32])) {
        let mut numbers = vec![0.0; PIECE];
        for from in block.clone().step_by(PIECE) {
            let numbers = &mut numbers[..PIECE.min(block.end - from)];
            self.read.numbers(from, numbers);
            look(numbers);
        }
    }

    /// Calls `look` with the upper halves of a block, piece by piece.
    fn uppers(&self, block: Range<usize>, mut look: impl FnMut(&[u16])) {
        let mut keys = [0_u16; PIECE];
        let mut numbers = Vec::new();
        for from in block.clone().step_by(PIECE) {
            let keys = &mut keys[..PIECE.min(block.end - from)];
            match self.read {
                Read::Keys(read) => read(from, keys),
                Read::Numbers(read) => {
                    numbers.resize(keys.len(), 0.0);
                    read(from, &mut numbers);
                    vectorized(Upper { numbers: &numbers, keys });
                }
            }
            look(keys);
        }
    }

    /// Returns the magnitude of this rank, smallest first.
    fn edge(&mut self, rank: usize) -> Edge {
        if !self.keys.is_empty() {
            let mut keys = self.keys.clone();
            let key = *keys.select_nth_unstable(rank).1;
            let ties = self.keys.iter().filter(|other| **other == key).count();
            let below = self.keys.iter().filter(|other| **other < key).count();
            return Edge::new(key, below, vec![ties as u32], self.block);
        }
        if let Some(edge) = self.expected(rank) {
            return edge;
        }
        if self.tables.is_empty() {
            self.tables = self.blocks(self.block, |block| self.table(block));
        }
        let (upper, below) = find(&self.tables, rank, 0);
        if matches!(self.read, Read::Keys(_)) {
            let each = self.tables.iter().map(|table| table[upper]).collect();
            return Edge::new((upper as u32) << 16, below, each, self.block);
        }
        let lower = self.blocks(self.block, |block| {
            let mut table = vec![0_u32; 1 << 16];
            if self.tables[block.start / self.block][upper] > 0 {
                self.pieces(block, |piece| {
                    for key in piece.iter().map(|number| key(*number)).filter(|key| key >> 16 == upper as u32) {
                        table[(key & 0xffff) as usize] += 1;
                    }
                });
            }
            table
        });
        let (low, below) = find(&lower, rank, below);
        let each = lower.iter().map(|table| table[low]).collect();
        Edge::new((upper as u32) << 16 | low as u32, below, each, self.block)
    }

    /// Counts the numbers of a block by the upper half of their bits.
    fn table(&self, block: Range<usize>) -> Vec<u32> {
        // Two tables, so that equal neighbours need not wait for each other.
        let mut tables = vec![[0_u32; 2]; 1 << 15];
        self.uppers(block, |keys| {
            let (pairs, rest) = keys.as_chunks::<2>();
            for pair in pairs {
                for (which, key) in pair.iter().enumerate() {
                    tables[usize::from(*key)][which] += 1;
                }
            }
            for key in rest {
                tables[usize::from(*key)][0] += 1;
            }
        });
        tables.iter().map(|[first, second]| first + second).collect()
    }

    /// Returns the magnitude of this rank, if it is among the few that a sample says, and if there are only upper halves.
    fn expected(&self, rank: usize) -> Option<Edge> {
        let Read::Keys(read) = self.read else { return None };
        let (low, high) = self.sample(read, rank);
        if high - low >= WINDOW {
            return None;
        }
        // How many are smaller than each, and how many than the one after the last.
        let limits = usize::from(high - low) + 2;
        let below = self.blocks(SHORT_BLOCK, |block| {
            let mut below = vec![0_u32; limits];
            self.uppers(block, |keys| vectorized(Below { keys, low, counts: &mut below }));
            below
        });
        let total = |limit: usize| below.iter().map(|below| below[limit] as usize).sum::<usize>();
        let at = (0..limits - 1).find(|at| (total(*at)..total(at + 1)).contains(&rank))?;
        let each = below.iter().map(|below| below[at + 1] - below[at]).collect();
        Some(Edge::new(u32::from(low + at as u16) << 16, total(at), each, SHORT_BLOCK))
    }

    /// Returns between which magnitudes that of a rank probably is: a little before and after its place in a sample.
    fn sample(&self, read: &dyn Fn(usize, &mut [u16]), rank: usize) -> (u16, u16) {
        let chunks = SAMPLE.min(self.count) / BESIDE;
        let mut sample = vec![0; chunks * BESIDE];
        for (i, chunk) in sample.chunks_mut(BESIDE).enumerate() {
            read((self.count - BESIDE) / chunks * i, chunk);
        }
        let place = (rank as f64 / self.count as f64 * sample.len() as f64) as usize;
        let (first, last) = (place.saturating_sub(AROUND), (place + AROUND).min(sample.len() - 1));
        let (_, low, rest) = sample.select_nth_unstable(first);
        let low = *low;
        let high = if last > first { *rest.select_nth_unstable(last - first - 1).1 } else { low };
        (low, high)
    }

    /// Returns the place of one of the numbers at an edge, counted from 0; beyond all places if there are fewer.
    fn tie(&self, edge: &Edge, number: usize) -> usize {
        if number >= edge.ties {
            return usize::MAX;
        }
        let is_tie = |number: &f32| key(*number) == edge.key;
        if !self.keys.is_empty() {
            let ties = self.keys.iter().enumerate().filter(|(_, key)| **key == edge.key);
            return ties.map(|(place, _)| place).nth(number).unwrap_or(usize::MAX);
        }
        let mut left = number;
        let mut numbers = vec![0.0; PIECE];
        for (block, ties) in edge.each.iter().enumerate() {
            if left >= *ties as usize {
                left -= *ties as usize;
                continue;
            }
            let end = self.count.min((block + 1) * edge.block);
            for from in (block * edge.block..end).step_by(PIECE) {
                let numbers = &mut numbers[..PIECE.min(end - from)];
                self.read.numbers(from, numbers);
                let here = numbers.iter().filter(|number| is_tie(number)).count();
                if left < here {
                    let ties = numbers.iter().enumerate().filter(|(_, number)| is_tie(number));
                    return ties.map(|(i, _)| from + i).nth(left).unwrap_or(usize::MAX);
                }
                left -= here;
            }
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

/// Makes keys of numbers: the upper halves of the bits, without the sign.
pub(super) struct Upper<'a> {
    pub(super) numbers: &'a [f32],
    pub(super) keys: &'a mut [u16],
}

impl Kernel for Upper<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        for (key, number) in self.keys.iter_mut().zip(self.numbers) {
            *key = (number.to_bits() >> 16) as u16 & 0x7fff;
        }
    }
}

/// Counts the keys below `low`, and those below each of the keys after it.
struct Below<'a> {
    keys: &'a [u16],
    low: u16,
    counts: &'a mut [u32],
}

impl Kernel for Below<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        for (limit, below) in (self.low..).zip(self.counts) {
            // A piece is short enough for its count to fit.
            let count = self.keys.iter().fold(0_u16, |count, key| count + u16::from(*key < limit));
            *below += u32::from(count);
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
        let plain = |from: usize, out: &mut [f32]| out.copy_from_slice(&numbers[from..from + out.len()]);
        let keys = |from: usize, out: &mut [u16]| {
            out.iter_mut().zip(&numbers[from..]).for_each(|(out, number)| *out = (key(*number) >> 16) as u16);
        };
        let read = if short { Read::Keys(&keys) } else { Read::Numbers(&plain) };
        let mut wanted: Vec<usize> = sorted(numbers, false).into_iter().skip(from).take(size).collect();
        wanted.sort_unstable();
        prop_assert_eq!(kept(&ranks(count, from, from + size, read), numbers), wanted);
        let mut wanted = sorted(numbers, true);
        wanted.truncate(size.min(count));
        wanted.sort_unstable();
        prop_assert_eq!(kept(&largest(count, size.min(count), read), numbers), wanted);
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
