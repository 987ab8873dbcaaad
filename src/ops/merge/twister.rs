//! PyTorch's random numbers on the CPU: the Mersenne Twister, seeded as `torch.manual_seed` does.
//!
//! DARE and DELLA drop numbers at random, and a merge can be made again only with the same draws in the same order. One
//! generator runs through all tensors of a merge, in the order in which MergeKit visits them.

use super::fused::{Kernel, vectorized};

const SIZE: usize = 624;
const SHIFT: usize = 397;

/// A Mersenne Twister (MT19937).
#[derive(Debug, Clone)]
pub(super) struct Twister {
    state: [u32; SIZE],
    next: usize,
}

impl Twister {
    /// Returns the generator of a seed.
    pub(super) fn new(seed: u32) -> Self {
        let mut state = [seed; SIZE];
        for i in 1..SIZE {
            let before = state[i - 1];
            state[i] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: SIZE }
    }

    /// Returns the next 32 bits.
    pub(super) fn draw(&mut self) -> u32 {
        if self.next == SIZE {
            self.twist();
        }
        let bits = self.state[self.next];
        self.next += 1;
        temper(bits)
    }

    /// Writes for each of the next draws whether it fell below `chance`, as bits, lowest first.
    pub(super) fn below(&mut self, chance: f32, count: usize, mask: &mut [u64]) {
        // Both sides times 2^24, which is exact: a number of 24 bits is compared and no float is made of it.
        let limit = (f64::from(chance) * 16_777_216.0).ceil().clamp(0.0, 16_777_216.0) as u32;
        let mut hits = vec![0_u8; 64 * SIZE];
        for (from, words) in (0..count).step_by(64 * SIZE).zip(mask.chunks_mut(SIZE)) {
            let size = hits.len().min(count - from);
            self.hits(limit, &mut hits[..size]);
            hits[size..].fill(0);
            for (word, hits) in words.iter_mut().zip(hits.as_chunks::<64>().0) {
                *word = pack(hits);
            }
        }
    }

    /// Writes 1 for each draw below the limit and 0 for the others.
    fn hits(&mut self, limit: u32, mut hits: &mut [u8]) {
        while !hits.is_empty() {
            if self.next == SIZE {
                self.twist();
            }
            let (now, later) = hits.split_at_mut((SIZE - self.next).min(hits.len()));
            let state = &self.state[self.next..self.next + now.len()];
            vectorized(Hits { state, limit, out: now });
            self.next += now.len();
            hits = later;
        }
    }

    fn twist(&mut self) {
        let mix = |high: u32, low: u32| {
            let both = (high & 0x8000_0000) | (low & 0x7fff_ffff);
            (both >> 1) ^ (0x9908_b0df & (both & 1).wrapping_neg())
        };
        let state = &mut self.state;
        for i in 0..SIZE - SHIFT {
            state[i] = state[i + SHIFT] ^ mix(state[i], state[i + 1]);
        }
        for i in SIZE - SHIFT..SIZE - 1 {
            state[i] = state[i + SHIFT - SIZE] ^ mix(state[i], state[i + 1]);
        }
        state[SIZE - 1] = state[SHIFT - 1] ^ mix(state[SIZE - 1], state[0]);
        self.next = 0;
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
}
