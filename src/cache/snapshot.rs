//! The last state of a pipeline in which every node was fresh, so that the next look costs a stat a file.
//!
//! Deciding about a node takes its settings, its key, its record and its listing: some hundred microseconds. When nothing
//! changed since the last look, all of that gives what it gave then, and only three questions are left: is the text the
//! same, do the sources look the same, is every file of every artifact there with its size. This file holds what these
//! questions need, and what a look prints.
//!
//! It may be deleted at any time, and a doubt means that there is none: it is sealed by a digest, belongs to one index
//! file (so that a cache that was copied or lost its index asks anew), and goes before anything is taken out of the
//! cache. A file's digest is trusted under the same rule as in [`super::stat`]. Only the listings beside the artifacts are
//! not looked at: one that is lost is made again by the next look that needs it.
//!
//! Encoded by hand, since 30,000 nodes are read within a few milliseconds: numbers are 8 bytes little-endian, a text is
//! its length and its bytes, a list is its length and its items.

use std::collections::HashSet;
use std::path::Path;

use super::files::{self, is_absent};
use super::objects::Sizes;
use super::platform::Stamp;
use super::stat::{Seen, stamp_of};
use super::store::held;
use super::{Cache, CacheError};
use crate::digest::Digest;

const START: &[u8] = b"luthflow snapshot 1\n";

/// The longest snapshot that is read, in bytes.
const LONGEST: u64 = 1 << 30;

/// The state of a pipeline in which every node instance was fresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What it is the state of: the digest of the pipeline's text and all else that decides what it means.
    pub identity: Digest,
    /// The name of the pipeline.
    pub pipeline: String,
    /// The digest of the lockfile; `None` if there is none.
    pub lock: Option<Digest>,
    /// Whether the lockfile holds exactly this state, so that a run would write the same.
    pub locked: bool,
    /// Other things that the text stands for, by name, with the digest of what they were: included files, variables.
    pub reads: Vec<(String, Digest)>,
    /// The nodes that take files from outside.
    pub sources: Vec<SnapshotSource>,
    /// Every node instance, in the order of the plan.
    pub instances: Vec<SnapshotInstance>,
    /// The order in which a run tells of them, as places in `instances`.
    pub turns: Vec<u64>,
}

/// A mark of the last time that something was taken out of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(Option<(u64, i64)>);

/// A fresh node instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInstance {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: Digest,
    /// Its artifact.
    pub artifact: Digest,
}

/// A node that takes files from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSource {
    /// Its place in [`Snapshot::instances`].
    pub instance: u64,
    /// Its settings, as JSON: they say how its files are found.
    pub fields: String,
    /// Its files, as they were found.
    pub files: Vec<SeenFile>,
}

/// A file outside the cache, and how it looked when it was digested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenFile {
    /// Its name in the artifact.
    pub name: String,
    /// Where it lies.
    pub path: String,
    seen: Seen,
}

impl SeenFile {
    /// Says whether the file still has the digest that it had.
    pub fn holds(&self) -> bool {
        stamp_of(Path::new(&self.path)).is_ok_and(|stamp| self.seen.holds(stamp))
    }
}

/// The files of the artifacts, each artifact once: path and size.
type Artifacts = Vec<(Digest, Sizes)>;

impl Cache {
    /// Returns what is known of a file; nothing if it is not on record with this digest.
    pub fn seen_file(&self, name: &str, path: &Path, digest: &Digest) -> Option<SeenFile> {
        let seen = self.seen(path).filter(|seen| seen.digest == *digest)?;
        Some(SeenFile { name: name.to_owned(), path: path.to_str()?.to_owned(), seen })
    }

    /// Returns the snapshot of a pipeline, if it is of this state and every file of its artifacts is there.
    pub fn snapshot(&self, scope: &str, identity: &Digest) -> Option<Snapshot> {
        let bytes = files::read_bounded(&self.layout.snapshot(scope), LONGEST).ok()??;
        let (snapshot, index, artifacts) = decode(&bytes, Some(identity))?;
        drop(bytes);
        (Some(index) == self.index_mark() && self.are_there(&artifacts)).then_some(snapshot)
    }

    /// Takes from the snapshot of a pipeline, whatever state it is of, which files its artifacts have: an edit leaves most
    /// of them as they are, and a listing each need not be read.
    pub fn know_artifacts(&self, scope: &str) {
        let bytes = files::read_bounded(&self.layout.snapshot(scope), LONGEST).ok().flatten();
        let Some((_, index, artifacts)) = bytes.and_then(|bytes| decode(&bytes, None)) else { return };
        if Some(index) == self.index_mark() {
            *held(&self.known) = artifacts.into_iter().collect();
        }
    }

