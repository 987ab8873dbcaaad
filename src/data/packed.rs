//! Compressed files, told by their first bytes and read as if they were not: gzip of many members, zstd of many frames, bzip2.
//!
//! Everything streams, so that a file that unpacks to a thousand times its size costs time and no memory. What a zstd frame
//! may demand is its window, and that is bounded as the reference program bounds it.
//!
//! A format that must be read from its end (Parquet) does not stream. It is unpacked into a file without a name, which goes with
//! whoever reads it, and since that file takes room its size is bounded by that of what it is unpacked from.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use fs_err::File;

use super::DataError;

/// The largest window of a zstd frame, as a power of two: 128 MiB, as `zstd -d` has it without `--long`.
const LARGEST_WINDOW: u32 = 27;
/// How much a file may unpack to, however small it is, and how many times its size.
const ROOM: u64 = 256 << 20;
const TIMES: u64 = 100;

/// A file without its compression.
pub(super) struct Unpacked {
    inner: Box<dyn Read + Send>,
    path: PathBuf,
    packing: &'static str,
}

impl Unpacked {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut start = Vec::new();
        file.by_ref().take(4).read_to_end(&mut start)?;
        file.seek(SeekFrom::Start(0))?;
        let (packing, inner): (_, Box<dyn Read + Send>) = match &*start {
            [0x1f, 0x8b, ..] => ("gzip", Box::new(flate2::read::MultiGzDecoder::new(file))),
            // A frame, or one to be skipped.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                let mut decoder = zstd::stream::read::Decoder::new(file)?;
                decoder.window_log_max(LARGEST_WINDOW)?;
                ("zstd", Box::new(decoder))
            }
            [b'B', b'Z', b'h', b'1'..=b'9'] => ("bzip2", Box::new(bzip2::read::MultiBzDecoder::new(file))),
            _ => ("", Box::new(file)),
        };
        Ok(Self { inner, path: path.to_owned(), packing })
    }

    /// Says whether the file is compressed as a whole.
    pub(super) fn is_packed(&self) -> bool {
        !self.packing.is_empty()
    }
}

/// Opens a file that must be read in any order: itself, or what it unpacks to, in the folder `scratch`.
pub(super) fn open_whole(path: &Path, scratch: Option<&Path>) -> Result<File, DataError> {
    let mut packed = Unpacked::open(path)?;
    if !packed.is_packed() {
        return Ok(File::open(path)?);
    }
    let bad = |reason| DataError::BadFile { path: path.to_owned(), reason };
    let scratch = scratch.ok_or_else(|| {
        bad(format!(
            "it lies within {} and must be unpacked before it can be read; unpack it yourself here",
            packed.packing
        ))
    })?;
    let room = fs_err::metadata(path)?.len().saturating_mul(TIMES).max(ROOM);
    fs_err::create_dir_all(scratch)?;
    // What goes wrong in writing it (the disk is full) names the folder, what goes wrong later the file.
    let mut file = File::from_parts(tempfile::tempfile_in(scratch)?, scratch);
    if io::copy(&mut packed.by_ref().take(room), &mut file)? == room && packed.read(&mut [0])? > 0 {
        let times = format!("it unpacks to more than {} MiB and more than {TIMES} times its size", ROOM >> 20);
        return Err(bad(format!("{times}, which no data does; if it is data, unpack it yourself")));
    }
    Ok(File::from_parts(file.into_parts().0, path))
}

impl Read for Unpacked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(into);
        if self.packing.is_empty() {
            return result;
        }
        result.map_err(|error| {
            let text = format!("{}: the {} data cannot be unpacked: {error}", self.path.display(), self.packing);
            io::Error::new(error.kind(), text)
        })
    }
}

/// Returns a file name without the ending of a compression: `a.jsonl` of `a.jsonl.gz`.
pub(super) fn without_packing(name: &str) -> &str {
    let packed = ["gz", "gzip", "zst", "zstd", "bz2"];
    match name.rsplit_once('.') {
        Some((stem, end)) if packed.contains(&&*end.to_ascii_lowercase()) => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), bytes).unwrap();
        let mut text = Vec::new();
        Unpacked::open(file.path())?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 3).unwrap()
    }

    fn bzip2(text: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn all_members_and_frames_are_read() {
        for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd, bzip2] {
            let two = [pack(b"one\n"), pack(b"two\n")].concat();
            assert_eq!(unpacked(&two).unwrap(), b"one\ntwo\n");
            let error = unpacked(&two[..two.len() - 3]).unwrap_err().to_string();
            assert!(error.contains("cannot be unpacked"), "{error}");
        }
        assert_eq!(unpacked(b"plain").unwrap(), b"plain");
        assert_eq!(unpacked(b"").unwrap(), b"");
    }

    #[test]
    fn a_window_without_bounds_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        let text = vec![b'a'; 1 << 20];
        encoder.write_all(&text).unwrap();
        let error = unpacked(&encoder.finish().unwrap()).unwrap_err().to_string();
        assert!(error.contains("zstd data cannot be unpacked"), "{error}");
    }
}
