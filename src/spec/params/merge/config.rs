//! A MergeKit configuration, read as it is.
//!
//! The fields are those of MergeKit 0.1.5. What it would ignore in silence (a misspelt key, a parameter that the method
//! does not have) is a mistake here, and so is what this program does not do (revisions after an `@`). One thing is added:
//! MergeKit knows from a file for each architecture which tensors a module has; here the configuration says so.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::InputRef;
use super::{ConfigTokenizer, MergeMethod, Setting};

/// Describes how a model may be written: as text, or as the mapping that becomes text before anything is read.
fn model_reference(_: &mut SchemaGenerator) -> Schema {
    let path = json_schema!({"anyOf": [{"type": "string"}, {
        "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"], "additionalProperties": false
    }]});
    json_schema!({"anyOf": [{"type": "string"}, {
        "type": "object", "properties": {"model": path, "lora": path}, "required": ["model"], "additionalProperties": false
    }]})
}

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
    /// Parts of a model of several (a vision tower, a decoder), each merged in its own way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<BTreeMap<String, ConfigModule>>,
    /// The model that others are compared with; it donates configuration and tokenizer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "model_reference")]
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
    #[schemars(schema_with = "model_reference")]
    pub model: InputRef,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Settings>,
}

/// A part of a model of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigModule {
    /// What the names of its tensors begin with: `[model.language_model., lm_head.]`. Not MergeKit's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// The models, merged whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ConfigModel>>,
    /// Ranges of layers, one after the other, each merged from its sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slices: Option<Vec<ConfigSlice>>,
    /// Parameters for this part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Settings>,
}

/// What is merged, whole or by ranges of layers: the configuration itself or one of its modules.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// The path of its fields, up to the dot before them.
    pub module: Option<&'a str>,
    /// What the names of its tensors begin with; empty for all.
    pub prefixes: &'a [String],
    /// The models, merged whole.
    pub models: Option<&'a Vec<ConfigModel>>,
    /// Ranges of layers.
    pub slices: Option<&'a Vec<ConfigSlice>>,
    /// Parameters for this part.
    pub parameters: Option<&'a Settings>,
}

impl Body<'_> {
    /// Returns the path of one of its fields.
    pub fn place(&self, field: &str) -> String {
        self.module.map_or_else(|| field.to_owned(), |module| format!("modules.{module}.{field}"))
    }
}

/// A range of layers of the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigSlice {
    /// What it is merged from.
    pub sources: Vec<ConfigSource>,
    /// The base of this range, if another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "model_reference")]
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
    #[schemars(schema_with = "model_reference")]
    pub model: InputRef,
    /// Its first layer, and the one after its last.
    pub layer_range: [usize; 2],
    /// Its parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Settings>,
}

impl MergeConfig {
    /// Returns a configuration that says nothing but its method.
    #[must_use]
    pub fn empty(merge_method: MergeMethod) -> Self {
        Self {
            merge_method,
            models: None,
            slices: None,
            modules: None,
            base_model: None,
            parameters: None,
            dtype: None,
            out_dtype: None,
            tokenizer_source: None,
            tokenizer: None,
            chat_template: None,
        }
    }

    /// Returns what is merged: the modules, or the whole.
    pub fn bodies(&self) -> Vec<Body<'_>> {
        let Some(modules) = &self.modules else {
            let (models, slices) = (self.models.as_ref(), self.slices.as_ref());
            return vec![Body { module: None, prefixes: &[], models, slices, parameters: None }];
        };
        modules
            .iter()
            .map(|(name, module)| Body {
                module: Some(name),
                prefixes: &module.prefixes,
                models: module.models.as_ref(),
                slices: module.slices.as_ref(),
                parameters: module.parameters.as_ref(),
            })
            .collect()
    }

    /// Returns every place that names a model, with its path, in the order of MergeKit: sources first, a base that is
    /// none of them last.
    pub fn references(&self) -> Vec<(String, &InputRef)> {
        let mut all = Vec::new();
        for body in self.bodies() {
            let place = |field: String| body.place(&field);
            for (i, model) in body.models.into_iter().flatten().enumerate() {
                all.push((place(format!("models[{i}].model")), &model.model));
            }
            for (i, slice) in body.slices.into_iter().flatten().enumerate() {
                for (j, source) in slice.sources.iter().enumerate() {
                    all.push((place(format!("slices[{i}].sources[{j}].model")), &source.model));
                }
                let base = slice.base_model.iter();
                all.extend(base.map(|base| (place(format!("slices[{i}].base_model")), base)));
            }
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
        for body in self.bodies() {
            let place = |field: String| body.place(&field);
            for (i, model) in body.models.into_iter().flatten().enumerate() {
                all.extend(model.parameters.iter().map(|set| (place(format!("models[{i}].parameters")), set)));
            }
            for (i, slice) in body.slices.into_iter().flatten().enumerate() {
                for (j, source) in slice.sources.iter().enumerate() {
                    let here = place(format!("slices[{i}].sources[{j}].parameters"));
                    all.extend(source.parameters.iter().map(|set| (here.clone(), set)));
                }
                all.extend(slice.parameters.iter().map(|set| (place(format!("slices[{i}].parameters")), set)));
            }
            all.extend(body.parameters.iter().map(|set| (place("parameters".into()), *set)));
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
        let (mut models, mut slices) = (vec![&mut config.models], vec![&mut config.slices]);
        for module in config.modules.iter_mut().flat_map(BTreeMap::values_mut) {
            models.push(&mut module.models);
            slices.push(&mut module.slices);
        }
        for model in models.into_iter().flatten().flatten() {
            number(&mut model.model.0);
        }
        for slice in slices.into_iter().flatten().flatten() {
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
