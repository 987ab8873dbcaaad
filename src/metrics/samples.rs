//! What became of one row of a task: a line of `samples/<task>.jsonl`. All that judges need is in it, so that answers can be
//! judged again without the model. A likelihood that is no number is `null` there.

use std::io::{self, BufRead};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// One row: what was asked, what the model answered, and what that is worth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// The place of the row in the data, counted from 0.
    pub row: usize,
    /// The value of the task's `group` column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The value of the task's `cluster` column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// What the model read before it answered, as text. Empty for texts and pairs.
    pub prompt: String,
    /// How many tokens that is.
    pub prompt_tokens: usize,
    /// Whether the beginning of the prompt was cut off, because the model reads no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The choices; of a pair the good text and then the bad one; a text that is scored whole is the only one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Likely>,
    /// What the model wrote, one for each sample.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Written>,
    /// What is right: the place of a choice or a list of places; a text or a list of texts.
    pub gold: Value,
    /// Columns of the row that a metric reads by name (`instruction_id_list`, `kwargs`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub columns: Map<String, Value>,
    /// What it is worth, by the name of the score. The scores of a metric that only a whole task has (BLEU) are not here.
    #[serde(default)]
    pub values: Map<String, Value>,
    /// What judges took out of the answer and of the reference, by the name of the score: `{"maths": {"predicted": …,
    /// "expected": …}}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extracted: Map<String, Value>,
}

/// A text and how likely the model finds it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Likely {
    /// The text that was scored, with the space before it, if any.
    pub text: String,
    /// The sum of the log-probabilities of its tokens.
    #[serde(deserialize_with = "number_or_none")]
    pub sum: f64,
    /// How many tokens it has.
    pub tokens: usize,
    /// Whether each of its tokens is the likeliest.
    pub greedy: bool,
    /// The sum after a question that says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<f64>,
}

/// An answer in the model's own words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// The text, without what ended it.
    pub text: String,
    /// Why it ended: `stop` (a token or text that ends answers) or `length`.
    pub finish_reason: String,
    /// How many tokens it has.
    pub tokens: usize,
    /// What the model said to the questions before the last one, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
}

/// What JSON cannot write as a number comes back as no number.
fn number_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Reads rows, one JSON object a line. An error says which line.
pub fn read(lines: impl BufRead) -> io::Result<Vec<Sampled>> {
    let rows = lines.lines().enumerate().map(|(at, line)| {
        let row = serde_json::from_str(&line?);
        row.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {error}", at + 1)))
    });
    rows.collect()
}

/// Returns the names of the values that rows have, in the order of the first row's.
pub fn metrics(rows: &[Sampled]) -> Vec<&str> {
    rows.first().map_or_else(Vec::new, |row| row.values.keys().map(String::as_str).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_written() {
        let likely = Likely { text: " a".into(), sum: f64::NEG_INFINITY, tokens: 1, greedy: true, alone: None };
        let row = Sampled { row: 3, choices: vec![likely], gold: 0.into(), ..Sampled::default() };
        let line = serde_json::to_string(&row).unwrap();
        let back = read(format!("{line}\n{line}\n").as_bytes()).unwrap();
        assert_eq!((back.len(), back[1].row), (2, 3));
        assert!(back[0].choices[0].sum.is_nan());
        assert_eq!(serde_json::to_string(&back[0]).unwrap(), line);
        let error = read(format!("{line}\n{{\n").as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 2: "), "{error}");
    }
}
