//! A hash of a row's content, for the decisions that must not depend on where a row stands.
//!
//! Every use has a domain of its own: without it the rows that a sample keeps would be just those that a split with the
//! same seed sets aside.

use crate::data::Row;

/// Returns a uniformly spread number that depends on the domain, the seed and the content of the row alone.
pub(super) fn row_hash(domain: &str, seed: u64, row: &Row) -> u64 {
    content_hash(domain, seed, row.to_json().as_bytes())
}

/// Returns a uniformly spread number that depends on the domain, the seed and the content alone.
pub(super) fn content_hash(domain: &str, seed: u64, content: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key(domain);
    hasher.update(&seed.to_le_bytes());
    hasher.update(content);
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}
