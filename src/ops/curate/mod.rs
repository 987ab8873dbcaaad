//! `kind: curate`: rows in, fewer and better rows out, with a count at every step.
//!
//! Rows flow through the steps in blocks: the steps that judge a row by itself work on the rows of a block in parallel,
//! the others (dedup, sample) see the rows in order, so that what they keep depends on the order of the rows and never
//! on the number of threads. Only what a step must remember is held in memory: 16 bytes a row for dedup, the kept rows
//! for sample.
//!
//! Every step counts what it does, and `stats.json` keeps the counts and the first rows that were dropped, with the
//! reason: a filter that nobody looks at drops the wrong rows for years. A step that leaves nothing is an error.

mod dedup;
mod flow;
mod language;
mod length;
mod normalize;
mod row_hash;
mod sample;
mod split;
mod stats;

use fs_err as fs;

use self::flow::Flow;
use self::split::Outputs;
use super::{OpCx, OpError, Outcome};
use crate::data::{self, Row};
use crate::spec::params::CurateParams;

/// Rows in a block.
const BLOCK_ROWS: usize = 2048;
/// Bytes of text after which a block is full even with fewer rows.
const BLOCK_BYTES: usize = 16 << 20;

/// Runs the node.
pub(super) fn run(params: &CurateParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let mut flow = Flow::new(&params.steps);
    let mut outputs = Outputs::create(params.split(), cx.out)?;
    let mut read = 0;
    cx.progress.phase("curating", None, "rows");
    for input in cx.inputs.list("from") {
        let mut rows = data::open(&input.path)?;
        loop {
            cx.check_cancelled()?;
            let block = next_block(&mut rows)?;
            if block.is_empty() {
                break;
            }
            read += block.len() as u64;
            outputs.write(flow.push(block))?;
            cx.progress.position(read);
        }
    }
    if read == 0 {
        return Err(OpError::new("there is nothing to curate: the inputs hold no rows"));
    }
    outputs.write(flow.finish())?;
    flow.check_not_empty()?;
    let written = outputs.finish()?;
    let stats = stats::Stats::new(read, flow.into_counts(), &written);
    fs::write(cx.out.join("stats.json"), stats.to_json())?;
    Ok(Outcome { metrics: stats.metrics(), ..Outcome::default() })
}

/// Returns the next rows, none at the end.
fn next_block(rows: &mut data::Rows) -> Result<Vec<Row>, OpError> {
    let mut block = Vec::new();
    let mut bytes = 0;
    while block.len() < BLOCK_ROWS && bytes < BLOCK_BYTES {
        let Some(row) = rows.next().transpose()? else { break };
        bytes += row.text().len();
        block.push(row);
    }
    Ok(block)
}
