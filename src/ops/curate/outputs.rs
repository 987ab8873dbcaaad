//! The writing of what comes out, and the split into `train` and `eval`.
//!
//! A row is placed by a hash of its own content, or of its group. So the same row is on the same side whatever else is in
//! the data, a set that grows moves no row from training to evaluation, and two equal rows are never on both sides.
//! Stratified, each stratum gives those of its rows (or groups) whose hashes are the smallest, as many as its share says.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use super::account::{FromSource, Written};
use super::flow::{Needs, prepare};
use super::item::Item;
use super::row_hash::{content_hash, row_hash};
use super::spool::Spool;
use super::steps::{View, expression, failed};
use super::tokens::TokenCounter;
use crate::data::{Expression, Record, RowWriter, ShardFormat, ShardWriter};
use crate::ops::OpError;
use crate::spec::params::{CurateParams, OutputFormat, Split};

const DOMAIN: &str = "luthflow curate split 1";

/// Which side a row is on.
struct Sides {
    split: Split,
    group: Option<Expression>,
    stratify: Option<Expression>,
    /// Rows that wait until their stratum is known.
    waiting: Option<Spool>,
    /// By stratum: the hash of every group, with how many rows it has.
    strata: BTreeMap<String, BTreeMap<u64, u64>>,
}

/// Where the rows go.
pub(super) struct Outputs<'a> {
    sides: Option<Sides>,
    columns: &'a [String],
    names: &'a [String],
    counter: Option<&'a TokenCounter>,
    /// The folder, its writer and what was written: `rows`, or `train` and `eval`.
    parts: Vec<(&'static str, Writer, Written)>,
}

/// What writes the rows of an output.
enum Writer {
    Lines(RowWriter),
    Shards(ShardWriter),
}

impl Writer {
    fn create(params: &CurateParams, folder: &Path) -> Result<Self, OpError> {
        let format = match params.output.format {
            OutputFormat::Jsonl => return Ok(Writer::Lines(RowWriter::create(folder)?)),
            OutputFormat::JsonlZst => ShardFormat::JsonlZst,
            OutputFormat::Parquet => ShardFormat::Parquet,
        };
        Ok(Writer::Shards(ShardWriter::create(folder, format, params.output.shard_size.get())?))
    }

    fn finish(self) -> Result<(), OpError> {
        match self {
            Writer::Lines(writer) => writer.finish().map(drop)?,
            Writer::Shards(writer) => writer.finish().map(drop)?,
        }
        Ok(())
    }
}

/// A row as it is written.
enum Line {
    Text(String),
    Columns(Record),
}

