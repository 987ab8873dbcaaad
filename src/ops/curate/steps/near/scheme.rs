//! MinHash signatures: how alike two sets of shingles are, from a few hundred bytes each.
//!
//! A scheme is a family of hash functions with the constants of the tool it comes from, so that the same rows give the same
//! clusters there and here. `datatrove64` is datatrove 0.10 (its product wraps at 64 bits *before* the modulus, which its
//! authors keep for compatibility), `datasketch32` the default of datasketch 2.0. Our default, `affine32`, is datasketch's
//! family over a faster hash of the shingles: half the memory of 64 bits, unbiased.

use xxhash_rust::xxh64::xxh64;

use crate::model::{Unit, vectorised};
use crate::ops::merge::Twister;
use crate::spec::params::MinHashScheme;

/// The prime that 64-bit families compute modulo: 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;
/// Hash functions that are computed side by side.
const LANES: usize = 16;

/// A family of hash functions.
pub(super) struct Scheme {
    name: MinHashScheme,
    /// Multipliers and addends, filled up to whole lanes.
    a64: Vec<[u64; LANES]>,
    b64: Vec<[u64; LANES]>,
    a32: Vec<[u32; LANES]>,
    b32: Vec<[u32; LANES]>,
    count: usize,
    unit: Unit,
}

/// The least value of every hash function over a set of shingles.
pub(super) type Signature = Vec<u64>;

impl Scheme {
    /// Returns `count` functions of a family, drawn as its tool draws them.
    pub(super) fn new(name: MinHashScheme, count: usize, seed: u32) -> Self {
        let mut twister = Twister::new(seed);
        let (mut a64, mut b64, mut a32, mut b32) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        match name {
            MinHashScheme::Datatrove64 => {
                a64 = (0..count).map(|_| 1 + below(&mut twister, PRIME - 2)).collect();
                b64 = (0..count).map(|_| below(&mut twister, PRIME - 1)).collect();
            }
            MinHashScheme::Affine32 | MinHashScheme::Datasketch32 => {
                a32 = (0..count).map(|_| (twister.draw() & 0x7fff_ffff) * 2 + 1).collect();
                b32 = (0..count).map(|_| twister.draw()).collect();
            }
        }
        Self {
            name,
            a64: in_lanes(&a64),
            b64: in_lanes(&b64),
            a32: in_lanes(&a32),
            b32: in_lanes(&b32),
            count,
            unit: Unit::best(),
        }
    }

    /// Returns the hash of a shingle that the scheme starts from.
    pub(super) fn shingle(&self, bytes: &[u8]) -> u64 {
        match self.name {
            MinHashScheme::Affine32 | MinHashScheme::Datatrove64 => xxh64(bytes, 0),
            MinHashScheme::Datasketch32 => {
                let digest = <sha1::Sha1 as sha1::Digest>::digest(bytes);
                u64::from(u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]))
            }
        }
    }

    /// Returns the signature of a set of shingles, which may repeat; it must not be empty.
    pub(super) fn sign(&self, shingles: &[u64]) -> Signature {
        let mut signature = match self.name {
            MinHashScheme::Datatrove64 => wide(self.unit, shingles, &self.a64, &self.b64),
            MinHashScheme::Affine32 | MinHashScheme::Datasketch32 => {
                let folded = |&hash: &u64| mixed(hash as u32 ^ (hash >> 32) as u32);
                let shingles: Vec<u32> = shingles.iter().map(folded).collect();
                narrow(self.unit, &shingles, &self.a32, &self.b32)
            }
        };
        signature.truncate(self.count);
        signature
    }

    /// Returns how many bytes a value of a signature has.
    pub(super) fn value_bytes(&self) -> usize {
        if self.name == MinHashScheme::Datatrove64 { 8 } else { 4 }
    }
}

fn in_lanes<T: Copy + Default>(values: &[T]) -> Vec<[T; LANES]> {
    let lane = |chunk: &[T]| {
        let mut lane = [T::default(); LANES];
        lane[..chunk.len()].copy_from_slice(chunk);
        lane
    };
    values.chunks(LANES).map(lane).collect()
}

