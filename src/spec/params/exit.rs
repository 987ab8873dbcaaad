//! `exit:` of `kind: eval` and `kind: generate`: a number of layers, or `last`.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Mistake;

/// The word for the whole model.
const LAST: &str = "last";

/// Where a model stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// After so many layers.
    After(usize),
    /// After all.
    Last,
}

impl Exit {
    /// Returns how many layers are run, unless it is all.
    pub fn layers(self) -> Option<usize> {
        match self {
            Self::After(layers) => Some(layers),
            Self::Last => None,
        }
    }

    /// Returns what is wrong with it whatever the model.
    pub(super) fn mistake(self) -> Option<Mistake> {
        let mistake = || Mistake::new("exit", "no layer is run for exit 0").help("exits are numbers of layers from 1");
        (self == Self::After(0)).then(mistake)
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::After(layers) => layers.serialize(serializer),
            Self::Last => serializer.serialize_str(LAST),
        }
    }
}

impl<'de> Deserialize<'de> for Exit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrWord;
        impl Visitor<'_> for NumberOrWord {
            type Value = Exit;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number of layers or `last`")
            }

            fn visit_u64<E: Error>(self, layers: u64) -> Result<Exit, E> {
                usize::try_from(layers).map(Exit::After).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, layers: i64) -> Result<Exit, E> {
                let whole = usize::try_from(layers).map(Exit::After);
                whole.map_err(|_| E::invalid_value(Unexpected::Signed(layers), &self))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Exit, E> {
                if word == LAST { Ok(Exit::Last) } else { Err(E::invalid_value(Unexpected::Str(word), &self)) }
            }
        }
        deserializer.deserialize_any(NumberOrWord)
    }
}

impl JsonSchema for Exit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Exit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of layers, or `last`.",
            "anyOf": [{"type": "integer", "minimum": 1}, {"const": LAST}]
        })
    }
}
