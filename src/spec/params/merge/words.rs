//! What the node's own fields say, as a MergeKit configuration.
//!
//! They say the same in fewer words, and are turned into one, so that both are checked and merged by the same code. The
//! names of the models are never looked at there: mistakes are led back to these fields.

use std::collections::BTreeSet;

use super::super::{InputRef, Mistake};
use super::config::{ConfigModel, MergeConfig, Settings};
use super::method::{BaseUse, MergeMethod, Scope};
use super::own::all_plain;
use super::{MergeParams, Setting, check};

impl MergeParams {
    /// Returns the ratio or the weights, if nothing else is given: the short way to write `linear` and `slerp`.
    pub fn short(&self) -> Option<(Option<f64>, Option<Vec<f64>>)> {
        let known = matches!(self.method, Some(MergeMethod::Linear | MergeMethod::Slerp)) && all_plain(&self.models);
        let Some(parameters) = &self.parameters else { return known.then_some((None, None)) };
        let mut rest = parameters.for_all();
        let t = rest.remove("t").map(|setting| setting.0.as_f64());
        let weights: Option<Option<Vec<f64>>> =
            parameters.weights.as_ref().map(|all| all.iter().map(|setting| setting.0.as_f64()).collect());
        let plain = rest.is_empty() && t != Some(None) && weights != Some(None);
        (known && plain).then_some((t.flatten(), weights.flatten()))
    }

    /// Returns the MergeKit configuration that the node's own fields stand for; `names` are what the base, if there is
    /// one, and the models are called in it.
    pub fn as_config(&self, names: &[String]) -> Option<MergeConfig> {
        let merge_method = self.method?;
        let parameters = self.parameters.clone().unwrap_or_default();
        let mut for_all = parameters.for_all();
        let mut weights: Vec<Option<Setting>> = parameters.weights.into_iter().flatten().map(Some).collect();
        if merge_method == MergeMethod::Linear
            && let Some(t) = for_all.remove("t").and_then(|setting| setting.0.as_f64())
        {
            weights = [1.0 - t, t].map(|weight| Some(Setting(weight.into()))).into();
        }
        if self.base.is_some() && !weights.is_empty() && !merge_method.weighs_base() {
            weights.insert(0, None);
        }
        let of_base = self.base.iter().map(|_| Settings::new());
        let each = of_base.chain(self.models.iter().map(|model| model.parameters.clone()));
        let models = names.iter().zip(each).enumerate().map(|(i, (name, mut own))| {
            if let Some(weight) = weights.get(i).cloned().flatten() {
                own.insert("weight".into(), weight);
            }
            let parameters = (!own.is_empty()).then_some(own);
            ConfigModel { model: InputRef(name.clone()), parameters }
        });
        Some(MergeConfig {
            merge_method,
            models: Some(models.collect()),
            base_model: self.base.as_ref().and_then(|_| names.first().cloned()).map(InputRef),
            parameters: (!for_all.is_empty()).then_some(for_all),
            ..MergeConfig::empty(merge_method)
        })
    }

    /// Returns what is wrong with the node's own fields.
    pub(super) fn own_mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        // What is said in few words goes from a base to others, unless every model has its weight.
        let optional =
            |method: MergeMethod| method.takes().base != BaseUse::Required && !matches!(self.short(), Some((_, None)));
        let no_base = self.base.is_none() && !self.method.is_some_and(optional);
        for (name, missing) in [("method", self.method.is_none()), ("base", no_base)] {
            if missing {
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
        if let Some((t, weights)) = self.short() {
            self.short_mistakes(method, t, weights.as_deref(), &mut mistakes);
        } else if mistakes.is_empty() {
            self.long_mistakes(method, &mut mistakes);
        }
        mistakes
    }

    fn short_mistakes(
        &self,
        method: MergeMethod,
        t: Option<f64>,
        weights: Option<&[f64]>,
        mistakes: &mut Vec<Mistake>,
    ) {
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
            (_, None, Some(weights)) => {
                let wanted = self.models.len() + usize::from(self.base.is_some());
                if weights.len() != wanted {
                    let base = if self.base.is_some() { "the base and " } else { "" };
                    let message = format!("{} weights for {base}{} models", weights.len(), self.models.len());
                    mistakes.push(Mistake::new("parameters.weights", message).help(format!("give {wanted}")));
                }
                if !weights.iter().all(|weight| weight.is_finite()) || weights.iter().sum::<f64>() == 0.0 {
                    mistakes.push(Mistake::new("parameters.weights", "the sum of the weights is zero or not finite"));
                }
            }
        }
    }

