//! A digest in the making, of bytes that come piece by piece: from a network, or on their way to one.

use super::Digest;

/// Takes bytes in pieces and gives the digest of all of them: what [`Digest::of`] gives for the whole.
#[derive(Debug, Clone, Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all bytes so far.
    pub fn digest(&self) -> Digest {
        self.0.finalize().into()
    }
}
