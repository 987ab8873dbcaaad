//! `lora:` of `kind: sft`: small matrices are trained beside the weights, which stay as they are.
//!
//! Fields have PEFT's names. Its defaults are other ones (rank and alpha 8, the attention of a table of families); these are
//! what its examples, Axolotl's and Unsloth's write instead.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::InputType;

/// The word for every linear layer.
const ALL_LINEAR: &str = "all-linear";

/// Trains an adapter (LoRA, Hu et al. 2021): beside each chosen linear layer W a product B·A of two thin matrices, of which
/// `y = W·x + s·B·A·dropout(x)` is made. W and all else stay as they are, so gradients and optimizer states of the model's
/// weights are neither computed nor kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraParams {
    /// The rank: rows of A, columns of B.
    #[serde(default = "default_rank")]
    pub r: usize,
    /// s is this divided by the rank.
    #[serde(default = "default_alpha")]
    pub lora_alpha: f64,
    /// The share of the numbers of x that are left out at random, for each layer by itself, while the model is trained.
    #[serde(default)]
    pub lora_dropout: f64,
    /// The linear layers: `all-linear` for all but the output layer, or a list of names (`q_proj`) or ends of paths
    /// (`layers.0.mlp.down_proj`).
    #[serde(default)]
    pub target_modules: TargetModules,
    /// Divides alpha by the root of the rank instead (rsLoRA, Kalajdzievski 2023).
    #[serde(default)]
    pub use_rslora: bool,
    /// Learns the lengths of the rows of W + s·B·A apart (DoRA, Liu et al. 2024).
    #[serde(default)]
    pub use_dora: bool,
    /// What the node gives.
    #[serde(default)]
    pub output: LoraOutput,
}

/// What a node that trains an adapter gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoraOutput {
    /// A model with the adapter in its weights.
    #[default]
    Merged,
    /// The adapter alone, a folder as PEFT writes it, for `apply_lora` and for PEFT.
    Adapter,
}

/// The layers that get an adapter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TargetModules {
    /// Every linear layer but the output layer.
    #[default]
    AllLinear,
    /// Those of these names, or whose path ends so.
    Named(Vec<String>),
}

/// Reads the block. `lora:` with nothing behind it is a mistake: all weights would be trained.
pub(super) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LoraParams>, D::Error> {
    LoraParams::deserialize(deserializer).map(Some)
}

fn default_rank() -> usize {
    16
}

fn default_alpha() -> f64 {
    32.0
}

impl LoraParams {
    /// Returns what the product of the matrices is multiplied by.
    pub fn scale(&self) -> f64 {
        let rank = self.r as f64;
        self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Returns what is wrong: a field and a message each.
    pub(super) fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        let mut demand = |ok: bool, field, message: String| {
            if !ok {
                mistakes.push((field, message));
            }
        };
        demand(self.r > 0, "lora.r", "a rank of 0 trains nothing".into());
        let (alpha, dropout) = (self.lora_alpha, self.lora_dropout);
        demand(alpha > 0.0 && alpha.is_finite(), "lora.lora_alpha", format!("{alpha} is not above 0"));
        let share = (0.0..1.0).contains(&dropout);
        demand(share, "lora.lora_dropout", format!("{dropout} is not at least 0 and below 1"));
        if let TargetModules::Named(names) = &self.target_modules {
            let named = !names.is_empty() && names.iter().all(|name| !name.is_empty());
            demand(named, "lora.target_modules", "names no layer".into());
        }
        mistakes
    }
}

impl LoraOutput {
    /// Returns the folder in the artifact, and what it is.
    pub(super) fn folder(self) -> (&'static str, InputType) {
        match self {
            Self::Merged => ("model", InputType::Model),
            Self::Adapter => ("adapter", InputType::Adapter),
        }
    }
}

impl TargetModules {
    /// Says whether a layer is among them, by its path: `model.layers.0.self_attn.q_proj`. As PEFT's lists.
    pub fn choose(&self, module: &str) -> bool {
        match self {
            Self::AllLinear => true,
            Self::Named(names) => names.iter().any(|name| names_module(name, module)),
        }
    }
}

/// Says whether a name is that of a module, or the end of its path.
pub fn names_module(name: &str, module: &str) -> bool {
    module.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

impl Serialize for TargetModules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str(ALL_LINEAR),
            Self::Named(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrList;

        impl<'de> Visitor<'de> for WordOrList {
            type Value = TargetModules;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("`all-linear` or a list of names")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<TargetModules, E> {
                if word == ALL_LINEAR {
                    return Ok(TargetModules::AllLinear);
                }
                Err(E::invalid_value(serde::de::Unexpected::Str(word), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<TargetModules, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element()? {
                    names.push(name);
                }
                Ok(TargetModules::Named(names))
            }
        }

        deserializer.deserialize_any(WordOrList)
    }
}

impl JsonSchema for TargetModules {
    fn schema_name() -> Cow<'static, str> {
        "TargetModules".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"const": ALL_LINEAR}, {"type": "array", "items": {"type": "string"}}]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_modules_or_ends_of_paths() {
        let module = "model.layers.10.self_attn.q_proj";
        for name in ["q_proj", "self_attn.q_proj", "layers.10.self_attn.q_proj", module] {
            assert!(names_module(name, module), "{name}");
        }
        for name in ["proj", "_proj", "0.self_attn.q_proj", "q_proj.", "k_proj"] {
            assert!(!names_module(name, module), "{name}");
        }
    }

    #[test]
    fn the_scale_follows_the_rank_or_its_root() {
        let of = |settings: serde_json::Value| serde_json::from_value::<LoraParams>(settings).unwrap().scale();
        assert_eq!(of(serde_json::json!({})).to_bits(), 2.0_f64.to_bits());
        assert_eq!(of(serde_json::json!({"use_rslora": true})).to_bits(), 8.0_f64.to_bits());
    }
}
