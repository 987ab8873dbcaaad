//! Rows out of one file, in each of the formats we know. All of them stream, and all may be compressed.
//!
//! A file is what its content says before it is what its name says: data sets are full of Parquet files that are called
//! something else. Blank lines carry nothing in any of the formats of lines and are passed over.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::batches::{Batches, bad};
use super::json::JsonFile;
use super::json_lines::JsonLines;
use super::packed::{Unpacked, without_packing};
use super::pdf::PdfFile;
use super::table::Table;
use super::text_rows::TextRows;
use super::{DataError, Record, Row};

/// How a file holds rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// A list of JSON objects, an object with one such list, or objects one after the other.
    Json,
    /// Values separated by commas, below a line with the names of the columns.
    Csv,
    /// The same with tabs.
    Tsv,
    /// Parquet.
    Parquet,
    /// An Arrow IPC file or stream; Feather is one.
    Arrow,
    /// Plain text.
    Text,
    /// Minimal pairs as CLAMS writes them: consecutive lines `True<TAB>sentence`, `False<TAB>sentence`.
    Clams,
    /// PDF; the text of its pages.
    Pdf,
}

/// What becomes one row of a plain text file, or of a PDF.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// Every line that isn't blank; of a PDF, a page.
    #[default]
    Line,
    /// Every block of lines between blank ones.
    Paragraph,
    /// The whole file.
    File,
    /// Every page of a PDF.
    Page,
}

/// What becomes of a PDF that has no text to be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoText {
    /// It is an error.
    #[default]
    Error,
    /// Its pages are rows with empty text.
    Keep,
}

impl NoText {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn is_error(&self) -> bool {
        *self == Self::Error
    }
}

impl Format {
    /// Returns the format that a file name stands for, whatever it is compressed with.
    pub fn of_name(name: &str) -> Option<Self> {
        match Path::new(without_packing(name)).extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "json" => Some(Format::Json),
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "parquet" => Some(Format::Parquet),
            "arrow" | "feather" => Some(Format::Arrow),
            "txt" => Some(Format::Text),
            "pdf" => Some(Format::Pdf),
            _ => None,
        }
    }

    /// Says whether a file that is called so is packed, and says nothing by its length about the text in it.
    pub fn is_packed(name: &str) -> bool {
        without_packing(name) != name || Self::of_name(name) == Some(Format::Parquet)
    }

    /// Finds out the format of the file at `path` that is called `name`.
    fn find(name: &str, path: &Path) -> Result<Self, DataError> {
        let mut file = Unpacked::open(path)?;
        let mut start = Vec::new();
        file.by_ref().take(1 << 10).read_to_end(&mut start)?;
        if start.starts_with(b"PAR1") {
            return Ok(Format::Parquet);
        }
        if start.starts_with(b"%PDF-") {
            return Ok(Format::Pdf);
        }
        if start.starts_with(b"ARROW1\0\0") || start.starts_with(&[0xff; 4]) {
            return Ok(Format::Arrow);
        }
        if let Some(format) = Self::of_name(name) {
            return Ok(format);
        }
        let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&start);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => Ok(Format::Json),
            _ => Err(DataError::BadDataset {
                path: path.to_owned(),
                reason: "neither content nor name tell the format; set `format`, for example to jsonl, csv or text"
                    .into(),
            }),
        }
    }
}

/// How files are read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The format of all of them; found out for each if it is left out.
    pub format: Option<Format>,
    /// What becomes a row of a text file.
    pub unit: TextUnit,
    /// The columns that are wanted; all of them if it is left out.
    pub columns: Option<Vec<String>>,
    /// What becomes of a PDF without text.
    pub no_text: NoText,
    /// The folder for what must be unpacked before it can be read: Parquet within gzip, zstd or bzip2.
    pub scratch: Option<PathBuf>,
}

/// The rows of one file.
pub struct FileRows {
    source: Source,
    path: PathBuf,
    /// The path in words.
    shown: String,
    columns: Option<Vec<String>>,
}

enum Source {
    Text(TextRows),
    JsonLines(JsonLines),
    Json(JsonFile),
    Table(Box<Table>),
    Batches(Box<Batches>),
    Pdf(Box<PdfFile>),
}

