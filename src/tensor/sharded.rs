//! Writes the weights of a model in any order, from any thread, into one file or into several with an index.
//!
//! All sizes are known before the first number is, so every tensor has its place in the end from the beginning: nothing
//! is held back until a file is full, and threads write side by side. Inside a file the tensors lie as the reference
//! implementation puts them: wide types first, then by name. Which tensors share a file is decided in the declared
//! order, as MergeKit does: a file ends before the tensor that would make it too large.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::writer::{header, place};
use super::{Declared, TensorError, WEIGHTS_FILE, WEIGHTS_INDEX_FILE};

/// The weights of a model that are being written.
#[derive(Debug)]
pub struct ShardedWriter {
    dir: PathBuf,
    files: Vec<Shard>,
    /// In the declared order.
    tensors: Vec<Place>,
}

/// A file that is being written.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    /// Open from the first write to the last: of a thousand shards few are open at a time. Held by who writes; the system
    /// lets one thread write to a file at a time anyway, and those that wait for it turn on the spot.
    file: Mutex<Option<fs_err::File>>,
    /// Bytes of tensors that are still to be written.
    left: AtomicU64,
}

impl Shard {
    /// Counts bytes of a tensor, and returns whether they were the last ones.
    fn wrote(&self, place: &Place, bytes: u64) -> bool {
        place.written.fetch_add(bytes, Ordering::Relaxed);
        self.left.fetch_sub(bytes, Ordering::Relaxed) == bytes
    }
}

/// Where a tensor goes.
#[derive(Debug)]
struct Place {
    name: String,
    file: usize,
    /// From the first byte of the file.
    start: u64,
    size: u64,
    /// How many bytes were written, to notice a tensor that is not whole.
    written: AtomicU64,
}

impl ShardedWriter {
    /// Creates the files, none of which holds more than `most` bytes of tensors unless it holds a single one.
    pub fn create(dir: &Path, declared: &[Declared], most: u64) -> Result<Self, TensorError> {
        let shards = share_out(declared, most);
        let mut files = Vec::new();
        let mut places: BTreeMap<usize, (usize, u64, u64)> = BTreeMap::new();
        for (i, shard) in shards.iter().enumerate() {
            let path = dir.join(file_name(i, shards.len()));
            let mut order = shard.clone();
            order.sort_by(|a, b| {
                let (a, b) = (&declared[*a], &declared[*b]);
                b.dtype.stored().cmp(&a.dtype.stored()).then_with(|| a.name.cmp(&b.name))
            });
            let sorted: Vec<Declared> = order.iter().map(|tensor| declared[*tensor].clone()).collect();
            let infos = place(&path, &sorted)?;
            let head = header(&infos)?;
            let file = fs_err::File::create(&path)?;
            write_at(&file, 0, &head)?;
            let end = infos.last().map_or(0, |(_, info)| info.data_offsets.1);
            file.set_len((head.len() + end) as u64)?;
            for (tensor, (_, info)) in order.into_iter().zip(infos) {
                let (start, end) = info.data_offsets;
                places.insert(tensor, (i, (head.len() + start) as u64, (end - start) as u64));
            }
            files.push(Shard { path, file: Mutex::new(None), left: AtomicU64::new(end as u64) });
        }
        let tensors = declared.iter().zip(places.into_values()).map(|(tensor, (file, start, size))| Place {
            name: tensor.name.clone(),
            file,
            start,
            size,
            written: AtomicU64::new(0),
        });
        Ok(Self { dir: dir.to_owned(), tensors: tensors.collect(), files })
    }

