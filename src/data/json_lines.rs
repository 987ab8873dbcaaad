//! Rows of JSON lines, read ahead and parsed by all threads.
//!
//! Parsing takes longer than unpacking, and what one line says depends on no other. So lines are read a block at a time,
//! parsed in parallel and given out in their order, each with its own mistake if it has one.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use super::lines::{Lines, bad_row, text};
use super::{DataError, Record, Row};

/// Lines that are read ahead.
const AHEAD_LINES: usize = 256;
/// Bytes after which no further line is read ahead.
const AHEAD_BYTES: usize = 1 << 20;

/// What lines were found to be, each with its number.
type Parsed<T> = VecDeque<(u64, Result<T, DataError>)>;

/// The rows of a file of JSON lines. Whoever reads it asks for rows, for records or whether they are there, and not for two of these.
pub(super) struct JsonLines {
    lines: Lines,
    records: Parsed<Record>,
    rows: Parsed<Row>,
    checked: Parsed<()>,
    /// The line of the row that was given out last.
    number: u64,
}

impl JsonLines {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let (records, rows, checked) = (Parsed::new(), Parsed::new(), Parsed::new());
        Ok(Self { lines: Lines::open(path)?, records, rows, checked, number: 0 })
    }

    /// Returns the next row as its columns, whatever they are called.
    pub(super) fn next_record(&mut self) -> Result<Option<Record>, DataError> {
        next(&mut self.lines, &mut self.records, &mut self.number, Record::from_json)
    }

    /// Says whether there is a next row, which must be one that [`Self::next_record`] would return.
    pub(super) fn check_record(&mut self) -> Result<Option<()>, DataError> {
        next(&mut self.lines, &mut self.checked, &mut self.number, Record::check_json)
    }

    /// Returns the next row of those that we know.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        next(&mut self.lines, &mut self.rows, &mut self.number, Row::from_json)
    }

    /// Passes over so many rows at most, and returns how many there were.
    pub(super) fn skip_rows(&mut self, count: u64) -> Result<u64, DataError> {
        let mut skipped = 0;
        let mut ahead = || {
            self.records.pop_front().is_some() || self.rows.pop_front().is_some() || self.checked.pop_front().is_some()
        };
        while skipped < count && ahead() {
            skipped += 1;
        }
        while skipped < count && self.lines.next_filled()?.is_some() {
            skipped += 1;
        }
        Ok(skipped)
    }

    /// Returns the file and the line of the row that was read last.
    pub(super) fn place(&self) -> (&str, u64) {
        (self.lines.place().0, self.number)
    }

    /// Returns the error that the line read last holds no row.
    pub(super) fn bad_row(&self, reason: impl Into<String>) -> DataError {
        bad_row(self.lines.path(), self.number, reason)
    }
}

fn next<T: Send>(
    lines: &mut Lines,
    parsed: &mut Parsed<T>,
    number: &mut u64,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, DataError> {
    while parsed.is_empty() {
        let Ahead { bytes, block, failure } = Ahead::of(lines);
        if block.is_empty() && failure.is_none() {
            return Ok(None);
        }
        let path = lines.path();
        let of_line = |(line, place): (u64, Range<usize>)| match text(&bytes[place], path, line) {
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => Some((line, parse(text).map_err(|reason| bad_row(path, line, reason)))),
            Err(error) => Some((line, Err(error))),
        };
        let all: Vec<Option<_>> = block.into_par_iter().map(of_line).collect();
        parsed.extend(all.into_iter().flatten());
        parsed.extend(failure.map(|failure| (lines.place().1, Err(failure))));
    }
    let Some((line, row)) = parsed.pop_front() else { return Ok(None) };
    *number = line;
    row.map(Some)
}

/// Lines that were read ahead, in one buffer.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    /// The number of each line, and where it stands.
    block: Vec<(u64, Range<usize>)>,
    /// What ended them, if it was an error.
    failure: Option<DataError>,
}

impl Ahead {
    fn of(lines: &mut Lines) -> Self {
        let mut ahead = Self::default();
        while ahead.block.len() < AHEAD_LINES && ahead.bytes.len() < AHEAD_BYTES {
            match lines.append(&mut ahead.bytes) {
                Ok(Some(place)) => ahead.block.push((lines.place().1, place)),
                Ok(None) => break,
                Err(error) => {
                    ahead.failure = Some(error);
                    break;
                }
            }
        }
        ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn rows_come_in_their_order_with_their_lines() {
        let line = |n: u64| format!("{{\"text\": \"{n}\"}}\n{}", if n.is_multiple_of(7) { "  \n" } else { "" });
        let file = file((0..1000).map(line).collect::<Vec<_>>().concat().as_bytes());
        let mut lines = JsonLines::open(file.path()).unwrap();
        assert_eq!(lines.skip_rows(3).unwrap(), 3);
        let mut read = Vec::new();
        while let Some(row) = lines.next_row().unwrap() {
            read.push((row.text().into_owned(), lines.place().1));
        }
        let expected: Vec<(String, u64)> = (3..1000_u64).map(|n| (n.to_string(), n + 1 + n.div_ceil(7))).collect();
        assert_eq!(read, expected);
        assert_eq!(lines.skip_rows(3).unwrap(), 0);
    }

    #[test]
    fn rows_that_were_read_ahead_can_be_passed_over() {
        let lines: Vec<String> = (0..600).map(|n| format!("{{\"n\": {n}}}\n")).collect();
        let file = file(lines.concat().as_bytes());
        let mut lines = JsonLines::open(file.path()).unwrap();
        lines.next_record().unwrap();
        assert_eq!(lines.skip_rows(400).unwrap(), 400);
        assert_eq!(lines.next_record().unwrap().unwrap().0["n"], 401);
        assert_eq!(lines.skip_rows(400).unwrap(), 198);
    }

    #[test]
    fn every_line_has_its_own_mistake() {
        let file = file(b"{\"text\": \"a\"}\n{\"text\": }\n{\"text\": \"\xff\"}\n{\"text\": \"b\"}\n");
        let mut lines = JsonLines::open(file.path()).unwrap();
        let told: Vec<String> = std::iter::from_fn(|| match lines.next_row() {
            Ok(row) => row.map(|row| row.text().into_owned()),
            Err(error) => Some(error.to_string().replace(&*file.path().to_string_lossy(), "FILE")),
        })
        .collect();
        let expected = [
            "a",
            "FILE, line 2: expected value at column 10",
            "FILE, line 3: byte 11 of the line is not UTF-8; convert the file to UTF-8",
            "b",
        ];
        assert_eq!(told, expected);
    }
}
