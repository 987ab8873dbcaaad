//! `join`: columns of the row of another data set that has the same key.
//!
//! The other data set is read whole before the first row, and of it only keys and the columns that are wanted stay. Two rows
//! with one key are an error and not a choice: which of them is meant decides what every answer below is.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value};

use crate::data::TextTemplate;
use crate::ops::curate::flow::{Needs, Step, Verdict, try_each};
use crate::ops::curate::item::Item;
use crate::ops::curate::reader::Reader;
use crate::ops::{OpCx, OpError};
use crate::spec::params::{Join, Unmatched};

pub(super) struct JoinRows {
    key: TextTemplate,
    /// What is taken of the rows of the other data set, by their keys, in the order of `names`.
    others: BTreeMap<String, Vec<Value>>,
    names: Vec<String>,
    unmatched: Unmatched,
}

impl JoinRows {
    pub(super) fn new(join: &Join, at: usize, cx: &OpCx<'_>) -> Result<Self, OpError> {
        let template = |field: &str, source: &str| {
            TextTemplate::new(source).map_err(|why| OpError::new(format!("`{field}` is no template: {why}")))
        };
        let key = template("key", &join.key)?;
        let with_key = template("with_key", join.with_key.as_ref().unwrap_or(&join.key))?;
        let input = cx.inputs.one(&format!("steps[{at}].join.with"))?;
        let mut others = BTreeMap::new();
        for block in Reader::of_folder(&input.path, cx)? {
            for mut item in block? {
                let place = item.place();
                let columns = item.columns_mut();
                let key = with_key.render(&*columns).map_err(|why| failed("with_key", &place, &why))?;
                if let Some(missing) = join.columns.keys().find(|name| !columns.contains_key(*name)) {
                    let there: Vec<&str> = columns.keys().map(String::as_str).collect();
                    let message = format!("{place}: there is no column `{missing}`");
                    return Err(OpError::new(message).help(format!("its columns are `{}`", there.join("`, `"))));
                }
                let taken: Vec<Value> = join.columns.keys().map(|name| columns[name].take()).collect();
                match others.entry(key) {
                    Entry::Vacant(vacant) => drop(vacant.insert(taken)),
                    Entry::Occupied(other) => {
                        let message = format!("{place}: an earlier row has the key `{}` too", other.key());
                        return Err(
                            OpError::new(message).help("leave one of them out before the join, or make the key longer")
                        );
                    }
                }
            }
        }
        Ok(Self { key, others, names: join.columns.values().cloned().collect(), unmatched: join.unmatched })
    }
}

fn failed(field: &str, place: &str, why: &str) -> OpError {
    OpError::new(format!("{place}: `{field}` has no value: {why}"))
}

impl Step for JoinRows {
    fn needs(&self) -> Needs {
        Needs::Columns
    }

    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        try_each(items, |mut item| {
            let key = self.key.render(item.columns()).map_err(|why| failed("key", &item.place(), &why))?;
            let found = self.others.get(&key).filter(|_| !key.is_empty());
            let columns = item.columns_mut();
            match found {
                Some(values) => put(columns, &self.names, values.iter().cloned()),
                None if self.unmatched == Unmatched::Keep => {
                    put(columns, &self.names, std::iter::repeat(Value::Null));
                }
                None => return Ok(Verdict::Drop(item, format!("there is no row with the key `{key}`").into())),
            }
            Ok(Verdict::Change(item))
        })
    }
}

fn put(columns: &mut Map<String, Value>, names: &[String], values: impl Iterator<Item = Value>) {
    for (name, value) in names.iter().zip(values) {
        columns.insert(name.clone(), value);
    }
}
