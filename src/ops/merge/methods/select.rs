//! Which numbers of a tensor are kept by their size: without sorting.
//!
//! MergeKit sorts all magnitudes. A threshold is enough, and the bits of a positive float are in the order of the
//! floats, so it is found by counting: once by the upper half of the bits, and for f32 once more by the lower half.
//! Equal magnitudes are kept in the order of their places, as a stable sort would; PyTorch's default sort breaks such
//! ties in an order that depends on the processor.

use rayon::prelude::*;

use super::super::fused::{Kernel, vectorized};
use super::super::twister::pack;

/// Numbers counted together; their counts stay in memory to know how many ties came before.
const BLOCK: usize = 1 << 19;

/// Writes the numbers that begin at a place.
pub(in super::super) type Read<'a> = &'a (dyn Fn(usize, &mut [f32]) + Sync);

/// Which numbers are kept: one bit each, lowest first.
pub(in super::super) type Mask = Vec<u64>;

/// A magnitude at which ties are broken by place.
#[derive(Debug, Clone, Copy)]
struct Edge {
    key: u32,
    /// How many smaller ones there are.
    below: usize,
}

/// Returns the mask of the `keep` largest magnitudes. `short` if the lower half of all bits is zero, as in bfloat16.
pub(in super::super) fn largest(count: usize, keep: usize, short: bool, read: Read<'_>) -> Mask {
    if keep >= count {
        return vec![u64::MAX; count.div_ceil(64)];
    }
    if keep == 0 {
        return vec![0; count.div_ceil(64)];
    }
    let histogram = Histogram::of(count, short, read);
    let edge = histogram.edge(count - keep, count, read);
    // Of the ties the first ones are kept.
    let ties = keep - (count - edge.below - histogram.ties(edge, count, read).iter().sum::<usize>());
    mask(count, read, &[(edge, 0..ties)], &histogram)
}

/// Returns the mask of the magnitudes with the ranks `from .. to`, smallest first.
pub(in super::super) fn ranks(count: usize, from: usize, to: usize, short: bool, read: Read<'_>) -> Mask {
    let to = to.min(count);
    if from >= to {
        return vec![0; count.div_ceil(64)];
    }
    let histogram = Histogram::of(count, short, read);
    let low = histogram.edge(from, count, read);
    let high = histogram.edge(to - 1, count, read);
    let (first, end) = (from - low.below, to - high.below);
    if low.key == high.key {
        // Both edges are the same, so that nothing above it is kept either.
        return mask(count, read, &[(low, first..end), (high, first..end)], &histogram);
    }
    mask(count, read, &[(low, first..usize::MAX), (high, 0..end)], &histogram)
}

/// How often each upper half of the bits occurs, block by block.
struct Histogram {
    blocks: Vec<Vec<u32>>,
    /// Whether the upper half is all there is.
    short: bool,
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn key(number: f32) -> u32 {
    number.to_bits() & 0x7fff_ffff
}

fn each_block<T: Send>(count: usize, read: Read<'_>, look: impl Fn(usize, &[f32]) -> T + Sync) -> Vec<T> {
    const PIECE: usize = BLOCK;
    let blocks = (0..count.div_ceil(PIECE)).into_par_iter();
    let each = blocks.map_init(Vec::new, |numbers, block| {
        let from = block * PIECE;
        numbers.resize(PIECE.min(count - from), 0.0);
        read(from, numbers);
        look(block, numbers)
    });
    each.collect()
}

impl Histogram {
    fn of(count: usize, short: bool, read: Read<'_>) -> Self {
        let blocks: Vec<Vec<u32>> = each_block(count, read, |_, numbers| {
            // Two tables, so that equal neighbours need not wait for each other.
            let mut tables = vec![[0_u32; 2]; 1 << 15];
            let (pairs, rest) = numbers.as_chunks::<2>();
            for [first, second] in pairs {
                tables[(key(*first) >> 16) as usize][0] += 1;
                tables[(key(*second) >> 16) as usize][1] += 1;
            }
            for number in rest {
                tables[(key(*number) >> 16) as usize][0] += 1;
            }
            tables.iter().map(|[first, second]| first + second).collect()
        });
        Self { blocks, short }
    }

    /// Returns the magnitude of this rank, smallest first.
    fn edge(&self, rank: usize, count: usize, read: Read<'_>) -> Edge {
        let mut below = 0;
        let mut upper = 0;
        for i in 0..1_usize << 15 {
            let here: usize = self.blocks.iter().map(|counts| counts[i] as usize).sum();
            if below + here > rank {
                upper = i as u32;
                break;
            }
            below += here;
        }
        if self.short {
            return Edge { key: upper << 16, below };
        }
        let lower = each_block(count, read, |block, numbers| {
            let mut counts = std::collections::BTreeMap::new();
            if self.blocks[block][upper as usize] > 0 {
                for key in numbers.iter().map(|number| key(*number)).filter(|key| key >> 16 == upper) {
                    *counts.entry(key & 0xffff).or_insert(0_usize) += 1;
                }
            }
            counts
        });
        let mut all = std::collections::BTreeMap::new();
        for (low, times) in lower.iter().flatten() {
            *all.entry(*low).or_insert(0) += times;
        }
        for (low, times) in all {
            if below + times > rank {
                return Edge { key: upper << 16 | low, below };
            }
            below += times;
        }
        Edge { key: upper << 16, below }
    }