impl<'a> Outputs<'a> {
    /// Begins the outputs below the folder `out`.
    pub(super) fn create(
        params: &'a CurateParams,
        names: &'a [String],
        counter: Option<&'a TokenCounter>,
        (out, scratch): (&Path, &Path),
    ) -> Result<Self, OpError> {
        let split = params.split();
        let folders: &[&'static str] = if split.is_some() { &["train", "eval"] } else { &["rows"] };
        let mut parts = Vec::new();
        for name in folders {
            let by_source = vec![FromSource::default(); names.len()];
            let written = Written { by_source, tokens: counter.map(|_| 0), ..Written::default() };
            parts.push((*name, Writer::create(params, &out.join(name))?, written));
        }
        let sides = split.map(|split| Sides::new(split, scratch)).transpose()?;
        Ok(Self { sides, columns: &params.columns, names, counter, parts })
    }

    /// Writes items where they belong, or keeps them until that is known.
    pub(super) fn write(&mut self, mut items: Vec<Item>) -> Result<(), OpError> {
        prepare(&mut items, Needs::Row)?;
        if let Some(counter) = self.counter {
            counter.count(&mut items)?;
        }
        let Some(sides) = &mut self.sides else { return self.place(items.into_iter().map(|item| (0, item)).collect()) };
        let hashes = sides.hashes(&items, self.names)?;
        if sides.waiting.is_some() {
            return sides.wait(items, &hashes, self.names);
        }
        let share = sides.split.eval;
        // 2^-64 times the hash is uniform in [0, 1).
        let side = |hash: u64| usize::from(hash as f64 * 2f64.powi(-64) < share);
        self.place(hashes.into_iter().map(side).zip(items).collect())
    }

    fn place(&mut self, items: Vec<(usize, Item)>) -> Result<(), OpError> {
        let columns = self.columns;
        let in_lines = matches!(self.parts[0].1, Writer::Lines(_));
        let line = |(part, item): (usize, Item)| {
            let chars = item.chars();
            (part, line(&item, columns, self.names, in_lines), item, chars)
        };
        let lines: Vec<(usize, Line, Item, u64)> = items.into_par_iter().map(line).collect();
        for (part, line, item, chars) in lines {
            let (_, writer, written) = &mut self.parts[part];
            match (writer, line) {
                (Writer::Lines(writer), Line::Text(line)) => writer.write_line(&line)?,
                (Writer::Lines(writer), Line::Columns(Record(columns))) => {
                    writer.write_line(&Value::Object(columns).to_string())?;
                }
                (Writer::Shards(writer), Line::Columns(record)) => writer.write(&record)?,
                (Writer::Shards(writer), Line::Text(_)) => writer.write(&Record::from(item.row().clone()))?,
            }
            written.add(&item, chars);
        }
        Ok(())
    }

    /// Ends the outputs and returns what was written to each. An empty one is an error.
    pub(super) fn finish(mut self) -> Result<BTreeMap<&'static str, Written>, OpError> {
        if let Some(Sides { waiting: Some(waiting), split, strata, .. }) =
            self.sides.take_if(|sides| sides.waiting.is_some())
        {
            let aside: BTreeMap<&String, u64> =
                strata.iter().map(|(name, groups)| (name, last_aside(groups, split.eval))).collect();
            let mut reader = waiting.read()?;
            loop {
                let block = reader.next_block()?;
                if block.is_empty() {
                    break;
                }
                let placed = block.into_iter().map(|mut item| {
                    let (stratum, hash) = taken_mark(&mut item);
                    (usize::from(hash < aside.get(&stratum).copied().unwrap_or(0)), item)
                });
                let placed = placed.collect();
                self.place(placed)?;
            }
        }
        let mut all = BTreeMap::new();
        for (name, writer, written) in self.parts {
            writer.finish()?;
            if written.rows == 0 {
                let message = format!("the step `split` leaves no row for `{name}`");
                return Err(OpError::new(message).help("give it more rows or another share"));
            }
            all.insert(name, written);
        }
        Ok(all)
    }
}

/// Returns the line that an item is written as: what it says, then the columns that were asked for.
fn line(item: &Item, columns: &[String], names: &[String], in_lines: bool) -> Line {
    if columns.is_empty() && in_lines {
        return Line::Text(item.row().to_json());
    }
    let Record(mut all) = Record::from(item.row().clone());
    for name in columns.iter().filter(|name| !all.contains_key(*name)).collect::<Vec<_>>() {
        let value = match (item.columns().get(name), name.as_str()) {
            (Some(value), _) => value.clone(),
            (None, "source") => names.get(item.from as usize).cloned().into(),
            (None, "flags") => item.flags.clone().into(),
            // All rows have the same columns: readers that want a schema find one.
            (None, _) => Value::Null,
        };
        all.insert(name.clone(), value);
    }
    Line::Columns(Record(all))
}

/// The column in which a waiting row carries its stratum and its hash.
const MARK: &str = "\u{0}split";

fn taken_mark(item: &mut Item) -> (String, u64) {
    let mark = item.columns_mut().shift_remove(MARK).unwrap_or_default();
    (mark[0].as_str().unwrap_or_default().to_owned(), mark[1].as_u64().unwrap_or_default())
}

/// Returns the hash before which groups are set aside, so that as nearly as can be `share` of all rows are.
fn last_aside(groups: &BTreeMap<u64, u64>, share: f64) -> u64 {
    let wanted = groups.values().sum::<u64>() as f64 * share;
    let mut taken = 0.0;
    for (&hash, &rows) in groups {
        // A group goes where leaving it would be further from the share than taking it.
        if taken + rows as f64 / 2.0 > wanted {
            return hash;
        }
        taken += rows as f64;
    }
    u64::MAX
}

