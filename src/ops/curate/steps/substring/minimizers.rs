//! Places by which equal windows find each other: in every window of a text, the piece with the least hash.
//!
//! Equal windows hold equal pieces, so their least hash is the same, and of the places with that hash each window has one
//! that was chosen (Schleimer, Wilkerson and Aiken 2003, "Winnowing"). Windows side by side mostly choose the same place: in
//! text about two places are chosen in as many bytes as a window is longer than a piece. A choice stays as long as nothing
//! in the window is less, without which a run of one byte would be chosen whole.
//!
//! Pieces are half a window. Shorter ones would be chosen less often and stand twice by chance more often.

/// The longest window there is. No text that can be read is longer.
const LONGEST: usize = u32::MAX as usize;
/// The longest piece: a longer one would choose no better.
const LONGEST_PIECE: usize = 1 << 16;
/// What the hash of a piece is multiplied by when the piece moves on.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A chosen piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen {
    pub(super) hash: u64,
    /// Where it stands in its text.
    pub(super) at: usize,
    /// Whether it stands again in a window for which it was chosen. Only then can two windows that it was chosen for be
    /// equal: they overlap, so what they cover repeats itself, and the piece with it.
    pub(super) again: bool,
}

/// Windows of a length and the pieces in them.
pub(super) struct Windows {
    /// Bytes of a window.
    pub(super) length: usize,
    /// Bytes of a piece.
    pub(super) piece: usize,
    /// What a byte adds to the hash of a piece that it enters.
    enters: [u64; 256],
    /// What is to be taken away when it leaves the piece.
    leaves: [u64; 256],
}

impl Windows {
    pub(super) fn new(length: usize) -> Self {
        let length = length.clamp(1, LONGEST);
        let piece = (length / 2).clamp(1, LONGEST_PIECE);
        let enters: [u64; 256] = std::array::from_fn(|byte| mixed(FACTOR.wrapping_mul(byte as u64 + 1)));
        let power = FACTOR.wrapping_pow(piece as u32);
        Self { length, piece, enters, leaves: enters.map(|value| value.wrapping_mul(power)) }
    }

    /// Returns how far a window may reach before a piece that it holds.
    pub(super) fn reach(&self) -> usize {
        self.length - self.piece
    }

    /// Gives every chosen piece of a text to `found`, in the order of their places.
    pub(super) fn minimizers(&self, text: &[u8], mut found: impl FnMut(Chosen)) {
        if text.len() < self.length {
            return;
        }
        let pieces = self.reach() + 1;
        // The hashes of the pieces of a window, by place.
        let mut hashes = vec![0; pieces.next_power_of_two()];
        let mask = hashes.len() - 1;
        let mut hash = text[..self.piece - 1].iter().fold(0, |hash, byte| self.entered(hash, *byte));
        let mut least: Option<Chosen> = None;
        for at in 0..=text.len() - self.piece {
            hash = self.entered(hash, text[at + self.piece - 1]);
            if at > 0 {
                hash = hash.wrapping_sub(self.leaves[usize::from(text[at - 1])]);
            }
            let value = mixed(hash);
            hashes[at & mask] = value;
            if at + 1 < pieces {
                continue;
            }
            let first = at + 1 - pieces;
            match &mut least {
                Some(least) if least.at >= first && least.hash <= value => least.again |= least.hash == value,
                _ => {
                    let inside = least.as_ref().is_some_and(|least| least.at >= first);
                    let (hash, at) = if inside { (value, at) } else { last_least(&hashes, first..=at) };
                    let next = Chosen { hash, at, again: false };
                    least.replace(next).into_iter().for_each(&mut found);
                }
            }
        }
        least.into_iter().for_each(found);
    }

    fn entered(&self, hash: u64, byte: u8) -> u64 {
        hash.wrapping_mul(FACTOR).wrapping_add(self.enters[usize::from(byte)])
    }
}

/// Returns the least of some hashes and the last place where it stands.
fn last_least(hashes: &[u64], places: std::ops::RangeInclusive<usize>) -> (u64, usize) {
    let mask = hashes.len() - 1;
    let mut least = (u64::MAX, *places.start());
    for place in places {
        let value = hashes[place & mask];
        if value <= least.0 {
            least = (value, place);
        }
    }
    least
}

/// Spreads a hash, one to one, so that which of two is less is chance.
fn mixed(hash: u64) -> u64 {
    let spread = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    spread ^ (spread >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn chosen(text: &[u8], length: usize) -> Vec<(u64, usize)> {
        let mut all = Vec::new();
        Windows::new(length).minimizers(text, |chosen| all.push((chosen.hash, chosen.at)));
        all
    }

    proptest! {
        /// The hash of a piece is that of its bytes, and every window holds a chosen piece with the least hash in it.
        #[test]
        fn every_window_has_its_least_piece(text in proptest::collection::vec(0u8..3, 0..90), length in 1usize..20) {
            let all = chosen(&text, length);
            let windows = Windows::new(length);
            let hash = |at: usize| {
                let alone = text[at..at + windows.piece].iter().fold(0, |hash, byte| windows.entered(hash, *byte));
                mixed(alone)
            };
            prop_assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].1));
            prop_assert!(all.iter().all(|&(value, at)| value == hash(at)));
            for begin in 0..(text.len() + 1).saturating_sub(length) {
                let least = (begin..=begin + windows.reach()).map(hash).min().unwrap();
                let held = |&(value, at): &(u64, usize)| value == least && at >= begin && at <= begin + windows.reach();
                prop_assert!(all.iter().any(held), "{begin} {all:?}");
            }
        }
    }

    #[test]
    fn few_places_are_chosen_in_text_and_in_runs() {
        let mut state = 7_u64;
        let text: Vec<u8> = (0..100_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 60) as u8
            })
            .collect();
        let share = chosen(&text, 200).len() as f64 / text.len() as f64 * 102.0 / 2.0;
        assert!((0.9..1.1).contains(&share), "{share}");
        let run = chosen(&[b'a'; 10_000], 200).len();
        assert!((90..=110).contains(&run), "{run}");
    }
}
