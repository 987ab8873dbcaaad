//! `kind: merge`: the weights of several models combined.
//!
//! There are two ways to say how: the node's own fields, which suffice for two models or a list of weights, and
//! `config`, which takes a MergeKit configuration as it is. In both the models are names of nodes.

mod check;
mod config;
mod method;
mod own;
mod setting;
mod token;
mod words;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};
pub use config::{Body, ConfigModel, ConfigModule, ConfigSlice, ConfigSource, MergeConfig, Settings};
pub use method::{BaseUse, MergeMethod, Parameter, ParameterKind, Scope, Takes};
pub use own::{MergeModel, MergeParameters};
pub use setting::Setting;
pub use token::{ConfigToken, ConfigTokenizer, TokenSource};

/// Combines the weights of several models, tensor by tensor.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeParams {
    /// How the weights are combined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MergeMethod>,
    /// The model that `t = 0` gives back, or that differences are taken to; it also donates the configuration and the
    /// tokenizer. Methods that know no base can do without: then the first model donates.
    #[serde(default, skip_serializing)]
    pub base: Option<InputRef>,
    /// The models merged into the base; exactly one for `slerp`. Each is the name of a node, or a block with what holds
    /// for this model alone: `{model: NAME, weight: 0.5, density: 0.3}`.
    #[serde(default, skip_serializing_if = "own::all_plain", serialize_with = "own::without_names")]
    pub models: Vec<MergeModel>,
    /// What the method needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<MergeParameters>,
    /// A MergeKit configuration, in place of the four fields above: as a block, or the name of its file.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "nameless")]
    pub config: Option<Box<MergeConfig>>,
    /// Which node stands for which model of the configuration; a model that is not listed is itself the name of a node.
    #[serde(default, skip_serializing)]
    pub nodes: BTreeMap<String, InputRef>,
    /// Where the random methods (`dare_*`, `della*`) begin; MergeKit's `--random-seed`.
    #[serde(default = "seed", skip_serializing_if = "is_seed")]
    #[schemars(default = "seed")]
    pub seed: u32,
    /// The most bytes of weights in one file.
    #[serde(default = "shard_size", skip_serializing_if = "is_shard_size")]
    #[schemars(default = "shard_size")]
    pub shard_size: u64,
    /// How intermediate results are rounded.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    /// Whose arithmetic `linear` and `slerp` have.
    #[serde(default, skip_serializing_if = "Compat::is_default")]
    pub compat: Compat,
}

/// The release of MergeKit whose arithmetic is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Compat {
    /// The newest that is known.
    #[default]
    #[serde(rename = "0.1.5")]
    Newest,
    /// The one before: `linear` rounds every product, `slerp` takes its coefficients from NumPy.
    #[serde(rename = "0.1.4")]
    Older,
}

impl Compat {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    fn is_default(&self) -> bool {
        *self == Compat::Newest
    }
}

/// How intermediate results are rounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As MergeKit does: after every operation, to the type of the tensors.
    #[default]
    Mergekit,
    /// Once, at the end: all is computed in single precision.
    High,
}

impl Precision {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    fn is_default(&self) -> bool {
        *self == Precision::Mergekit
    }
}

fn seed() -> u32 {
    42
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_seed(given: &u32) -> bool {
    *given == seed()
}

fn shard_size() -> u64 {
    5_000_000_000
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_shard_size(given: &u64) -> bool {
    *given == shard_size()
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn nameless<S: Serializer>(config: &Option<Box<MergeConfig>>, serializer: S) -> Result<S::Ok, S::Error> {
    config.as_ref().map(|config| config.nameless()).serialize(serializer)
}

impl MergeParams {
    /// The word in `kind:`.
    pub const NAME: &'static str = "merge";

    /// Returns the settings of a merge by a MergeKit configuration.
    pub fn of_config(config: MergeConfig) -> Self {
        Self { config: Some(Box::new(config)), seed: seed(), shard_size: shard_size(), ..Self::default() }
    }

    /// Returns the models of the configuration: what each is called there, and the slot that holds it.
    pub fn config_models(&self) -> Vec<(&str, String)> {
        let mut models: Vec<(&str, String)> = Vec::new();
        for (place, reference) in self.config.iter().flat_map(|config| config.references()) {
            if !models.iter().any(|(known, _)| *known == reference.0) {
                models.push((&reference.0, format!("config.{place}")));
            }
        }
        models
    }
}

impl Params for MergeParams {
    const KIND: Kind = Kind::Merge;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let mut inputs: Vec<Input<'_>> =
            self.base.iter().map(|base| Input::one("base", base, InputType::Model)).collect();
        for (i, model) in self.models.iter().enumerate() {
            inputs.push(Input::one(format!("models[{i}]"), &model.model, InputType::Model));
        }
        let mut seen: Vec<&InputRef> = Vec::new();
        for (place, reference) in self.config.iter().flat_map(|config| config.references()) {
            if !seen.contains(&reference) {
                seen.push(reference);
                let node = self.nodes.get(&reference.0).unwrap_or(reference);
                inputs.push(Input::one(format!("config.{place}"), node, InputType::Model));
            }
        }
        inputs
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Model }]
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.shard_size == 0 {
            mistakes.push(Mistake::new("shard_size", "a file of 0 bytes holds nothing"));
        }
        let method = self.config.as_ref().map(|config| config.merge_method).or(self.method);
        if let (Compat::Older, Some(method)) = (self.compat, method)
            && !matches!(method, MergeMethod::Linear | MergeMethod::Slerp)
        {
            let message = format!("`{}` is to be had as in 0.1.5 only", method.name());
            mistakes.push(Mistake::new("compat", message).help("leave it out, or use `linear` or `slerp`"));
        }
        if self.compat == Compat::Older && self.precision == Precision::High {
            let message = "the arithmetic of 0.1.4 is one that rounds";
            mistakes.push(Mistake::new("precision", message).help("give `compat` or `precision`, not both"));
        }
        let Some(config) = &self.config else {
            mistakes.extend(self.own_mistakes());
            return mistakes;
        };
        let own = self.method.is_some() || self.base.is_some() || !self.models.is_empty() || self.parameters.is_some();
        if own {
            mistakes.push(Mistake::new("config", "give `config` or the node's own fields, not both"));
        }
        for mistake in check::mistakes(config) {
            let dot = if mistake.field.is_empty() { "" } else { "." };
            mistakes.push(Mistake { field: format!("config{dot}{}", mistake.field), ..mistake });
        }
        let names: Vec<&str> = self.config_models().iter().map(|(name, _)| *name).collect();
        for name in self.nodes.keys().filter(|name| !names.contains(&name.as_str())) {
            let mistake = Mistake::new("nodes", format!("`{name}` is no model of the configuration"));
            let help = crate::spec::suggest::help(name, names.iter().copied());
            mistakes.push(Mistake { help, ..mistake });
        }
        mistakes
    }
}
