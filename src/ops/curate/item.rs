//! A row on its way through the steps: what it says, its other columns, and where it came from.
//!
//! Steps that shape data see columns; steps that judge text see a [`Row`]. An item changes between the two when a step
//! asks for the other, so that a curation without shaping steps never builds columns from rows.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::flow::Verdict;
use crate::data::{Chat, Preference, Record, Row};

/// A row on its way through the steps.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// Which entry of `from` it came from.
    pub(super) from: u32,
    /// Its number among the rows of that entry, from 1.
    pub(super) number: u64,
    /// Where it lay: `data.jsonl, line 7`. Shared by the rows of a file, the line apart.
    file: Arc<str>,
    line: u64,
    /// What filters had against it that only flag.
    pub(super) flags: Vec<String>,
    /// The columns that are in no row (all of them while there is none).
    columns: Map<String, Value>,
    row: Option<Row>,
    chars: Chars,
    /// How many tokens it was when they were last counted.
    tokens: Option<Tokens>,
}

/// How many characters a row has, once somebody asked. Every step asks, and few change a row.
#[derive(Debug, Clone, Default)]
struct Chars(OnceLock<u64>);

impl PartialEq for Chars {
    /// Items that are equal have as many, asked for or not.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How many tokens a row was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tokens {
    pub(super) count: u64,
    /// Whether its chat template refused it, so that its words were counted alone.
    pub(super) refused: bool,
    /// A hash of the row; nothing of what is no row.
    pub(super) of: Option<u64>,
    /// Whether it may have changed since.
    #[serde(skip, default = "yes")]
    pub(super) stale: bool,
}

/// What waited on disk is looked at again.
fn yes() -> bool {
    true
}

impl Item {
    pub(super) fn new(from: u32, number: u64, record: Record) -> Self {
        Self {
            from,
            number,
            file: "".into(),
            line: number,
            flags: Vec::new(),
            columns: record.0,
            row: None,
            chars: Chars::default(),
            tokens: None,
        }
    }

    /// Adds the file and the line where it lay.
    pub(super) fn at(mut self, file: &Arc<str>, line: u64) -> Self {
        (self.file, self.line) = (Arc::clone(file), line);
        self
    }

    /// Says that it is a row of another entry and another file.
    pub(super) fn moved(&mut self, from: u32, file: &Arc<str>) {
        (self.from, self.file) = (from, Arc::clone(file));
    }

    /// Says where it lay.
    pub(super) fn place(&self) -> String {
        format!("{}, line {}", self.file, self.line)
    }

    /// Makes a row of the columns that are one. The error says why they are not.
    pub(super) fn shape(&mut self) -> Result<(), String> {
        if self.row.is_none() {
            let mut record = Record(std::mem::take(&mut self.columns));
            let row = record.take_row();
            self.columns = record.0;
            self.row = Some(row?);
        }
        Ok(())
    }

    /// Makes columns of the row again, behind the others.
    pub(super) fn unshape(&mut self) {
        if let Some(row) = self.row.take() {
            self.chars = Chars::default();
            self.columns.extend(row.into_columns());
        }
    }

    /// Returns the row. Only for steps that [need one](super::flow::Step::needs), which are given shaped items.
    pub(super) fn row(&self) -> &Row {
        self.row.as_ref().expect("the flow shapes what a step needs shaped")
    }

    /// Returns the row, to change it.
    pub(super) fn row_mut(&mut self) -> &mut Row {
        self.recount();
        self.chars = Chars::default();
        self.row.as_mut().expect("the flow shapes what a step needs shaped")
    }

    /// Returns the columns: all of them before a row was made, those beside it after.
    pub(super) fn columns(&self) -> &Map<String, Value> {
        &self.columns
    }

    /// Returns the columns, to change them.
    pub(super) fn columns_mut(&mut self) -> &mut Map<String, Value> {
        if self.row.is_none() {
            self.recount();
        }
        &mut self.columns
    }

    fn recount(&mut self) {
        if let Some(tokens) = &mut self.tokens {
            tokens.stale = true;
        }
    }