    /// Returns how many numbers of each block are at an edge.
    fn ties(&self, edge: Edge, count: usize, read: Read<'_>) -> Vec<usize> {
        let at = (edge.key >> 16) as usize;
        if self.short {
            return self.blocks.iter().map(|counts| counts[at] as usize).collect();
        }
        each_block(count, read, |block, numbers| {
            if self.blocks[block][at] == 0 {
                return 0;
            }
            numbers.iter().filter(|number| key(**number) == edge.key).count()
        })
    }
}

/// Which of up to 64 numbers lie between two magnitudes, and which are at one of them.
struct Compare<'a> {
    numbers: &'a [f32],
    above: u32,
    below: u32,
    ties: [u32; 2],
}

impl Kernel for Compare<'_> {
    type Out = (u64, u64);

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) -> (u64, u64) {
        let (mut between, mut ties) = ([0_u8; 64], [0_u8; 64]);
        for ((number, between), tie) in self.numbers.iter().zip(&mut between).zip(&mut ties) {
            let key = key(*number);
            *between = u8::from(key > self.above) & u8::from(key < self.below);
            *tie = u8::from(key == self.ties[0]) | u8::from(key == self.ties[1]);
        }
        (pack(&between), pack(&ties))
    }
}

/// Returns the mask of what lies above the first edge and below the second, with some of the ties at each.
fn mask(count: usize, read: Read<'_>, edges: &[(Edge, std::ops::Range<usize>)], histogram: &Histogram) -> Mask {
    let before: Vec<Vec<usize>> = edges
        .iter()
        .map(|(edge, _)| {
            let ties = histogram.ties(*edge, count, read).into_iter();
            ties.scan(0, |sum, ties| Some(std::mem::replace(sum, *sum + ties))).collect()
        })
        .collect();
    let above = edges[0].0.key;
    let below = edges.get(1).map_or(u32::MAX, |(edge, _)| edge.key);
    // A block is a whole number of words, so blocks join without shifting.
    let words = each_block(count, read, |block, numbers| {
        let mut seen: Vec<usize> = before.iter().map(|before| before[block]).collect();
        let (first, second) = (above, edges.get(1).map_or(above, |(edge, _)| edge.key));
        let word = |numbers: &[f32]| {
            let (mut word, mut ties) = vectorized(Compare { numbers, above, below, ties: [first, second] });
            while ties != 0 {
                let i = ties.trailing_zeros() as usize;
                ties &= ties - 1;
                let mut keep = true;
                for ((edge, kept), seen) in edges.iter().zip(&mut seen) {
                    if key(numbers[i]) == edge.key {
                        keep &= kept.contains(seen);
                        *seen += 1;
                    }
                }
                word |= u64::from(keep) << i;
            }
            word
        };
        let words: Vec<u64> = numbers.chunks(64).map(word).collect();
        words
    });
    words.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(numbers: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by(|a, b| numbers[*a].abs().total_cmp(&numbers[*b].abs()));
        order
    }

    fn kept(mask: &Mask, count: usize) -> Vec<usize> {
        (0..count).filter(|i| mask[i / 64] >> (i % 64) & 1 == 1).collect()
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_sorting_keeps(
            numbers in prop::collection::vec(prop_oneof![-1e-3_f32..1e-3, Just(0.0), Just(0.5), Just(-0.5)], 1..300),
            from in 0..300_usize,
            size in 0..300_usize,
        ) {
            let count = numbers.len();
            let read: Read<'_> = &|from, out: &mut [f32]| out.copy_from_slice(&numbers[from..from + out.len()]);
            let order = sorted(&numbers);
            let mut wanted: Vec<usize> = order.iter().copied().skip(from).take(size).collect();
            wanted.sort_unstable();
            prop_assert_eq!(kept(&ranks(count, from, from + size, false, read), count), wanted);
            let keep = size.min(count);
            let mut wanted: Vec<usize> = (0..count).collect();
            wanted.sort_by(|a, b| numbers[*b].abs().total_cmp(&numbers[*a].abs()));
            wanted.truncate(keep);
            wanted.sort_unstable();
            let mask = largest(count, keep, false, read);
            prop_assert_eq!(kept(&mask, count), wanted);
        }
    }
}
