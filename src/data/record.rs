//! A row as its file has it: named columns, whatever they are called.
//!
//! Hub data sets come in every shape (`conversations`, `instruction` and `output`, `inputs` and `targets`), and a
//! curation brings them to the few that [`Row`] knows. Until then a row is its columns.

use serde_json::{Map, Value};

use super::Row;
use super::checked::CheckedMap;
use super::row::KNOWN;

/// One row of a file, as named columns in the file's own order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record(pub Map<String, Value>);

impl Record {
    /// Reads a record from one line of JSON; the error says what is wrong with it.
    pub fn from_json(line: &str) -> Result<Self, String> {
        // serde_json puts "at line 1 column 7" behind its messages; the line is always 1 here and only the column helps.
        let columns = serde_json::from_str::<Map<String, Value>>(line);
        columns.map(Self).map_err(|error| error.to_string().replace("at line 1 column", "at column"))
    }

    /// Says whether [`Self::from_json`] would read a record, and what is wrong otherwise. Nothing is kept.
    pub(super) fn check_json(line: &str) -> Result<(), String> {
        // What is wrong is told by whoever would read it.
        serde_json::from_str::<CheckedMap>(line).map(drop).or_else(|_| Self::from_json(line).map(drop))
    }

    /// Takes out of the record the columns that make a [`Row`]. The others stay.
    pub fn take_row(&mut self) -> Result<Row, String> {
        let mut known = Map::new();
        // Beside two answers a `prompt` is what they answer; elsewhere it is a column like any other.
        let preference = self.0.contains_key("chosen");
        for name in KNOWN.iter().filter(|name| preference || **name != "prompt") {
            // Not `swap_remove`: the columns that stay keep their order.
            if let Some(value) = self.0.shift_remove(*name) {
                known.insert((*name).to_owned(), value);
            }
        }
        Row::from_columns(known)
    }
}

impl From<Row> for Record {
    fn from(row: Row) -> Self {
        Self(row.into_columns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_a_row_is_taken_and_the_rest_stays() {
        let line = r#"{"id": 7, "messages": [{"role": "user", "content": "é"}], "lang": "fr", "tools": null}"#;
        let mut record = Record::from_json(line).unwrap();
        let row = record.take_row().unwrap();
        assert_eq!(row.to_json(), r#"{"messages":[{"role":"user","content":"é"}]}"#);
        assert_eq!(Value::Object(record.0).to_string(), r#"{"id":7,"lang":"fr"}"#);
        let Record(columns) = row.clone().into();
        assert_eq!(Row::from_columns(columns), Ok(row));
    }

    #[test]
    fn what_is_no_record_is_told() {
        for (line, why) in [("[1]", "expected a map"), ("{\"a\": }", "expected value at column"), ("", "EOF")] {
            let error = Record::from_json(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn a_check_finds_what_reading_finds() {
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        for line in [
            r#"{"a": "\ud83d\ude00", "b": [1, -2, 3.5, 1e300, true, null, {"c": {}}], "a": ""}"#,
            r#"{"a": "\ud83d"}"#,
            r#"{"\ude00": 1}"#,
            r#"{"a": "\x"}"#,
            "{\"a\": \"\u{1}\"}",
            "{\"\u{1}\": 1}",
            r#"{"a": 1e999}"#,
            r#"{"a": [-1e999]}"#,
            r#"{"a": 01}"#,
            r#"{"a": 123456789012345678901234567890}"#,
            r#"{"a": [1,]}"#,
            r#"{"a": {"b": 1,}}"#,
            r#"{"a": {1: 2}}"#,
            r#"{"a": tru}"#,
            r#"{"a": 1} {}"#,
            r#"{"a": 1"#,
            "null",
            "[{}]",
            &deep(126),
            &deep(127),
            &deep(200),
        ] {
            assert_eq!(Record::check_json(line), Record::from_json(line).map(drop), "{line}");
            let refused = serde_json::from_str::<CheckedMap>(line).is_err();
            assert_eq!(refused, Record::from_json(line).is_err(), "{line}");
        }
    }
}