/// Draws a number from 0 to `most`, both included, as numpy's `RandomState.randint` does for 64 bits.
fn below(twister: &mut Twister, most: u64) -> u64 {
    let mask = u64::MAX >> most.leading_zeros();
    loop {
        let high = u64::from(twister.draw());
        let drawn = (high << 32 | u64::from(twister.draw())) & mask;
        if drawn <= most {
            return drawn;
        }
    }
}

/// MurmurHash3's last step, which spreads every bit over all others.
fn mixed(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

vectorised! {
    /// Returns the minima of `(a·h + b) mod 2^64 mod (2^61 - 1)`.
    fn wide(shingles: &[u64], a: &[[u64; LANES]], b: &[[u64; LANES]]) -> Vec<u64> {
        let mut minima = Vec::with_capacity(a.len() * LANES);
        for (a, b) in a.iter().zip(b) {
            let mut least = [u64::MAX; LANES];
            for &hash in shingles {
                for lane in 0..LANES {
                    let product = hash.wrapping_mul(a[lane]).wrapping_add(b[lane]);
                    let folded = (product & PRIME) + (product >> 61);
                    let reduced = if folded >= PRIME { folded - PRIME } else { folded };
                    least[lane] = if reduced < least[lane] { reduced } else { least[lane] };
                }
            }
            minima.extend(least);
        }
        minima
    }
}

vectorised! {
    /// Returns the minima of `a·h + b mod 2^32`.
    fn narrow(shingles: &[u32], a: &[[u32; LANES]], b: &[[u32; LANES]]) -> Vec<u64> {
        let mut minima = Vec::with_capacity(a.len() * LANES);
        for (a, b) in a.iter().zip(b) {
            let mut least = [u32::MAX; LANES];
            for &hash in shingles {
                for lane in 0..LANES {
                    let value = hash.wrapping_mul(a[lane]).wrapping_add(b[lane]);
                    least[lane] = least[lane].min(value);
                }
            }
            minima.extend(least.map(u64::from));
        }
        minima
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_those_of_the_tools() {
        let datatrove = Scheme::new(MinHashScheme::Datatrove64, 112, 1);
        let at = |lanes: &[[u64; LANES]], i: usize| lanes[i / LANES][i % LANES];
        let a = [0, 1, 111].map(|i| at(&datatrove.a64, i));
        assert_eq!(a, [775_169_054_918_279_404, 1_758_426_461_858_698_313, 223_865_076_026_037_746]);
        let b = [0, 1, 111].map(|i| at(&datatrove.b64, i));
        assert_eq!(b, [1_062_448_801_025_099_917, 1_324_811_268_927_594_100, 1_097_409_548_522_419_201]);
        let datasketch = Scheme::new(MinHashScheme::Datasketch32, 112, 1);
        assert_eq!(datasketch.a32[0][..3], [3_582_191_691, 4_270_784_983, 1_892_572_953]);
        assert_eq!(datasketch.b32[0][..3], [2_465_816_345, 2_636_844_999, 630_194_419]);
    }

    #[test]
    fn shingles_hash_as_they_do_there() {
        let of = |name| Scheme::new(name, 1, 1).shingle("le chat est sur la".as_bytes());
        assert_eq!(of(MinHashScheme::Datatrove64), 11_186_935_585_835_905_295);
        assert_eq!(of(MinHashScheme::Datasketch32), 1_974_229_101);
    }

    #[test]
    fn a_signature_estimates_how_alike_two_sets_are() {
        let (one, other): (Vec<u64>, Vec<u64>) = (
            (0..300).map(|i: u64| xxh64(&i.to_le_bytes(), 0)).collect(),
            (100..400).map(|i: u64| xxh64(&i.to_le_bytes(), 0)).collect(),
        );
        for name in [MinHashScheme::Affine32, MinHashScheme::Datatrove64, MinHashScheme::Datasketch32] {
            let scheme = Scheme::new(name, 1000, 1);
            let (one, other) = (scheme.sign(&one), scheme.sign(&other));
            let equal = one.iter().zip(&other).filter(|(a, b)| a == b).count();
            // The sets share half of their union; five standard deviations are 80.
            assert!((420..580).contains(&equal), "{name:?}: {equal}");
        }
    }
}
