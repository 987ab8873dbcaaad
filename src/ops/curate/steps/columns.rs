//! `rename`, `select`, `set`, `explode`: the columns of a row.

use serde_json::{Map, Value};

use crate::data::TextTemplate;
use crate::ops::OpError;
use crate::ops::curate::flow::{Needs, Step, Verdict, each, try_each};
use crate::ops::curate::item::Item;
use crate::spec::params::{Explode, Rename, SelectColumns, SetColumns};

/// Judges items by whether `change` changed their columns.
fn changed(items: Vec<Item>, change: impl Fn(&Map<String, Value>) -> Map<String, Value> + Sync + Send) -> Vec<Verdict> {
    each(items, |mut item| {
        let columns = change(item.columns());
        // Maps are equal whatever their order, and here the order counts.
        if columns.iter().eq(item.columns().iter()) {
            return Verdict::Keep(item);
        }
        *item.columns_mut() = columns;
        Verdict::Change(item)
    })
}

pub(super) struct RenameColumns(pub(super) Rename);

impl Step for RenameColumns {
    fn needs(&self) -> Needs {
        Needs::Columns
    }

    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let names = &self.0.0;
        Ok(changed(items, |columns| {
            // A column that stands where another one is to go makes room for it.
            let replaced = |name: &String| names.iter().any(|(old, new)| new == name && columns.contains_key(old));
            let stays = columns.iter().filter(|(name, _)| names.contains_key(*name) || !replaced(name));
            stays.map(|(name, value)| (names.get(name).unwrap_or(name).clone(), value.clone())).collect()
        }))
    }
}

pub(super) struct KeepColumns(pub(super) SelectColumns);

impl Step for KeepColumns {
    fn needs(&self) -> Needs {
        Needs::Columns
    }

    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let names = &self.0.0;
        Ok(changed(items, |columns| {
            names.iter().filter_map(|name| Some((name.clone(), columns.get(name)?.clone()))).collect()
        }))
    }
}

pub(super) struct WriteColumns(Vec<(String, TextTemplate)>);

impl WriteColumns {
    pub(super) fn new(columns: &SetColumns) -> Result<Self, OpError> {
        let template = |(name, source): (&String, &String)| {
            let template = TextTemplate::new(source);
            let template = template.map_err(|why| OpError::new(format!("`{name}` is no template: {why}")))?;
            Ok((name.clone(), template))
        };
        columns.0.iter().map(template).collect::<Result<_, OpError>>().map(Self)
    }
}

impl Step for WriteColumns {
    fn needs(&self) -> Needs {
        Needs::Columns
    }

    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        try_each(items, |mut item| {
            let mut written = Vec::new();
            for (name, template) in &self.0 {
                let text = template.render(item.columns());
                let text =
                    text.map_err(|why| OpError::new(format!("{}: `{name}` has no value: {why}", item.place())))?;
                written.push((name.clone(), Value::String(text)));
            }
            item.columns_mut().extend(written);
            Ok(Verdict::Change(item))
        })
    }
}

pub(super) struct ExplodeColumn(pub(super) Explode);

impl Step for ExplodeColumn {
    fn needs(&self) -> Needs {
        Needs::Columns
    }

    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        let column = &self.0.0;
        Ok(each(items, |item| match item.columns().get(column) {
            Some(Value::Array(elements)) => {
                let one = |element: &Value| {
                    let mut item = item.clone();
                    item.columns_mut()[column] = element.clone();
                    item
                };
                Verdict::Become(elements.iter().map(one).collect())
            }
            Some(_) => Verdict::Drop(item, format!("`{column}` is no list").into()),
            None => Verdict::Drop(item, format!("it has no column `{column}`").into()),
        }))
    }
}
