//! Rows out of one file, in each of the formats we know. All of them stream.
//!
//! Blank lines carry nothing in any of the formats and are passed over.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::lines::Lines;
use super::{DataError, Record, Row};

/// How a file holds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Plain text.
    Text,
    /// Minimal pairs as CLAMS writes them: consecutive lines `True<TAB>sentence`, `False<TAB>sentence`.
    Clams,
}

/// What becomes one row of a plain text file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// Every line that isn't blank.
    #[default]
    Line,
    /// Every block of lines between blank ones.
    Paragraph,
    /// The whole file.
    File,
}

impl Format {
    /// Returns the format that a file name stands for: `.jsonl` or `.txt`.
    pub fn of_name(name: &str) -> Option<Self> {
        match Path::new(name).extension()?.to_str()? {
            "jsonl" => Some(Format::Jsonl),
            "txt" => Some(Format::Text),
            _ => None,
        }
    }
}

/// The rows of one file.
pub struct FileRows {
    lines: Lines,
    format: Format,
    unit: TextUnit,
}

impl FileRows {
    /// Opens a file.
    pub fn open(path: &Path, format: Format, unit: TextUnit) -> Result<Self, DataError> {
        Ok(Self { lines: Lines::open(path)?, format, unit })
    }

    fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        match (self.format, self.unit) {
            (Format::Jsonl, _) => self.next_json(),
            (Format::Clams, _) => self.next_pair(),
            (Format::Text, TextUnit::Line) => Ok(self.next_filled()?.map(Row::Text)),
            (Format::Text, TextUnit::Paragraph) => self.next_paragraph(),
            (Format::Text, TextUnit::File) => self.whole_file(),
        }
    }

    /// Returns the next line that isn't blank.
    fn next_filled(&mut self) -> Result<Option<String>, DataError> {
        while let Some(line) = self.lines.next_line()? {
            if !line.trim().is_empty() {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    fn next_json(&mut self) -> Result<Option<Row>, DataError> {
        let Some(line) = self.next_filled()? else { return Ok(None) };
        Row::from_json(&line).map(Some).map_err(|reason| self.lines.bad_row(reason))
    }

    /// Returns the next row as its columns, whatever they are called; the other formats have only rows we know.
    pub fn next_record(&mut self) -> Result<Option<Record>, DataError> {
        if self.format != Format::Jsonl {
            return Ok(self.next_row()?.map(Record::from));
        }
        let Some(line) = self.next_filled()? else { return Ok(None) };
        Record::from_json(&line).map(Some).map_err(|reason| self.lines.bad_row(reason))
    }

    /// Returns the file and the line of the row that was read last.
    pub(super) fn place(&self) -> (&str, u64) {
        self.lines.place()
    }

    fn next_pair(&mut self) -> Result<Option<Row>, DataError> {
        let Some(line) = self.next_filled()? else { return Ok(None) };
        let Some(good) = line.strip_prefix("True\t") else {
            return Err(self.lines.bad_row("expected `True`, a tab and the correct sentence"));
        };
        let next = self.next_filled()?;
        let Some(bad) = next.as_deref().and_then(|line| line.strip_prefix("False\t")) else {
            return Err(self.lines.bad_row("expected `False`, a tab and the wrong sentence after the correct one"));
        };
        Ok(Some(Row::Pair { good: good.trim().into(), bad: bad.trim().into() }))
    }

    fn next_paragraph(&mut self) -> Result<Option<Row>, DataError> {
        let Some(mut paragraph) = self.next_filled()? else { return Ok(None) };
        while let Some(line) = self.lines.next_line()? {
            if line.trim().is_empty() {
                break;
            }
            self.lines.join(&mut paragraph, &line)?;
        }
        Ok(Some(Row::Text(paragraph)))
    }

    fn whole_file(&mut self) -> Result<Option<Row>, DataError> {
        let Some(mut text) = self.next_filled()? else { return Ok(None) };
        while let Some(line) = self.lines.next_line()? {
            self.lines.join(&mut text, &line)?;
        }
        Ok(Some(Row::Text(text.trim_end().into())))
    }
}

impl Iterator for FileRows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}
