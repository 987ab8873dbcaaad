//! To a remote store: files first, then listings, then records.
//!
//! What is there with the right size is not sent again, so a push that was cut short goes on where it was. Every file is
//! digested on its way out: a damaged artifact ends the push before its listing is written.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload, WriteMultipart};

use super::{AT_ONCE, Progress, Remote};
use crate::cache::{Action, Cache, CacheError};
use crate::digest::{Digest, FileEntry, Hasher, Manifest};

/// The size of a part of a large file. Smaller files go in one request.
const PART: u64 = 8 << 20;

/// S3 takes at most 10,000 parts.
const MOST_PARTS: u64 = 9_000;

/// How many parts of one file are on their way at once.
const PARTS_AT_ONCE: usize = 3;

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushReport {
    /// How many actions the store has now of those that were asked for.
    pub actions: u64,
    /// How many files were sent.
    pub sent: u64,
    /// How many were there already.
    pub there: u64,
    /// The bytes that were sent.
    pub bytes: u64,
}

/// A file to send.
struct Blob {
    artifact: Digest,
    entry: FileEntry,
    path: PathBuf,
}

impl Cache {
    /// Sends actions with their artifacts to the remote store. `progress` gets the bytes done and the bytes in all.
    pub fn push(&self, keys: &[Digest], progress: &mut dyn FnMut(u64, u64)) -> Result<PushReport, CacheError> {
        let remote = self.remote()?;
        let actions = self.to_send(keys)?;
        let (mut blobs, mut listings) = (BTreeMap::new(), BTreeMap::new());
        for action in &actions {
            let manifest = self.manifest(&action.artifact)?.ok_or(CacheError::NotStored(action.artifact))?;
            for entry in &manifest.files {
                let path = self.layout.object(&action.artifact).join(&entry.path);
                let blob = || Blob { artifact: action.artifact, entry: entry.clone(), path };
                blobs.entry(entry.digest).or_insert_with(blob);
            }
            listings.insert(action.artifact, manifest);
        }
        let progress = Progress::new(progress);
        progress.expect(blobs.values().map(|blob| blob.entry.size).sum());
        remote.runtime.block_on(remote.send(&actions, &blobs, &listings, &progress))
    }

    /// Looks the actions up and keeps their artifacts from being collected.
    fn to_send(&self, keys: &[Digest]) -> Result<Vec<Action>, CacheError> {
        let _gate = if self.is_writable() { Some(self.gate()?) } else { None };
        let mut actions = Vec::new();
        for key in keys {
            actions.push(self.action(key)?.ok_or(CacheError::NotStored(*key))?);
        }
        if self.is_writable() {
            self.claim(&actions.iter().map(|action| action.artifact).collect::<Vec<_>>())?;
        }
        Ok(actions)
    }
}

impl Remote {
    async fn send(
        &self,
        actions: &[Action],
        blobs: &BTreeMap<Digest, Blob>,
        listings: &BTreeMap<Digest, Manifest>,
        progress: &Progress<'_>,
    ) -> Result<PushReport, CacheError> {
        self.must_exist().await?;
        let mut report = PushReport { actions: actions.len() as u64, ..PushReport::default() };
        let mut sent =
            stream::iter(blobs.values()).map(|blob| self.send_blob(blob, progress)).buffer_unordered(AT_ONCE);
        while let Some(bytes) = sent.try_next().await? {
            match bytes {
                Some(bytes) => (report.sent, report.bytes) = (report.sent + 1, report.bytes + bytes),
                None => report.there += 1,
            }
        }
        let listings = listings.iter().map(|(artifact, manifest)| {
            let json = serde_json::to_vec(manifest).map_err(std::io::Error::from);
            (self.listing(artifact), json)
        });
        self.send_texts(listings).await?;
        let records = actions.iter().map(|action| {
            let text = action.to_record().map(String::into_bytes).map_err(std::io::Error::from);
            (self.record(&action.key), text)
        });
        self.send_texts(records).await?;
        Ok(report)
    }

    /// Writes small files that are not there.
    async fn send_texts(
        &self,
        texts: impl Iterator<Item = (Path, std::io::Result<Vec<u8>>)>,
    ) -> Result<(), CacheError> {
        let send = async |(path, text): (Path, std::io::Result<Vec<u8>>)| {
            let text = text?;
            if self.size(&path).await? == Some(text.len() as u64) {
                return Ok(());
            }
            let put = self.store.put(&path, PutPayload::from(text)).await;
            put.map(drop).map_err(|error| self.failed("writing", &path, &error))
        };
        stream::iter(texts).map(send).buffer_unordered(AT_ONCE).try_for_each(async |()| Ok(())).await
    }

    /// Sends a file, and returns its bytes; `None` if it was there.
    async fn send_blob(&self, blob: &Blob, progress: &Progress<'_>) -> Result<Option<u64>, CacheError> {
        let (path, size) = (self.blob(&blob.entry.digest), blob.entry.size);
        if self.size(&path).await? == Some(size) {
            progress.done(size);
            return Ok(None);
        }
        if size > PART {
            self.send_parts(blob, &path, progress).await?;
        } else {
            let bytes = fs_err::read(&blob.path)?;
            if Digest::of(&bytes) != blob.entry.digest {
                return Err(damaged_here(blob));
            }
            let put = self.store.put(&path, PutPayload::from(bytes)).await;
            put.map_err(|error| self.failed("writing", &path, &error))?;
            progress.done(size);
        }
        Ok(Some(size))
    }

    async fn send_parts(&self, blob: &Blob, path: &Path, progress: &Progress<'_>) -> Result<(), CacheError> {
        let failed = |error| self.failed("writing", path, &error);
        let part = PART.max(blob.entry.size / MOST_PARTS);
        let mut file = fs_err::File::open(&blob.path)?;
        let upload = self.store.put_multipart(path).await.map_err(failed)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, part as usize);
        let mut hasher = Hasher::default();
        loop {
            let mut bytes = Vec::new();
            file.by_ref().take(part).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                break;
            }
            hasher.update(&bytes);
            writer.wait_for_capacity(PARTS_AT_ONCE).await.map_err(failed)?;
            progress.done(bytes.len() as u64);
            writer.put(bytes.into());
        }
        if hasher.digest() != blob.entry.digest {
            writer.abort().await.map_err(failed)?;
            return Err(damaged_here(blob));
        }
        writer.finish().await.map(drop).map_err(failed)
    }
}

fn damaged_here(blob: &Blob) -> CacheError {
    let (digest, file) = (blob.artifact, blob.entry.path.clone());
    CacheError::Damaged { digest, file, problem: "has other bytes than those committed".to_owned(), moved_to: None }
}
