//! `kind: merge`: the weights of several models combined.
//!
//! There are two ways to say how: the node's own fields, which suffice for two models or a list of weights, and
//! `config`, which takes a MergeKit configuration as it is. In both the models are names of nodes.

mod check;
mod config;
mod method;
mod setting;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};
pub use config::{
    ConfigModel, ConfigSlice, ConfigSource, ConfigToken, ConfigTokenizer, MergeConfig, Settings, TokenSource,
};
pub use method::{BaseUse, MergeMethod, Parameter, ParameterKind, Scope, Takes};
pub use setting::Setting;

/// Combines the weights of several models, tensor by tensor.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeParams {
    /// How the weights are combined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MergeMethod>,
    /// The model that `t = 0` gives back; it also donates the configuration and the tokenizer.
    #[serde(default, skip_serializing)]
    pub base: Option<InputRef>,
    /// The models merged into the base; exactly one for `slerp`.
    #[serde(default, skip_serializing)]
    pub models: Vec<InputRef>,
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

/// What a merge method needs: `t` for two models, or one weight a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeParameters {
    /// The way from the base (0) to the other model (1).
    #[serde(default)]
    pub t: Option<f64>,
    /// For `linear`: the weight of the base and then of each model, divided by their sum.
    #[serde(default)]
    pub weights: Option<Vec<f64>>,
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

    fn own_mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (name, given) in [("method", self.method.is_some()), ("base", self.base.is_some())] {
            if !given {
                mistakes.push(
                    Mistake::new("", format!("a merge needs the field `{name}`"))
                        .help("give `method`, `base`, `models` and `parameters`, or `config`"),
                );
            }
        }
        if self.models.is_empty() {
            mistakes.push(Mistake::new("models", "there is no model to merge into the base"));
        }
        let Some(method) = self.method else { return mistakes };
        if !matches!(method, MergeMethod::Linear | MergeMethod::Slerp) {
            let message = format!("`{}` is only to be had with `config`", method.name());
            mistakes.push(Mistake::new("method", message).help("give a MergeKit configuration: `config: {…}`"));
            return mistakes;
        }
        let (t, weights) = self.parameters.as_ref().map_or((None, None), |given| (given.t, given.weights.as_ref()));
        match (method, t, weights) {
            (_, Some(_), Some(_)) => {
                mistakes.push(Mistake::new("parameters.weights", "give `t` or `weights`, not both"));
            }
            (MergeMethod::Slerp, _, Some(_)) => {
                mistakes.push(Mistake::new("parameters.weights", "`slerp` has no weights").help("it takes `t`"));
            }
            (_, None, None) => {
                let help = "write `parameters: {t: 0.5}`";
                mistakes.push(Mistake::new("parameters", "the ratio `t` is missing").help(help));
            }
            (_, Some(t), None) => {
                if !(0.0..=1.0).contains(&t) {
                    mistakes.push(Mistake::new("parameters.t", format!("{t} is not between 0 and 1")));
                }
                if self.models.len() > 1 {
                    let message = format!("`t` goes from the base to one model, and {} are given", self.models.len());
                    mistakes.push(Mistake::new("models", message).help("use `method: linear` with `weights`"));
                }
            }
            (_, None, Some(weights)) => self.check_weights(weights, &mut mistakes),
        }
        mistakes
    }

    fn check_weights(&self, weights: &[f64], mistakes: &mut Vec<Mistake>) {
        let wanted = self.models.len() + 1;
        if weights.len() != wanted {
            let message = format!("{} weights for the base and {} models", weights.len(), self.models.len());
            mistakes.push(Mistake::new("parameters.weights", message).help(format!("give {wanted}")));
        }
        if !weights.iter().all(|weight| weight.is_finite()) || weights.iter().sum::<f64>() == 0.0 {
            mistakes.push(Mistake::new("parameters.weights", "the sum of the weights is zero or not finite"));
        }
    }
}

impl Params for MergeParams {
    const KIND: Kind = Kind::Merge;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let slot = |(i, from)| Input::one(format!("models[{i}]"), from, InputType::Model);
        let own = self.base.iter().map(|base| Input::one("base", base, InputType::Model));
        let mut inputs: Vec<Input<'_>> = own.chain(self.models.iter().enumerate().map(slot)).collect();
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
