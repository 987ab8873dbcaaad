//! Rows out of files that hold columns: Parquet, and Arrow as a file or a stream.
//!
//! Parquet's headers are bounded by the file; for Arrow's see [`super::arrow`]. The decoders are others' code and may panic on
//! what nobody thought of; that is an error of the file like any other.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use rayon::prelude::*;

use super::arrow::Stream;
use super::packed::open_whole;
use super::{DataError, Record, values};

/// How many rows are decoded at once.
const AT_ONCE: usize = 512;
/// How many of these one thread makes values of.
const BY_ONE: usize = 64;

/// The rows of a file of columns.
pub(super) struct Batches {
    path: PathBuf,
    source: Source,
    /// A batch, and how many of its rows were taken out of it.
    current: Option<(RecordBatch, usize)>,
    /// Rows that were made and not yet given. Whoever reads asks for them, or whether they are there, and not for both.
    rows: VecDeque<Record>,
    /// How many more rows were found to be there.
    checked: usize,
    /// The row that was given last, counted from 1.
    row: u64,
    columns: Option<Vec<String>>,
}

enum Source {
    /// Not begun: rows that are not wanted need not be read.
    Parquet {
        file: fs_err::File,
        metadata: ArrowReaderMetadata,
    },
    Begun(ParquetRecordBatchReader),
    Arrow(Box<Stream>),
}

impl Batches {
    /// Opens a Parquet file, of which only some columns are wanted.
    pub(super) fn parquet(
        path: &Path,
        columns: Option<Vec<String>>,
        scratch: Option<&Path>,
    ) -> Result<Self, DataError> {
        let file = open_whole(path, scratch)?;
        let metadata = guarded(path, || {
            ArrowReaderMetadata::load(file.file(), ArrowReaderOptions::new()).map_err(|error| error.to_string())
        })?;
        wanted(path, metadata.schema(), columns.as_deref())?;
        Ok(Self::new(path, Source::Parquet { file, metadata }, columns))
    }

    /// Opens an Arrow file or stream.
    pub(super) fn arrow(path: &Path, columns: Option<Vec<String>>) -> Result<Self, DataError> {
        Ok(Self::new(path, Source::Arrow(Box::new(Stream::open(path)?)), columns))
    }

    fn new(path: &Path, source: Source, columns: Option<Vec<String>>) -> Self {
        Self { path: path.to_owned(), source, current: None, rows: VecDeque::new(), checked: 0, row: 0, columns }
    }

    /// Returns the row that was given last, counted from 1.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    /// Returns the next row.
    pub(super) fn next_record(&mut self) -> Result<Option<Record>, DataError> {
        while self.rows.is_empty() {
            let Some(part) = self.next_part()? else { return Ok(None) };
            self.rows = self.looked_into(|| rows(&part))?;
        }
        self.row += 1;
        Ok(self.rows.pop_front())
    }

    /// Says whether there is a next row, which must be one that [`Self::next_record`] would return.
    pub(super) fn check_record(&mut self) -> Result<Option<()>, DataError> {
        while self.checked == 0 {
            let Some(part) = self.next_part()? else { return Ok(None) };
            self.looked_into(|| values::check(&part))?;
            self.checked = part.num_rows();
        }
        self.checked -= 1;
        self.row += 1;
        Ok(Some(()))
    }

    /// Returns the next rows that are still columns; nothing at the end.
    fn next_part(&mut self) -> Result<Option<RecordBatch>, DataError> {
        loop {
            let Some((batch, taken)) = &mut self.current else {
                let Some(batch) = self.next_batch()? else { return Ok(None) };
                self.current = Some((batch, 0));
                continue;
            };
            let count = (batch.num_rows() - *taken).min(AT_ONCE);
            if count > 0 {
                let part = batch.slice(*taken, count);
                *taken += count;
                return Ok(Some(part));
            }
            self.current = None;
        }
    }

    fn looked_into<T>(&self, look: impl FnOnce() -> Result<T, String>) -> Result<T, DataError> {
        guarded(&self.path, look).map_err(|error| match error {
            DataError::BadFile { path, reason } => DataError::BadAt { path, row: self.row + 1, reason },
            other => other,
        })
    }

