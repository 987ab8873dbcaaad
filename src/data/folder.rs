//! A data set as a folder: where its rows lie, and how they are written.
//!
//! Three layouts exist. A curation writes `data.jsonl`, or shards of one format (`data-00000.parquet`). A source keeps the user's files as they came, below `files/`, so
//! that nothing is lost or rewritten, and says in `source.json` how to read them. Whoever reads rows needn't know which
//! one it is. Files are read in the byte order of their names, never in the order in which a file system lists them.

use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::reader::FileRows;
use super::{DataError, Format, NoText, Reading, Record, Row, TextUnit};

/// The rows of a curated data set.
const DATA_FILE: &str = "data.jsonl";
/// How to read the files of a source.
const SOURCE_FILE: &str = "source.json";
/// Where the files of a source lie.
const FILES_FOLDER: &str = "files";
/// The format version of `source.json`.
const SOURCE_VERSION: u32 = 1;

/// How the files of a source are read; the content of `source.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceManifest {
    version: u32,
    /// The format of all files; by the name of each if it is left out.
    format: Option<Format>,
    /// What becomes a row of a text file.
    rows: TextUnit,
    /// The columns that are wanted; all of them if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<String>>,
    /// The rows that are wanted; all of them if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<RowRange>,
    /// Whether rows that are none are passed over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    skip_bad: bool,
    /// What becomes of a PDF without text.
    #[serde(default, skip_serializing_if = "NoText::is_error")]
    no_text: NoText,
    /// Where what must be unpacked before it can be read is unpacked to.
    #[serde(skip)]
    scratch: Option<PathBuf>,
}

/// Some rows of a data set, counted from 0 over all its files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowRange {
    /// The first row.
    pub from: u64,
    /// The row after the last; the end if it is left out.
    pub to: Option<u64>,
}

impl SourceManifest {
    /// Returns the description of files in `format` (by file name if `None`).
    pub fn new(format: Option<Format>, rows: TextUnit) -> Self {
        Self {
            version: SOURCE_VERSION,
            format,
            rows,
            columns: None,
            range: None,
            skip_bad: false,
            no_text: NoText::Error,
            scratch: None,
        }
    }

    /// Takes only these columns.
    #[must_use]
    pub fn columns(mut self, columns: Option<Vec<String>>) -> Self {
        self.columns = columns;
        self
    }

    /// Takes only these rows.
    #[must_use]
    pub fn range(mut self, range: Option<RowRange>) -> Self {
        self.range = range;
        self
    }

    /// Passes over rows that are none.
    #[must_use]
    pub fn skipping_bad(mut self, skip: bool) -> Self {
        self.skip_bad = skip;
        self
    }

    /// Says what becomes of a PDF without text.
    #[must_use]
    pub fn no_text(mut self, no_text: NoText) -> Self {
        self.no_text = no_text;
        self
    }

    /// Says where what must be unpacked before it can be read is unpacked to.
    #[must_use]
    pub fn unpacking_in(mut self, scratch: &Path) -> Self {
        self.scratch = Some(scratch.to_owned());
        self
    }

    /// Returns where in the folder `dir` a file called `name` belongs.
    pub fn file_path(dir: &Path, name: &str) -> PathBuf {
        dir.join(FILES_FOLDER).join(name)
    }

    /// Writes `source.json` into the folder `dir`.
    pub fn write(&self, dir: &Path) -> Result<(), DataError> {
        let mut text = serde_json::to_string(self).expect("a manifest always has a JSON form");
        text.push('\n');
        Ok(fs::write(dir.join(SOURCE_FILE), text)?)
    }

    /// Opens a file that is called `name` in the data set and lies at `path`.
    pub fn open_file(&self, name: &str, path: &Path) -> Result<FileRows, DataError> {
        let Self { format, rows: unit, columns, no_text, scratch, .. } = self.clone();
        let reading = Reading { format, unit, columns, no_text, scratch };
        FileRows::open(name, path, &reading)
    }

