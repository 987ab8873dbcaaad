//! From a remote store: record, listing, files; each compared with its digest before it is used.
//!
//! Files are digested as they stream in, into `incoming/` once they are sound, and stay there if the pull is cut short:
//! the next one takes them up. The artifact is put together in staging and committed like one that was made here, which
//! digests everything once more.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStoreExt as _;

use super::{AT_ONCE, Progress, Remote};
use crate::cache::action::LONGEST_RECORD;
use crate::cache::commit::settle;
use crate::cache::files::{is_absent, sync_dir};
use crate::cache::objects::LONGEST_LISTING;
use crate::cache::{Action, Cache, CacheError, Staging};
use crate::digest::{Digest, Hasher, Manifest};

/// How many actions are brought in at once.
const ACTIONS_AT_ONCE: usize = 4;

/// How often a transfer that breaks off begins again, beside the retries of every request.
const ATTEMPTS: u32 = 4;

/// What was brought in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullReport {
    /// How many actions were brought in.
    pub actions: u64,
    /// How many were here already.
    pub here: u64,
    /// The keys that the store does not have.
    pub absent: Vec<Digest>,
}

/// Why a file did not come.
enum Missed {
    /// The connection broke; another try may go better.
    Cut(CacheError),
    Failed(CacheError),
}

impl Cache {
    /// Returns an action that is here, or brings it and its artifact in from the remote store; `None` if that has none.
    /// `progress` gets the bytes done and the bytes in all.
    pub fn fetch(&self, key: &Digest, progress: &mut dyn FnMut(u64, u64)) -> Result<Option<Action>, CacheError> {
        self.need_write("fetching from a remote store")?;
        if let Some(action) = self.claimed(key)? {
            return Ok(Some(action));
        }
        let remote = self.remote()?;
        let progress = Progress::new(progress);
        remote.runtime.block_on(async {
            let found = self.bring(&remote, key, &progress).await?;
            if found.is_none() {
                remote.must_exist().await?;
            }
            Ok(found)
        })
    }

    /// Brings actions in, all that the remote store has if none are named.
    pub fn pull(&self, keys: Option<&[Digest]>, progress: &mut dyn FnMut(u64, u64)) -> Result<PullReport, CacheError> {
        self.need_write("pulling from a remote store")?;
        let remote = self.remote()?;
        let progress = Progress::new(progress);
        remote.runtime.block_on(async {
            remote.must_exist().await?;
            let keys = match keys {
                Some(keys) => keys.to_vec(),
                None => remote.keys().await?.into_iter().collect(),
            };
            let mut report = PullReport::default();
            let one = async |key: Digest| -> Result<_, CacheError> {
                if self.claimed(&key)?.is_some() {
                    return Ok((key, true, true));
                }
                Ok((key, false, self.bring(&remote, &key, &progress).await?.is_some()))
            };
            let mut done = stream::iter(keys).map(one).buffer_unordered(ACTIONS_AT_ONCE);
            while let Some((key, was_here, is_here)) = done.try_next().await? {
                match (was_here, is_here) {
                    (true, _) => report.here += 1,
                    (false, true) => report.actions += 1,
                    (false, false) => report.absent.push(key),
                }
            }
            report.absent.sort_unstable();
            Ok(report)
        })
    }

    /// Returns an action that is here, claimed.
    fn claimed(&self, key: &Digest) -> Result<Option<Action>, CacheError> {
        let _gate = self.gate()?;
        let found = self.action(key)?;
        if let Some(action) = &found {
            self.claim(&[action.artifact])?;
        }
        Ok(found)
    }

    async fn bring(
        &self,
        remote: &Remote,
        key: &Digest,
        progress: &Progress<'_>,
    ) -> Result<Option<Action>, CacheError> {
        let path = remote.record(key);
        let Some(text) = remote.get(&path, LONGEST_RECORD).await? else { return Ok(None) };
        let action = Action::from_record(&text, key).ok_or_else(|| {
            remote.damaged(&path, "is no record of this key: cut short, changed, or of a newer luthflow")
        })?;
        {
            // The artifact may be here under another key.
            let _gate = self.gate()?;
            if self.is_complete(&action.artifact)? && self.check(&action.artifact).is_ok() {
                self.claim(&[action.artifact])?;
                return self.put_on_record(action, None).map(Some);
            }
        }
        let manifest = remote.manifest(&action).await?;
        progress.expect(manifest.total_size());
        let mut attempt = 1;
        loop {
            let staging = self.begin("pull")?;
            self.gather(remote, &manifest, &staging, progress).await?;
            settle(staging.path())?;
            // Once more, all together: files of an earlier pull may have been spoilt since.
            if Manifest::of_dir(staging.path())? == manifest {
                return self.publish(staging, &manifest, action).map(Some);
            }
            attempt += 1;
            if attempt > ATTEMPTS {
                return Err(CacheError::Changing { path: self.layout.incoming() });
            }
            progress.undo(manifest.total_size());
        }
    }

