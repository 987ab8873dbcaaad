//! Leases: who works on which key, so that two processes do not do the same work at once.
//!
//! A lease is a lock of the kernel on `leases/<key>`, so it ends with its process. Its holder removes the file while it
//! still has the lock; whoever locked the file meanwhile sees that it has lost its name, and tries again with the new one.

use std::path::PathBuf;

use super::lock::{Locked, holder};
use super::{Cache, CacheError};
use crate::digest::Digest;

/// The right to work on a key, as long as it lives.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    // Dropped after `drop` below has removed the file.
    _locked: Locked,
}

/// Whether a lease was to be had.
#[derive(Debug)]
pub enum LeaseOutcome {
    /// It is ours.
    Taken(Lease),
    /// Somebody has it: who, in its own words (`process 12 on host`).
    Held(String),
}

impl Cache {
    /// Takes the lease of a key, if nobody has it. Never waits.
    pub fn lease(&self, key: &Digest) -> Result<LeaseOutcome, CacheError> {
        self.need_write("taking a lease")?;
        let path = self.layout.lease(key);
        Ok(match Locked::attempt(&path)? {
            Some(mut locked) => {
                locked.sign();
                LeaseOutcome::Taken(Lease { path, _locked: locked })
            }
            None => LeaseOutcome::Held(holder(&path)),
        })
    }

    /// Removes the leases that dead processes left.
    pub(super) fn sweep_leases(&self) -> Result<(), CacheError> {
        for path in super::files::sorted_entries(&self.layout.leases())? {
            if let Some(locked) = Locked::attempt_existing(&path)? {
                drop(Lease { path, _locked: locked });
            }
        }
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Where open files cannot be removed, it stays and is used again.
        if cfg!(unix) {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}
