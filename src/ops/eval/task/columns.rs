//! A row with what a task adds to it, and templates filled from it: every mistake names the task, the field and the row.

use serde_json::{Map, Value};

use crate::data::{Expression, Record, TextTemplate};
use crate::metrics::random::Random;
use crate::ops::OpError;
use crate::spec::params::{Draw, TaskDefinition};

/// What a task adds to rows.
pub(super) struct Columns {
    task: String,
    words: Map<String, Value>,
    added: Vec<(String, Expression)>,
    condition: Option<Expression>,
    draw: Option<Draw>,
}

/// A row with what the task adds.
pub(super) struct Row {
    /// Its place in the data.
    pub(super) place: usize,
    /// Whether it is asked.
    pub(super) wanted: bool,
    pub(super) values: Map<String, Value>,
}

impl Columns {
    pub(super) fn new(task: &str, definition: &TaskDefinition) -> Result<Self, OpError> {
        let expression = |field: &str, text: &str| {
            let wrong = |why| OpError::new(format!("`{field}` of the task `{task}`: {why}")).at(field);
            Expression::new(text).map_err(wrong)
        };
        let mut added = Vec::new();
        for (name, value) in &definition.columns {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            added.push((name.clone(), expression(&format!("let.{name}"), &text)?));
        }
        let condition = definition.condition.as_ref().map(|text| expression("where", text)).transpose()?;
        let (added, words) = (ordered(added), definition.words.clone());
        Ok(Self { task: task.to_owned(), words, added, condition, draw: definition.draw })
    }

    /// Adds the columns to rows, in order.
    pub(super) fn rows<'a>(&'a self, rows: &'a [Record]) -> impl Iterator<Item = Result<Row, OpError>> + 'a {
        let mut random = self.draw.map(|draw| {
            let mut random = Random::new(draw.seed);
            for _ in 0..draw.skip {
                random.below(draw.below);
            }
            random
        });
        rows.iter().enumerate().map(move |(place, record)| {
            let drawn = random.as_mut().zip(self.draw).map(|(random, draw)| random.below(draw.below));
            self.row(place, record, drawn)
        })
    }

    fn row(&self, place: usize, record: &Record, drawn: Option<usize>) -> Result<Row, OpError> {
        let mut values = record.0.clone();
        if !self.words.is_empty() {
            values.insert("words".to_owned(), Value::Object(self.words.clone()));
        }
        if let Some(drawn) = drawn {
            values.insert("draw".to_owned(), drawn.into());
        }
        let mut row = Row { place, wanted: true, values };
        self.add(&mut row)?;
        if let Some(condition) = &self.condition {
            row.wanted = condition.holds(&row.values).map_err(|why| row.wrong(&self.task, "where", &why))?;
        }
        Ok(row)
    }

    /// Adds the values of the expressions.
    fn add(&self, row: &mut Row) -> Result<(), OpError> {
        for (name, expression) in &self.added {
            let value = expression.value(&row.values);
            let value = value.map_err(|why| row.wrong(&self.task, &format!("let.{name}"), &why))?;
            row.values.insert(name.clone(), value);
        }
        Ok(())
    }
}

/// Puts each expression behind those whose values it reads. They are not simply tried until all succeed: a part of a list
/// that is not there yet is an empty list, and no mistake. In a circle the order is that of the task.
fn ordered(mut left: Vec<(String, Expression)>) -> Vec<(String, Expression)> {
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let waits = |(own, expression): &(String, Expression)| {
            let words = expression.words();
            left.iter().any(|(name, _)| name != own && words.contains(name))
        };
        let next = left.iter().position(|one| !waits(one)).unwrap_or_default();
        ordered.push(left.remove(next));
    }
    ordered
}

impl Row {
    /// Returns what is wrong with a field for this row.
    pub(super) fn wrong(&self, task: &str, field: &str, why: &str) -> OpError {
        let columns: Vec<&str> = self.values.keys().map(String::as_str).filter(|name| *name != "words").collect();
        OpError::new(format!("`{field}` of the task `{task}` cannot be filled from row {}: {why}", self.place + 1))
            .help(format!("its columns are {}", columns.join(", ")))
    }

    pub(super) fn text(&self, task: &str, field: &str, template: &TextTemplate) -> Result<String, OpError> {
        template.render(&self.values).map_err(|why| self.wrong(task, field, &why))
    }

    pub(super) fn value(&self, task: &str, field: &str, expression: &Expression) -> Result<Value, OpError> {
        expression.value(&self.values).map_err(|why| self.wrong(task, field, &why))
    }

    /// Returns the value of an expression that is a list of texts.
    pub(super) fn texts(&self, task: &str, field: &str, expression: &Expression) -> Result<Vec<String>, OpError> {
        let value = self.value(task, field, expression)?;
        let Value::Array(items) = value else {
            return Err(self.wrong(task, field, &format!("{value} is no list")));
        };
        let text = |item: Value| match item {
            Value::String(text) => Ok(text),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(self.wrong(task, field, &format!("{other} is no text"))),
        };
        items.into_iter().map(text).collect()
    }

    /// Returns the value of a column, as text.
    pub(super) fn named(&self, task: &str, column: &str) -> Result<String, OpError> {
        match self.values.get(column) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) if !value.is_null() => Ok(value.to_string()),
            _ => Err(self.wrong(task, column, "there is no such column")),
        }
    }
}
