//! The vocabulary of a merged model, as a MergeKit configuration describes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::InputRef;

/// The vocabulary of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigTokenizer {
    /// Whose it is: `union`, `base` or a model.
    #[serde(default = "union")]
    pub source: InputRef,
    /// Where the embeddings of single tokens come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<BTreeMap<String, ConfigToken>>,
    /// What the number of rows must be a multiple of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_to_multiple_of: Option<usize>,
}

fn union() -> InputRef {
    InputRef("union".into())
}

/// Where the embedding of a token comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigToken {
    /// A model, `{kind: zero}`, or `{kind: model_token, model: …, token: …}`.
    #[serde(default)]
    pub source: Value,
    /// Whether models that have the token use this embedding too.
    #[serde(default)]
    pub force: bool,
}

/// Where the embedding of a token comes from, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenSource {
    /// The row that this model has for it.
    Model(String),
    /// Zeros.
    Zero,
    /// The row of another token of a model, by name or number.
    Other(String, Result<usize, String>),
}

impl ConfigToken {
    /// Returns where the embedding comes from, or what is wrong with the text.
    pub fn source(&self) -> Result<TokenSource, String> {
        let Some(fields) = self.source.as_object() else {
            return match &self.source {
                Value::String(model) => Ok(TokenSource::Model(model.clone())),
                _ => Err("the `source` is missing".to_owned()),
            };
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let known = |allowed: &[&str]| fields.keys().find(|key| !allowed.contains(&key.as_str()));
        match text("kind").as_deref() {
            Some("zero") => match known(&["kind"]) {
                Some(key) => Err(format!("unknown field `{key}`")),
                None => Ok(TokenSource::Zero),
            },
            Some("model_token") => {
                if let Some(key) = known(&["kind", "model", "token", "token_id"]) {
                    return Err(format!("unknown field `{key}`"));
                }
                let model = text("model").ok_or("a `model_token` needs a `model`")?;
                let number = fields.get("token_id").and_then(Value::as_u64);
                match (text("token"), number) {
                    (Some(token), None) => Ok(TokenSource::Other(model, Err(token))),
                    (None, Some(number)) => Ok(TokenSource::Other(model, Ok(number as usize))),
                    _ => Err("give either `token` or `token_id`".to_owned()),
                }
            }
            _ => Err("expected a model, `{kind: zero}` or `{kind: model_token, …}`".to_owned()),
        }
    }
}
