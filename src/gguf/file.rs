//! A GGUF file, open for reading: settings, and where each tensor lies.
//!
//! Layout, as <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md> fixes it: `GGUF`, the version, how many tensors
//! and settings there are; the settings; for each tensor name, shape, format and offset; then the data, each tensor on a
//! multiple of the alignment. As llama.cpp does, tensors must lie one behind the other in the order they are listed, so
//! no two overlap and none lies outside.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::block::Block;
use super::cursor::Cursor;
use super::error::GgufError;
use super::value::{self, Kind, Value};
use crate::tensor;

/// What the file begins with.
pub(super) const MAGIC: &[u8; 4] = b"GGUF";
/// Where the data is aligned to when the file does not say.
pub(super) const ALIGNMENT: usize = 32;
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";
/// The most settings and tensors that are taken; large real models have some hundred and some ten thousand.
const MOST_SETTINGS: u64 = 1 << 16;
const MOST_TENSORS: u64 = 1 << 18;
/// The longest name of a tensor, in bytes; llama.cpp takes 63.
const LONGEST_NAME: usize = 255;
const MOST_AXES: u32 = 4;

/// Returns whether a file begins as GGUF files do.
pub fn is_gguf(path: &Path) -> Result<bool, GgufError> {
    let mut start = [0; 4];
    let mut file = fs_err::File::open(path)?;
    let mut filled = 0;
    while filled < start.len() {
        match file.read(&mut start[filled..])? {
            0 => return Ok(false),
            read => filled += read,
        }
    }
    Ok(start == *MAGIC)
}

/// A GGUF file whose header has been checked. The data stays on disk until it is looked at.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

/// What stands before the data.
#[derive(Debug)]
struct Header {
    settings: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Place>,
}

/// Where a tensor lies in its file, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) block: Block,
    /// The length of each axis, outermost first, as everywhere but in the file.
    pub(super) shape: Vec<usize>,
    /// From the first byte of the file.
    start: usize,
    end: usize,
}

impl Place {
    /// Returns how many numbers lie next to each other: the length of the innermost axis.
    pub(super) fn row(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }
}

impl GgufFile {
    /// Opens a file and checks its header against its size.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        Self::open_as(path, path)
    }

    /// Opens a file that errors are to call `shown`: what it is a copy of.
    pub fn open_as(path: &Path, shown: &Path) -> Result<Self, GgufError> {
        let map = tensor::map(path)?;
        let header = read_header(&map).map_err(|reason| GgufError::format(shown, reason))?;
        Ok(Self { path: shown.to_owned(), map, header })
    }

    /// Returns where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the tensors, sorted.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// Returns the format and the shape of a tensor, outermost axis first.
    pub fn tensor(&self, name: &str) -> Option<(Block, &[usize])> {
        self.header.tensors.get(name).map(|place| (place.block, place.shape.as_slice()))
    }

    pub(super) fn place(&self, name: &str) -> Option<&Place> {
        self.header.tensors.get(name)
    }

    /// Returns the bytes of `count` numbers of a tensor from number `from` on, both whole blocks.
    ///
    /// # Panics
    /// If they are not all there.
    pub(super) fn numbers_of(&self, place: &Place, from: usize, count: usize) -> &[u8] {
        let bytes = |numbers: usize| numbers / place.block.numbers() * place.block.bytes();
        &self.map[place.start..place.end][bytes(from)..bytes(from + count)]
    }

    /// Lets go of the memory behind a tensor; it is read again when it is needed.
    pub(super) fn release(&self, place: &Place) {
        tensor::release(&self.map, place.start, place.end);
    }

    pub(super) fn setting(&self, key: &str) -> Option<&Value> {
        self.header.settings.get(key)
    }

    /// Returns the names of the settings, sorted.
    pub(super) fn settings(&self) -> impl Iterator<Item = &str> {
        self.header.settings.keys().map(String::as_str)
    }

    fn wrong(&self, key: &str, expected: &str) -> GgufError {
        GgufError::setting(&self.path, key, format!("is not {expected}"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.setting(key).map(|value| value.as_text().ok_or_else(|| self.wrong(key, "a text"))).transpose()
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, GgufError> {
        let read = |value: &Value| value.as_usize().ok_or_else(|| self.wrong(key, "a whole number"));
        self.setting(key).map(read).transpose()
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.setting(key).map(|value| value.as_f64().ok_or_else(|| self.wrong(key, "a number"))).transpose()
    }

    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.setting(key).map(|value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false"))).transpose()
    }

    /// Returns the items of an array of texts.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<&str>>, GgufError> {
        match self.setting(key) {
            None => Ok(None),
            Some(Value::Array { of: Kind::String, count, at }) => {
                let read = value::texts(&self.map, *count, *at);
                read.map(Some).map_err(|reason| GgufError::format(&self.path, reason))
            }
            Some(_) => Err(self.wrong(key, "an array of texts")),
        }
    }

    /// Returns the items of an array of numbers.
    pub(super) fn numbers(&self, key: &str) -> Result<Option<Vec<Value>>, GgufError> {
        match self.setting(key) {
            None => Ok(None),
            Some(Value::Array { of, count, at }) if !matches!(of, Kind::String) => {
                let read = value::numbers(&self.map, *of, *count, *at);
                read.map(Some).map_err(|reason| GgufError::format(&self.path, reason))
            }
            Some(_) => Err(self.wrong(key, "an array of numbers")),
        }
    }
}

/// A tensor as the header lists it.
struct Listed {
    name: String,
    block: Block,
    shape: Vec<usize>,
    offset: u64,
    size: usize,
}

fn read_header(bytes: &[u8]) -> Result<Header, String> {
    let mut cursor = Cursor::new(bytes, 0);
    if cursor.take(4, "the magic number")? != MAGIC {
        return Err("it does not begin with GGUF".into());
    }
    let version = cursor.u32("the version")?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 1..=3) => return Err("it is big-endian, which is not read".into()),
        _ => return Err(format!("its version {version} is not 2 or 3")),
    }
    let tensors = cursor.u64("the number of tensors")?;
    let settings = cursor.u64("the number of settings")?;
    if tensors > MOST_TENSORS || settings > MOST_SETTINGS {
        let most = format!("{MOST_TENSORS} and {MOST_SETTINGS}");
        return Err(format!("it claims {tensors} tensors and {settings} settings, more than the {most} allowed"));
    }
    let settings = read_settings(&mut cursor, settings)?;
    let alignment = alignment(&settings)?;
    let listed = (0..tensors).map(|_| read_listed(&mut cursor)).collect::<Result<Vec<_>, _>>()?;
    let data = align(cursor.position(), alignment).ok_or("its header is too long")?;
    Ok(Header { settings, tensors: place(listed, data, alignment, bytes.len())? })
}

