//! The node's own fields: models with parameters of their own, and parameters for all.
//!
//! Every parameter of every method is a field, so that the schema lists them and a misspelt one is found where it stands.
//! Numbers are kept as floating point: `1` and `1.0` are one key.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::super::InputRef;
use super::Setting;
use super::config::Settings;

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
    pub(super) fn for_all(&self) -> Settings {
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
