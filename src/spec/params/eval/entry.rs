//! An entry of `tasks`: a task of the list by name, a task file, or one of the two that are written out in place.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::super::InputRef;
use super::definition::TaskDefinition;
use super::{BitsPerByte, MinimalPairs};

/// One task.
#[derive(Debug, Clone)]
pub enum Task {
    /// How many bits the model needs for a byte of text; lower is better.
    BitsPerByte(BitsPerByte),
    /// How often the model finds the correct sentence of a pair the likelier one; higher is better.
    MinimalPairs(MinimalPairs),
    /// A task of the list, or of a task file.
    Named(Box<NamedTask>),
}

/// A task of the list, by the name that is its key, or a task file. A task in another language has that at the end of its
/// name: `arc-challenge-fr`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedTask {
    /// The name in tables; the one of the task when left out.
    #[serde(default)]
    pub name: String,
    /// The language, for a task that has several.
    #[serde(default, skip_serializing)]
    pub language: Option<String>,
    /// The rows; fetched from the hub when left out.
    #[serde(default, skip_serializing)]
    pub data: Option<InputRef>,
    /// The rows that examples are taken from; fetched from the hub when left out.
    #[serde(default, skip_serializing)]
    pub examples: Option<InputRef>,
    /// Asks only the first rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How many solved examples stand in front of each question, in place of the task's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shots: Option<usize>,
    /// The most tokens of an answer, in place of the task's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// What logits are divided by, in place of the task's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Only the likeliest tokens whose probabilities add up to this, in place of the task's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// How many answers each question gets, in place of the task's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// A task of your own, in place of one of the list: what a task file holds.
    #[serde(default, skip_serializing)]
    pub define: Option<Value>,
    /// What the task asks, for its language and by the rules of the profile. Filled in; not to be written.
    #[serde(default)]
    #[schemars(skip)]
    pub definition: Option<TaskDefinition>,
    /// The name of the task in the pipeline.
    #[serde(skip)]
    pub key: String,
}

impl Task {
    /// Returns the key of the entry.
    pub(super) fn field(&self) -> &str {
        match self {
            Task::BitsPerByte(_) => "bits_per_byte",
            Task::MinimalPairs(_) => "minimal_pairs",
            Task::Named(task) => &task.key,
        }
    }
}

impl Serialize for Task {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Task::BitsPerByte(task) => map.serialize_entry("bits_per_byte", task)?,
            Task::MinimalPairs(task) => map.serialize_entry("minimal_pairs", task)?,
            Task::Named(task) => map.serialize_entry("task", task)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Task {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Task;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a task, or a mapping from it to its settings")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Task, E> {
                let empty = Value::Object(serde_json::Map::new());
                let mut task: NamedTask = serde_json::from_value(empty).map_err(E::custom)?;
                name.clone_into(&mut task.key);
                Ok(Task::Named(Box::new(task)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Task, A::Error> {
                let key: String = map.next_key()?.ok_or_else(|| A::Error::custom("the entry names no task"))?;
                let task = match key.as_str() {
                    "bits_per_byte" => Task::BitsPerByte(map.next_value()?),
                    "minimal_pairs" => Task::MinimalPairs(map.next_value()?),
                    _ => {
                        let mut task: NamedTask = map.next_value()?;
                        task.key = key;
                        Task::Named(Box::new(task))
                    }
                };
                match map.next_key::<String>()? {
                    Some(other) => {
                        let help = "begin `- ` anew for each task";
                        Err(A::Error::custom(format!("`{other}` stands in the entry of another task; {help}")))
                    }
                    None => Ok(task),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Task {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Task".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let bits = generator.subschema_for::<BitsPerByte>();
        let pairs = generator.subschema_for::<MinimalPairs>();
        let named = generator.subschema_for::<NamedTask>();
        schemars::json_schema!({
            "description": "The name of a task (`luthflow eval tasks` lists them) or the path of a task file; or that with settings.",
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "properties": {"bits_per_byte": bits, "minimal_pairs": pairs},
                    "additionalProperties": named
                }
            ]
        })
    }
}
