//! One safetensors file, open for reading.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::header::{self, Entry};
use super::map::Bytes;
use super::{Dtype, TensorError};

/// A safetensors file whose header has been checked. The data stays on disk until it is looked at.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Bytes,
    entries: BTreeMap<String, Entry>,
}

impl TensorFile {
    /// Opens a file and checks its header against its size.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let bytes = Bytes::of(path)?;
        let entries = header::read(path, &bytes)?;
        Ok(Self { path: path.to_owned(), bytes, entries })
    }

    /// Returns where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Returns the place of a tensor's first byte in the file.
    pub(super) fn start(&self, name: &str) -> Option<u64> {
        Some(self.entries.get(name)?.start as u64)
    }

    /// Has a tensor's numbers `from .. to` brought into memory at once.
    pub fn expect(&self, name: &str, from: usize, to: usize) {
        if let Some((start, end)) = self.place(name, from, to) {
            self.bytes.expect(start, end);
        }
    }

    /// Lets go of the memory behind a tensor's numbers `from .. to`; they are read again when they are needed.
    pub fn release(&self, name: &str, from: usize, to: usize) {
        if let Some((start, end)) = self.place(name, from, to) {
            self.bytes.release(start, end);
        }
    }

    /// Returns where a tensor's numbers `from .. to` lie in the file.
    fn place(&self, name: &str, from: usize, to: usize) -> Option<(usize, usize)> {
        let entry = self.entries.get(name)?;
        let at = |number: usize| entry.end.min(entry.start.saturating_add(number.saturating_mul(entry.dtype.size())));
        Some((at(from), at(to)))
    }

    /// Returns a tensor, if it is there.
    pub fn get(&self, name: &str) -> Option<View<'_>> {
        let entry = self.entries.get(name)?;
        Some(View { dtype: entry.dtype, shape: &entry.shape, bytes: &self.bytes[entry.start..entry.end] })
    }
}

/// A tensor as it lies in its file: row-major, little-endian, not necessarily aligned.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// How a number is stored.
    pub dtype: Dtype,
    /// The length of each axis; empty for a single number.
    pub shape: &'a [usize],
    /// The numbers.
    pub bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// Returns how many numbers there are.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Returns the bytes of the numbers `from .. from + count`.
    ///
    /// # Panics
    /// If they are not all there.
    pub fn slice(&self, from: usize, count: usize) -> &'a [u8] {
        let size = self.dtype.size();
        &self.bytes[from * size..(from + count) * size]
    }

    /// Writes the numbers that begin at `from` to `out`, as many as fit.
    ///
    /// # Panics
    /// If fewer than `out.len()` are left.
    pub fn read_f32(&self, from: usize, out: &mut [f32]) {
        self.dtype.read_f32(self.slice(from, out.len()), out);
    }

    /// Returns all numbers.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut numbers = vec![0.0; self.count()];
        self.read_f32(0, &mut numbers);
        numbers
    }
}
