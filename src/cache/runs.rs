//! The runs that were: one folder each, with a log a node and what came out.
//!
//! Plain files, so that a run that was killed still shows, and its logs can be read with any tool. A run's id is its
//! start in UTC, so that ids sort by time.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::files::{self, sorted_entries, write_lightly};
use super::{Cache, CacheError};
use crate::digest::Digest;

/// The format of a run's file.
const VERSION: u64 = 1;

/// The longest run file that is read, in bytes.
const LONGEST_RUN: u64 = 64 << 20;

/// The longest file name made from a node's name, in bytes, extensions apart. File systems allow 255.
const LONGEST_NAME: usize = 180;

/// The name of a run: `20261121-101502-123`, its start in UTC to the millisecond. Sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// A run as it is on record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    version: u64,
    /// Its name.
    pub id: RunId,
    /// The pipeline.
    pub pipeline: String,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// When it ended; `None` if it runs or was killed.
    pub finished: Option<u64>,
    /// What came out.
    pub summary: Option<Value>,
}

impl Cache {
    /// Begins a run.
    pub fn start_run(&self, pipeline: &str) -> Result<RunId, CacheError> {
        self.need_write("starting a run")?;
        fs_err::create_dir_all(self.layout.runs())?;
        let mut started = milliseconds();
        // The id of a run that began in the same millisecond is taken.
        let id = loop {
            let id = RunId(civil(started));
            match fs_err::create_dir(self.layout.runs().join(&id.0)) {
                Ok(()) => break id,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => started += 1,
                Err(error) => return Err(error.into()),
            }
        };
        self.claim_run(&id.0)?;
        let pipeline = pipeline.to_owned();
        let record =
            RunRecord { version: VERSION, id, pipeline, started: started / 1000, finished: None, summary: None };
        self.write_run(&record)?;
        Ok(record.id)
    }

    /// Returns where the log of a node instance in a run goes. The name of the file is safe on every file system.
    pub fn log_path(&self, run: &RunId, instance: &str) -> PathBuf {
        self.layout.runs().join(&run.0).join(format!("{}.log", safe_name(instance)))
    }

    /// Ends a run and notes what came out.
    pub fn finish_run(&self, run: &RunId, summary: &Value) -> Result<(), CacheError> {
        self.need_write("ending a run")?;
        let begun = self.run(run.clone())?;
        let record = RunRecord { finished: Some(milliseconds() / 1000), summary: Some(summary.clone()), ..begun };
        self.write_run(&record)
    }

    /// Returns the last runs, the newest first, at most `limit` of them.
    pub fn runs(&self, limit: usize) -> Result<Vec<RunRecord>, CacheError> {
        self.run_ids()?.into_iter().take(limit).map(|id| self.run(id)).collect()
    }

    /// Returns the log of a node instance in the newest run that has one.
    pub fn last_log(&self, instance: &str) -> Result<Option<PathBuf>, CacheError> {
        let logs = self.run_ids()?.into_iter().map(|id| self.log_path(&id, instance));
        Ok(logs.into_iter().find(|path| path.is_file()))
    }

    /// Returns the names of all runs, the newest first.
    pub(super) fn run_ids(&self) -> Result<Vec<RunId>, CacheError> {
        let name = |path: PathBuf| Some(RunId(path.file_name()?.to_str()?.to_owned()));
        let folders = sorted_entries(&self.layout.runs())?.into_iter().filter(|path| path.is_dir());
        Ok(folders.filter_map(name).rev().collect())
    }

    /// Reads a run. One whose file is gone or damaged is known by its name only.
    fn run(&self, id: RunId) -> Result<RunRecord, CacheError> {
        let text = files::read_bounded(&self.run_file(&id), LONGEST_RUN)?;
        let read = text.and_then(|text| serde_json::from_slice::<RunRecord>(&text).ok());
        let nothing =
            RunRecord { version: VERSION, id, pipeline: String::new(), started: 0, finished: None, summary: None };
        Ok(read.filter(|read| read.version == VERSION && read.id == nothing.id).unwrap_or(nothing))
    }

    fn write_run(&self, record: &RunRecord) -> Result<(), CacheError> {
        let json = serde_json::to_vec_pretty(record).map_err(io::Error::from)?;
        Ok(write_lightly(&self.run_file(&record.id), &json, &self.scratch()?)?)
    }

    fn run_file(&self, id: &RunId) -> PathBuf {
        self.layout.runs().join(&id.0).join("run.json")
    }
}

/// Returns a file name that is safe on every file system, readable, and different for different names.
pub(super) fn safe_name(name: &str) -> String {
    let mut safe = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'=' | b',' | b'[' | b']' => safe.push(byte.into()),
            b'.' if !safe.is_empty() => safe.push('.'),
            _ => safe.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 15)]),
        }
    }
    if safe.is_empty() || safe.len() > LONGEST_NAME {
        safe.truncate(LONGEST_NAME - 13);
        safe = format!("{safe}-{}", Digest::of(name.as_bytes()).short());
    }
    safe
}

fn hex_digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0')
}

fn milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Returns a time in milliseconds since 1970 as `YYYYMMDD-HHMMSS-mmm` in UTC.
fn civil(milliseconds: u64) -> String {
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{rest:03}")
}

/// Returns year, month and day of the Gregorian calendar, counted in years that begin in March: leap days come last.
fn date(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_become_dates() {
        assert_eq!(civil(0), "19700101-000000-000");
        assert_eq!(civil(951_782_400_000), "20000229-000000-000");
        assert_eq!(civil(951_868_799_999), "20000229-235959-999");
        assert_eq!(civil(1_700_000_000_123), "20231114-221320-123");
        assert_eq!(civil(4_107_542_400_000), "21000301-000000-000");
    }

    #[test]
    fn names_become_safe_file_names() {
        assert_eq!(safe_name("merged[t=0.6]"), "merged[t=0.6]");
        assert_eq!(safe_name("../a/b"), "%2e.%2fa%2fb");
        assert_eq!(safe_name("été \n"), "%c3%a9t%c3%a9%20%0a");
        assert!(safe_name("").starts_with('-'));
        assert_ne!(safe_name(&"x".repeat(999)), safe_name(&"x".repeat(998)));
    }

    proptest! {
        #[test]
        fn file_names_are_short_plain_and_as_different_as_the_names(a in ".{0,300}", b in ".{0,300}") {
            let (safe_a, safe_b) = (safe_name(&a), safe_name(&b));
            prop_assert!(safe_a.len() <= LONGEST_NAME && !safe_a.is_empty() && !safe_a.starts_with('.'));
            prop_assert!(safe_a.is_ascii() && !safe_a.contains(['/', '\\', '\0', ':', '*', '?', '"', '<', '>', '|']));
            prop_assert_eq!(safe_a == safe_b, a == b);
        }

        #[test]
        fn dates_are_in_order_and_in_bounds(day in 0..200_000_u64) {
            let (today, tomorrow) = (date(day), date(day + 1));
            prop_assert!(today < tomorrow && (1..=12).contains(&today.1) && (1..=31).contains(&today.2));
        }
    }
}
