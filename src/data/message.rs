//! Conversations: what is said, by whom, and what a chat template is told besides.
//!
//! A message keeps, beside who speaks and what is said, only the fields that chat templates read (tool calls, names,
//! reasoning), in the order in which they came; a data set's own bookkeeping (`id`, `weight`) is not carried along. What
//! is said may be a list of parts, as multimodal templates want it, or nothing at all beside tool calls.
//!
//! Written back, the role comes first, then the content, then the rest, so that equal chats give equal bytes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::checked::Checked;

/// The fields of a message, beside `role` and `content`, that templates read.
const FIELDS: &[&str] = &["name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning", "thinking"];
/// What a message says about itself to a training (Axolotl's `train`, OpenAI's `weight`). Templates do not see it.
const TRAINING: &[&str] = &["train", "weight"];
/// Those without which a message that has no content says nothing.
const SAYING: &[&str] = &["tool_calls", "reasoning_content", "reasoning", "thinking"];

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// What is said.
    pub content: Content,
    /// What else a template may read: `tool_calls`, `name`, `tool_call_id`, `reasoning_content`, `reasoning`, `thinking`; and
    /// what a training does: `train`, `weight`.
    pub more: Map<String, Value>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Words.
    Text(String),
    /// Parts, each an object such as `{"type": "text", "text": "…"}`.
    Parts(Vec<Value>),
    /// Nothing: the message only calls tools.
    Absent,
}

/// A conversation, with what its template is told besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chat {
    /// The turns.
    pub messages: Vec<Message>,
    /// The tools that the assistant may call, as JSON schemas.
    pub tools: Option<Vec<Value>>,
    /// Documents to answer from.
    pub documents: Option<Vec<Value>>,
    /// Other variables of the template: `enable_thinking`.
    pub variables: Map<String, Value>,
}

impl Chat {
    /// Returns the first words, to name the chat by.
    pub fn beginning(&self) -> String {
        self.messages.first().map_or_else(String::new, |message| super::beginning(&message.content.text()))
    }
}

impl From<Vec<Message>> for Chat {
    fn from(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Content::Text(text)
    }
}

impl Content {
    /// Returns the words: those of the parts that are text, one below the other.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Content::Text(text) => text.into(),
            Content::Parts(parts) => {
                let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
                texts.join("\n").into()
            }
            Content::Absent => "".into(),
        }
    }

    /// Returns the content with every stretch of words changed.
    #[must_use]
    pub fn map(&self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Content::Text(text) => Content::Text(change(text)),
            Content::Parts(parts) => {
                let mut parts = parts.clone();
                for part in &mut parts {
                    if let Some(Value::String(text)) = part.get_mut("text") {
                        *text = change(text);
                    }
                }
                Content::Parts(parts)
            }
            Content::Absent => Content::Absent,
        }
    }
}

impl Message {
    /// Returns a message of words alone.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Content::Text(content.into()), more: Map::new() }
    }

    /// Says whether the message is to be learned: unless it says otherwise, or what is wrong with how it says it.
    pub fn is_trained(&self) -> Result<bool, String> {
        let train = match self.more.get("train") {
            None => true,
            Some(Value::Bool(train)) => *train,
            Some(other) => return Err(format!("the `train` of a message is {other}; it may be true or false")),
        };
        let weight = match self.more.get("weight") {
            None => true,
            Some(Value::Number(weight)) if weight.as_f64() == Some(0.0) => false,
            Some(Value::Number(weight)) if weight.as_f64() == Some(1.0) => true,
            Some(other) => return Err(format!("the `weight` of a message is {other}; it may be 0 or 1")),
        };
        Ok(train && weight)
    }

    /// Returns the fields of the message in JSON, as templates see them.
    pub(super) fn to_fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("role".into(), self.role.as_str().into());
        match &self.content {
            Content::Text(text) => fields.insert("content".into(), text.as_str().into()),
            Content::Parts(parts) => fields.insert("content".into(), parts.clone().into()),
            Content::Absent => None,
        };
        let seen = self.more.iter().filter(|(name, _)| !TRAINING.contains(&name.as_str()));
        fields.extend(seen.map(|(name, value)| (name.clone(), value.clone())));
        fields
    }
}

