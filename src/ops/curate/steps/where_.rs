//! `where`: keeps rows for which an expression holds. And the view that expressions have of a row.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::data::Expression;
use crate::ops::OpError;
use crate::ops::curate::flow::{Needs, Step, Verdict, try_each};
use crate::ops::curate::item::Item;
use crate::spec::params::Where;

/// An item as expressions see it: its columns, the `source` it came from, and `flags`.
pub(in crate::ops::curate) struct View<'a> {
    pub(in crate::ops::curate) item: &'a Item,
    pub(in crate::ops::curate) entries: &'a [String],
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let columns = self.item.columns();
        let mut map = serializer.serialize_map(None)?;
        // What the data itself calls `source` is what its author means by it.
        if !columns.contains_key("source") {
            map.serialize_entry("source", self.entries.get(self.item.from as usize).map_or("", String::as_str))?;
        }
        if !columns.contains_key("flags") {
            map.serialize_entry("flags", &self.item.flags)?;
        }
        for (name, value) in columns {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in self.item.said() {
            map.serialize_entry(&name, &value)?;
        }
        map.end()
    }
}

/// Reads an expression of a step's field.
pub(in crate::ops::curate) fn expression(field: &str, source: &str) -> Result<Expression, OpError> {
    let failed = |why: String| OpError::new(format!("`{field}: {source}` cannot be read: {why}"));
    Expression::new(source)
        .map_err(|why| failed(why).help("the expression is one of MiniJinja, over the row's columns"))
}

/// Returns the failure of an expression on an item.
pub(in crate::ops::curate) fn failed(source: &str, item: &Item, why: &str) -> OpError {
    let said = item.said();
    let columns: Vec<&str> = item.columns().keys().chain(said.keys()).map(String::as_str).collect();
    let message = format!("`{source}` fails on {}: {why}", item.place());
    OpError::new(message).help(format!(
        "its columns are `{}`; `x is undefined` tells whether there is a column `x`",
        columns.join("`, `")
    ))
}

pub(super) struct KeepWhere {
    source: String,
    condition: Expression,
    entries: Vec<String>,
}

impl KeepWhere {
    pub(super) fn new(condition: &Where, entries: &[String]) -> Result<Self, OpError> {
        let source = condition.0.clone();
        Ok(Self { condition: expression("where", &source)?, source, entries: entries.to_vec() })
    }
}

impl Step for KeepWhere {
    fn needs(&self) -> Needs {
        Needs::Columns
    }

    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        try_each(items, |item| {
            let holds = self.condition.holds(&View { item: &item, entries: &self.entries });
            match holds {
                Ok(true) => Ok(Verdict::Keep(item)),
                Ok(false) => Ok(Verdict::Drop(item, format!("`{}` does not hold", self.source).into())),
                Err(why) => Err(failed(&self.source, &item, &why)),
            }
        })
    }
}
