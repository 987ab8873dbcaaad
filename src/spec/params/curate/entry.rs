//! An entry of `from`: a data set, and what is to be known about it.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::super::{InputRef, Mistake};

/// A data set to read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurateEntry {
    /// The node that it comes from.
    #[serde(skip_serializing)]
    pub node: InputRef,
    /// What it is called: in `mix`, in counts, in errors, and as the column `source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of repeated rows, the one from the data set with the highest priority stays.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// The most rows to read of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The mapping form.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mapping {
    /// The node that it comes from.
    node: InputRef,
    /// What it is called: in `mix`, in counts, in errors, and as the column `source`.
    #[serde(default)]
    name: Option<String>,
    /// Of repeated rows, the one from the data set with the highest priority stays.
    #[serde(default)]
    priority: i64,
    /// The most rows to read of it.
    #[serde(default)]
    limit: Option<u64>,
}

impl From<InputRef> for CurateEntry {
    fn from(node: InputRef) -> Self {
        Self { node, name: None, priority: 0, limit: None }
    }
}

impl<'de> Deserialize<'de> for CurateEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = CurateEntry;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a node, or a mapping with `node`")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<CurateEntry, E> {
                Ok(InputRef(name.to_owned()).into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CurateEntry, A::Error> {
                let Mapping { node, name, priority, limit } = Mapping::deserialize(MapAccessDeserializer::new(map))?;
                Ok(CurateEntry { node, name, priority, limit })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for CurateEntry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CurateEntry".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (name, mapping) = (generator.subschema_for::<InputRef>(), generator.subschema_for::<Mapping>());
        schemars::json_schema!({"anyOf": [name, mapping]})
    }
}

/// Returns whether the entries say nothing but which nodes are read: then nothing of them enters the key.
pub(super) fn plain(entries: &[CurateEntry]) -> bool {
    entries.iter().all(|entry| entry.name.is_none() && entry.priority == 0 && entry.limit.is_none())
}

pub(super) fn mistakes(entries: &[CurateEntry]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let earlier = entries[..i].iter().filter_map(|entry| entry.name.as_ref());
        if let Some(name) = entry.name.as_ref().filter(|name| earlier.clone().any(|other| other == *name)) {
            mistakes.push(Mistake::new(format!("from[{i}].name"), format!("two data sets are called `{name}`")));
        }
        if entry.limit == Some(0) {
            let mistake = Mistake::new(format!("from[{i}].limit"), "a limit of 0 rows reads nothing");
            mistakes.push(mistake.help("take the entry out"));
        }
    }
    mistakes
}