    /// Passes over so many rows at most, and returns how many there were.
    pub(super) fn skip_rows(&mut self, count: u64) -> Result<u64, DataError> {
        let mut skipped = 0;
        if let Source::Parquet { file, metadata } = &self.source {
            let groups: Vec<u64> =
                metadata.metadata().row_groups().iter().map(|group| group.num_rows().max(0) as u64).collect();
            let whole = groups.iter().take_while(|rows| {
                let fits = skipped + **rows <= count;
                skipped += if fits { **rows } else { 0 };
                fits
            });
            let whole = whole.count();
            let reader = self.reader(file, metadata, (whole..groups.len()).collect())?;
            self.row += skipped;
            self.source = Source::Begun(reader);
        }
        while skipped < count {
            let left = count - skipped;
            let ahead = self.rows.len().max(self.checked);
            let here = if ahead == 0 {
                let Some((batch, taken)) = &mut self.current else {
                    let Some(batch) = self.next_batch()? else { break };
                    self.current = Some((batch, 0));
                    continue;
                };
                let here = left.min((batch.num_rows() - *taken) as u64);
                *taken += here as usize;
                if here == 0 {
                    self.current = None;
                }
                here
            } else {
                let here = left.min(ahead as u64);
                self.rows.drain(..self.rows.len().min(here as usize));
                self.checked = self.checked.saturating_sub(here as usize);
                here
            };
            skipped += here;
            self.row += here;
        }
        Ok(skipped)
    }

    fn reader(
        &self,
        file: &fs_err::File,
        metadata: &ArrowReaderMetadata,
        groups: Vec<usize>,
    ) -> Result<ParquetRecordBatchReader, DataError> {
        let file = file.file().try_clone()?;
        let roots = wanted(&self.path, metadata.schema(), self.columns.as_deref())?;
        guarded(&self.path, || {
            let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone());
            if let Some(roots) = roots {
                let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
                builder = builder.with_projection(mask);
            }
            let builder = builder.with_batch_size(AT_ONCE).with_row_groups(groups);
            builder.build().map_err(|error| error.to_string())
        })
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, DataError> {
        if let Source::Parquet { file, metadata } = &self.source {
            let groups = (0..metadata.metadata().num_row_groups()).collect();
            self.source = Source::Begun(self.reader(file, metadata, groups)?);
        }
        let path = self.path.clone();
        let batch = match &mut self.source {
            Source::Parquet { .. } => None,
            Source::Begun(reader) => guarded(&path, || reader.next().transpose().map_err(|error| error.to_string()))?,
            Source::Arrow(stream) => stream.next_batch(&path)?,
        };
        let (Some(batch), Source::Arrow(_)) = (&batch, &self.source) else { return Ok(batch) };
        match wanted(&path, &batch.schema(), self.columns.as_deref())? {
            None => Ok(Some(batch.clone())),
            Some(roots) => batch.project(&roots).map(Some).map_err(|error| bad(&path, error.to_string())),
        }
    }
}

/// Returns the rows of a part, made by all threads.
fn rows(part: &RecordBatch) -> Result<VecDeque<Record>, String> {
    let places: Vec<usize> = (0..part.num_rows()).step_by(BY_ONE).collect();
    let of_place = |at: usize| values::rows(&part.slice(at, BY_ONE.min(part.num_rows() - at)));
    let made: Vec<Result<Vec<Record>, String>> = places.into_par_iter().map(of_place).collect();
    let made: Vec<Vec<Record>> = made.into_iter().collect::<Result<_, _>>()?;
    Ok(made.into_iter().flatten().collect())
}

/// Returns where the wanted columns stand; nothing if all are wanted.
fn wanted(path: &Path, schema: &Schema, columns: Option<&[String]>) -> Result<Option<Vec<usize>>, DataError> {
    let Some(columns) = columns else { return Ok(None) };
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    check_columns(path, &names, columns)?;
    Ok(Some((0..names.len()).filter(|at| columns.iter().any(|column| column == names[*at])).collect()))
}

/// Refuses columns that a file hasn't.
pub(super) fn check_columns(path: &Path, names: &[&str], columns: &[String]) -> Result<(), DataError> {
    match columns.iter().find(|column| !names.contains(&column.as_str())) {
        None => Ok(()),
        Some(missing) => {
            let reason = format!("it has no column `{missing}`; its columns are `{}`", names.join("`, `"));
            Err(bad(path, reason))
        }
    }
}

pub(super) fn bad(path: &Path, reason: String) -> DataError {
    DataError::BadFile { path: path.to_owned(), reason }
}

/// Runs others' code on foreign bytes.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, String>) -> Result<T, DataError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|reason| bad(path, reason)),
        Err(_) => Err(bad(path, "it is damaged".into())),
    }
}
