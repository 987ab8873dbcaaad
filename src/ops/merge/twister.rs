//! PyTorch's random numbers on the CPU: the Mersenne Twister, seeded as `torch.manual_seed` does.
//!
//! DARE and DELLA drop numbers at random, and a merge can be made again only with the same draws in the same order. One
//! generator runs through all tensors of a merge, in the order in which MergeKit visits them.

use rayon::prelude::*;

use super::fused::{Kernel, vectorized};

/// Draws that a thread makes at a time: a whole number of words of a mask.
const BLOCK: usize = 1 << 18;

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// New states that do not depend on one another, and numbers in the widest vector.
const APART: usize = SIZE - SHIFT;
const LANES: usize = 16;

/// A Mersenne Twister (MT19937).
#[derive(Debug, Clone)]
pub(in crate::ops) struct Twister {
    /// The states after the last twist and before it, and which of the two are the later ones.
    states: [[u32; SIZE]; 2],
    now: usize,
    next: usize,
}

impl Twister {
    /// Returns the generator of a seed.
    pub(in crate::ops) fn new(seed: u32) -> Self {
        let mut states = [[seed; SIZE], [0; SIZE]];
        for i in 1..SIZE {
            let before = states[0][i - 1];
            states[0][i] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { states, now: 0, next: SIZE }
    }

    /// Returns the next 32 bits.
    pub(in crate::ops) fn draw(&mut self) -> u32 {
        let (states, later) = self.next_states(1);
        let bits = temper(states[0]);
        self.next = later;
        bits
    }

    /// Writes for each of the next draws whether it fell below `chance`, as bits, lowest first.
    ///
    /// The states are run through on one thread, which is little of the work; threads share the rest.
    pub(super) fn below(&mut self, chance: f32, count: usize, mask: &mut [u64]) {
        // Both sides times 2^24, which is exact: a number of 24 bits is compared and no float is made of it.
        let limit = (f64::from(chance) * 16_777_216.0).ceil().clamp(0.0, 16_777_216.0) as u32;
        let pieces: Vec<(usize, &mut [u64])> = (0..count).step_by(BLOCK).zip(mask.chunks_mut(BLOCK / 64)).collect();
        let starts = self.starts(count);
        starts.into_par_iter().zip(pieces).for_each(|(mut twister, (from, words))| {
            twister.block_below(limit, BLOCK.min(count - from), words);
        });
    }

    /// Fills a slice with the next draws.
    pub(super) fn fill(&mut self, draws: &mut [u32]) {
        let starts = self.starts(draws.len());
        starts.into_par_iter().zip(draws.par_chunks_mut(BLOCK)).for_each(|(mut twister, mut draws)| {
            while !draws.is_empty() {
                let (now, later) = twister.next_states(draws.len());
                let (here, rest) = draws.split_at_mut(now.len());
                here.iter_mut().zip(now).for_each(|(draw, bits)| *draw = temper(*bits));
                draws = rest;
                twister.next = later;
            }
        });
    }

    /// Leaves out some draws.
    pub(super) fn skip(&mut self, mut count: usize) {
        while count > 0 {
            let (now, later) = self.next_states(count);
            count -= now.len();
            self.next = later;
        }
    }

    /// Returns a generator for each block of the next draws, and leaves all of them out.
    fn starts(&mut self, count: usize) -> Vec<Self> {
        let start = |from: usize| {
            let start = self.clone();
            self.skip(BLOCK.min(count - from));
            start
        };
        (0..count).step_by(BLOCK).map(start).collect()
    }

    /// Returns up to `most` states that were not drawn yet, and what `next` is after them.
    fn next_states(&mut self, most: usize) -> (&[u32], usize) {
        if self.next == SIZE {
            let [first, second] = &mut self.states;
            let (old, new) = if self.now == 0 { (first, second) } else { (second, first) };
            vectorized(Twist { old, new });
            self.now = 1 - self.now;
            self.next = 0;
        }
        let end = SIZE.min(self.next + most);
        (&self.states[self.now][self.next..end], end)
    }

    fn block_below(&mut self, limit: u32, count: usize, mask: &mut [u64]) {
        let mut hits = vec![0_u8; 64 * SIZE];
        for (from, words) in (0..count).step_by(64 * SIZE).zip(mask.chunks_mut(SIZE)) {
            let size = hits.len().min(count - from);
            self.hits(limit, &mut hits[..size]);
            hits[size..].fill(0);
            vectorized(Pack { hits: &hits, words });
        }
    }

    /// Writes 1 for each draw below the limit and 0 for the others.
    fn hits(&mut self, limit: u32, mut hits: &mut [u8]) {
        while !hits.is_empty() {
            let (state, later) = self.next_states(hits.len());
            let (now, rest) = hits.split_at_mut(state.len());
            vectorized(Hits { state, limit, out: now });
            self.next = later;
            hits = rest;
        }
    }
}

/// The next 624 states.
struct Twist<'a> {
    old: &'a [u32; SIZE],
    new: &'a mut [u32; SIZE],
}

