//! A merge by the node's own fields: `method`, `base`, `models` and `parameters`.
//!
//! They say what a MergeKit configuration says, in fewer words, and are turned into one, so that both are checked and
//! merged by the same code. The names of the models are never looked at there: mistakes are led back to these fields.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::super::{InputRef, Mistake};
use super::config::{ConfigModel, MergeConfig, Settings};
use super::method::{BaseUse, MergeMethod, Scope};
use super::{MergeParams, Setting, check};

/// A model that is merged: the name of a node, or a block with what holds for this model alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MergeModel {
    /// The model.
    pub model: InputRef,
    /// Its parameters.
    pub parameters: Settings,
}

impl From<InputRef> for MergeModel {
    fn from(model: InputRef) -> Self {
        Self { model, parameters: Settings::new() }
    }
}

/// The model and what holds for it alone; each of these may be a list over the layers, or values behind filters.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Detailed {
    /// The model.
    model: InputRef,
    /// How much it counts.
    #[serde(default)]
    weight: Option<Setting>,
    /// Which share of its differences to the base is kept.
    #[serde(default)]
    density: Option<Setting>,
    /// Which share of its largest differences is left out, for `breadcrumbs`.
    #[serde(default)]
    gamma: Option<Setting>,
    /// How far chances lie from the density, for `della`.
    #[serde(default)]
    epsilon: Option<Setting>,
    /// What its tensors are multiplied by, for `passthrough`.
    #[serde(default)]
    scale: Option<Setting>,
}

/// Returns those settings that are given, with whole numbers as numbers: `1` and `1.0` are one key.
fn given<'a>(all: impl IntoIterator<Item = (&'a str, &'a Option<Setting>)>) -> Settings {
    let known = all.into_iter().filter_map(|(name, setting)| Some((name, setting.as_ref()?)));
    known.map(|(name, setting)| (name.to_owned(), Setting(as_numbers(&setting.0)))).collect()
}

fn as_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or_else(|| value.clone(), Value::from),
        Value::Array(items) => items.iter().map(as_numbers).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), as_numbers(value))).collect(),
        other => other.clone(),
    }
}

impl<'de> Deserialize<'de> for MergeModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = MergeModel;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a node, or `{model: NAME, weight: …}`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<MergeModel, E> {
                Ok(InputRef(name.to_owned()).into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MergeModel, A::Error> {
                let all = Detailed::deserialize(MapAccessDeserializer::new(map))?;
                let parameters = given([
                    ("weight", &all.weight),
                    ("density", &all.density),
                    ("gamma", &all.gamma),
                    ("epsilon", &all.epsilon),
                    ("scale", &all.scale),
                ]);
                Ok(MergeModel { model: all.model, parameters })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for MergeModel {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MergeModel".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (name, block) = (generator.subschema_for::<InputRef>(), generator.subschema_for::<Detailed>());
        schemars::json_schema!({
            "description": "A model that is merged: the name of a node, or a block with what holds for this model alone.",
            "anyOf": [name, block]
        })
    }
}

/// Returns whether no model has parameters of its own: then they are not in the key, as they never were.
pub(super) fn all_plain(models: &[MergeModel]) -> bool {
    models.iter().all(|model| model.parameters.is_empty())
}

/// What enters the key of the models: their parameters. What they are called does not.
pub(super) fn without_names<S: Serializer>(models: &[MergeModel], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(models.iter().map(|model| &model.parameters))
}

/// What a merge method needs, for all models; a value may be a list over the layers, or values behind filters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeParameters {
    /// For `slerp` and `nearswap`: the way from the base (0) to the other model (1); also for `linear` of two models.
    #[serde(default, deserialize_with = "number")]
    pub t: Option<Setting>,
    /// One weight a model, in place of `weight`: for `linear` that of the base first, for methods that add differences
    /// to the base those of the models.
    #[serde(default, deserialize_with = "numbers")]
    pub weights: Option<Vec<Setting>>,
    /// How much every model counts that says nothing itself.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub weight: Option<Setting>,
    /// Which share of the differences to the base is kept.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub density: Option<Setting>,
    /// Whether the sum is divided by the weights (`linear` and methods that add differences to the base).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub normalize: Option<Setting>,
    /// Whether what is kept of the differences gets the sum of magnitudes of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub rescale: Option<Setting>,
    /// What the merged differences are multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub lambda: Option<Setting>,
    /// For `breadcrumbs`: which share of the largest differences is left out.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub gamma: Option<Setting>,
    /// For `della`: how far chances lie from the density; for `ram`: up to where a difference is none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub epsilon: Option<Setting>,
    /// MergeKit's type of masks, which changes nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub int8_mask: Option<Setting>,
    /// For `nuslerp`: whether a matrix is taken by columns rather than by rows; needs `nuslerp_flatten: false`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub nuslerp_row_wise: Option<Setting>,
    /// For `nuslerp`: whether a matrix is one long vector.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub nuslerp_flatten: Option<Setting>,
    /// For `multislerp`: whether the weights are divided by their sum.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub normalize_weights: Option<Setting>,
    /// For `multislerp`: what is added to lengths before something is divided by them.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub eps: Option<Setting>,
    /// For `karcher`: how many rounds it takes at most.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub max_iter: Option<Setting>,
    /// For `karcher`: how near is near enough.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub tol: Option<Setting>,
    /// For `model_stock`: whether every row of a matrix has an angle of its own.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub filter_wise: Option<Setting>,
    /// For `sce`: which share of the differences is kept, those in which the models vary most.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub select_topk: Option<Setting>,
    /// For `ramplus_tl`: how strongly differences of one model alone are amplified.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub r: Option<Setting>,
    /// For `ramplus_tl`: up to which share of common differences.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub alpha: Option<Setting>,
    /// For `passthrough`: what tensors are multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "number")]
    pub scale: Option<Setting>,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Setting>, D::Error> {
    Ok(Option::<Setting>::deserialize(deserializer)?.map(|setting| Setting(as_numbers(&setting.0))))
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Setting>>, D::Error> {
    let settings = Option::<Vec<Setting>>::deserialize(deserializer)?;
    Ok(settings.map(|settings| settings.iter().map(|setting| Setting(as_numbers(&setting.0))).collect()))
}

impl MergeParameters {
    /// Returns the settings that hold for all models, by name.
    fn for_all(&self) -> Settings {
        given([
            ("t", &self.t),
            ("weight", &self.weight),
            ("density", &self.density),
            ("normalize", &self.normalize),
            ("rescale", &self.rescale),
            ("lambda", &self.lambda),
            ("gamma", &self.gamma),
            ("epsilon", &self.epsilon),
            ("int8_mask", &self.int8_mask),
            ("nuslerp_row_wise", &self.nuslerp_row_wise),
            ("nuslerp_flatten", &self.nuslerp_flatten),
            ("normalize_weights", &self.normalize_weights),
            ("eps", &self.eps),
            ("max_iter", &self.max_iter),
            ("tol", &self.tol),
            ("filter_wise", &self.filter_wise),
            ("select_topk", &self.select_topk),
            ("r", &self.r),
            ("alpha", &self.alpha),
            ("scale", &self.scale),
        ])
    }
}

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
        let optional = |method: MergeMethod| {
            method.takes().base != BaseUse::Required && !matches!(self.short(), Some((_, None)))
        };
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
                mistakes
                    .push(Mistake::new("parameters.weights", format!("`{}` has no weights", method.name())));
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
                mistakes.push(Mistake::new(format!("models[{i}]"), format!("`{}` is the base", model.model)).help(help));
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
