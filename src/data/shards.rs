//! Writing data sets as others read them: shards of `jsonl.zst` or Parquet, the same bytes for the same rows.
//!
//! Parquet wants the type of every column before the first row. So rows wait in a file beside the shards until all are
//! known: one schema for all shards, as `datasets` demands. What has no one type is refused with the row at which that
//! showed, rather than turned into text.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use fs_err as fs;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use serde_json::Value;

use super::shape::{Shape, batch_of};
use super::{DataError, Record};

/// The level of zstd: the default of the reference program.
const LEVEL: i32 = 3;
/// How many rows make a batch, and how many a row group.
const BATCH: usize = 1024;
const GROUP: usize = 1 << 15;
/// Where rows wait, and the level of zstd there: the disk is slower.
const WAITING: &str = ".waiting.jsonl.zst";
const WAITING_LEVEL: i32 = 1;

/// What shards are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardFormat {
    /// One JSON object a line, in zstd.
    JsonlZst,
    /// Parquet, with zstd inside.
    Parquet,
}

/// A shard that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its name: `data-00000.parquet`.
    pub name: String,
    /// How many rows it holds.
    pub rows: u64,
}

type Packer = zstd::stream::write::Encoder<'static, fs::File>;

/// Writes a data set that [`super::open`] reads, in shards.
pub struct ShardWriter {
    dir: PathBuf,
    format: ShardFormat,
    /// How many bytes of JSON make a shard.
    size: u64,
    shards: Vec<Shard>,
    current: Option<Packer>,
    filled: u64,
    shape: Shape,
    rows: u64,
}

impl ShardWriter {
    /// Begins a data set in the folder `dir`, which is made if it isn't there. A shard ends with the row that brings it to
    /// `size` bytes of JSON.
    pub fn create(dir: &Path, format: ShardFormat, size: u64) -> Result<Self, DataError> {
        fs::create_dir_all(dir)?;
        let (shards, shape) = (Vec::new(), Shape::Nothing);
        Ok(Self { dir: dir.to_owned(), format, size, shards, current: None, filled: 0, shape, rows: 0 })
    }

    /// Adds a row.
    pub fn write(&mut self, record: &Record) -> Result<(), DataError> {
        self.rows += 1;
        if self.format == ShardFormat::Parquet {
            let shape = Shape::of_columns(&record.0).and_then(|shape| std::mem::take(&mut self.shape).and(shape));
            self.shape = shape.map_err(|reason| DataError::BadAt { path: self.dir.clone(), row: self.rows, reason })?;
        }
        let mut line = serde_json::to_vec(&record.0).map_err(std::io::Error::from)?;
        line.push(b'\n');
        if self.current.is_none() {
            let (name, level) = match self.format {
                ShardFormat::Parquet => (WAITING.to_owned(), WAITING_LEVEL),
                ShardFormat::JsonlZst => (format!("data-{:05}.jsonl.zst", self.shards.len()), LEVEL),
            };
            self.current = Some(packer(&self.dir.join(&name), level)?);
            self.filled = 0;
            self.shards.push(Shard { name, rows: 0 });
        }
        if let Some(current) = &mut self.current {
            current.write_all(&line)?;
        }
        self.filled += line.len() as u64;
        if let Some(shard) = self.shards.last_mut() {
            shard.rows += 1;
        }
        if self.format == ShardFormat::JsonlZst && self.filled >= self.size {
            self.end_file()?;
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), DataError> {
        if let Some(current) = self.current.take() {
            current.finish()?.flush()?;
        }
        Ok(())
    }

    /// Ends the data set and returns its shards. One without rows has one shard, which is empty.
    pub fn finish(mut self) -> Result<Vec<Shard>, DataError> {
        self.end_file()?;
        if self.format == ShardFormat::Parquet {
            return self.columns();
        }
        if self.shards.is_empty() {
            let name = "data-00000.jsonl.zst".to_owned();
            packer(&self.dir.join(&name), LEVEL)?.finish()?.flush()?;
            self.shards.push(Shard { name, rows: 0 });
        }
        Ok(self.shards)
    }

    /// Writes one shard of what waits, and returns how many rows it took.
    fn shard(
        &self,
        name: &str,
        schema: &SchemaRef,
        lines: &mut dyn Iterator<Item = std::io::Result<String>>,
    ) -> Result<u64, DataError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL).unwrap_or_default()))
            .set_max_row_group_row_count(Some(GROUP));
        let file = fs::File::create(self.dir.join(name))?;
        let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build()))
            .map_err(|error| unwritable(&self.dir, &error))?;
        let (mut rows, mut filled, mut batch) = (0, 0, Vec::<String>::new());
        loop {
            let line = if filled >= self.size { None } else { lines.next().transpose()? };
            let ended = line.is_none();
            filled += line.as_ref().map_or(0, |line| line.len() as u64 + 1);
            rows += u64::from(!ended);
            batch.extend(line);
            if batch.len() >= BATCH || ended && !batch.is_empty() {
                let values = batch.par_iter().map(|line| serde_json::from_str(line)).collect::<Result<Vec<Value>, _>>();
                let values = values.map_err(std::io::Error::from)?;
                let columns = batch_of(schema, &values).map_err(|why| unwritable(&self.dir, &why))?;
                writer.write(&columns).map_err(|error| unwritable(&self.dir, &error))?;
                batch.clear();
            }
            if ended {
                break;
            }
        }
        writer.close().map_err(|error| unwritable(&self.dir, &error))?;
        Ok(rows)
    }

    /// Turns what waits into Parquet.
    fn columns(self) -> Result<Vec<Shard>, DataError> {
        let waiting = self.dir.join(WAITING);
        let schema = self.shape.schema().map_err(|why| unwritable(&self.dir, &why))?;
        let mut shards: Vec<Shard> = Vec::new();
        let mut lines: Box<dyn Iterator<Item = std::io::Result<String>>> = if self.rows == 0 {
            Box::new(std::iter::empty())
        } else {
            let unpacked = zstd::stream::read::Decoder::new(fs::File::open(&waiting)?)?;
            Box::new(BufReader::new(unpacked).lines())
        };
        let mut left = self.rows;
        while left > 0 || shards.is_empty() {
            let name = format!("data-{:05}.parquet", shards.len());
            let rows = self.shard(&name, &schema, &mut *lines)?;
            left = left.saturating_sub(rows);
            shards.push(Shard { name, rows });
            if rows == 0 {
                break;
            }
        }
        if waiting.is_file() {
            fs::remove_file(waiting)?;
        }
        Ok(shards)
    }
}

/// What has no place of its own to be wrong at.
fn unwritable(dir: &Path, reason: &impl ToString) -> DataError {
    DataError::BadFile { path: dir.to_owned(), reason: reason.to_string() }
}

fn packer(path: &Path, level: i32) -> Result<Packer, DataError> {
    Ok(Packer::new(fs::File::create(path)?, level)?)
}