impl FileRows {
    /// Opens the file at `path` that is called `name`.
    pub fn open(name: &str, path: &Path, reading: &Reading) -> Result<Self, DataError> {
        let format = reading.format.map_or_else(|| Format::find(name, path), Ok)?;
        let columns = reading.columns.clone();
        check_unit(format, reading.unit, path)?;
        let source = match format {
            Format::Text | Format::Clams => Source::Text(TextRows::open(path, format, reading.unit)?),
            Format::Jsonl => Source::JsonLines(JsonLines::open(path)?),
            Format::Json => Source::Json(JsonFile::open(path)?),
            Format::Csv => Source::Table(Box::new(Table::open(path, b',', columns.as_deref())?)),
            Format::Tsv => Source::Table(Box::new(Table::open(path, b'\t', columns.as_deref())?)),
            Format::Parquet => {
                Source::Batches(Box::new(Batches::parquet(path, columns.clone(), reading.scratch.as_deref())?))
            }
            Format::Arrow => Source::Batches(Box::new(Batches::arrow(path, columns.clone())?)),
            Format::Pdf => {
                let whole = reading.unit == TextUnit::File;
                Source::Pdf(Box::new(PdfFile::open(name, path, whole, reading.no_text)?))
            }
        };
        Ok(Self { source, path: path.to_owned(), shown: path.display().to_string(), columns })
    }

    /// Returns the next row as its columns, whatever they are called.
    pub fn next_record(&mut self) -> Result<Option<Record>, DataError> {
        let mut record = match &mut self.source {
            Source::Text(text) => text.next_row()?.map(Record::from),
            Source::JsonLines(lines) => lines.next_record()?,
            Source::Json(json) => json.next_record()?,
            Source::Table(table) => table.next_record()?,
            Source::Pdf(pdf) => pdf.next_record()?,
            // It has no others.
            Source::Batches(batches) => return batches.next_record(),
        };
        if let (Some(Record(values)), Some(columns)) = (&mut record, &self.columns) {
            values.retain(|name, _| columns.contains(name));
        }
        Ok(record)
    }

    /// Says whether there is a next row, which must be one that [`Self::next_record`] would return. Where that can be helped,
    /// nothing is made of it.
    pub fn check_record(&mut self) -> Result<Option<()>, DataError> {
        match &mut self.source {
            Source::JsonLines(lines) => lines.check_record(),
            Source::Batches(batches) => batches.check_record(),
            _ => Ok(self.next_record()?.map(drop)),
        }
    }

    /// Returns the next row of those that we know.
    pub fn next_row(&mut self) -> Result<Option<Row>, DataError> {
        match (&mut self.source, &self.columns) {
            (Source::Text(text), None) => return text.next_row(),
            (Source::JsonLines(lines), None) => return lines.next_row(),
            _ => {}
        }
        let Some(mut record) = self.next_record()? else { return Ok(None) };
        record.take_row().map(Some).map_err(|reason| match &self.source {
            Source::Text(text) => text.bad_row(reason),
            Source::JsonLines(lines) => lines.bad_row(reason),
            _ => DataError::BadAt { path: self.path.clone(), row: self.place().1, reason },
        })
    }

    /// Passes over so many rows at most, and returns how many there were. They are not looked into where that can be
    /// helped.
    pub fn skip_rows(&mut self, count: u64) -> Result<u64, DataError> {
        match &mut self.source {
            Source::Text(text) => text.skip_rows(count),
            Source::JsonLines(lines) => lines.skip_rows(count),
            Source::Json(json) => json.skip_rows(count),
            Source::Table(table) => table.skip_rows(count),
            Source::Batches(batches) => batches.skip_rows(count),
            Source::Pdf(pdf) => pdf.skip_rows(count),
        }
    }

    /// Returns the file and the line of the row that was read last; its number, where there are no lines.
    pub(super) fn place(&self) -> (&str, u64) {
        let row = match &self.source {
            Source::Text(text) => return text.place(),
            Source::JsonLines(lines) => return lines.place(),
            Source::Json(json) => json.row(),
            Source::Table(table) => table.row(),
            Source::Batches(batches) => batches.row(),
            Source::Pdf(pdf) => pdf.row(),
        };
        (&self.shown, row)
    }
}

/// Says whether files of a format have such units.
fn check_unit(format: Format, unit: TextUnit, path: &Path) -> Result<(), DataError> {
    match (format, unit) {
        (Format::Pdf, TextUnit::Paragraph) => {
            Err(bad(path, "a PDF has no paragraphs; set `rows` to page or file".into()))
        }
        (Format::Text, TextUnit::Page) => {
            Err(bad(path, "a text has no pages; set `rows` to line, paragraph or file".into()))
        }
        _ => Ok(()),
    }
}

impl Iterator for FileRows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}
