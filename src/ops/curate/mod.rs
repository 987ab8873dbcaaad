//! `kind: curate`: rows in, fewer and better rows out, with a count at every step.
//!
//! Rows flow through the steps in blocks: the steps that judge a row by itself work on the rows of a block in parallel,
//! the others (dedup, sample) see the rows in order, so that what they keep depends on the order of the rows and never
//! on the number of threads. What a step must remember is held in memory only while it is little: rows that wait for all
//! others lie on disk, compressed.
//!
//! Every step counts what it does, and `stats.json` keeps the counts and the first rows that were dropped, with the
//! reason: a filter that nobody looks at drops the wrong rows for years. A step that leaves nothing is an error.

mod card;
mod flow;
mod item;
mod outputs;
mod page;
mod row_hash;
mod sorter;
mod spool;
mod stats;
mod steps;

use std::sync::Arc;

use fs_err as fs;

use self::flow::Flow;
use self::item::Item;
use self::outputs::Outputs;
use self::stats::{Source, Stats};
use super::{OpCx, OpError, Outcome};
use crate::data;
use crate::spec::params::CurateParams;

/// Rows in a block.
const BLOCK_ROWS: usize = 2048;
/// Bytes of text (about) after which a block is full even with fewer rows.
const BLOCK_BYTES: u64 = 16 << 20;

/// Runs the node.
pub(super) fn run(params: &CurateParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let names = params.entry_names();
    fs::create_dir_all(cx.scratch)?;
    let priorities: Vec<i64> = params.from.iter().map(|entry| entry.priority).collect();
    let mut flow = Flow::new(&params.steps, (&names, &priorities), cx)?;
    let mut outputs = Outputs::create(params, &names, (cx.out, cx.scratch))?;
    let sources = read_all(params, &names, cx, |items| outputs.write(flow.push(items)?))?;
    flow.finish(|items| {
        cx.check_cancelled()?;
        outputs.write(items)
    })?;
    flow.check_not_empty()?;
    let written = outputs.finish()?;
    let stats = Stats::new(sources, flow.into_counts(), written);
    fs::write(cx.out.join("stats.json"), stats.to_json())?;
    fs::write(cx.out.join("report.html"), page::render(&stats)?)?;
    fs::write(cx.out.join("README.md"), card::render(params, &stats))?;
    Ok(Outcome { metrics: stats.metrics(), ..Outcome::default() })
}

/// Reads all inputs in blocks, and returns how many rows each one gave.
fn read_all(
    params: &CurateParams,
    names: &[String],
    cx: &OpCx<'_>,
    mut take: impl FnMut(Vec<Item>) -> Result<(), OpError>,
) -> Result<Vec<Source>, OpError> {
    let mut sources = Vec::new();
    let mut read = 0;
    cx.progress.phase("curating", None, "rows");
    for (from, entry) in params.from.iter().enumerate() {
        let input = cx.inputs.one(&format!("from[{from}]"))?;
        let mut rows = Reader {
            records: data::open_records(&input.path)?,
            from: from as u32,
            number: 0,
            limit: entry.limit,
            file: "".into(),
        };
        loop {
            cx.check_cancelled()?;
            let block = rows.next_block()?;
            if block.is_empty() {
                break;
            }
            read += block.len() as u64;
            take(block)?;
            cx.progress.position(read);
        }
        sources.push(Source { name: names[from].clone(), rows_in: rows.number, ..Source::default() });
    }
    if read == 0 {
        return Err(OpError::new("there is nothing to curate: the inputs hold no rows"));
    }
    Ok(sources)
}

/// The rows of one entry of `from`.
struct Reader {
    records: data::Records,
    from: u32,
    /// How many were read.
    number: u64,
    limit: Option<u64>,
    /// The file that is read.
    file: Arc<str>,
}

impl Reader {
    /// Returns the next rows, none at the end.
    fn next_block(&mut self) -> Result<Vec<Item>, OpError> {
        let mut block = Vec::new();
        let mut bytes = 0;
        while block.len() < BLOCK_ROWS && bytes < BLOCK_BYTES && self.limit.is_none_or(|limit| self.number < limit) {
            let Some(record) = self.records.next().transpose()? else { break };
            self.number += 1;
            let (file, line) = self.records.place();
            if *self.file != *file {
                self.file = file.into();
            }
            let item = Item::new(self.from, self.number, record).at(&self.file, line);
            bytes += item.bytes();
            block.push(item);
        }
        Ok(block)
    }
}
