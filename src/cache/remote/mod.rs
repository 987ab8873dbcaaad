//! A store that several machines share: a folder, or S3, Google Cloud, Azure or a web server, all through one crate.
//!
//! It holds what a cache holds, but file by file, so that artifacts that share files share bytes:
//!
//! | path | what it is |
//! |---|---|
//! | `blobs/ab/<digest>` | a file |
//! | `objects/ab/<artifact>.json` | the listing of an artifact |
//! | `actions/ab/<key>.json` | the record of an action |
//!
//! They are written in that order, so a record is there only after its bytes. Nothing is ever changed or deleted.
//!
//! A remote store is not trusted with bytes: every file and every listing is compared with the digest it was asked for,
//! every record with its seal, and sizes are bounded before anything is read. What it says about *which* artifact an
//! action gave can only be believed, as from a colleague's lockfile.
//!
//! The rest of luthflow blocks. So does this: futures run on the thread that asks, on a runtime without threads.

mod pull;
mod push;
mod store;

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Runtime;

use super::store::held;
use super::{Cache, CacheError};
use crate::digest::Digest;

pub use pull::PullReport;
pub use push::PushReport;

/// How many transfers go on at once.
const AT_ONCE: usize = 8;

/// A remote store that is in use.
pub(super) struct Remote {
    url: String,
    runtime: Runtime,
    store: Box<dyn ObjectStore>,
    prefix: Path,
    can_list: bool,
    /// Set once the store was seen to exist.
    seen: OnceLock<()>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remote").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Cache {
    /// Uses a remote store: `file:///…`, `s3://bucket/prefix`, `gs://…`, `az://…`, `http(s)://…`.
    pub fn set_remote(&self, url: &str) -> Result<(), CacheError> {
        self.set_remote_with(url, &[])
    }

    /// As [`Cache::set_remote`], with settings as cloud programs find them in their environment:
    /// `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, … Names that mean nothing to the store are passed over.
    pub fn set_remote_with(&self, url: &str, settings: &[(String, String)]) -> Result<(), CacheError> {
        let remote = Remote::open(url, settings)?;
        *held(&self.remote) = Some(Arc::new(remote));
        Ok(())
    }

    /// Says whether a remote store is in use.
    pub fn has_remote(&self) -> bool {
        held(&self.remote).is_some()
    }

    fn remote(&self) -> Result<Arc<Remote>, CacheError> {
        let none = || CacheError::NoRemote { url: String::new(), problem: "none was named".to_owned() };
        held(&self.remote).clone().ok_or_else(none)
    }
}

impl Remote {
    fn blob(&self, digest: &Digest) -> Path {
        let hex = digest.hex();
        self.at(&format!("blobs/{}/{hex}", &hex[..2]))
    }

    fn listing(&self, artifact: &Digest) -> Path {
        let hex = artifact.hex();
        self.at(&format!("objects/{}/{hex}.json", &hex[..2]))
    }

    fn record(&self, key: &Digest) -> Path {
        let hex = key.hex();
        self.at(&format!("actions/{}/{hex}.json", &hex[..2]))
    }

    fn at(&self, below: &str) -> Path {
        let below = Path::from(below);
        self.prefix.parts().chain(below.parts()).collect()
    }

    /// Returns an object of at most `limit` bytes; `None` if there is none.
    async fn get(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, CacheError> {
        let failed = |error| self.failed("reading", path, &error);
        let found = match self.store.get(path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let too_long = || self.damaged(path, format!("has more than {limit} bytes"));
        if found.meta.size > limit {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        let mut stream = found.into_stream();
        while let Some(piece) = stream.try_next().await.map_err(failed)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > limit {
                return Err(too_long());
            }
        }
        Ok(Some(bytes))
    }

    /// Returns the size of an object; `None` if there is none.
    async fn size(&self, path: &Path) -> Result<Option<u64>, CacheError> {
        match self.store.head(path).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("looking for", path, &error)),
        }
    }

    /// Fails if there is no such bucket, which otherwise looks like one that holds nothing.
    async fn must_exist(&self) -> Result<(), CacheError> {
        if self.seen.get().is_some() || !self.can_list {
            return Ok(());
        }
        match self.store.list_with_delimiter(Some(&self.prefix)).await {
            Err(error) if store::says_no_bucket(&error) => Err(self.failed("looking into", &self.prefix, &error)),
            // Whatever else is wrong shows when something is asked for, and looking may be forbidden.
            _ => {
                let _ = self.seen.set(());
                Ok(())
            }
        }
    }

    fn failed(&self, doing: &str, path: &Path, error: &object_store::Error) -> CacheError {
        let mut problem = store::first_words(error);
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            let words = next.to_string();
            if !problem.contains(&words) {
                problem = format!("{problem}: {words}");
            }
            cause = next.source();
        }
        let doing = format!("{doing} {}", if path.as_ref().is_empty() { "it" } else { path.as_ref() });
        CacheError::Remote { url: self.url.clone(), doing, problem, help: store::way_out(error) }
    }

    fn damaged(&self, path: &Path, problem: impl Into<String>) -> CacheError {
        CacheError::RemoteDamaged { url: self.url.clone(), object: path.to_string(), problem: problem.into() }
    }
}

/// Counts bytes for whoever shows them.
struct Progress<'a> {
    state: RefCell<Counted<'a>>,
}

/// Bytes done, bytes in all, and whom to tell.
type Counted<'a> = (u64, u64, &'a mut dyn FnMut(u64, u64));

impl<'a> Progress<'a> {
    fn new(tell: &'a mut dyn FnMut(u64, u64)) -> Self {
        Self { state: RefCell::new((0, 0, tell)) }
    }

    fn expect(&self, bytes: u64) {
        self.change(|_, total| *total = total.saturating_add(bytes));
    }

    fn done(&self, bytes: u64) {
        self.change(|done, _| *done = done.saturating_add(bytes));
    }

    /// Takes back what was told of a transfer that begins again.
    fn undo(&self, bytes: u64) {
        self.change(|done, _| *done = done.saturating_sub(bytes));
    }

    fn change(&self, work: impl FnOnce(&mut u64, &mut u64)) {
        let (done, total, tell) = &mut *self.state.borrow_mut();
        work(done, total);
        tell(*done, *total);
    }
}
