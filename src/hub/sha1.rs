//! SHA-1, which git names its blobs by. Nothing here rests on it alone: it is what a hub gives for small files, and
//! the size and the commit are compared as well. Sixty lines beat a dependency for that (FIPS 180-4, section 6.1).

use super::content::hex;

/// SHA-1 of what was added so far.
pub(super) struct Sha1 {
    state: [u32; 5],
    block: Vec<u8>,
    length: u64,
}

impl Sha1 {
    /// Begins.
    pub(super) fn new() -> Self {
        let state = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
        Self { state, block: Vec::with_capacity(64), length: 0 }
    }

    /// Adds bytes.
    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(64 - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = rest;
            if self.block.len() == 64 {
                self.turn();
            }
        }
    }

    /// Ends, and returns 40 hex digits.
    pub(super) fn hex(mut self) -> String {
        let bits = self.length * 8;
        self.block.push(0x80);
        if self.block.len() > 56 {
            self.block.resize(64, 0);
            self.turn();
        }
        self.block.resize(56, 0);
        self.block.extend_from_slice(&bits.to_be_bytes());
        self.turn();
        hex(&self.state.map(u32::to_be_bytes).concat())
    }

    fn turn(&mut self) {
        let mut w = [0_u32; 80];
        for (word, bytes) in w.iter_mut().zip(self.block.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for t in 16..80 {
            w[t] = (w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = self.state;
        for (t, word) in w.iter().enumerate() {
            let (f, k) = match t {
                0..20 => ((b & c) | (!b & d), 0x5A82_7999),
                20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6_u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (state, word) in self.state.iter_mut().zip([a, b, c, d, e]) {
            *state = state.wrapping_add(word);
        }
        self.block.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the standard, and what `git hash-object` says of nothing and of a line.
    #[test]
    fn it_is_the_sha1_of_the_standard_and_of_git() {
        let hex = |parts: &[&[u8]]| {
            let mut sha = Sha1::new();
            for part in parts {
                sha.update(part);
            }
            sha.hex()
        };
        assert_eq!(hex(&[b"abc"]), "a9993e364706816aba3e25717850c26c9cd0d89d");
        let two = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        assert_eq!(hex(&[&two[..7], &two[7..]]), "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
        assert_eq!(hex(&[&vec![b'a'; 1_000_000]]), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
        assert_eq!(hex(&[b"blob 0\0"]), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(hex(&[b"blob 6\0", b"hello\n"]), "ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
