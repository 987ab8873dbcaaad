//! Rows out of files that hold columns: Parquet, and Arrow as a file or a stream.
//!
//! Headers are not believed. Parquet's are bounded by the file; of Arrow's messages each is read as far as it is there, and
//! what its buffers claim to unpack to is bounded before anything is unpacked. The decoders are others' code and may
//! panic on what nobody thought of; that is an error of the file like any other.

use std::collections::VecDeque;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::Schema;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::packed::{Unpacked, open_whole};
use super::{DataError, Record, values};

/// How many rows are decoded at once.
const AT_ONCE: usize = 512;
/// The largest message of an Arrow stream, and what all its buffers may unpack to.
const LARGEST_BODY: u64 = 2 << 30;
/// The largest description of a message.
const LARGEST_HEAD: u32 = 64 << 20;

/// The rows of a file of columns.
pub(super) struct Batches {
    path: PathBuf,
    source: Source,
    /// A batch, and how many of its rows were taken out of it.
    current: Option<(RecordBatch, usize)>,
    rows: VecDeque<Record>,
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

struct Stream {
    input: Unpacked,
    decoder: StreamDecoder,
    waiting: VecDeque<RecordBatch>,
    ended: bool,
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
        let mut input = Unpacked::open(path)?;
        let mut start = [0; 8];
        let began = read_up_to(&mut input, &mut start)?;
        if &start != b"ARROW1\0\0" {
            // A stream has no name of its own in front.
            input = Unpacked::open(path)?;
        } else if began < 8 {
            return Err(bad(path, "it ends before it has begun".into()));
        }
        let stream = Stream { input, decoder: StreamDecoder::new(), waiting: VecDeque::new(), ended: false };
        Ok(Self::new(path, Source::Arrow(Box::new(stream)), columns))
    }

    fn new(path: &Path, source: Source, columns: Option<Vec<String>>) -> Self {
        Self { path: path.to_owned(), source, current: None, rows: VecDeque::new(), row: 0, columns }
    }

    /// Returns the row that was given last, counted from 1.
    pub(super) fn row(&self) -> u64 {
        self.row
    }

    /// Returns the next row.
    pub(super) fn next_record(&mut self) -> Result<Option<Record>, DataError> {
        loop {
            if let Some(record) = self.rows.pop_front() {
                self.row += 1;
                return Ok(Some(record));
            }
            let Some((batch, taken)) = &mut self.current else {
                let Some(batch) = self.next_batch()? else { return Ok(None) };
                self.current = Some((batch, 0));
                continue;
            };
            let count = (batch.num_rows() - *taken).min(AT_ONCE);
            if count == 0 {
                self.current = None;
                continue;
            }
            let (part, path, row) = (batch.slice(*taken, count), self.path.clone(), self.row + 1);
            *taken += count;
            let rows = guarded(&path, || values::rows(&part));
            self.rows = rows
                .map_err(|error| match error {
                    DataError::BadFile { path, reason } => DataError::BadAt { path, row, reason },
                    other => other,
                })?
                .into();
        }
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
            let here = if self.rows.is_empty() {
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
                let here = left.min(self.rows.len() as u64);
                self.rows.drain(..here as usize);
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

impl Stream {
    fn next_batch(&mut self, path: &Path) -> Result<Option<RecordBatch>, DataError> {
        while self.waiting.is_empty() && !self.ended {
            match self.frame(path)? {
                None => self.ended = true,
                Some(frame) => {
                    let (decoder, waiting) = (&mut self.decoder, &mut self.waiting);
                    guarded(path, || {
                        let mut buffer = frame.into();
                        loop {
                            waiting.extend(decoder.decode(&mut buffer).map_err(|error| error.to_string())?);
                            if buffer.is_empty() {
                                return Ok(());
                            }
                        }
                    })?;
                }
            }
        }
        if self.decoder.schema().is_none() {
            return Err(bad(path, "it does not begin with a schema".into()));
        }
        Ok(self.waiting.pop_front())
    }

    /// Reads a message with all that belongs to it; nothing at the end.
    fn frame(&mut self, path: &Path) -> Result<Option<Vec<u8>>, DataError> {
        let cut = || bad(path, "it ends in the middle of a message".into());
        let mut word = [0; 4];
        match read_up_to(&mut self.input, &mut word)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(cut()),
        }
        if word == [0xff; 4] && read_up_to(&mut self.input, &mut word)? < 4 {
            return Err(cut());
        }
        let length = u32::from_le_bytes(word);
        if length == 0 {
            return Ok(None);
        }
        if length > LARGEST_HEAD {
            return Err(bad(path, format!("a message describes itself in {length} bytes, which is no Arrow data")));
        }
        let mut frame = [[0xff; 4], word].concat();
        self.append(&mut frame, u64::from(length))?;
        let head = frame.get(8..8 + length as usize).ok_or_else(cut)?.to_vec();
        let message = arrow_ipc::root_as_message(&head);
        let message = message.map_err(|error| bad(path, format!("a message is damaged: {error}")))?;
        let body = u64::try_from(message.bodyLength()).ok().filter(|body| *body <= LARGEST_BODY);
        let body = body.ok_or_else(|| bad(path, format!("a message has {} bytes", message.bodyLength())))?;
        let before = frame.len();
        self.append(&mut frame, body)?;
        if (frame.len() - before) as u64 != body {
            return Err(cut());
        }
        let dictionary = message.header_as_dictionary_batch().and_then(|batch| batch.data());
        if let Some(batch) = message.header_as_record_batch().or(dictionary)
            && batch.compression().is_some()
        {
            let mut total = 0_u64;
            for buffer in batch.buffers().into_iter().flatten() {
                let at =
                    usize::try_from(buffer.offset()).ok().and_then(|at| frame[before..].get(at..)?.first_chunk::<8>());
                let unpacked = at.map_or(0, |bytes| i64::from_le_bytes(*bytes));
                total = total.saturating_add(u64::try_from(unpacked).unwrap_or(0));
            }
            if total > LARGEST_BODY {
                return Err(bad(path, format!("a message unpacks to {total} bytes")));
            }
        }
        Ok(Some(frame))
    }

    fn append(&mut self, frame: &mut Vec<u8>, count: u64) -> Result<(), DataError> {
        self.input.by_ref().take(count).read_to_end(frame)?;
        Ok(())
    }
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
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, String>) -> Result<T, DataError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|reason| bad(path, reason)),
        Err(_) => Err(bad(path, "it is damaged".into())),
    }
}

fn read_up_to(input: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut read = 0;
    while read < into.len() {
        match input.read(&mut into[read..])? {
            0 => break,
            count => read += count,
        }
    }
    Ok(read)
}
