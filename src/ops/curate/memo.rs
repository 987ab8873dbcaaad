//! What the first steps made of one file, kept by content: one new file does not run the others again.
//!
//! Steps that look at a row alone, up to the first that does not, make of a file's bytes always the same rows. So these rows
//! and the counts lie in a folder for what can be computed again, under the digest of the file, of how it is read, and of the
//! steps. A file is used only when it is whole: the rows have zstd's checksums, and the counts are written last.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::item::Item;
use super::spool::{Spool, SpoolReader};
use super::stats::Counts;
use super::tokens::TokenCounter;
use crate::digest::{file_digest, value_digest};
use crate::ops::{OpCx, OpError};
use crate::spec::params::CurateStep;

/// Changed with whatever a step makes of the same rows, and with how they lie on disk.
const VERSION: u32 = 3;
/// Files with fewer bytes are read faster than found.
const SMALL: u64 = 1 << 20;

/// What is known about a file beside its rows.
#[derive(Serialize, Deserialize)]
struct Known {
    rows_in: u64,
    rows_out: u64,
    counts: Vec<Counts>,
}

/// Where the rows of a file are kept.
pub(super) struct FileMemo {
    rows: PathBuf,
    known: PathBuf,
}

/// What was kept of a file.
pub(super) struct Kept {
    pub(super) rows_in: u64,
    pub(super) counts: Vec<Counts>,
    pub(super) rows: SpoolReader,
}

impl FileMemo {
    /// Finds out where the rows of a file are kept; nothing if they are not, because to make them again takes no longer than to
    /// read them back.
    pub(super) fn of(
        file: &Path,
        reading: &impl Serialize,
        (name, steps, counter): (&str, &[CurateStep], Option<&TokenCounter>),
        cx: &OpCx<'_>,
    ) -> Result<Option<Self>, OpError> {
        let Some(folder) = cx.memo.filter(|_| !steps.is_empty()) else { return Ok(None) };
        let costly = counter.is_some() || steps.iter().any(CurateStep::is_costly) || is_pdf(file)?;
        if !costly || fs::metadata(file)?.len() < SMALL {
            return Ok(None);
        }
        let (digest, _) = file_digest(file).map_err(|error| OpError::caused("cannot digest the data", error))?;
        let parts = json!({
            "version": VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "file": digest.hex(),
            "reading": reading,
            "name": name,
            "steps": steps,
            "tokenizer": counter.map(|counter| &counter.files),
        });
        let stem = value_digest(&parts).hex();
        Ok(Some(Self { rows: folder.join(format!("{stem}.rows")), known: folder.join(format!("{stem}.counts")) }))
    }

    /// Returns what is kept, if it is whole.
    pub(super) fn read(&self) -> Option<Kept> {
        let known: Known = serde_json::from_slice(&fs::read(&self.known).ok()?).ok()?;
        // Read once to the end, for the checksums.
        let mut whole = SpoolReader::open(&self.rows).ok()?;
        if whole.count().ok()? != known.rows_out {
            return None;
        }
        for path in [&self.rows, &self.known] {
            // Used now. Only `cache gc` looks at it.
            let _ = fs::File::options()
                .append(true)
                .open(path)
                .map(|file| file.into_file().set_modified(SystemTime::now()));
        }
        Some(Kept { rows_in: known.rows_in, counts: known.counts, rows: SpoolReader::open(&self.rows).ok()? })
    }

    /// Begins to keep rows. That they cannot be kept costs time later and nothing else.
    pub(super) fn begin(&self) -> Option<Keeping<'_>> {
        let folder = self.rows.parent()?;
        fs::create_dir_all(folder).ok()?;
        let name = format!("{}.{}.unfinished", self.rows.file_name()?.to_str()?, std::process::id());
        let path = Unfinished(folder.join(&name));
        Some(Keeping { memo: self, spool: Spool::on_disk(folder, &name), path, rows: 0 })
    }
}

/// Says whether a file is a PDF, whose rows take longer to read than anything does that is done to them.
fn is_pdf(file: &Path) -> Result<bool, OpError> {
    let mut start = Vec::new();
    fs::File::open(file)?.take(5).read_to_end(&mut start)?;
    Ok(start == b"%PDF-")
}

/// Rows that are being kept.
pub(super) struct Keeping<'a> {
    memo: &'a FileMemo,
    spool: Spool,
    path: Unfinished,
    rows: u64,
}

/// A file that goes unless it gets its name: the node may fail or be cancelled at any row.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Most often it is not there any more. What cannot be removed is swept by `cache gc`.
        let _ = fs::remove_file(&self.0);
    }
}

impl Keeping<'_> {
    /// Adds rows; says whether it could.
    pub(super) fn push(&mut self, items: &[Item]) -> bool {
        self.rows += items.len() as u64;
        self.spool.write(items).is_ok()
    }

    /// Puts the rows, and what is known about them, where they are found.
    pub(super) fn finish(self, rows_in: u64, counts: &[Counts]) {
        let known = Known { rows_in, rows_out: self.rows, counts: counts.to_vec() };
        let keep = || -> Result<(), OpError> {
            self.spool.finish_file()?;
            fs::rename(&self.path.0, &self.memo.rows)?;
            let unfinished = Unfinished(self.path.0.with_extension("counts"));
            fs::write(&unfinished.0, serde_json::to_vec(&known).unwrap_or_default())?;
            Ok(fs::rename(&unfinished.0, &self.memo.known)?)
        };
        // As above: what cannot be kept is made again.
        let _ = keep();
    }
}
