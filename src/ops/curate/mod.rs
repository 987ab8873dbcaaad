//! `kind: curate`: rows in, fewer and better rows out, with a count at every step.
//!
//! Rows flow through the steps in blocks: the steps that judge a row by itself work on the rows of a block in parallel,
//! the others (dedup, sample) see the rows in order, so that what they keep depends on the order of the rows and never
//! on the number of threads. What a step must remember is held in memory only while it is little: rows that wait for all
//! others lie on disk, compressed.
//!
//! Every step counts what it does, and `stats.json` keeps the counts and the first rows that were dropped, with the
//! reason: a filter that nobody looks at drops the wrong rows for years. A step that leaves nothing is an error.

mod account;
mod card;
mod flow;
mod item;
mod memo;
mod outputs;
mod page;
mod reader;
mod row_hash;
mod runs;
mod sorter;
mod spool;
mod stats;
mod steps;
#[cfg(test)]
mod testing;
mod tokens;
mod written;

use std::path::PathBuf;
use std::sync::Arc;

use fs_err as fs;

use self::flow::Flow;
use self::item::Item;
use self::memo::FileMemo;
use self::outputs::Outputs;
use self::reader::Reader;
use self::stats::{Counts, Source, SourceTokens, Stats};
use self::tokens::TokenCounter;
pub(super) use self::written::{PATTERN, unreadable};
use super::{OpCx, OpError, Outcome};
use crate::spec::params::{CurateParams, CurateStep};

/// Runs the node.
pub(super) fn run(params: &CurateParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    let names = params.entry_names();
    fs::create_dir_all(cx.scratch)?;
    let priorities: Vec<i64> = params.from.iter().map(|entry| entry.priority).collect();
    // What the first steps make of a file depends on nothing but the file.
    let alone = params.steps.iter().take_while(|step| step.is_by_row()).count();
    let (first, rest) = params.steps.split_at(alone);
    let counter = TokenCounter::load(params, cx)?;
    let counting = (counter.as_ref(), cx);
    let flow = Flow::new(0, first, (&names, &priorities), counting)?;
    let mut first = First { steps: first, flow, counter: counter.as_ref(), counts: Vec::new() };
    first.counts = first.flow.take_counts();
    let mut flow = Flow::new(alone, rest, (&names, &priorities), counting)?;
    let mut outputs = Outputs::create(params, &names, counter.as_ref(), (cx.out, cx.scratch))?;
    let sources = read_all(params, &names, cx, &mut first, |items| outputs.write(flow.push(items)?))?;
    flow::check_not_empty(0, &first.counts)?;
    flow.finish(|items| {
        cx.check_cancelled()?;
        outputs.write(items)
    })?;
    let after = flow.into_counts();
    flow::check_not_empty(alone, &after)?;
    let written = outputs.finish()?;
    let stats = Stats::new(sources, first.counts.into_iter().chain(after).collect(), written);
    fs::write(cx.out.join("stats.json"), stats.to_json())?;
    fs::write(cx.out.join("report.html"), page::render(&stats)?)?;
    fs::write(cx.out.join("README.md"), card::render(params.output, &stats))?;
    Ok(Outcome { metrics: stats.metrics(), ..Outcome::default() })
}

/// The steps that look at a row alone, before the first that does not.
struct First<'a> {
    steps: &'a [CurateStep],
    flow: Flow<'a>,
    counter: Option<&'a TokenCounter>,
    /// What they did to all files so far.
    counts: Vec<Counts>,
}

impl First<'_> {
    /// Returns the tokens of rows as they were read, where no step counts them.
    fn tokens_of(&self, block: &mut [Item]) -> Result<u64, OpError> {
        let Some(counter) = self.counter.filter(|_| self.steps.is_empty()) else { return Ok(0) };
        counter.count(block)?;
        Ok(stats::tokens(block))
    }
}