/// What of the fields of a message counts, before it is known whether they make one.
#[derive(Default)]
struct Fields {
    role: Option<Value>,
    content: Option<Value>,
    more: Map<String, Value>,
}

impl Fields {
    fn message(self) -> Result<Message, String> {
        let Self { role, content, mut more } = self;
        let role = match role {
            Some(Value::String(role)) => role,
            Some(_) => return Err("the `role` of a message is not text".into()),
            None => return Err("missing field `role` in a message".into()),
        };
        let content = match content {
            Some(Value::String(text)) => Content::Text(text),
            Some(Value::Array(parts)) if parts.iter().all(Value::is_object) => Content::Parts(parts),
            Some(Value::Null) | None => Content::Absent,
            Some(_) => {
                return Err("invalid type: the `content` of a message is neither text nor a list of parts".into());
            }
        };
        // A field that is null counts as missing, as in transformers.
        more.retain(|_, value| !value.is_null());
        if content == Content::Absent && !SAYING.iter().any(|name| more.contains_key(*name)) {
            return Err(format!("missing field `content` in a message of `{role}` that calls no tool"));
        }
        Ok(Message { role, content, more })
    }
}

/// The name of a field; nothing if it does not count.
struct Name(Option<String>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        let counts = matches!(name, "role" | "content") || FIELDS.contains(&name) || TRAINING.contains(&name);
        Ok(Name(counts.then(|| name.to_owned())))
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(Name(name)) = map.next_key()? {
            match name {
                None => _ = map.next_value::<Checked>()?,
                Some(name) if name == "role" => fields.role = Some(map.next_value()?),
                Some(name) if name == "content" => fields.content = Some(map.next_value()?),
                Some(name) => drop(fields.more.insert(name, map.next_value()?)),
            }
        }
        Ok(fields)
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", &self.role)?;
        match &self.content {
            Content::Text(text) => map.serialize_entry("content", text)?,
            Content::Parts(parts) => map.serialize_entry("content", parts)?,
            Content::Absent => {}
        }
        for (name, value) in &self.more {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What they make is asked behind the map, where an error is told to be.
        deserializer.deserialize_map(FieldsVisitor)?.message().map_err(serde::de::Error::custom)
    }
}

/// Returns a list of objects from a row: a list, or one written as JSON in a string, as Parquet-born data sets have it.
pub(super) fn objects(field: &str, value: Option<Value>) -> Result<Option<Vec<Value>>, String> {
    let value = match value {
        Some(Value::String(text)) => {
            Some(serde_json::from_str(&text).map_err(|error| format!("`{field}` is text that is no JSON: {error}"))?)
        }
        other => other,
    };
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) if list.iter().all(Value::is_object) => Ok(Some(list)),
        Some(_) => Err(format!("`{field}` is not a list of objects")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_keeps_what_templates_read_and_its_order() {
        let json = r#"{"role":"assistant","content":null,"id":7,"tool_calls":[{"z":1,"a":2}],"name":null}"#;
        let message: Message = serde_json::from_str(json).unwrap();
        assert_eq!(message.content, Content::Absent);
        let written = serde_json::to_string(&message).unwrap();
        assert_eq!(written, r#"{"role":"assistant","tool_calls":[{"z":1,"a":2}]}"#);
        assert_eq!(serde_json::from_str::<Message>(&written).unwrap(), message);
    }

    #[test]
    fn parts_are_text_too() {
        let json =
            r#"{"role":"user","content":[{"type":"text","text":"a "},{"type":"image"},{"type":"text","text":"b"}]}"#;
        let message: Message = serde_json::from_str(json).unwrap();
        assert_eq!(message.content.text(), "a \nb");
        assert_eq!(message.content.map(str::to_uppercase).text(), "A \nB");
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for json in
            [r#"{"role":"user"}"#, r#"{"content":"a"}"#, r#"{"role":1,"content":""}"#, r#"{"role":"a","content":3}"#]
        {
            assert!(serde_json::from_str::<Message>(json).is_err(), "{json}");
        }
    }
}
