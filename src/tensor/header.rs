//! The header of a safetensors file: which tensors there are, and where.
//!
//! Layout, as <https://github.com/huggingface/safetensors> fixes it: eight bytes for the length of the header
//! (little-endian), the header as JSON, then the data. Here the checks are stated once: a bound on the header before
//! anything is allocated for it, no name twice, sizes computed without overflow, and tensors that cover the data from
//! its first byte to its last without a gap or an overlap, so that no byte of a file is without meaning.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Dtype, TensorError};

/// The longest header that is read, in bytes; the reference implementation's bound.
const MAX_HEADER: u64 = 100_000_000;

/// Where a tensor lies in its file, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// From the first byte of the file.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Reads the header at the front of `bytes`, the whole content of `file`.
pub(super) fn read(file: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Entry>, TensorError> {
    let bad = |reason: String| TensorError::Header { file: file.to_owned(), reason };
    let Some((prefix, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(bad(format!("{} bytes are too few for a header", bytes.len())));
    };
    let length = u64::from_le_bytes(*prefix);
    if length > MAX_HEADER {
        return Err(bad(format!("its header claims {length} bytes, more than the {MAX_HEADER} that are allowed")));
    }
    let Some((header, data)) = rest.split_at_checked(length as usize) else {
        return Err(bad(format!("its header claims {length} bytes and {} are there", rest.len())));
    };
    let listed: Listed = serde_json::from_slice(header).map_err(|error| bad(format!("its header: {error}")))?;
    lay_out(file, listed.0, bytes.len() - data.len(), data.len())
}

/// Holds the tensors of a header against the `size` bytes of data that begin at `offset` in the file.
fn lay_out(
    file: &Path,
    mut listed: Vec<(String, TensorInfo)>,
    offset: usize,
    size: usize,
) -> Result<BTreeMap<String, Entry>, TensorError> {
    listed.sort_by_key(|(_, info)| info.data_offsets);
    let mut entries = BTreeMap::new();
    let mut position = 0;
    for (name, info) in listed {
        let bad = |reason: String| TensorError::Tensor { file: file.to_owned(), tensor: name.clone(), reason };
        let dtype = Dtype::from_stored(info.dtype).ok_or_else(|| {
            bad(format!("its type {} is not one of F64, F32, F16, BF16, nor a plain whole number", info.dtype))
        })?;
        let (start, end) = info.data_offsets;
        if end > size || start > end {
            return Err(bad(format!("bytes {start} to {end} are not within the {size} bytes of data")));
        }
        let wanted = info.shape.iter().try_fold(dtype.size(), |bytes, side| bytes.checked_mul(*side));
        if wanted != Some(end - start) {
            return Err(bad(format!(
                "shape {:?} of {dtype} does not take the {} bytes given",
                info.shape,
                end - start
            )));
        }
        if start != position {
            let what = if start < position { "overlaps the tensor before it" } else { "leaves a gap before it" };
            return Err(bad(format!("it begins at byte {start} of the data, which {what} (byte {position})")));
        }
        position = end;
        let entry = Entry { dtype, shape: info.shape, start: offset + start, end: offset + end };
        entries.insert(name, entry);
    }
    if position != size {
        let reason = format!("{size} bytes of data, of which the tensors take {position}");
        return Err(TensorError::Header { file: file.to_owned(), reason });
    }
    Ok(entries)
}

/// The tensors of a header in the order of the text.
struct Listed(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ListedVisitor).map(Listed)
    }
}

struct ListedVisitor;

impl<'de> Visitor<'de> for ListedVisitor {
    type Value = Vec<(String, TensorInfo)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object that maps tensor names to their place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut seen = std::collections::BTreeSet::new();
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("`{name}` occurs twice")));
            }
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                tensors.push((name, map.next_value()?));
            }
        }
        Ok(tensors)
    }
}
