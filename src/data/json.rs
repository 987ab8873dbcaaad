//! Rows out of a `.json` file, one value at a time, whatever its size.
//!
//! Three shapes go by that name: a list of objects, an object with one list of them, and objects one after the other, which
//! is JSONL by another name. They are told apart by what comes first and whether anything follows. A reader of whole
//! documents would hold all of it; this one finds where a value ends and has that value parsed.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::lines::LONGEST_ROW;
use super::packed::Unpacked;
use super::row::KNOWN;
use super::{DataError, Record};

/// The rows of a JSON file.
pub(super) struct JsonFile {
    input: BufReader<Unpacked>,
    path: PathBuf,
    shape: Shape,
    /// Rows that had to be read to know the shape.
    waiting: VecDeque<Vec<u8>>,
    row: u64,
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Unknown,
    /// Inside a list; whether a value was read.
    List(bool),
    /// Values one after the other.
    Sequence,
    Ended,
}

impl JsonFile {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        Self::with_limit(path, LONGEST_ROW)
    }

    fn with_limit(path: &Path, limit: usize) -> Result<Self, DataError> {
        let input = BufReader::with_capacity(1 << 16, Unpacked::open(path)?);
        let (waiting, path) = (VecDeque::new(), path.to_owned());
        Ok(Self { input, path, shape: Shape::Unknown, waiting, row: 0, limit })
    }

    /// Returns the row that was given last, counted from 1.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    /// Returns the next row.
    pub(super) fn next_record(&mut self) -> Result<Option<Record>, DataError> {
        let Some(value) = self.next_value()? else { return Ok(None) };
        let record = std::str::from_utf8(&value).map_err(|error| {
            format!("byte {} of the row is not UTF-8; convert the file to UTF-8", error.valid_up_to() + 1)
        });
        record.and_then(Record::from_json).map(Some).map_err(|reason| self.bad(reason))
    }

    /// Passes over so many rows at most, and returns how many there were.
    pub(super) fn skip_rows(&mut self, count: u64) -> Result<u64, DataError> {
        for skipped in 0..count {
            if self.next_value()?.is_none() {
                return Ok(skipped);
            }
        }
        Ok(count)
    }

    fn bad(&self, reason: impl Into<String>) -> DataError {
        DataError::BadAt { path: self.path.clone(), row: self.row, reason: reason.into() }
    }

    fn next_value(&mut self) -> Result<Option<Vec<u8>>, DataError> {
        if self.shape == Shape::Unknown {
            self.find_shape()?;
        }
        self.row += 1;
        if let Some(value) = self.waiting.pop_front() {
            return Ok(Some(value));
        }
        let next = self.peek()?;
        match (self.shape, next) {
            (Shape::List(_), Some(b']')) => {
                self.shape = Shape::Ended;
                Ok(None)
            }
            (Shape::List(_), None) => Err(self.bad("the file ends inside its list")),
            (Shape::List(true), Some(b',')) => {
                self.input.consume(1);
                self.peek()?;
                self.value().map(Some)
            }
            (Shape::List(true), Some(_)) => Err(self.bad("expected `,` or `]` after a row")),
            (Shape::List(false), Some(_)) => {
                self.shape = Shape::List(true);
                self.value().map(Some)
            }
            (Shape::Sequence, Some(_)) => self.value().map(Some),
            _ => Ok(None),
        }
    }

    fn find_shape(&mut self) -> Result<(), DataError> {
        if self.input.fill_buf()?.starts_with(b"\xEF\xBB\xBF") {
            self.input.consume(3);
        }
        match self.peek()? {
            None => self.shape = Shape::Ended,
            Some(b'[') => {
                self.input.consume(1);
                self.shape = Shape::List(false);
            }
            Some(_) => {
                self.row = 1;
                let mut first = Vec::new();
                if !self.capture(Some(&mut first), 0)? {
                    // Too long for a row: then it is what holds the rows.
                    self.input = BufReader::with_capacity(1 << 16, Unpacked::open(&self.path)?);
                    return self.enter_object();
                }
                self.row = 0;
                self.shape = Shape::Sequence;
                let alone = self.peek()?.is_none();
                match alone.then(|| list_in(&first)).flatten() {
                    Some(rows) => self.waiting = rows.into(),
                    None => self.waiting.push_back(first),
                }
            }
        }
        Ok(())
    }

    /// Goes to the first list of objects in the object that the file is.
    fn enter_object(&mut self) -> Result<(), DataError> {
        self.peek()?;
        self.input.consume(1);
        loop {
            match self.peek()? {
                Some(b'"') => {}
                Some(b',') => {
                    self.input.consume(1);
                    continue;
                }
                _ => return Err(self.bad(format!("the row is longer than {} bytes", self.limit))),
            }
            self.capture(None, 0)?;
            if self.peek()? != Some(b':') {
                return Err(self.bad("expected `:` after a name"));
            }
            self.input.consume(1);
            if self.peek()? == Some(b'[') {
                self.input.consume(1);
                if self.peek()? == Some(b'{') {
                    self.shape = Shape::List(false);
                    self.row = 0;
                    return Ok(());
                }
                self.capture(None, 1)?;
            } else {
                self.capture(None, 0)?;
            }
        }
    }

    /// Returns the next byte that isn't white space, without taking it.
    fn peek(&mut self) -> Result<Option<u8>, DataError> {
        loop {
            let block = self.input.fill_buf()?;
            if block.is_empty() {
                return Ok(None);
            }
            let blank = block.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let found = block.get(blank).copied();
            self.input.consume(blank);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn value(&mut self) -> Result<Vec<u8>, DataError> {
        let mut value = Vec::new();
        if self.capture(Some(&mut value), 0)? {
            return Ok(value);
        }
        Err(self.bad(format!("the row is longer than {} bytes", self.limit)))
    }

    /// Takes one value, `depth` brackets deep in it. Says no as soon as it is too long to be kept.
    fn capture(&mut self, mut into: Option<&mut Vec<u8>>, mut depth: u64) -> Result<bool, DataError> {
        let (mut quoted, mut escaped, mut begun, mut whole) = (false, false, depth > 0, false);
        while !whole {
            let block = self.input.fill_buf()?;
            if block.is_empty() {
                // A number may end with the file; whether anything else may is for the parser to say.
                return Ok(true);
            }
            let mut used = 0;
            for byte in block {
                if quoted {
                    used += 1;
                    (quoted, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
                    whole = !quoted && depth == 0;
                } else {
                    // What ends a bare word is not part of it.
                    if begun && depth == 0 && (matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace()) {
                        whole = true;
                        break;
                    }
                    used += 1;
                    begun = true;
                    match byte {
                        b'"' => quoted = true,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => {
                            depth = depth.saturating_sub(1);
                            whole = depth == 0;
                        }
                        _ => {}
                    }
                }
                if whole {
                    break;
                }
            }
            if let Some(into) = into.as_deref_mut() {
                into.extend_from_slice(&block[..used]);
            }
            self.input.consume(used);
            if into.as_ref().is_some_and(|into| into.len() > self.limit) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The rows of an object that holds one list of objects and is no row itself.
fn list_in(object: &[u8]) -> Option<Vec<Vec<u8>>> {
    let fields: serde_json::Map<String, Value> = serde_json::from_slice(object).ok()?;
    let rows =
        |value: &Value| value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_object));
    let of_a_row =
        |name: &String| KNOWN.contains(&name.as_str()) || ["conversations", "conversation"].contains(&name.as_str());
    let mut lists = fields.into_iter().filter(|(name, value)| rows(value) && !of_a_row(name));
    let (Some((_, Value::Array(list))), None) = (lists.next(), lists.next()) else { return None };
    list.iter().map(|row| serde_json::to_vec(row).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], limit: usize) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), text).unwrap();
        let mut json = JsonFile::with_limit(file.path(), limit).map_err(|error| error.to_string())?;
        let mut rows = Vec::new();
        while let Some(record) = json.next_record().map_err(|error| error.to_string())? {
            rows.push(Value::Object(record.0).to_string());
        }
        Ok(rows)
    }

    #[test]
    fn the_three_shapes_give_the_same_rows() {
        let rows = [r#"{"a":1,"b":"]},[{\\\""}"#, r#"{"a":[{"c":2}],"b":"é"}"#];
        for text in [
            format!("[{}, {}]", rows[0], rows[1]),
            format!("\u{feff} [\n{}\n,{}\n]\n", rows[0], rows[1]),
            format!("{}\n{}\n", rows[0], rows[1]),
            format!("{} {}", rows[0], rows[1]),
            format!("{{\"version\": [1, \"[\"], \"data\": [{},{}], \"z\": null}}", rows[0], rows[1]),
        ] {
            assert_eq!(read(text.as_bytes(), 1000).unwrap(), rows, "{text}");
            // Too long for a row as a whole, and read all the same if it is a list.
            if text.contains("version") {
                assert_eq!(read(text.as_bytes(), 40).unwrap(), rows, "{text}");
            }
        }
        let chat = r#"{"messages":[{"role":"user","content":"x"}]}"#;
        assert_eq!(read(chat.as_bytes(), 1000).unwrap(), [chat]);
        assert_eq!(read(b"[]", 10).unwrap(), Vec::<String>::new());
        assert_eq!(read(b" \n", 10).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn mistakes_have_a_row() {
        for (text, why) in [
            (&b"[{\"a\": 1}, 7]"[..], "row 2: invalid type"),
            (b"[{\"a\": 1}", "row 2: the file ends inside its list"),
            (b"[{\"a\": 1} {\"a\": 2}]", "row 2: expected `,` or `]`"),
            (b"{\"a\": 1}\n{\"a\": ", "row 2: EOF"),
            (b"[{\"a\": \"\xff\"}]", "row 1: byte 8 of the row is not UTF-8"),
            (b"[{\"a\": \"0123456789012345678901234567890123456789\"}]", "row 1: the row is longer than 40 bytes"),
        ] {
            let error = read(text, 40).unwrap_err();
            assert!(error.contains(why), "{}: {error}", String::from_utf8_lossy(text));
        }
        let deep = "[".repeat(100_001);
        assert!(read(deep.as_bytes(), 1 << 20).unwrap_err().contains("row 1"));
    }
}
