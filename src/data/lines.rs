//! Lines of a text file, bounded and checked.
//!
//! `BufRead::lines` won't do: it grows without bound on a file without line ends, and its UTF-8 error names no line.
//! A byte order mark at the start and `\r` before a line end are dropped, since editors on Windows write both.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::DataError;
use super::packed::Unpacked;

/// The longest line, paragraph or file that may become a row, in bytes.
pub(super) const LONGEST_ROW: usize = 64 << 20;

/// Reads the lines of one file and knows at which one it is.
pub(super) struct Lines {
    reader: BufReader<Unpacked>,
    path: PathBuf,
    /// The path in words.
    shown: String,
    /// The line that was read last, counted from 1.
    number: u64,
    limit: usize,
}

impl Lines {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        Self::with_limit(path, LONGEST_ROW)
    }

    fn with_limit(path: &Path, limit: usize) -> Result<Self, DataError> {
        let reader = BufReader::with_capacity(1 << 16, Unpacked::open(path)?);
        Ok(Self { reader, path: path.to_owned(), shown: path.display().to_string(), number: 0, limit })
    }

    /// Returns the next line without its end; `None` at the end of the file.
    pub(super) fn next_line(&mut self) -> Result<Option<String>, DataError> {
        let mut bytes = Vec::new();
        let Some(line) = self.append(&mut bytes)? else { return Ok(None) };
        text(&bytes[line], &self.path, self.number).map(|line| Some(line.to_owned()))
    }

    /// Returns the next line that isn't blank.
    pub(super) fn next_filled(&mut self) -> Result<Option<String>, DataError> {
        while let Some(line) = self.next_line()? {
            if !line.trim().is_empty() {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// Adds the next line to `bytes`, not looked into, and returns where it stands there.
    pub(super) fn append(&mut self, bytes: &mut Vec<u8>) -> Result<Option<Range<usize>>, DataError> {
        let start = bytes.len();
        // Two more bytes than allowed, for the line end of a line of just that length.
        let most = self.limit as u64 + 2;
        let read = self.reader.by_ref().take(most).read_until(b'\n', bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes[start..].last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.len() - start > self.limit {
            return Err(self.too_long());
        }
        if self.number == 1 && bytes[start..].starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(start..start + 3);
        }
        Ok(Some(start..bytes.len()))
    }

    /// Returns the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file and the line that was read last.
    pub(super) fn place(&self) -> (&str, u64) {
        (&self.shown, self.number)
    }

    /// Returns the error that the row at this line is too long.
    pub(super) fn too_long(&self) -> DataError {
        DataError::TooLong { path: self.path.clone(), line: self.number, limit: self.limit }
    }

    /// Returns the error that the line read last holds no row.
    pub(super) fn bad_row(&self, reason: impl Into<String>) -> DataError {
        bad_row(&self.path, self.number, reason)
    }

    /// Adds a line to a row of several lines, which may not become longer than a row may be.
    pub(super) fn join(&self, row: &mut String, line: &str) -> Result<(), DataError> {
        if row.len() + 1 + line.len() > self.limit {
            return Err(self.too_long());
        }
        if !row.is_empty() {
            row.push('\n');
        }
        row.push_str(line);
        Ok(())
    }
}

/// Returns what the bytes of a line say.
pub(super) fn text<'b>(bytes: &'b [u8], path: &Path, line: u64) -> Result<&'b str, DataError> {
    // Many times as fast as the standard library, which alone says where a mistake is.
    simdutf8::basic::from_utf8(bytes).or_else(|_| std::str::from_utf8(bytes)).map_err(|error| {
        let column = error.valid_up_to() + 1;
        DataError::NotUtf8 { path: path.to_owned(), line, column }
    })
}

/// Returns the error that a line holds no row.
pub(super) fn bad_row(path: &Path, line: u64, reason: impl Into<String>) -> DataError {
    DataError::BadRow { path: path.to_owned(), line, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], limit: usize) -> Result<Vec<String>, DataError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), bytes).unwrap();
        let mut lines = Lines::with_limit(file.path(), limit)?;
        let mut all = Vec::new();
        while let Some(line) = lines.next_line()? {
            all.push(line);
        }
        Ok(all)
    }

    #[test]
    fn line_ends_and_byte_order_mark_are_dropped() {
        assert_eq!(read(b"\xEF\xBB\xBFa\r\nb\n\nc", 10).unwrap(), ["a", "b", "", "c"]);
        assert_eq!(read(b"", 10).unwrap(), Vec::<String>::new());
        assert_eq!(read(b"\n", 10).unwrap(), [""]);
        assert_eq!(read(b"a\rb", 10).unwrap(), ["a\rb"]);
    }

    #[test]
    fn lines_in_one_buffer_are_those_in_their_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), b"\xEF\xBB\xBFa\r\r\n\n\r\nb").unwrap();
        let (mut lines, mut bytes) = (Lines::open(file.path()).unwrap(), b"x\r".to_vec());
        let found: Vec<Range<usize>> = std::iter::from_fn(|| lines.append(&mut bytes).unwrap()).collect();
        let found: Vec<&[u8]> = found.into_iter().map(|line| &bytes[line]).collect();
        assert_eq!(found, [&b"a\r"[..], b"", b"", b"b"]);
        assert!(bytes.starts_with(b"x\r"));
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        assert_eq!(read(b"12345\r\n12345", 5).unwrap(), ["12345", "12345"]);
        for bytes in [&b"12345\n123456\n"[..], b"12345\n123456", b"12345\n12345678901234567890"] {
            let error = read(bytes, 5).unwrap_err();
            assert!(matches!(error, DataError::TooLong { line: 2, limit: 5, .. }), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_named() {
        let error = read(b"ok\nab\xE9t\n", 10).unwrap_err();
        assert!(matches!(error, DataError::NotUtf8 { line: 2, column: 3, .. }), "{error}");
    }
}