    /// Writes bytes of the declared tensor with this number, from the byte `from` of it on. Each byte is written once.
    pub fn write_at(&self, tensor: usize, from: usize, bytes: &[u8]) -> Result<(), TensorError> {
        let (place, shard, at) = self.check(tensor, from, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut open = shard.file.lock().unwrap_or_else(PoisonError::into_inner);
        if open.is_none() {
            *open = Some(fs_err::OpenOptions::new().write(true).open(&shard.path)?);
        }
        if let Some(file) = &*open {
            write_at(file, at, bytes)?;
        }
        if shard.wrote(place, bytes.len() as u64) {
            *open = None;
        }
        Ok(())
    }

    /// As [`Self::write_at`], with `size` bytes that lie in another file at `start`. They need not pass through memory,
    /// and where the file system can, they are shared.
    pub fn copy(&self, tensor: usize, from: usize, source: &Path, start: u64, size: usize) -> Result<(), TensorError> {
        let (place, shard, at) = self.check(tensor, from, size)?;
        let mut source = fs_err::File::open(source)?.into_parts().0;
        source.seek(SeekFrom::Start(start))?;
        let mut file = fs_err::OpenOptions::new().write(true).open(&shard.path)?.into_parts().0;
        file.seek(SeekFrom::Start(at))?;
        let copied = std::io::copy(&mut source.take(size as u64), &mut file)?;
        if copied != size as u64 {
            return Err(self.misuse(place, "the file it is copied from ends too early"));
        }
        shard.wrote(place, copied);
        Ok(())
    }

    /// Returns where bytes of a tensor belong, if they fit.
    fn check(&self, tensor: usize, from: usize, size: usize) -> Result<(&Place, &Shard, u64), TensorError> {
        let place = &self.tensors[tensor];
        let (from, size) = (from as u64, size as u64);
        if from.checked_add(size).is_none_or(|end| end > place.size) {
            return Err(self.misuse(place, "more bytes than were declared"));
        }
        Ok((place, &self.files[place.file], place.start + from))
    }

    /// Ends the files, and writes their index if there are several. An error if a tensor is not whole.
    pub fn finish(self) -> Result<(), TensorError> {
        let torn = |place: &&Place| place.written.load(Ordering::Relaxed) != place.size;
        if let Some(place) = self.tensors.iter().find(torn) {
            return Err(self.misuse(place, "it was declared and not written whole"));
        }
        if self.files.len() < 2 {
            return Ok(());
        }
        let total: u64 = self.tensors.iter().map(|place| place.size).sum();
        let count = self.files.len();
        let map: BTreeMap<&str, String> =
            self.tensors.iter().map(|place| (place.name.as_str(), file_name(place.file, count))).collect();
        let index = json!({"metadata": {"total_size": total}, "weight_map": map});
        let mut text = serde_json::to_vec_pretty(&index).map_err(std::io::Error::from)?;
        text.push(b'\n');
        Ok(fs_err::write(self.dir.join(WEIGHTS_INDEX_FILE), text)?)
    }

    fn misuse(&self, place: &Place, reason: &str) -> TensorError {
        let file = self.files[place.file].path.clone();
        TensorError::Tensor { file, tensor: place.name.clone(), reason: reason.to_owned() }
    }
}

/// Returns which of the declared tensors lie in each file.
fn share_out(declared: &[Declared], most: u64) -> Vec<Vec<usize>> {
    let mut shards = vec![Vec::new()];
    let mut size = 0_u64;
    for (i, tensor) in declared.iter().enumerate() {
        let bytes =
            tensor.shape.iter().fold(tensor.dtype.size() as u64, |bytes, side| bytes.saturating_mul(*side as u64));
        if size > 0 && size.saturating_add(bytes) > most {
            shards.push(Vec::new());
            size = 0;
        }
        size = size.saturating_add(bytes);
        if let Some(shard) = shards.last_mut() {
            shard.push(i);
        }
    }
    shards
}

fn file_name(i: usize, count: usize) -> String {
    if count == 1 { WEIGHTS_FILE.to_owned() } else { format!("model-{:05}-of-{count:05}.safetensors", i + 1) }
}

#[cfg(unix)]
fn write_at(file: &fs_err::File, at: u64, bytes: &[u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file.file(), bytes, at)
}

#[cfg(windows)]
fn write_at(file: &fs_err::File, mut at: u64, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file.file(), bytes, at)?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        at += written as u64;
        bytes = &bytes[written..];
    }
    Ok(())
}
