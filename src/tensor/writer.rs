//! Writes a safetensors file tensor by tensor, so that no more than a piece of one is ever in memory.
//!
//! The bytes depend on nothing but the declarations and the data: the tensors lie in the declared order, the header is
//! padded with spaces to a multiple of eight bytes, and the only metadata is `{"format":"pt"}`, which transformers asks
//! for. Tensors declared in name order and of one type give the file that the reference implementation would write.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Dtype, TensorError};

/// A tensor that is going to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The name, unlike all others.
    pub name: String,
    /// How its numbers are stored.
    pub dtype: Dtype,
    /// The length of each axis.
    pub shape: Vec<usize>,
}

/// A safetensors file that is being written.
#[derive(Debug)]
pub struct TensorWriter {
    path: PathBuf,
    out: BufWriter<fs_err::File>,
    tensors: Vec<(String, TensorInfo)>,
    /// The tensor being written, and the bytes of it that are there.
    current: usize,
    written: usize,
    rounded: Vec<u8>,
}

impl TensorWriter {
    /// Creates the file and writes its header. The tensors must then be written whole and in this order.
    pub fn create(path: &Path, declared: &[Declared]) -> Result<Self, TensorError> {
        let tensors = place(path, declared)?;
        let mut out = BufWriter::with_capacity(1 << 20, fs_err::File::create(path)?);
        out.write_all(&header(&tensors)?)?;
        let mut writer = Self { path: path.to_owned(), out, tensors, current: 0, written: 0, rounded: Vec::new() };
        writer.skip_whole();
        Ok(writer)
    }

    /// Writes the next bytes of a tensor: all of it, or a piece that goes on where the last one ended.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), TensorError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let Some((expected, info)) = self.tensors.get(self.current) else {
            return Err(self.misuse(name, "all declared tensors are written already"));
        };
        if expected != name {
            let reason = format!("`{expected}` was to be written first");
            return Err(self.misuse(name, &reason));
        }
        let size = info.data_offsets.1 - info.data_offsets.0;
        if bytes.len() > size - self.written {
            let reason = format!("{} bytes are more than the {size} declared", self.written + bytes.len());
            return Err(self.misuse(name, &reason));
        }
        self.out.write_all(bytes)?;
        self.written += bytes.len();
        self.skip_whole();
        Ok(())
    }

    /// Writes the next numbers of a tensor, rounded to its type.
    pub fn write_f32(&mut self, name: &str, numbers: &[f32]) -> Result<(), TensorError> {
        let dtype = self.tensors.get(self.current).and_then(|(_, info)| Dtype::from_stored(info.dtype));
        let dtype = dtype.unwrap_or(Dtype::F32);
        let mut rounded = std::mem::take(&mut self.rounded);
        rounded.resize(numbers.len() * dtype.size(), 0);
        dtype.write_f32(numbers, &mut rounded);
        let done = self.write(name, &rounded);
        self.rounded = rounded;
        done
    }

    /// Ends the file. An error if a declared tensor is not whole.
    pub fn finish(mut self) -> Result<(), TensorError> {
        if let Some((name, _)) = self.tensors.get(self.current) {
            return Err(self.misuse(name, "it was declared and not written to its end"));
        }
        self.out.flush()?;
        Ok(())
    }

    fn skip_whole(&mut self) {
        while let Some((_, info)) = self.tensors.get(self.current) {
            if self.written < info.data_offsets.1 - info.data_offsets.0 {
                return;
            }
            self.current += 1;
            self.written = 0;
        }
    }

    fn misuse(&self, tensor: &str, reason: &str) -> TensorError {
        TensorError::Tensor { file: self.path.clone(), tensor: tensor.to_owned(), reason: reason.to_owned() }
    }
}

/// Returns the bytes before the data: the length of the header, and the header.
pub(super) fn header(tensors: &[(String, TensorInfo)]) -> Result<Vec<u8>, TensorError> {
    let mut header = serde_json::to_vec(&Header(tensors)).map_err(std::io::Error::from)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut header);
    Ok(bytes)
}

/// Returns where each tensor will lie.
pub(super) fn place(path: &Path, declared: &[Declared]) -> Result<Vec<(String, TensorInfo)>, TensorError> {
    let mut names = BTreeSet::from(["__metadata__"]);
    let mut position = 0_usize;
    let mut tensors = Vec::with_capacity(declared.len());
    for Declared { name, dtype, shape } in declared {
        let bad = |reason: &str| TensorError::Tensor {
            file: path.to_owned(),
            tensor: name.clone(),
            reason: reason.to_owned(),
        };
        if !names.insert(name) {
            return Err(bad("the name is taken"));
        }
        let size = shape.iter().try_fold(dtype.size(), |bytes, side| bytes.checked_mul(*side));
        let end = size.and_then(|size| position.checked_add(size)).ok_or_else(|| bad("it is too large"))?;
        let info = TensorInfo { dtype: dtype.stored(), shape: shape.clone(), data_offsets: (position, end) };
        tensors.push((name.clone(), info));
        position = end;
    }
    Ok(tensors)
}

/// The crate's own header type keeps its entries in a hash map; this one writes them in order.
struct Header<'a>(&'a [(String, TensorInfo)]);

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len() + 1))?;
        map.serialize_entry("__metadata__", &serde_json::json!({"format": "pt"}))?;
        for (name, info) in self.0 {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}
