//! A row as its file has it: named columns, whatever they are called.
//!
//! Hub data sets come in every shape (`conversations`, `instruction` and `output`, `inputs` and `targets`), and a
//! curation brings them to the few that [`Row`] knows. Until then a row is its columns.

use serde_json::{Map, Value};

use super::Row;
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
}