impl Kernel for Twist<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        let Self { old, new } = self;
        let (first, rest) = new.split_at_mut(APART);
        step(first, &old[SHIFT..], old);
        step(&mut rest[..APART], first, &old[APART..]);
        let (second, third) = rest.split_at_mut(APART);
        let last = third.len() - 1;
        step(&mut third[..last], second, &old[2 * APART..]);
        third[last] = second[last] ^ mix(old[SIZE - 1], first[0]);
    }
}

/// Makes states: the last vector of them begins early enough to be whole, and makes some again.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn step(new: &mut [u32], far: &[u32], old: &[u32]) {
    let count = new.len();
    for from in [0, count - LANES] {
        let to = if from == 0 { count / LANES * LANES } else { count };
        let (new, far) = (&mut new[from..to], &far[from..to]);
        let (high, low) = (&old[from..to], &old[from + 1..=to]);
        for i in 0..to - from {
            new[i] = far[i] ^ mix(high[i], low[i]);
        }
    }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn mix(high: u32, low: u32) -> u32 {
    let both = (high & 0x8000_0000) | (low & 0x7fff_ffff);
    (both >> 1) ^ (0x9908_b0df & (both & 1).wrapping_neg())
}

/// Bits of bytes.
struct Pack<'a> {
    hits: &'a [u8],
    words: &'a mut [u64],
}

impl Kernel for Pack<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        for (word, hits) in self.words.iter_mut().zip(self.hits.as_chunks::<64>().0) {
            *word = pack(hits);
        }
    }
}

/// Returns the lowest bits of 64 bytes, the first one lowest.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
pub(super) fn pack(bytes: &[u8; 64]) -> u64 {
    bytes.as_chunks::<8>().0.iter().rev().fold(0, |word, bytes| {
        // The product moves the lowest bits of eight bytes side by side.
        let bits = u64::from_le_bytes(*bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        word << 8 | bits
    })
}

/// Draws compared with a limit.
struct Hits<'a> {
    state: &'a [u32],
    limit: u32,
    out: &'a mut [u8],
}

impl Kernel for Hits<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        for (hit, bits) in self.out.iter_mut().zip(self.state) {
            *hit = u8::from(temper(*bits) & 0x00ff_ffff < self.limit);
        }
    }
}

/// Returns the number between 0 and 1 that PyTorch makes of 32 random bits, in f32.
pub(super) fn uniform(bits: u32) -> f32 {
    (bits & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn temper(mut bits: u32) -> u32 {
    bits ^= bits >> 11;
    bits ^= (bits << 7) & 0x9d2c_5680;
    bits ^= (bits << 15) & 0xefc6_0000;
    bits ^ (bits >> 18)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's numbers for the seed 5489, and its ten thousandth.
    #[test]
    fn the_numbers_are_those_of_the_reference() {
        let mut twister = Twister::new(5489);
        assert_eq!([twister.draw(), twister.draw()], [3_499_211_612, 581_869_302]);
        assert_eq!((3..=10_000).map(|_| twister.draw()).last(), Some(4_123_659_995));
    }

    #[test]
    fn a_mask_takes_one_draw_a_number() {
        let (mut one, mut other) = (Twister::new(7), Twister::new(7));
        let mut mask = vec![0; 1000_usize.div_ceil(64)];
        one.below(0.3, 1000, &mut mask);
        for i in 0..1000 {
            assert_eq!(mask[i / 64] >> (i % 64) & 1 == 1, uniform(other.draw()) < 0.3, "{i}");
        }
        assert_eq!(one.draw(), other.draw());
    }

    #[test]
    fn blocks_leave_no_trace() {
        let (mut one, mut other) = (Twister::new(7), Twister::new(7));
        one.draw();
        other.draw();
        let count = 2 * BLOCK + 777;
        let (mut mask, mut draws) = (vec![0; count.div_ceil(64)], vec![0; count]);
        one.clone().below(0.7, count, &mut mask);
        one.fill(&mut draws);
        for i in 0..count {
            let draw = other.draw();
            assert_eq!(draws[i], draw, "{i}");
            assert_eq!(mask[i / 64] >> (i % 64) & 1 == 1, uniform(draw) < 0.7, "{i}");
        }
        assert_eq!(one.draw(), other.draw());
    }
}