    /// Returns the rows of these files, each with its name in the data set, in the order of the names.
    pub fn rows_of(&self, mut files: Vec<(String, PathBuf)>) -> Rows {
        files.sort();
        let range = self.range.unwrap_or_default();
        let left = range.to.map(|to| to.saturating_sub(range.from));
        Rows { manifest: self.clone(), waiting: files.into(), current: None, skip: range.from, left, bad: 0 }
    }

    fn read(path: &Path) -> Result<Self, DataError> {
        let bad = |reason| DataError::BadDataset { path: path.to_owned(), reason };
        let manifest: Self =
            serde_json::from_slice(&fs::read(path)?).map_err(|error| bad(format!("{SOURCE_FILE}: {error}")))?;
        if manifest.version == SOURCE_VERSION {
            Ok(manifest)
        } else {
            Err(bad(format!("{SOURCE_FILE} has version {}, this program reads {SOURCE_VERSION}", manifest.version)))
        }
    }
}

/// The rows of a data set, one after the other. After an error it ends.
pub struct Rows {
    manifest: SourceManifest,
    /// The files that are still to be read: name and place.
    waiting: VecDeque<(String, PathBuf)>,
    current: Option<FileRows>,
    /// How many rows are still to be passed over.
    skip: u64,
    /// How many rows are still wanted, if that is bounded.
    left: Option<u64>,
    /// How many rows were none.
    bad: u64,
}

/// Opens the data set in the folder `dir`, whichever node made it.
pub fn open(dir: &Path) -> Result<Rows, DataError> {
    let data = dir.join(DATA_FILE);
    if data.is_file() {
        let manifest = SourceManifest::new(Some(Format::Jsonl), TextUnit::Line);
        return Ok(manifest.rows_of(vec![(DATA_FILE.to_owned(), data)]));
    }
    let source = dir.join(SOURCE_FILE);
    if !source.is_file() {
        let shards = shards_of(dir)?;
        if !shards.is_empty() {
            return Ok(SourceManifest::new(None, TextUnit::Line).rows_of(shards));
        }
        let reason = format!("it holds neither {DATA_FILE} nor {SOURCE_FILE}");
        return Err(DataError::BadDataset { path: dir.to_owned(), reason });
    }
    let manifest = SourceManifest::read(&source)?;
    let mut files = Vec::new();
    list_files(&dir.join(FILES_FOLDER), "", &mut files)?;
    Ok(manifest.rows_of(files))
}

/// Returns the shards that a curation wrote: `data-00000.jsonl.zst`, `data-00000.parquet`.
fn shards_of(dir: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let mut shards = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let ends = [".jsonl.zst", ".parquet"].into_iter().find_map(|end| name.strip_suffix(end));
        let number = ends.and_then(|stem| stem.strip_prefix("data-"));
        if number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) {
            shards.push((name, path));
        }
    }
    Ok(shards)
}

fn list_files(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), DataError> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(DataError::BadDataset { path, reason: "the file name is not UTF-8".into() });
        };
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            list_files(&path, &format!("{name}/"), files)?;
        } else {
            files.push((name, path));
        }
    }
    Ok(())
}

/// The rows of a data set as their columns. After an error it ends.
pub struct Records(Rows);

/// Opens the data set in the folder `dir`, for what its columns are and not for the rows that we know.
pub fn open_records(dir: &Path) -> Result<Records, DataError> {
    open(dir).map(Records)
}

impl Records {
    /// As [`Rows::unpacking_in`].
    #[must_use]
    pub fn unpacking_in(self, scratch: &Path) -> Self {
        Self(self.0.unpacking_in(scratch))
    }