    /// Fills a staging folder with the files of a listing.
    async fn gather(
        &self,
        remote: &Remote,
        manifest: &Manifest,
        staging: &Staging,
        progress: &Progress<'_>,
    ) -> Result<(), CacheError> {
        fs_err::create_dir_all(self.layout.incoming())?;
        let sizes: BTreeMap<Digest, u64> = manifest.files.iter().map(|entry| (entry.digest, entry.size)).collect();
        // Files that are in the artifact twice come once.
        let twice = manifest.total_size() - sizes.values().sum::<u64>();
        let download =
            async |(digest, size): (&Digest, &u64)| self.receive(remote, digest, *size, staging, progress).await;
        let all = stream::iter(&sizes).map(download).buffer_unordered(AT_ONCE);
        all.try_for_each(async |()| Ok(())).await?;
        progress.done(twice);
        sync_dir(&self.layout.incoming())?;
        let mut placed = BTreeMap::<Digest, PathBuf>::new();
        for entry in &manifest.files {
            let to = staging.path().join(&entry.path);
            fs_err::create_dir_all(to.parent().unwrap_or(staging.path()))?;
            if let Some(first) = placed.get(&entry.digest) {
                fs_err::copy(first, &to)?;
                continue;
            }
            match fs_err::rename(self.layout.incoming().join(entry.digest.hex()), &to) {
                Ok(()) => {}
                // Another process brings the same in and took it.
                Err(error) if is_absent(&error) => {
                    self.receive(remote, &entry.digest, entry.size, staging, progress).await?;
                    fs_err::rename(self.layout.incoming().join(entry.digest.hex()), &to)?;
                    progress.undo(entry.size);
                }
                Err(error) => return Err(error.into()),
            }
            placed.insert(entry.digest, to);
        }
        Ok(())
    }

    /// Brings one file to `incoming/`, unless it is there.
    async fn receive(
        &self,
        remote: &Remote,
        digest: &Digest,
        size: u64,
        staging: &Staging,
        progress: &Progress<'_>,
    ) -> Result<(), CacheError> {
        let kept = self.layout.incoming().join(digest.hex());
        if fs_err::metadata(&kept).is_ok_and(|metadata| metadata.len() == size) {
            progress.done(size);
            return Ok(());
        }
        let half_done = staging.scratch().join(digest.hex());
        for attempt in 1.. {
            match remote.download(digest, size, &half_done, progress).await {
                Ok(()) => break,
                Err(Missed::Cut(_)) if attempt < ATTEMPTS => {
                    tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
                }
                Err(Missed::Cut(error) | Missed::Failed(error)) => return Err(error),
            }
        }
        Ok(fs_err::rename(&half_done, &kept)?)
    }
}

impl Remote {
    /// Returns the keys of all actions of the store.
    async fn keys(&self) -> Result<BTreeSet<Digest>, CacheError> {
        let folder = self.at("actions");
        let found = self.store.list(Some(&folder)).try_collect::<Vec<_>>().await;
        let found = found.map_err(|error| self.failed("listing", &folder, &error))?;
        let key = |name: &str| name.strip_suffix(".json")?.parse::<Digest>().ok();
        Ok(found.iter().filter_map(|meta| key(meta.location.filename()?)).collect())
    }

    /// Returns the listing of an action's artifact, which must be what the record says.
    async fn manifest(&self, action: &Action) -> Result<Manifest, CacheError> {
        let path = self.listing(&action.artifact);
        let json = self.get(&path, LONGEST_LISTING).await?;
        let json = json.ok_or_else(|| self.damaged(&path, "is missing, although a record names it"))?;
        let manifest: Manifest =
            serde_json::from_slice(&json).map_err(|error| self.damaged(&path, format!("is no listing: {error}")))?;
        if manifest.digest() != action.artifact {
            return Err(self.damaged(&path, "is the listing of something else"));
        }
        if manifest.total_size() != action.size || manifest.files.len() as u64 != action.files {
            return Err(self.damaged(&self.record(&action.key), "tells another size than the listing"));
        }
        if let Some(entry) = manifest.files.iter().find(|entry| entry.path.contains(['\\', ':']) && !cfg!(unix)) {
            return Err(self.damaged(&path, format!("names `{}`, which is no path here", entry.path)));
        }
        Ok(manifest)
    }

    /// Streams a file to `to`, and fails unless it is exactly what its name says.
    async fn download(
        &self,
        digest: &Digest,
        size: u64,
        to: &std::path::Path,
        progress: &Progress<'_>,
    ) -> Result<(), Missed> {
        let path = self.blob(digest);
        let cut = |error| Missed::Cut(self.failed("reading", &path, &error));
        let lie = |problem: String| Missed::Failed(self.damaged(&path, problem));
        let local = |error: std::io::Error| Missed::Failed(error.into());
        let found = match self.store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(lie("is missing, although a listing names it".to_owned()));
            }
            Err(error) => return Err(Missed::Failed(self.failed("reading", &path, &error))),
        };
        let mut file = fs_err::File::create(to).map_err(local)?;
        let (mut hasher, mut length) = (Hasher::default(), 0);
        let mut stream = found.into_stream();
        let streamed = async {
            while let Some(piece) = stream.try_next().await.map_err(cut)? {
                let more = piece.len() as u64;
                if length + more > size {
                    return Err(lie(format!("has more than {size} bytes")));
                }
                length += more;
                hasher.update(&piece);
                file.write_all(&piece).map_err(local)?;
                progress.done(more);
            }
            Ok(())
        };
        let streamed = streamed.await;
        let checked = streamed.and_then(|()| match length {
            length if length < size => Err(lie(format!("has {length} bytes instead of {size}"))),
            _ if hasher.digest() != *digest => Err(lie("has other bytes than its name says".to_owned())),
            _ => file.sync_all().map_err(local),
        });
        checked.inspect_err(|_| progress.undo(length))
    }
}