    /// Keeps a snapshot. Where it cannot be written, the next look only takes longer.
    /// Not if anything was taken out of the cache since `epoch`.
    pub fn keep_snapshot(&self, scope: &str, snapshot: &Snapshot, epoch: Epoch) -> Result<(), CacheError> {
        self.need_write("keeping a snapshot")?;
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut artifacts = Artifacts::new();
        for instance in &snapshot.instances {
            if seen.insert(instance.artifact) {
                let Some(files) = self.sizes(&instance.artifact)? else { return Ok(()) };
                artifacts.push((instance.artifact, files));
            }
        }
        let Some(index) = self.index_mark() else { return Ok(()) };
        let bytes = encode(snapshot, index, &artifacts);
        fs_err::create_dir_all(self.layout.snapshots())?;
        // Under the gate: nothing is withdrawn between the question and the answer.
        let _gate = self.gate()?;
        if self.snapshot_epoch() != epoch {
            return Ok(());
        }
        Ok(files::write_lightly(&self.layout.snapshot(scope), &bytes, &self.scratch()?)?)
    }

    /// Forgets the snapshot of a pipeline.
    pub fn drop_snapshot(&self, scope: &str) -> Result<(), CacheError> {
        match fs_err::remove_file(self.layout.snapshot(scope)) {
            Err(error) if !is_absent(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Forgets all snapshots: to be called before records are taken out of the cache.
    pub fn drop_snapshots(&self) -> Result<(), CacheError> {
        // Before the files go: what another process is about to keep was true until now.
        files::write_lightly(&self.layout.epoch(), b"", &self.scratch()?)?;
        for path in files::sorted_entries(&self.layout.snapshots())? {
            match fs_err::remove_file(path) {
                // Another collection was quicker.
                Err(error) if !files::is_absent(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns a mark of the last time that something was taken out of the cache.
    pub fn snapshot_epoch(&self) -> Epoch {
        let metadata = fs_err::metadata(self.layout.epoch()).ok();
        Epoch(metadata.map(|metadata| Stamp::of(&metadata)).map(|stamp| (stamp.inode, stamp.changed)))
    }

    /// Tells one index file from another. A snapshot stands for rows of the one it was made beside.
    fn index_mark(&self) -> Option<(u64, u64)> {
        let stamp = Stamp::of(&fs_err::metadata(self.layout.index()).ok()?);
        Some((stamp.device, stamp.inode))
    }

    /// Says whether every file of these artifacts is there with its size: what `is_complete` asks, without the listings.
    fn are_there(&self, artifacts: &Artifacts) -> bool {
        artifacts.iter().all(|(artifact, entries)| {
            let tree = self.layout.object(artifact);
            let is_there = |(path, size): &(String, u64)| {
                fs_err::symlink_metadata(tree.join(path)).is_ok_and(|found| found.is_file() && found.len() == *size)
            };
            entries.iter().all(is_there) && (!entries.is_empty() || tree.is_dir())
        })
    }
}

/// Bytes in the making.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn digest(&mut self, digest: &Digest) {
        self.0.extend(digest.as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }

    fn file(&mut self, file: &SeenFile) {
        self.text(&file.name);
        self.text(&file.path);
        let Seen { stamp: Stamp { size, modified, changed, inode, device }, hashed, digest } = file.seen;
        for number in [size, modified as u64, changed as u64, inode, device, hashed as u64] {
            self.number(number);
        }
        self.digest(&digest);
    }
}

fn encode(snapshot: &Snapshot, index: (u64, u64), artifacts: &Artifacts) -> Vec<u8> {
    let mut out = Writer(START.to_vec());
    out.digest(&snapshot.identity);
    out.number(index.0);
    out.number(index.1);
    out.text(&snapshot.pipeline);
    out.list(snapshot.lock.as_slice(), Writer::digest);
    out.number(snapshot.locked.into());
    out.list(&snapshot.reads, |out, (name, digest)| {
        out.text(name);
        out.digest(digest);
    });
    out.list(&snapshot.sources, |out, source| {
        out.number(source.instance);
        out.text(&source.fields);
        out.list(&source.files, Writer::file);
    });
    out.list(&snapshot.instances, |out, instance| {
        out.text(&instance.name);
        out.text(&instance.kind);
        out.digest(&instance.key);
        out.digest(&instance.artifact);
    });
    out.list(&snapshot.turns, |out, turn| out.number(*turn));
    out.list(artifacts, |out, (artifact, entries)| {
        out.digest(artifact);
        out.list(entries, |out, (path, size)| {
            out.text(path);
            out.number(*size);
        });
    });
    let seal = Digest::of(&out.0);
    out.digest(&seal);
    out.0
}

/// Bytes being read. Whatever does not fit ends the reading.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> Option<Digest> {
        self.take(32)?.try_into().ok().map(Digest::from_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok().map(str::to_owned)
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        // Every item takes 8 bytes or more: no allocation on the word of a length.
        let mut items = Vec::with_capacity(count.min(self.0.len() / 8));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Some(items)
    }

    fn file(&mut self) -> Option<SeenFile> {
        let (name, path) = (self.text()?, self.text()?);
        let (size, modified, changed) = (self.number()?, self.number()? as i64, self.number()? as i64);
        let (inode, device) = (self.number()?, self.number()?);
        let stamp = Stamp { size, modified, changed, inode, device };
        Some(SeenFile { name, path, seen: Seen { stamp, hashed: self.number()? as i64, digest: self.digest()? } })
    }
}

/// Reads a snapshot, the index that it belongs to and its artifacts; nothing if it is not whole, or of another state than
/// the one wanted.
fn decode(bytes: &[u8], wanted: Option<&Digest>) -> Option<(Snapshot, (u64, u64), Artifacts)> {
    let mut reader = Reader(bytes.strip_prefix(START)?);
    let identity = reader.digest().filter(|identity| wanted.is_none_or(|wanted| identity == wanted))?;
    let (body, seal) = bytes.split_last_chunk::<32>()?;
    if Digest::of(body) != Digest::from_bytes(*seal) {
        return None;
    }
    let index = (reader.number()?, reader.number()?);
    let pipeline = reader.text()?;
    let (lock, locked) = (reader.list(Reader::digest)?.pop(), reader.number()? == 1);
    let reads = reader.list(|reader| Some((reader.text()?, reader.digest()?)))?;
    let sources = reader.list(|reader| {
        let (instance, fields, files) = (reader.number()?, reader.text()?, reader.list(Reader::file)?);
        Some(SnapshotSource { instance, fields, files })
    })?;
    let instances = reader.list(|reader| {
        let (name, kind, key, artifact) = (reader.text()?, reader.text()?, reader.digest()?, reader.digest()?);
        Some(SnapshotInstance { name, kind, key, artifact })
    })?;
    let turns = reader.list(Reader::number)?;
    let entry = |reader: &mut Reader<'_>| Some((reader.text()?, reader.number()?));
    let artifacts = reader.list(|reader| Some((reader.digest()?, reader.list(entry)?.into())))?;
    let snapshot = Snapshot { identity, pipeline, lock, locked, reads, sources, instances, turns };
    (reader.0.len() == 32).then_some((snapshot, index, artifacts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> (Snapshot, Artifacts) {
        let stamp = Stamp { size: 1, modified: -2, changed: 3, inode: 4, device: 5 };
        let seen = Seen { stamp, hashed: 6, digest: Digest::of(b"file") };
        let file = SeenFile { name: "é.txt".into(), path: "/data/é.txt".into(), seen };
        let instance = |name: &str| SnapshotInstance {
            name: name.into(),
            kind: "source".into(),
            key: Digest::of(name.as_bytes()),
            artifact: Digest::of(b"artifact"),
        };
        let snapshot = Snapshot {
            identity: Digest::of(b"identity"),
            pipeline: "tiny".into(),
            lock: Some(Digest::of(b"lock")),
            locked: true,
            reads: vec![("more.yaml".into(), Digest::of(b"more"))],
            sources: vec![SnapshotSource { instance: 0, fields: "{}".into(), files: vec![file] }],
            instances: vec![instance("a"), instance("b[t=0.5]")],
            turns: vec![1, 0],
        };
        let artifacts =
            vec![(Digest::of(b"artifact"), [("rows/x".into(), 7)].into()), (Digest::of(b"empty"), [].into())];
        (snapshot, artifacts)
    }

    #[test]
    fn what_is_written_reads_back_and_every_flipped_bit_is_seen() {
        let (snapshot, artifacts) = snapshot();
        let bytes = encode(&snapshot, (8, 9), &artifacts);
        let identity = snapshot.identity;
        assert_eq!(decode(&bytes, Some(&identity)), Some((snapshot, (8, 9), artifacts)));
        assert_eq!(decode(&bytes, Some(&Digest::of(b"other"))), None);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[place] ^= 1 << bit;
                assert_eq!(decode(&damaged, None), None, "byte {place}, bit {bit}");
            }
            assert_eq!(decode(&bytes[..place], None), None);
        }
    }

    #[test]
    fn a_sealed_text_that_promises_too_much_is_refused() {
        let mut out = Writer(START.to_vec());
        out.digest(&Digest::of(b"identity"));
        for _ in 0..6 {
            out.number(u64::MAX / 2);
        }
        let seal = Digest::of(&out.0);
        out.digest(&seal);
        assert_eq!(decode(&out.0, None), None);
    }
}
