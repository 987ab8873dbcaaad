//! A MergeKit configuration, read as it is.
//!
//! The fields are those of MergeKit 0.1.5. What it would ignore in silence (a misspelt key, a parameter that the method
//! does not have) is a mistake here, and so is what this program does not do (`modules`, revisions after an `@`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::InputRef;
use super::{MergeMethod, Setting};

/// Parameters by name.
pub type Settings = BTreeMap<String, Setting>;

/// A MergeKit configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeConfig {
    /// How the weights are combined.
    pub merge_method: MergeMethod,
    /// The models, merged whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ConfigModel>>,
    /// Ranges of layers, one after the other, each merged from its sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<Vec<ConfigSlice>>,
    /// The model that others are compared with; it donates configuration and tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<InputRef>,
    /// Parameters for all models and tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Settings>,
    /// The type that tensors are converted to before they are merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// The type that the result is stored in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_dtype: Option<String>,
    /// Whose vocabulary the result has: `union`, `base` or a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_source: Option<InputRef>,
    /// The vocabulary of the result in detail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<ConfigTokenizer>,
    /// The chat template of the result: `auto`, the name of one, or the template itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
}

/// A model of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigModel {
    /// The model.
    pub model: InputRef,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Settings>,
}

/// A range of layers of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigSlice {
    /// What it is merged from.
    pub sources: Vec<ConfigSource>,
    /// The base of this range, if another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model: Option<InputRef>,
    /// Parameters for this range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Settings>,
}

/// A source of a range of layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigSource {
    /// The model.
    pub model: InputRef,
    /// Its first layer, and the one after its last.
    pub layer_range: [usize; 2],
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Settings>,
}

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

impl MergeConfig {
    /// Returns a configuration that says nothing but its method.
    #[must_use]
    pub fn empty(merge_method: MergeMethod) -> Self {
        Self {
            merge_method,
            models: None,
            slices: None,
            base_model: None,
            parameters: None,
            dtype: None,
            out_dtype: None,
            tokenizer_source: None,
            tokenizer: None,
            chat_template: None,
        }
    }

    /// Returns every place that names a model, with its path, in the order of MergeKit: sources first, a base that is
    /// none of them last.
    pub fn references(&self) -> Vec<(String, &InputRef)> {
        let mut all = Vec::new();
        for (i, model) in self.models.iter().flatten().enumerate() {
            all.push((format!("models[{i}].model"), &model.model));
        }
        for (i, slice) in self.slices.iter().flatten().enumerate() {
            for (j, source) in slice.sources.iter().enumerate() {
                all.push((format!("slices[{i}].sources[{j}].model"), &source.model));
            }
            all.extend(slice.base_model.iter().map(|base| (format!("slices[{i}].base_model"), base)));
        }
        all.extend(self.base_model.iter().map(|base| ("base_model".to_owned(), base)));
        if let Some((place, source)) = self.vocabulary()
            && !matches!(source.0.as_str(), "union" | "base")
        {
            all.push((place.to_owned(), source));
        }
        all
    }

    /// Returns whose vocabulary the result has, if the configuration says.
    pub fn vocabulary(&self) -> Option<(&'static str, &InputRef)> {
        match (&self.tokenizer, &self.tokenizer_source) {
            (Some(tokenizer), _) => Some(("tokenizer.source", &tokenizer.source)),
            (None, Some(source)) => Some(("tokenizer_source", source)),
            (None, None) => None,
        }
    }

    /// Returns every set of parameters, with its path.
    pub fn parameter_sets(&self) -> Vec<(String, &Settings)> {
        let mut all = Vec::new();
        for (i, model) in self.models.iter().flatten().enumerate() {
            all.extend(model.parameters.iter().map(|set| (format!("models[{i}].parameters"), set)));
        }
        for (i, slice) in self.slices.iter().flatten().enumerate() {
            for (j, source) in slice.sources.iter().enumerate() {
                let place = format!("slices[{i}].sources[{j}].parameters");
                all.extend(source.parameters.iter().map(|set| (place.clone(), set)));
            }
            all.extend(slice.parameters.iter().map(|set| (format!("slices[{i}].parameters"), set)));
        }
        all.extend(self.parameters.iter().map(|set| ("parameters".to_owned(), set)));
        all
    }

    /// Returns the configuration with every model called by its number: what models are called decides nothing.
    #[must_use]
    pub fn nameless(&self) -> Self {
        let mut names: Vec<String> = Vec::new();
        for (_, reference) in self.references() {
            if !names.contains(&reference.0) {
                names.push(reference.0.clone());
            }
        }
        let number = |name: &mut String| {
            if let Some(i) = names.iter().position(|known| known == name) {
                *name = format!("#{i}");
            }
        };
        let mut config = self.clone();
        for model in config.models.iter_mut().flatten() {
            number(&mut model.model.0);
        }
        for slice in config.slices.iter_mut().flatten() {
            slice.sources.iter_mut().for_each(|source| number(&mut source.model.0));
            slice.base_model.iter_mut().for_each(|base| number(&mut base.0));
        }
        config.base_model.iter_mut().for_each(|base| number(&mut base.0));
        config.tokenizer_source.iter_mut().for_each(|source| number(&mut source.0));
        if let Some(tokenizer) = &mut config.tokenizer {
            number(&mut tokenizer.source.0);
            for token in tokenizer.tokens.iter_mut().flat_map(BTreeMap::values_mut) {
                let name = match &mut token.source {
                    Value::Object(fields) => fields.get_mut("model"),
                    name => Some(name),
                };
                if let Some(Value::String(name)) = name {
                    number(name);
                }
            }
        }
        config
    }
}
