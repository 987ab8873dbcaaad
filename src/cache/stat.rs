//! The digests of files outside the cache, remembered for as long as the files look the same.
//!
//! "The same" is size, both times, inode and device. Times have a grain: a file changed twice within one tick looks the
//! same after the second change. So an entry counts only if the file was already [`GRAIN`] old when it was hashed;
//! a younger file is hashed again the next time (git calls such entries racy). `changed`, the inode's own time, is among
//! the five because programs set the other one back (`touch -r`, `rsync -t`, `tar`).

use std::path::{Path, absolute};
use std::time::{SystemTime, UNIX_EPOCH};

use super::platform::Stamp;
use super::{Cache, CacheError};
use crate::digest::{self, Digest, DigestError};

/// The coarsest grain of file times that must be reckoned with, in nanoseconds: FAT counts in steps of two seconds.
const GRAIN: i64 = 2_000_000_000;

/// How often a file that changes under our hands is read again.
const ATTEMPTS: usize = 3;

/// What is known of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) stamp: Stamp,
    /// When hashing began, in nanoseconds since 1970.
    pub(super) hashed: i64,
    pub(super) digest: Digest,
}

impl Seen {
    /// Guards a row against bits that flip in the database: a wrong digest here would be a wrong key.
    pub(super) fn seal(&self, path: &[u8]) -> [u8; 8] {
        let Stamp { size, modified, changed, inode, device } = self.stamp;
        let mut bytes = path.to_vec();
        for number in [size, modified as u64, changed as u64, inode, device, self.hashed as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.digest.as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = *Digest::of(&bytes).as_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// Says whether a file that looks like `stamp` now still has this digest.
    pub(super) fn holds(&self, stamp: Stamp) -> bool {
        self.stamp == stamp && self.hashed.saturating_sub(GRAIN) >= stamp.latest()
    }
}

impl Cache {
    /// Returns the digest and the size in bytes of a file anywhere, without reading it if it looks as it did the last
    /// time. Links are followed.
    pub fn file_digest(&self, path: &Path) -> Result<(Digest, u64), CacheError> {
        let place = place_of(path)?;
        for _ in 0..ATTEMPTS {
            let stamp = stamp_of(path)?;
            if let Some(seen) = self.with_index(|index| index.seen(&place)).flatten()
                && seen.holds(stamp)
            {
                return Ok((seen.digest, stamp.size));
            }
            let hashed = now();
            let (digest, size) = digest::file_digest(path)?;
            if stamp_of(path)? == stamp && size == stamp.size {
                let seen = Seen { stamp, hashed, digest };
                self.with_index(|index| index.note(place.clone(), seen));
                return Ok((digest, size));
            }
        }
        Err(CacheError::Changing { path: path.to_owned() })
    }

    /// Returns what is known of a file, without a look at it.
    pub(super) fn seen(&self, path: &Path) -> Option<Seen> {
        let place = place_of(path).ok()?;
        self.with_index(|index| index.seen(&place)).flatten()
    }
}

fn place_of(path: &Path) -> Result<Vec<u8>, CacheError> {
    Ok(absolute(path)?.into_os_string().into_encoded_bytes())
}

pub(super) fn stamp_of(path: &Path) -> Result<Stamp, CacheError> {
    let metadata = fs_err::metadata(path)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
        return Err(DigestError::NotAFile { path: path.to_owned(), what }.into());
    }
    Ok(Stamp::of(&metadata))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_hashed_right_after_it_changed_is_not_trusted() {
        let stamp = Stamp { size: 1, modified: 5 * GRAIN, changed: 6 * GRAIN, inode: 1, device: 1 };
        let seen = |hashed| Seen { stamp, hashed, digest: Digest::of(b"") };
        assert!(seen(7 * GRAIN).holds(stamp));
        assert!(!seen(7 * GRAIN - 1).holds(stamp));
        assert!(!seen(7 * GRAIN).holds(Stamp { size: 2, ..stamp }));
        assert!(!seen(7 * GRAIN).holds(Stamp { inode: 2, ..stamp }));
        // A clock that runs behind the file server's: the file seems to come from the future and is never trusted.
        assert!(!seen(GRAIN).holds(stamp));
    }

    #[test]
    fn every_field_of_a_row_is_sealed() {
        let stamp = Stamp { size: 1, modified: 2, changed: 3, inode: 4, device: 5 };
        let seen = Seen { stamp, hashed: 6, digest: Digest::of(b"") };
        let others = [
            Seen { stamp: Stamp { size: 9, ..stamp }, ..seen },
            Seen { stamp: Stamp { modified: 9, ..stamp }, ..seen },
            Seen { stamp: Stamp { changed: 9, ..stamp }, ..seen },
            Seen { stamp: Stamp { inode: 9, ..stamp }, ..seen },
            Seen { stamp: Stamp { device: 9, ..stamp }, ..seen },
            Seen { hashed: 9, ..seen },
            Seen { digest: Digest::of(b"9"), ..seen },
        ];
        for other in others {
            assert_ne!(other.seal(b"path"), seen.seal(b"path"), "{other:?}");
        }
        assert_ne!(seen.seal(b"path"), seen.seal(b"other"));
    }
}
