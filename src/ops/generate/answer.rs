//! What an answer says: a value of the form that was asked for, kept or not.

use jsonschema::Validator;
use regex::Regex;
use serde_json::{Map, Value};

use crate::data::{Expression, Record, pattern_of};
use crate::endpoint::Reply;
use crate::ops::OpError;
use crate::ops::curate::PATTERN;
use crate::spec::params::{AnswerForm, GenerateParams};

/// How much of what is wrong is told, in characters.
const TOLD: usize = 200;
/// Why an answer that came to its end did.
pub(super) const STOP: &str = "stop";

/// Reads answers, and says which are kept.
pub(super) struct Judge {
    form: Form,
    keep_if: Option<(String, Expression)>,
    keep_matching: Option<Regex>,
    keep_unfinished: bool,
}

enum Form {
    Text,
    Bool,
    Score { number: Regex, least: f64, most: f64 },
    Json(Box<Validator>),
}

/// What became of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Kept(Value),
    /// A rule is against it.
    LeftOut,
    /// It is one vote among others.
    Counted,
    /// It did not come to its end, for this reason.
    Unfinished(String),
}

impl Judge {
    pub(super) fn new(params: &GenerateParams) -> Result<Self, OpError> {
        Ok(Self {
            form: Form::new(params)?,
            keep_if: params.keep_if.as_ref().map(rule).transpose()?,
            keep_matching: params.keep_matching.as_ref().map(|text| pattern(text)).transpose()?,
            keep_unfinished: params.keep_unfinished,
        })
    }

    /// Returns what cannot be read of it, with the field that it stands in.
    pub(super) fn unreadable(params: &GenerateParams) -> Vec<(String, OpError)> {
        [
            ("output.json_schema", Form::new(params).err()),
            ("keep_if", params.keep_if.as_ref().and_then(|source| rule(source).err())),
            ("keep_matching", params.keep_matching.as_ref().and_then(|text| pattern(text).err())),
        ]
        .into_iter()
        .filter_map(|(field, error)| Some((field.to_owned(), error?)))
        .collect()
    }

    /// Says whether an answer is of the form that was asked for. One that was cut off need not be, if it is not kept.
    pub(super) fn accept(&self, reply: &Reply) -> Result<(), String> {
        if self.is_unfinished(reply) { Ok(()) } else { self.value(&reply.text).map(drop) }
    }

    /// Returns what an answer that was accepted says; nothing if it did not come to its end.
    pub(super) fn said(&self, reply: &Reply) -> Result<Option<Value>, OpError> {
        if self.is_unfinished(reply) {
            return Ok(None);
        }
        self.value(&reply.text).map(Some).map_err(OpError::new)
    }

    /// Says what becomes of an answer that was accepted.
    pub(super) fn verdict(&self, reply: &Reply, row: &Record, number: u64) -> Result<Verdict, OpError> {
        if self.is_unfinished(reply) {
            return Ok(Verdict::Unfinished(reply.finish_reason.clone()));
        }
        let value = self.value(&reply.text).map_err(OpError::new)?;
        if self.keep_matching.as_ref().is_some_and(|pattern| !pattern.is_match(&reply.text)) {
            return Ok(Verdict::LeftOut);
        }
        if let Some((source, expression)) = &self.keep_if {
            let mut columns: Map<String, Value> = row.0.clone();
            columns.insert("answer".into(), value.clone());
            columns.insert("finish_reason".into(), reply.finish_reason.as_str().into());
            let holds = expression.holds(&columns).map_err(|why| {
                OpError::new(format!("`keep_if: {source}` cannot be computed for row {number}: {why}"))
            })?;
            if !holds {
                return Ok(Verdict::LeftOut);
            }
        }
        Ok(Verdict::Kept(value))
    }

    fn is_unfinished(&self, reply: &Reply) -> bool {
        !self.keep_unfinished && reply.finish_reason != STOP
    }

    /// Reads an answer; the error says what is wrong with it.
    fn value(&self, text: &str) -> Result<Value, String> {
        match &self.form {
            Form::Text => Ok(text.into()),
            Form::Bool => {
                let lower = text.to_lowercase();
                match (lower.contains("true"), lower.contains("false")) {
                    (true, false) => Ok(true.into()),
                    (false, true) => Ok(false.into()),
                    (true, true) => Err("it says both true and false".into()),
                    (false, false) => Err("it says neither true nor false".into()),
                }
            }
            Form::Score { number, least, most } => {
                let found = number.find(text).and_then(|found| found.as_str().parse::<f64>().ok());
                let score = found.ok_or("there is no number in it")?;
                if (*least..=*most).contains(&score) {
                    Ok(score.into())
                } else {
                    Err(format!("its score {score} is not between {least} and {most}"))
                }
            }
            Form::Json(validator) => {
                let value = serde_json::from_str(unfenced(text)).map_err(|error| format!("it is no JSON: {error}"))?;
                let wrong = |place: String, error: String| {
                    let error: String = error.chars().take(TOLD).collect();
                    format!("it does not fit the schema at `{place}`: {error}")
                };
                match validator.validate(&value) {
                    Ok(()) => Ok(value.clone()),
                    Err(error) => Err(wrong(error.instance_path().to_string(), error.to_string())),
                }
            }
        }
    }
}

