//! Rows out of a CSV or TSV file: the first line names the columns.
//!
//! Every value is text. Programs that guess types make `007` a seven and a column text or number by what rows happen to be
//! there; whoever needs numbers has Parquet or JSON. What is empty is `null`, as pandas and `datasets` have it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ByteRecord, ErrorKind, ReaderBuilder};
use serde_json::{Map, Value};

use super::batches::{bad, check_columns};
use super::lines::LONGEST_ROW;
use super::packed::Unpacked;
use super::{DataError, Record};

/// The rows of a table.
pub(super) struct Table {
    reader: csv::Reader<Bounded>,
    /// How many more bytes may be read before the row ends.
    allowance: Arc<AtomicU64>,
    names: Vec<String>,
    path: PathBuf,
    record: ByteRecord,
    row: u64,
}

/// A quote that is never closed would make the rest of the file one field.
struct Bounded {
    inner: Unpacked,
    allowance: Arc<AtomicU64>,
}

impl Read for Bounded {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let left = self.allowance.load(Ordering::Relaxed);
        if left == 0 {
            let text = format!("the row is longer than {LONGEST_ROW} bytes; is a quote left open?");
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text));
        }
        let read = self.inner.read(into)?;
        self.allowance.store(left.saturating_sub(read as u64), Ordering::Relaxed);
        Ok(read)
    }
}

impl Table {
    /// Opens a file whose values are separated by `separator`.
    pub(super) fn open(path: &Path, separator: u8, columns: Option<&[String]>) -> Result<Self, DataError> {
        let allowance = Arc::new(AtomicU64::new(LONGEST_ROW as u64));
        let input = Bounded { inner: Unpacked::open(path)?, allowance: Arc::clone(&allowance) };
        let mut reader = ReaderBuilder::new().delimiter(separator).buffer_capacity(1 << 16).from_reader(input);
        let head = reader.byte_headers().map_err(|error| bad(path, format!("its first line: {error}")))?;
        let name = |field: &[u8]| String::from_utf8(field.to_vec()).ok();
        let names: Option<Vec<String>> = head.iter().map(name).collect();
        let names = names.ok_or_else(|| bad(path, "its first line is not UTF-8; convert the file to UTF-8".into()))?;
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(bad(path, format!("its first line names the column `{}` twice", twice.1)));
        }
        if let Some(columns) = columns {
            check_columns(path, &names.iter().map(String::as_str).collect::<Vec<_>>(), columns)?;
        }
        Ok(Self { reader, allowance, names, path: path.to_owned(), record: ByteRecord::new(), row: 0 })
    }

    /// Returns the row that was given last, counted from 1 after the line with the names.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    fn bad(&self, reason: impl Into<String>) -> DataError {
        DataError::BadAt { path: self.path.clone(), row: self.row, reason: reason.into() }
    }

    /// Reads a row without looking into it, and says whether there was one.
    fn advance(&mut self) -> Result<bool, DataError> {
        self.allowance.store(LONGEST_ROW as u64, Ordering::Relaxed);
        self.row += 1;
        let error = match self.reader.read_byte_record(&mut self.record) {
            Ok(more) => return Ok(more),
            Err(error) => error,
        };
        Err(match error.into_kind() {
            ErrorKind::UnequalLengths { expected_len, len, pos } => {
                let line = pos.map_or_else(String::new, |at| format!(" (line {})", at.line()));
                self.bad(format!("it has {len} values{line}, and the first line names {expected_len} columns"))
            }
            ErrorKind::Io(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                bad(&self.path, format!("row {}: {error}", self.row))
            }
            ErrorKind::Io(error) => DataError::Io(error),
            other => self.bad(format!("{other:?}")),
        })
    }

    /// Returns the next row.
    pub(super) fn next_record(&mut self) -> Result<Option<Record>, DataError> {
        if !self.advance()? {
            return Ok(None);
        }
        let mut columns = Map::new();
        for (name, field) in self.names.iter().zip(&self.record) {
            let value = match std::str::from_utf8(field) {
                Ok("") => Value::Null,
                Ok(text) => Value::String(text.to_owned()),
                Err(_) => return Err(self.bad(format!("`{name}` is not UTF-8; convert the file to UTF-8"))),
            };
            columns.insert(name.clone(), value);
        }
        Ok(Some(Record(columns)))
    }

    /// Passes over so many rows at most, and returns how many there were.
    pub(super) fn skip_rows(&mut self, count: u64) -> Result<u64, DataError> {
        for skipped in 0..count {
            if !self.advance()? {
                return Ok(skipped);
            }
        }
        Ok(count)
    }
}