/// Reads all inputs, file by file, and returns what each one gave.
fn read_all(
    params: &CurateParams,
    names: &[String],
    cx: &OpCx<'_>,
    first: &mut First<'_>,
    mut take: impl FnMut(Vec<Item>) -> Result<(), OpError>,
) -> Result<Vec<Source>, OpError> {
    let mut sources = Vec::new();
    let mut read = 0;
    cx.progress.phase("curating", None, "rows");
    for (from, entry) in params.from.iter().enumerate() {
        let records = reader::open(&cx.inputs.one(&format!("from[{from}]"))?.path, cx)?;
        let manifest = records.manifest().clone();
        // A bound on the rows of the whole, or of the entry, leaves no file to itself.
        let files = records.by_file().filter(|_| entry.limit.is_none());
        let files = files.map(|files| files.into_iter().map(|(path, records)| (Some(path), records)).collect());
        let mut given = Given::default();
        for (path, records) in files.unwrap_or_else(|| vec![(None, records)]) {
            let of = (names[from].as_str(), first.steps, first.counter);
            let memo = path.as_ref().map(|path| FileMemo::of(path, &manifest, of, cx));
            let memo = memo.transpose()?.flatten().zip(path);
            let reader = Reader::of_entry(records, from as u32, entry.limit, cx);
            let file = File { from, offset: given.rows, reader, memo };
            let more = file.run(first, cx, |items, rows| {
                cx.progress.position(read + rows);
                take(items)
            })?;
            given = Given { rows: given.rows + more.rows, tokens: given.tokens + more.tokens };
            read += more.rows;
        }
        let tokens = first.counter.map(|_| SourceTokens { tokens_in: given.tokens, ..SourceTokens::default() });
        sources.push(Source { name: names[from].clone(), rows_in: given.rows, tokens, ..Source::default() });
    }
    if read == 0 {
        return Err(OpError::new("there is nothing to curate: the inputs hold no rows"));
    }
    Ok(sources)
}

/// What was read of a file, or of an entry.
#[derive(Default)]
struct Given {
    rows: u64,
    /// Where they are counted.
    tokens: u64,
}

impl Given {
    /// Returns what was read of a file, with the tokens that its first step took in, or those that were `read`.
    fn of(rows: u64, read: u64, steps: &[Counts]) -> Self {
        let taken = steps.first().and_then(|step| step.tokens).map(|tokens| tokens.tokens_in);
        Self { rows, tokens: taken.unwrap_or(read) }
    }
}

/// A file of the entry `from` of which `offset` rows were read before.
struct File<'a> {
    from: usize,
    offset: u64,
    reader: Reader<'a>,
    /// Where its rows are kept, and where it lies.
    memo: Option<(FileMemo, PathBuf)>,
}

impl File<'_> {
    /// Gives what the first steps make of the file to `take`, with the number of rows read, and returns what was read.
    fn run(
        mut self,
        first: &mut First<'_>,
        cx: &OpCx<'_>,
        mut take: impl FnMut(Vec<Item>, u64) -> Result<(), OpError>,
    ) -> Result<Given, OpError> {
        let (from, offset) = (self.from, self.offset);
        let ours = |mut items: Vec<Item>| {
            for item in &mut items {
                item.number += offset;
            }
            items
        };
        if let Some((mut kept, path)) = self.memo.as_ref().and_then(|(memo, path)| Some((memo.read()?, path))) {
            let file: Arc<str> = path.display().to_string().into();
            loop {
                cx.check_cancelled()?;
                let mut block = kept.rows.next_block()?;
                if block.is_empty() {
                    break;
                }
                // The same rows may have been another entry's, and their file elsewhere.
                for item in &mut block {
                    item.moved(from as u32, &file);
                }
                take(ours(block), kept.rows_in)?;
            }
            let given = Given::of(kept.rows_in, 0, &kept.counts);
            merge(&mut first.counts, kept.counts, from, offset);
            return Ok(given);
        }
        let mut tokens = 0;
        let mut keeping = self.memo.as_ref().and_then(|(memo, _)| memo.begin());
        let mut next = self.reader.next().transpose()?;
        while let Some(mut block) = next {
            let rows = self.reader.rows();
            ((), next) = self.reader.while_reading(|| {
                tokens += first.tokens_of(&mut block)?;
                let items = first.flow.push(block)?;
                if keeping.as_mut().is_some_and(|keeping| !keeping.push(&items)) {
                    keeping = None;
                }
                take(ours(items), rows)
            })?;
        }
        let counts = first.flow.take_counts();
        if let Some(keeping) = keeping {
            keeping.finish(self.reader.rows(), &counts);
        }
        let given = Given::of(self.reader.rows(), tokens, &counts);
        merge(&mut first.counts, counts, from, offset);
        Ok(given)
    }
}

fn merge(all: &mut [Counts], file: Vec<Counts>, from: usize, offset: u64) {
    for (all, file) in all.iter_mut().zip(file) {
        all.merge(file, from, offset);
    }
}
