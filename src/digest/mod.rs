//! What identifies bytes: of a file, of a folder, of a settings value.
//!
//! Everything luthflow decides about freshness is a comparison of these digests, so each has one byte encoding, written
//! down where it is made and held by golden tests. Changing an encoding makes every cache in the world stale: raise the
//! version in its first bytes and say so in the changelog. Nothing in here knows what the bytes mean.

mod canonical;
mod error;
pub(crate) mod figures;
mod file;
mod hasher;
mod identity;
mod tree;

pub use canonical::value_digest;
pub use error::DigestError;
pub use file::file_digest;
pub use hasher::Hasher;
pub use identity::{Digest, ParseDigestError};
pub use tree::{FileEntry, Manifest};
