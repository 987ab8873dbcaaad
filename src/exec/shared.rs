//! What several processes on one cache have to agree on, as the scheduler sees it.

use crate::cache::{Cache, CacheError};
use crate::digest::Digest;

/// The right to run the action with a key, against all other processes on the cache.
#[derive(Debug)]
pub(super) struct Lease;

/// Takes the right to run an action, or says who has it.
pub(super) fn lease(_cache: &Cache, _key: &Digest) -> Result<Result<Lease, String>, CacheError> {
    Ok(Ok(Lease))
}

/// Claims artifacts against garbage collection, as long as this process lives.
pub(super) fn claim(_cache: &Cache, _artifacts: &[Digest]) -> Result<(), CacheError> {
    Ok(())
}

/// Brings an action in from the remote store, if there is one that has it.
pub(super) fn fetch(
    _cache: &Cache,
    _key: &Digest,
    _progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<crate::cache::Action>, CacheError> {
    Ok(None)
}

/// Says whether there is a remote store to ask.
pub(super) fn has_remote(_cache: &Cache) -> bool {
    false
}
