//! `where`: keeps rows for which an expression holds. And the view that expressions have of a row.

use std::borrow::Cow;

use serde_json::Value;

use crate::data::{Columns, Expression};
use crate::ops::OpError;
use crate::ops::curate::flow::{Needs, Step, Verdict, try_each};
use crate::ops::curate::item::Item;
use crate::spec::params::Where;

/// An item as expressions see it: its columns, the `source` it came from, and `flags`.
pub(in crate::ops::curate) struct View<'a> {
    pub(in crate::ops::curate) item: &'a Item,
    pub(in crate::ops::curate) entries: &'a [String],
}

impl Columns for View<'_> {
    fn column(&self, name: &str) -> Option<Cow<'_, Value>> {
        let Self { item, entries } = self;
        // What the data itself calls `source` is what its author means by it.
        let own = || match name {
            "source" => Some(entries.get(item.from as usize).map_or("", String::as_str).into()),
            "flags" => Some(item.flags.clone().into()),
            _ => None,
        };
        let column = || item.columns().get(name).map(Cow::Borrowed);
        item.said_as(name).map(Cow::Owned).or_else(column).or_else(|| own().map(Cow::Owned))
    }

    fn names(&self) -> Vec<String> {
        let own = ["source", "flags"].map(str::to_owned);
        own.into_iter()
            .chain(self.item.columns().keys().cloned())
            .chain(self.item.said().into_iter().map(|(name, _)| name))
            .collect()
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
