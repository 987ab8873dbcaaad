//! `kind: merge`: the weights of several models combined.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, InputRef, InputType, Kind, Mistake, Output, Params};

/// Combines the weights of several models, tensor by tensor.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeParams {
    /// How the weights are combined.
    pub method: MergeMethod,
    /// The model that `t = 0` gives back; it also donates the configuration and the tokenizer.
    #[serde(skip_serializing)]
    pub base: InputRef,
    /// The models merged into the base; exactly one for `slerp`.
    #[serde(skip_serializing)]
    pub models: Vec<InputRef>,
    /// What the method needs.
    pub parameters: MergeParameters,
}

/// How weights are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MergeMethod {
    /// The weighted mean.
    Linear,
    /// Along the arc between two tensors taken as vectors, rather than the chord.
    Slerp,
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
}

impl Params for MergeParams {
    const KIND: Kind = Kind::Merge;
    const VERSION: u32 = 1;

    fn inputs(&self) -> Vec<Input<'_>> {
        let slot = |(i, from)| Input::one(format!("models[{i}]"), from, InputType::Model);
        let base = Input::one("base", &self.base, InputType::Model);
        std::iter::once(base).chain(self.models.iter().enumerate().map(slot)).collect()
    }

    fn outputs(&self) -> Vec<Output> {
        vec![Output { name: "".into(), path: "".into(), kind: InputType::Model }]
    }

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.models.is_empty() {
            mistakes.push(Mistake::new("models", "there is no model to merge into the base"));
        }
        match (self.method, self.parameters.t, &self.parameters.weights) {
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
            (MergeMethod::Linear, None, Some(weights)) => {
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
        mistakes
    }
}