impl Sides {
    fn new(split: &Split, scratch: &Path) -> Result<Self, OpError> {
        let read = |field: &str, source: &Option<String>| {
            source.as_ref().map(|source| expression(&format!("split.{field}"), source)).transpose()
        };
        let (group, stratify) = (read("group", &split.group)?, read("stratify", &split.stratify)?);
        let waiting = stratify.is_some().then(|| Spool::new(scratch, "split"));
        Ok(Self { split: split.clone(), group, stratify, waiting, strata: BTreeMap::new() })
    }

    /// Returns the hash of every item's group, or of its content.
    fn hashes(&self, items: &[Item], names: &[String]) -> Result<Vec<u64>, OpError> {
        let Some((group, source)) = self.group.as_ref().zip(self.split.group.as_ref()) else {
            return Ok(items.par_iter().map(|item| row_hash(DOMAIN, self.split.seed, item.row())).collect());
        };
        let of_group = |item: &Item| match group.value(&View { item, entries: names }) {
            Ok(value) => Ok(content_hash(DOMAIN, self.split.seed, value.to_string().as_bytes())),
            Err(why) => Err(failed(source, item, &why)),
        };
        let all: Vec<Result<u64, OpError>> = items.par_iter().map(of_group).collect();
        all.into_iter().collect()
    }

    fn wait(&mut self, mut items: Vec<Item>, hashes: &[u64], names: &[String]) -> Result<(), OpError> {
        let Some((stratify, source)) = self.stratify.as_ref().zip(self.split.stratify.as_ref()) else { return Ok(()) };
        for (item, &hash) in items.iter_mut().zip(hashes) {
            let stratum = match stratify.value(&View { item, entries: names }) {
                Ok(value) => value.to_string(),
                Err(why) => return Err(failed(source, item, &why)),
            };
            *self.strata.entry(stratum.clone()).or_default().entry(hash).or_default() += 1;
            item.columns_mut().insert(MARK.into(), Value::from(vec![Value::from(stratum), Value::from(hash)]));
        }
        self.waiting.as_mut().map_or(Ok(()), |waiting| waiting.push(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Row;

    fn sides(eval: f64, seed: u64) -> Sides {
        Sides::new(&Split { eval, seed, group: None, stratify: None }, Path::new("")).unwrap()
    }

    #[test]
    fn the_share_is_kept_and_the_seed_matters() {
        let items: Vec<Item> = (0..10_000).map(|i| Row::Text(format!("row {i}")).into()).collect();
        let aside = |seed| {
            let hashes = sides(0.1, seed).hashes(&items, &[]).unwrap();
            hashes.into_iter().map(|hash| (hash as f64 * 2f64.powi(-64)) < 0.1).collect::<Vec<bool>>()
        };
        let count = aside(0).iter().filter(|&&eval| eval).count();
        // 1000 expected; 5 standard deviations are 150.
        assert!((850..1150).contains(&count), "{count}");
        assert_ne!(aside(0), aside(1));
    }

    #[test]
    fn a_stratum_gives_its_share_as_nearly_as_its_groups_allow() {
        let groups = |sizes: &[u64]| (10..).zip(sizes.iter().copied()).collect::<BTreeMap<u64, u64>>();
        let aside = |sizes: &[u64], share| {
            let (groups, last) = (groups(sizes), last_aside(&groups(sizes), share));
            groups.range(..last).map(|(_, rows)| rows).sum::<u64>()
        };
        assert_eq!(aside(&[1; 100], 0.05), 5);
        assert_eq!(aside(&[1; 19], 0.05), 1);
        assert_eq!(aside(&[1; 9], 0.05), 0);
        assert_eq!(aside(&[10, 10, 10, 10], 0.5), 20);
        assert_eq!(aside(&[40, 1, 1], 0.1), 0);
    }
}
