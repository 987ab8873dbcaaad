//! `gradient_checkpointing:` of `kind: sft`: `true`, `false`, or `selective`.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The word for what lies between.
const SELECTIVE: &str = "selective";

/// What is computed again in the backward pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GradientCheckpointing {
    /// Nothing.
    #[default]
    None,
    /// The inside of feed-forward layers.
    Selective,
    /// All but the input of each layer.
    Full,
}

impl Serialize for GradientCheckpointing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_bool(false),
            Self::Selective => serializer.serialize_str(SELECTIVE),
            Self::Full => serializer.serialize_bool(true),
        }
    }
}

impl<'de> Deserialize<'de> for GradientCheckpointing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct YesNoOrWord;
        impl Visitor<'_> for YesNoOrWord {
            type Value = GradientCheckpointing;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`true`, `false` or `selective`")
            }

            fn visit_bool<E: Error>(self, all: bool) -> Result<GradientCheckpointing, E> {
                Ok(if all { GradientCheckpointing::Full } else { GradientCheckpointing::None })
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<GradientCheckpointing, E> {
                if word == SELECTIVE {
                    Ok(GradientCheckpointing::Selective)
                } else {
                    Err(E::invalid_value(Unexpected::Str(word), &self))
                }
            }
        }
        deserializer.deserialize_any(YesNoOrWord)
    }
}

impl JsonSchema for GradientCheckpointing {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GradientCheckpointing".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`true`, `false` or `selective`.",
            "anyOf": [{"type": "boolean"}, {"const": SELECTIVE}]
        })
    }
}