impl Form {
    fn new(params: &GenerateParams) -> Result<Self, OpError> {
        Ok(match &params.output {
            AnswerForm::Text => Form::Text,
            AnswerForm::Bool => Form::Bool,
            AnswerForm::Score => {
                let [least, most] = params.score_range;
                Form::Score { number: pattern_of(r"-?\d+(?:\.\d+)?").map_err(OpError::new)?, least, most }
            }
            AnswerForm::JsonSchema(schema) => {
                let schema = Value::Object(schema.clone());
                let validator = jsonschema::validator_for(&schema)
                    .map_err(|error| OpError::new(format!("this is no JSON Schema: {error}")))?;
                Form::Json(Box::new(validator))
            }
        })
    }
}

fn rule(source: &String) -> Result<(String, Expression), OpError> {
    let read = Expression::new(source).map_err(|why| OpError::new(format!("`{source}` cannot be read: {why}")));
    read.map(|expression| (source.clone(), expression)).map_err(|error| {
        error.help("the expression is one of MiniJinja, over the row's columns, `answer` and `finish_reason`")
    })
}

fn pattern(text: &str) -> Result<Regex, OpError> {
    pattern_of(text).map_err(|why| OpError::new(why).help(PATTERN))
}

/// Returns JSON without the fence that models like to put around it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(settings: &Value) -> Judge {
        let mut fields = json!({"from": "f", "model": "m", "prompt": "p", "into": "i"});
        fields.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        Judge::new(&serde_json::from_value(fields).unwrap()).unwrap()
    }

    fn reply(text: &str, finish_reason: &str) -> Reply {
        Reply { text: text.into(), finish_reason: finish_reason.into(), prompt_tokens: 0, completion_tokens: 0 }
    }

    fn verdict(settings: &Value, text: &str) -> Result<Verdict, String> {
        let (judge, reply) = (judge(settings), reply(text, STOP));
        judge.accept(&reply)?;
        let row = Record(json!({"lang": "fr", "answer": "of the row"}).as_object().unwrap().clone());
        judge.verdict(&reply, &row, 1).map_err(|error| error.to_string())
    }

    #[test]
    fn answers_are_read_in_their_form() {
        let kept = |settings: Value, text: &str| match verdict(&settings, text) {
            Ok(Verdict::Kept(value)) => value,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(kept(json!({}), " a\n"), json!(" a\n"));
        assert_eq!(kept(json!({"output": "bool"}), "**TRUE**."), json!(true));
        assert_eq!(kept(json!({"output": "bool"}), "`False`"), json!(false));
        assert_eq!(kept(json!({"output": "score"}), "Note : 4.5/5"), json!(4.5));
        let list = json!({"output": {"json_schema": {"type": "array", "items": {"type": "string"}}}});
        assert_eq!(kept(list.clone(), "```json\n[\"a\"]\n```"), json!(["a"]));
        for (settings, text, why) in [
            (json!({"output": "bool"}), "perhaps", "neither"),
            (json!({"output": "bool"}), "true or false", "both"),
            (json!({"output": "score"}), "six: 6", "not between 1 and 5"),
            (json!({"output": "score"}), "good", "no number"),
            (list.clone(), "[1]", "schema at `/0`"),
            (list, "[", "no JSON"),
        ] {
            let said = verdict(&settings, text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn rules_say_what_is_kept() {
        let left_out = |settings: Value, text: &str| verdict(&settings, text).unwrap() == Verdict::LeftOut;
        assert!(!left_out(json!({"keep_matching": "(?i)TRUE"}), "true"));
        assert!(left_out(json!({"keep_matching": "(?i)TRUE"}), "no"));
        let rule = json!({"output": "score", "keep_if": "answer >= 4 and lang == 'fr' and finish_reason == 'stop'"});
        assert!(!left_out(rule.clone(), "4") && left_out(rule, "3"));
        let cut = reply("{", "length");
        assert_eq!(judge(&json!({"output": "bool"})).accept(&cut), Ok(()));
        assert!(judge(&json!({"output": "bool", "keep_unfinished": true})).accept(&cut).is_err());
        assert!(verdict(&json!({"keep_if": "missing > 1"}), "a").unwrap_err().contains("row 1"));
    }
}