    /// Returns the files one by one, each with its place and its own rows; nothing if the rows that are wanted are counted
    /// over all files.
    pub fn by_file(&self) -> Option<Vec<(PathBuf, Records)>> {
        let Rows { manifest, waiting, current, skip, left, .. } = &self.0;
        if current.is_some() || *skip > 0 || left.is_some() {
            return None;
        }
        let alone = |file: &(String, PathBuf)| (file.1.clone(), Records(manifest.rows_of(vec![file.clone()])));
        Some(waiting.iter().map(alone).collect())
    }

    /// Returns how the files are read, for what depends on it.
    pub fn manifest(&self) -> &SourceManifest {
        &self.0.manifest
    }

    /// Returns the file and the line of the record that was read last.
    pub fn place(&self) -> (&str, u64) {
        self.0.current.as_ref().map_or(("", 0), FileRows::place)
    }
}

impl Iterator for Records {
    type Item = Result<Record, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.0.next_with(FileRows::next_record).transpose();
        self.0.end_after(matches!(record, Some(Err(_))));
        record
    }
}

impl Rows {
    /// Says where what must be unpacked before it can be read (Parquet within gzip, zstd or bzip2) is unpacked to.
    #[must_use]
    pub fn unpacking_in(mut self, scratch: &Path) -> Self {
        self.manifest = self.manifest.unpacking_in(scratch);
        self
    }

    fn next_with<T>(
        &mut self,
        mut next: impl FnMut(&mut FileRows) -> Result<Option<T>, DataError>,
    ) -> Result<Option<T>, DataError> {
        while self.left != Some(0) {
            if let Some(file) = &mut self.current {
                if self.skip > 0 {
                    self.skip -= file.skip_rows(self.skip)?;
                }
                let row = if self.skip > 0 { Ok(None) } else { next(file) };
                if !matches!(row, Ok(None)) {
                    self.left = self.left.map(|left| left - 1);
                }
                match row {
                    Ok(None) => {}
                    Err(error) if self.manifest.skip_bad && error.is_of_one_row() => {
                        self.bad += 1;
                        continue;
                    }
                    row => return row,
                }
            }
            let Some((name, path)) = self.waiting.pop_front() else { return Ok(None) };
            self.current = Some(self.manifest.open_file(&name, &path)?);
        }
        Ok(None)
    }

    /// Returns how many rows were none and were passed over.
    pub fn bad(&self) -> u64 {
        self.bad
    }

    /// Returns the next row as its columns.
    pub fn next_record(&mut self) -> Result<Option<Record>, DataError> {
        self.next_with(FileRows::next_record)
    }

    /// Says whether there is a next row, which must be one that [`Self::next_record`] would return.
    pub fn check_record(&mut self) -> Result<Option<()>, DataError> {
        self.next_with(FileRows::check_record)
    }

    fn end_after(&mut self, failure: bool) {
        if failure {
            self.waiting.clear();
            self.current = None;
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_with(|file| file.next().transpose()).transpose();
        self.end_after(matches!(row, Some(Err(_))));
        row
    }
}

/// Writes a data set that [`open`] reads.
pub struct RowWriter {
    file: BufWriter<fs::File>,
    rows: u64,
}

impl RowWriter {
    /// Begins a data set in the folder `dir`, which is made if it isn't there.
    pub fn create(dir: &Path) -> Result<Self, DataError> {
        fs::create_dir_all(dir)?;
        Ok(Self { file: BufWriter::new(fs::File::create(dir.join(DATA_FILE))?), rows: 0 })
    }

    /// Adds a row.
    pub fn write(&mut self, row: &Row) -> Result<(), DataError> {
        self.write_line(&row.to_json())
    }

    /// Adds a row that is one line of JSON, without its end.
    pub fn write_line(&mut self, line: &str) -> Result<(), DataError> {
        self.file.write_all(line.as_bytes())?;
        self.file.write_all(b"\n")?;
        self.rows += 1;
        Ok(())
    }

    /// Ends the data set and returns the number of rows in it.
    pub fn finish(mut self) -> Result<u64, DataError> {
        self.file.flush()?;
        Ok(self.rows)
    }
}