fn read_settings(cursor: &mut Cursor<'_>, count: u64) -> Result<BTreeMap<String, Value>, String> {
    let mut settings = BTreeMap::new();
    for _ in 0..count {
        let key = cursor.string("the name of a setting")?;
        let number = cursor.u32("the type of a setting")?;
        let kind = Kind::from_number(number).ok_or_else(|| format!("setting `{key}` is of unknown type {number}"))?;
        let value = Value::read(cursor, kind).map_err(|reason| format!("setting `{key}`: {reason}"))?;
        if settings.insert(key.to_owned(), value).is_some() {
            return Err(format!("setting `{key}` occurs twice"));
        }
    }
    Ok(settings)
}

fn alignment(settings: &BTreeMap<String, Value>) -> Result<usize, String> {
    let Some(value) = settings.get(ALIGNMENT_KEY) else { return Ok(ALIGNMENT) };
    let sensible = |size: &usize| size.is_power_of_two() && (8..=1 << 16).contains(size);
    value
        .as_usize()
        .filter(sensible)
        .ok_or_else(|| format!("setting `{ALIGNMENT_KEY}` is not a power of two from 8 to 65536"))
}

fn align(at: usize, alignment: usize) -> Option<usize> {
    at.checked_next_multiple_of(alignment)
}

fn read_listed(cursor: &mut Cursor<'_>) -> Result<Listed, String> {
    let name = cursor.string("the name of a tensor")?;
    if name.is_empty() || name.len() > LONGEST_NAME {
        let at = cursor.position();
        return Err(format!("the name of a tensor before byte {at} has {} bytes", name.len()));
    }
    let bad = |reason: String| format!("tensor `{name}`: {reason}");
    let axes = cursor.u32("the number of axes").map_err(bad)?;
    if axes == 0 || axes > MOST_AXES {
        return Err(bad(format!("it has {axes} axes, and not one to {MOST_AXES}")));
    }
    let mut shape = Vec::with_capacity(axes as usize);
    for _ in 0..axes {
        let side = cursor.u64("the length of an axis").map_err(bad)?;
        let side = usize::try_from(side).ok().filter(|side| *side > 0);
        shape.push(side.ok_or_else(|| bad("an axis is empty or too long".into()))?);
    }
    shape.reverse();
    let block = Block::from_number(cursor.u32("the type of a tensor").map_err(bad)?).map_err(bad)?;
    let offset = cursor.u64("the offset of a tensor").map_err(bad)?;
    let too_large = || bad("it is too large".into());
    let count = shape.iter().try_fold(1_usize, |all, side| all.checked_mul(*side)).ok_or_else(too_large)?;
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(block.numbers()) {
        return Err(bad(format!("its rows of {row} numbers are no whole blocks of {}", block.name())));
    }
    let size = block.size_of(count).ok_or_else(too_large)?;
    Ok(Listed { name: name.to_owned(), block, shape, offset, size })
}

/// Holds the tensors of a header against the data, which begins at byte `data` of a file of `size` bytes.
fn place(listed: Vec<Listed>, data: usize, alignment: usize, size: usize) -> Result<BTreeMap<String, Place>, String> {
    let mut places = BTreeMap::new();
    let mut expected = 0;
    for Listed { name, block, shape, offset, size: bytes } in listed {
        let bad = |reason: String| format!("tensor `{name}`: {reason}");
        if offset != expected as u64 {
            return Err(bad(format!("it begins at byte {offset} of the data, and {expected} was to follow")));
        }
        let start = data.checked_add(expected).ok_or_else(|| bad("it is too large".into()))?;
        let end = start.checked_add(bytes).filter(|end| *end <= size);
        let end = end.ok_or_else(|| {
            let there = size.saturating_sub(start);
            bad(format!("it takes {bytes} bytes from byte {start} of the file on, and {there} are there"))
        })?;
        expected = align(end - data, alignment).ok_or_else(|| bad("it is too large".into()))?;
        if places.insert(name.clone(), Place { block, shape, start, end }).is_some() {
            return Err(format!("tensor `{name}` occurs twice"));
        }
    }
    Ok(places)
}