    /// Checks the fields as the configuration that they stand for.
    fn long_mistakes(&self, method: MergeMethod, mistakes: &mut Vec<Mistake>) {
        let first = usize::from(self.base.is_some());
        let weights = self.parameters.as_ref().and_then(|given| given.weights.as_ref());
        if let Some(weights) = weights {
            let wanted = self.models.len() + if method.weighs_base() { first } else { 0 };
            let takes = method.parameters().iter().any(|parameter| parameter.name == "weight");
            if !takes {
                mistakes.push(Mistake::new("parameters.weights", format!("`{}` has no weights", method.name())));
            } else if weights.len() != wanted {
                let base = if method.weighs_base() && first == 1 { "the base and " } else { "" };
                let message = format!("{} weights for {base}{} models", weights.len(), self.models.len());
                mistakes.push(Mistake::new("parameters.weights", message).help(format!("give {wanted}")));
            }
            if self.models.iter().any(|model| model.parameters.contains_key("weight")) {
                let message = "the models have weights of their own";
                mistakes.push(Mistake::new("parameters.weights", message).help("give one or the other"));
            }
            if !mistakes.is_empty() {
                return;
            }
        }
        let mut names = BTreeSet::new();
        for (i, model) in self.models.iter().enumerate() {
            if self.base.as_ref() == Some(&model.model) {
                let help = if method.weighs_base() {
                    "leave `base` out: the first model donates configuration and tokenizer"
                } else {
                    "leave it out here: the base takes part by itself"
                };
                mistakes
                    .push(Mistake::new(format!("models[{i}]"), format!("`{}` is the base", model.model)).help(help));
            } else if !names.insert(&model.model.0) {
                let message = format!("`{}` is listed twice", model.model);
                mistakes.push(Mistake::new(format!("models[{i}]"), message));
            }
        }
        if !mistakes.is_empty() {
            return;
        }
        let names: Vec<String> =
            self.base.iter().chain(self.models.iter().map(|model| &model.model)).map(|name| name.0.clone()).collect();
        let Some(config) = self.as_config(&names) else { return };
        for mistake in check::mistakes(&config) {
            let field = own_place(&mistake.field, first, weights.is_some());
            let message = mistake.message.replace("`base_model`", "`base`");
            mistakes.push(Mistake { field, message, ..mistake });
        }
    }
}

/// Returns the field that a place of the configuration stands for.
fn own_place(place: &str, first: usize, weights: bool) -> String {
    if let Some((index, inside)) = place.strip_prefix("models[").and_then(|rest| rest.split_once(']'))
        && let Ok(index) = index.parse::<usize>()
    {
        let inside = inside.replace(".parameters", "").replace(".model", "");
        return match index.checked_sub(first) {
            _ if weights && inside.starts_with(".weight") => "parameters.weights".to_owned(),
            None => "base".to_owned(),
            Some(model) => format!("models[{model}]{inside}"),
        };
    }
    if place == "base_model" { "base".to_owned() } else { place.to_owned() }
}

impl MergeMethod {
    /// Returns whether the base is a model like the others and has a weight, where the method has weights.
    fn weighs_base(self) -> bool {
        self.parameters().iter().any(|parameter| parameter.name == "weight" && parameter.scope == Scope::Each)
    }
}