    /// Returns how many tokens it was when they were last counted.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        self.tokens
    }

    /// Says how many tokens it is.
    pub(super) fn counted(&mut self, tokens: Tokens) {
        self.tokens = Some(tokens);
    }

    /// Returns the row that it is, or that its columns would make; nothing if they make none.
    pub(super) fn to_row(&self) -> Option<Cow<'_, Row>> {
        match &self.row {
            Some(row) => Some(Cow::Borrowed(row)),
            None => Record(self.columns.clone()).take_row().ok().map(Cow::Owned),
        }
    }

    /// Returns the columns that the row is made of; none while there is no row.
    pub(super) fn said(&self) -> Map<String, Value> {
        self.row.clone().map(Row::into_columns).unwrap_or_default()
    }

    /// Returns one of the columns that the row is made of.
    pub(super) fn said_as(&self, name: &str) -> Option<Value> {
        self.row
            .as_ref()
            .filter(|_| Row::is_made_of(name))
            .and_then(|row| row.clone().into_columns().shift_remove(name))
    }

    /// Returns how it begins, for samples.
    pub(super) fn beginning(&self) -> String {
        match &self.row {
            Some(row) => crate::data::beginning(&row.text()),
            None => crate::data::beginning(&Value::Object(self.columns.clone()).to_string()),
        }
    }

    /// Returns the number of characters of what it says; 0 while it is only columns.
    pub(super) fn chars(&self) -> u64 {
        self.row.as_ref().map_or(0, |row| *self.chars.0.get_or_init(|| row.chars()))
    }

    /// Returns about how many bytes of memory it holds beside itself.
    pub(super) fn bytes(&self) -> u64 {
        let said = self.row.as_ref().map_or(0, Row::bytes);
        (said + self.columns.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>()) as u64
    }

    /// Changes what those say whose role `whose` names (`None` for what is no chat), and judges the item by that.
    pub(super) fn rewritten(
        mut self,
        whose: impl Fn(Option<&str>) -> bool,
        change: impl Fn(&str) -> String,
    ) -> Verdict {
        let rewrite = |chat: &Chat| {
            let mut chat = chat.clone();
            for message in chat.messages.iter_mut().filter(|message| whose(Some(&message.role))) {
                message.content = message.content.map(&change);
            }
            chat
        };
        let alone = |text: &String| if whose(None) { change(text) } else { text.clone() };
        let row = match self.row() {
            Row::Text(text) => Row::Text(alone(text)),
            Row::Chat(chat) => Row::Chat(rewrite(chat)),
            Row::Preference(both) => Row::Preference(Box::new(Preference {
                chosen: rewrite(&both.chosen),
                rejected: rewrite(&both.rejected),
            })),
            Row::Pair { good, bad } => Row::Pair { good: alone(good), bad: alone(bad) },
        };
        if row.chars() == 0 {
            Verdict::Drop(self, "nothing is left of it".into())
        } else if row == *self.row() {
            Verdict::Keep(self)
        } else {
            *self.row_mut() = row;
            Verdict::Change(self)
        }
    }

    /// Writes what tells it from all other items: what it holds, and its place in the data, but not where that lies.
    pub(super) fn identity(&self) -> Vec<u8> {
        serde_json::to_vec(&(self.from, self.number, &self.columns, &self.row)).expect("an item always has a JSON form")
    }

    /// Writes it on one line, to be read back by [`Item::from_line`].
    pub(super) fn to_line(&self, line: &mut Vec<u8>) {
        let all = (self.from, self.number, &*self.file, self.line, &self.flags, &self.columns, &self.row, self.tokens);
        serde_json::to_writer(&mut *line, &all).expect("an item always has a JSON form");
        line.push(b'\n');
    }

    /// Reads what [`Item::to_line`] wrote.
    pub(super) fn from_line(line: &[u8]) -> Result<Self, String> {
        type Parts = (u32, u64, String, u64, Vec<String>, Map<String, Value>, Option<Row>, Option<Tokens>);
        let (from, number, file, line, flags, columns, row, tokens): Parts =
            serde_json::from_slice(line).map_err(|error| error.to_string())?;
        Ok(Self { from, number, file: file.into(), line, flags, columns, row, chars: Chars::default(), tokens })
    }
}

/// Returns about how many bytes a value takes.
fn weight(value: &Value) -> usize {
    const EACH: usize = 32;
    EACH + match value {
        Value::String(text) => text.len(),
        Value::Array(all) => all.iter().map(weight).sum(),
        Value::Object(all) => all.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
impl From<Row> for Item {
    fn from(row: Row) -> Self {
        Self { row: Some(row), ..Self::new(0, 1, Record::default()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_survives_its_line() {
        let record = Record::from_json(r#"{"z": 1.5, "text": "l'été\n", "a": {"c": [null, 1], "b": true}}"#).unwrap();
        let mut item = Item::new(3, 12, record);
        for _ in 0..2 {
            item.flags.push("gopher_short_doc".into());
            item.counted(Tokens { count: 7, refused: true, of: Some(u64::MAX), stale: true });
            let mut line = Vec::new();
            item.to_line(&mut line);
            assert_eq!(Item::from_line(&line).unwrap(), item);
            item.shape().unwrap();
        }
        assert_eq!(item.row(), &Row::Text("l'été\n".into()));
        item.unshape();
        let order: Vec<&String> = item.columns().keys().collect();
        assert_eq!(order, ["z", "a", "text"]);
    }
}
