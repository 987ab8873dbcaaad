//! Writes a GGUF file (version 3, little-endian), tensor by tensor, so that no more than a piece of one is in memory.
//!
//! The bytes depend on nothing but what is written: settings and tensors lie in the order they were given.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::block::Block;
use super::error::GgufError;
use super::file::{ALIGNMENT, MAGIC};
use super::value::Kind;

const VERSION: u32 = 3;

/// A setting that is going to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    U32(u32),
    F32(f32),
    Truth(bool),
    Text(String),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    Texts(Vec<String>),
}

/// The settings of a file, in order.
pub(super) type Settings = Vec<(String, Written)>;

/// A tensor that is going to be written.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) block: Block,
    /// The length of each axis, outermost first.
    pub(super) shape: Vec<usize>,
}

impl Declared {
    fn size(&self) -> Option<usize> {
        let count = self.shape.iter().try_fold(1_usize, |all, side| all.checked_mul(*side))?;
        self.block.size_of(count)
    }
}

/// A GGUF file that is being written.
pub(super) struct GgufWriter {
    path: PathBuf,
    out: BufWriter<fs_err::File>,
    /// The tensors that are not whole yet, last one first, with the bytes that are missing.
    left: Vec<(String, usize)>,
    written: usize,
}

impl GgufWriter {
    /// Creates a file and writes its header. The tensors must then be written whole and in this order.
    pub(super) fn create(path: &Path, settings: &Settings, tensors: &[Declared]) -> Result<Self, GgufError> {
        let mut left = Vec::with_capacity(tensors.len());
        let mut header = head(settings, tensors.len());
        let mut offset = 0_usize;
        for tensor in tensors {
            let too_large = || GgufError::tensor(path, &tensor.name, "it is too large, or its rows fill no blocks");
            let size = tensor.size().ok_or_else(too_large)?;
            text(&mut header, &tensor.name);
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            for side in tensor.shape.iter().rev() {
                header.extend((*side as u64).to_le_bytes());
            }
            header.extend(tensor.block.number().to_le_bytes());
            header.extend((offset as u64).to_le_bytes());
            let next = offset.checked_add(size).and_then(|end| end.checked_next_multiple_of(ALIGNMENT));
            offset = next.ok_or_else(too_large)?;
            left.push((tensor.name.clone(), size));
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
        left.reverse();
        let mut out = BufWriter::with_capacity(1 << 20, fs_err::File::create(path)?);
        out.write_all(&header)?;
        Ok(Self { path: path.to_owned(), out, left, written: 0 })
    }

    /// Writes the next bytes of a tensor: all of it, or a piece that goes on where the last one ended.
    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), GgufError> {
        let misuse = |reason: &str| GgufError::tensor(&self.path, name, reason);
        let Some((expected, missing)) = self.left.last_mut() else {
            return Err(misuse("all declared tensors are written already"));
        };
        if expected != name {
            return Err(misuse("another one was to be written first"));
        }
        let Some(still) = missing.checked_sub(bytes.len()) else {
            return Err(misuse("it has more bytes than were declared"));
        };
        *missing = still;
        self.out.write_all(bytes)?;
        self.written += bytes.len();
        if still == 0 {
            self.left.pop();
            let padded = self.written.next_multiple_of(ALIGNMENT);
            self.out.write_all(&[0; ALIGNMENT][..padded - self.written])?;
            self.written = padded;
        }
        Ok(())
    }

    /// Ends the file. An error if a declared tensor is not whole.
    pub(super) fn finish(mut self) -> Result<(), GgufError> {
        if let Some((name, _)) = self.left.last() {
            return Err(GgufError::tensor(&self.path, name, "it was declared and not written to its end"));
        }
        Ok(self.out.flush()?)
    }
}

fn head(settings: &Settings, tensors: usize) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors as u64).to_le_bytes());
    out.extend((settings.len() as u64).to_le_bytes());
    for (key, value) in settings {
        text(&mut out, key);
        setting(&mut out, value);
    }
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn setting(out: &mut Vec<u8>, value: &Written) {
    let kind = |out: &mut Vec<u8>, kind: Kind| out.extend(kind.number().to_le_bytes());
    let array = |out: &mut Vec<u8>, of: Kind, count: usize| {
        kind(out, Kind::Array);
        kind(out, of);
        out.extend((count as u64).to_le_bytes());
    };
    match value {
        Written::U32(number) => {
            kind(out, Kind::U32);
            out.extend(number.to_le_bytes());
        }
        Written::F32(number) => {
            kind(out, Kind::F32);
            out.extend(number.to_le_bytes());
        }
        Written::Truth(truth) => {
            kind(out, Kind::Bool);
            out.push(u8::from(*truth));
        }
        Written::Text(value) => {
            kind(out, Kind::String);
            text(out, value);
        }
        Written::I32s(numbers) => {
            array(out, Kind::I32, numbers.len());
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        Written::F32s(numbers) => {
            array(out, Kind::F32, numbers.len());
            out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        Written::Texts(texts) => {
            array(out, Kind::String, texts.len());
            for item in texts {
                text(out, item);
            }
        }
    }
}
