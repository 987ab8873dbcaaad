//! The split into `train` and `eval`, and the writing of what comes out.
//!
//! A row is placed by a hash of its own content. So the same row is on the same side whatever else is in the data, a set
//! that grows moves no row from training to evaluation, and two equal rows are never on both sides.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::row_hash::row_hash;
use crate::data::{Row, RowWriter};
use crate::ops::OpError;
use crate::spec::params::Split;

const DOMAIN: &str = "luthflow curate split 1";

/// What was written to one output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Written {
    pub(super) rows: u64,
    pub(super) chars: u64,
}

/// Where the rows go.
pub(super) struct Outputs {
    split: Option<Split>,
    /// The folder, its writer and what was written: `rows`, or `train` and `eval`.
    parts: Vec<(&'static str, RowWriter, Written)>,
}

impl Outputs {
    /// Begins the outputs below the folder `out`.
    pub(super) fn create(split: Option<Split>, out: &Path) -> Result<Self, OpError> {
        let names: &[&'static str] = if split.is_some() { &["train", "eval"] } else { &["rows"] };
        let mut parts = Vec::new();
        for name in names {
            parts.push((*name, RowWriter::create(&out.join(name))?, Written::default()));
        }
        Ok(Self { split, parts })
    }

    /// Writes rows where they belong.
    pub(super) fn write(&mut self, rows: Vec<Row>) -> Result<(), OpError> {
        let split = self.split;
        let place = |row: Row| (split.map_or(0, |split| usize::from(is_eval(split, &row))), row.chars(), row);
        let placed: Vec<(usize, u64, Row)> = rows.into_par_iter().map(place).collect();
        for (part, chars, row) in placed {
            let (_, writer, written) = &mut self.parts[part];
            writer.write(&row)?;
            written.rows += 1;
            written.chars += chars;
        }
        Ok(())
    }

    /// Ends the outputs and returns what was written to each. An empty one is an error.
    pub(super) fn finish(self) -> Result<BTreeMap<&'static str, Written>, OpError> {
        let mut all = BTreeMap::new();
        for (name, writer, written) in self.parts {
            if writer.finish()? == 0 {
                let message = format!("the step `split` leaves no row for `{name}`");
                return Err(OpError::new(message).help("give it more rows or another share"));
            }
            all.insert(name, written);
        }
        Ok(all)
    }
}

/// Returns whether a row is set aside.
fn is_eval(split: Split, row: &Row) -> bool {
    // 2^-64 times the hash is uniform in [0, 1).
    let place = row_hash(DOMAIN, split.seed, row) as f64 * 2f64.powi(-64);
    place < split.eval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_kept_and_the_seed_matters() {
        let rows: Vec<Row> = (0..10_000).map(|i| Row::Text(format!("row {i}"))).collect();
        let aside = |seed| {
            let split = Split { eval: 0.1, seed };
            rows.iter().map(|row| is_eval(split, row)).collect::<Vec<bool>>()
        };
        let count = aside(0).iter().filter(|&&eval| eval).count();
        // 1000 expected; 5 standard deviations are 150.
        assert!((850..1150).contains(&count), "{count}");
        assert_ne!(aside(0), aside(1));
    }
}
