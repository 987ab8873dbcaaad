//! One row of a data set.
//!
//! A row is one of four things, told apart by its fields and never by a setting, so that a data set may mix them:
//! prose, a chat, two answers of which one is preferred, or a minimal pair. Fields we don't know are ignored when reading: real data sets carry ids and
//! sources. They aren't carried along, and that is deliberate: what a curation writes depends on nothing that it does
//! not understand. A chat's fields beside `messages` are those that templates know: `tools`, `documents` and
//! `chat_template_kwargs`.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::message::{Chat, Message, objects};

/// One row of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// Prose.
    Text(String),
    /// A conversation.
    Chat(Chat),
    /// Two answers of which one is preferred.
    Preference(Box<Preference>),
    /// Two sentences of which one is correct.
    Pair {
        /// The correct one.
        good: String,
        /// The wrong one.
        bad: String,
    },
}

/// One conversation with two ways to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// The whole conversation with the better answer.
    pub chosen: Chat,
    /// The whole conversation with the worse one.
    pub rejected: Chat,
}

/// The fields of a row in JSON, of all kinds of row.
#[derive(Default, Serialize, Deserialize)]
struct Fields<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    messages: Option<Cow<'a, [Message]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    documents: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    good: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bad: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing)]
    prompt: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejected: Option<Value>,
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.fields().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::from_fields(Fields::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// The columns that make a row, of all kinds.
pub(super) const KNOWN: &[&str] =
    &["text", "messages", "tools", "documents", "chat_template_kwargs", "good", "bad", "prompt", "chosen", "rejected"];

impl Row {
    /// Reads a row from one line of JSON; the error says what is wrong with it.
    pub fn from_json(line: &str) -> Result<Self, String> {
        // serde_json puts "at line 1 column 7" behind its messages; the line is always 1 here and only the column helps.
        let fields: Fields<'_> =
            serde_json::from_str(line).map_err(|error| error.to_string().replace("at line 1 column", "at column"))?;
        Self::from_fields(fields)
    }

    /// Makes a row of columns, of which there may be others; the error says what is wrong with them.
    pub fn from_columns(columns: Map<String, Value>) -> Result<Self, String> {
        let fields: Fields<'_> = serde_json::from_value(Value::Object(columns)).map_err(|error| error.to_string())?;
        Self::from_fields(fields)
    }

    fn from_fields(fields: Fields<'_>) -> Result<Self, String> {
        match fields {
            Fields {
                text: None, messages: None, good: None, bad: None, chosen: Some(_), rejected: Some(_), ..
            } => preference(fields).map(|preference| Row::Preference(Box::new(preference))),
            Fields { chosen: Some(_), .. } | Fields { rejected: Some(_), .. } => {
                Err("a preference needs both `chosen` and `rejected`, and nothing of another kind of row".into())
            }
            Fields { text: Some(text), messages: None, good: None, bad: None, .. } => Ok(Row::Text(text.into_owned())),
            Fields { text: None, messages: Some(_), good: None, bad: None, .. } => chat(fields).map(Row::Chat),
            Fields { text: None, messages: None, good: Some(good), bad: Some(bad), .. } => {
                Ok(Row::Pair { good: good.into_owned(), bad: bad.into_owned() })
            }
            Fields { text: None, messages: None, good: None, bad: None, .. } => {
                Err("there is neither `text` nor `messages` nor `chosen` and `rejected` nor `good` and `bad`".into())
            }
            Fields { text: None, messages: None, .. } => Err("a pair needs both `good` and `bad`".into()),
            _ => Err("a row has either `text` or `messages` or `good` and `bad`, not several of them".into()),
        }
    }

    /// Returns the row as one line of JSON, without a line end. Equal rows give equal bytes.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings always have a JSON form")
    }

    /// Says whether a column of this name can be part of a row.
    pub fn is_made_of(name: &str) -> bool {
        KNOWN.contains(&name)
    }

    /// Returns the row as columns.
    pub fn into_columns(self) -> Map<String, Value> {
        let fields = match self {
            // The usual ones, without a copy of their text.
            Row::Text(text) => return Map::from_iter([("text".to_owned(), Value::String(text))]),
            row => serde_json::to_value(row.fields()).expect("strings always have a JSON form"),
        };
        let Value::Object(columns) = fields else { unreachable!("a struct is an object") };
        columns
    }

    fn fields(&self) -> Fields<'_> {
        match self {
            Row::Text(text) => Fields { text: Some(text.into()), ..Fields::default() },
            Row::Chat(chat) => Fields {
                messages: Some(chat.messages.as_slice().into()),
                tools: chat.tools.clone().map(Value::from),
                documents: chat.documents.clone().map(Value::from),
                chat_template_kwargs: Some(chat.variables.clone()).filter(|variables| !variables.is_empty()),
                ..Fields::default()
            },
            Row::Preference(preference) => {
                let Preference { chosen, rejected } = &**preference;
                Fields {
                    chosen: Some(json(&chosen.messages)),
                    rejected: Some(json(&rejected.messages)),
                    tools: chosen.tools.clone().map(Value::from),
                    documents: chosen.documents.clone().map(Value::from),
                    chat_template_kwargs: Some(chosen.variables.clone()).filter(|variables| !variables.is_empty()),
                    ..Fields::default()
                }
            }
            Row::Pair { good, bad } => Fields { good: Some(good.into()), bad: Some(bad.into()), ..Fields::default() },
        }
    }

    /// Returns the texts by which a row is judged: the prose, what everybody says, or the correct sentence.
    fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let (alone, messages): (Option<&str>, &[Message]) = match self {
            Row::Text(text) => (Some(text), &[]),
            Row::Chat(chat) => (None, &chat.messages),
            Row::Preference(preference) => (None, &preference.chosen.messages),
            Row::Pair { good, .. } => (Some(good), &[]),
        };
        alone.map(Cow::from).into_iter().chain(messages.iter().map(|message| message.content.text()))
    }

    /// Returns the text by which a row is judged: its texts, one below the other.
    pub fn text(&self) -> Cow<'_, str> {
        let mut texts = self.texts();
        match (texts.next(), texts.next()) {
            (first, None) => first.unwrap_or_default(),
            (first, second) => first.into_iter().chain(second).chain(texts).collect::<Vec<_>>().join("\n").into(),
        }
    }

    /// Returns the number of characters (Unicode scalar values) of the texts by which the row is judged.
    pub fn chars(&self) -> u64 {
        self.texts().map(|text| text.chars().count() as u64).sum()
    }

    /// Returns the number of bytes of the same texts.
    pub fn bytes(&self) -> usize {
        self.texts().map(|text| text.len()).sum()
    }
}

fn json(messages: &[Message]) -> Value {
    serde_json::to_value(messages).expect("messages always have a JSON form")
}

/// Reads two answers as TRL has them: whole conversations, or a `prompt` and what follows it, each in words or messages.
fn preference(fields: Fields<'_>) -> Result<Preference, String> {
    let before = fields.prompt.map(|prompt| said("prompt", "user", prompt)).transpose()?;
    let (tools, documents) = (objects("tools", fields.tools)?, objects("documents", fields.documents)?);
    let variables = fields.chat_template_kwargs.unwrap_or_default();
    let answer = |name: &str, answer: Option<Value>| {
        let answer = answer.unwrap_or_default();
        if before.is_none() && answer.is_string() {
            return Err(format!("`{name}` is text, and there is no `prompt` that it answers"));
        }
        let messages = [before.clone().unwrap_or_default(), said(name, "assistant", answer)?].concat();
        Ok(Chat { messages, tools: tools.clone(), documents: documents.clone(), variables: variables.clone() })
    };
    Ok(Preference { chosen: answer("chosen", fields.chosen)?, rejected: answer("rejected", fields.rejected)? })
}

/// Reads words of somebody, or messages.
fn said(name: &str, role: &str, value: Value) -> Result<Vec<Message>, String> {
    match value {
        Value::String(words) => Ok(vec![Message::new(role, words)]),
        Value::Array(list) if !list.is_empty() => {
            let messages = list.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
            messages.map_err(|error| format!("`{name}`: {error}"))
        }
        _ => Err(format!("`{name}` is neither text nor a list of messages")),
    }
}

fn chat(fields: Fields<'_>) -> Result<Chat, String> {
    let messages = fields.messages.map(Cow::into_owned).unwrap_or_default();
    if messages.is_empty() {
        return Err("`messages` is empty".into());
    }
    let tools = objects("tools", fields.tools)?;
    let documents = objects("documents", fields.documents)?;
    Ok(Chat { messages, tools, documents, variables: fields.chat_template_kwargs.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips() {
        let turn = |role: &str, content: &str| Message::new(role, content);
        let mut with_tools = Chat::from(vec![turn("user", "l'heure ?")]);
        with_tools.tools = Some(vec![serde_json::json!({"z": {"b": 1, "a": [2.5, null]}, "é": true})]);
        with_tools.variables.insert("enable_thinking".into(), false.into());
        for row in [
            Row::Chat(with_tools),
            Row::Text("l'été\n\"oui\" \u{1F600} \\ \u{0}".into()),
            Row::Text(String::new()),
            Row::Chat(vec![turn("user", "ça va ?"), turn("assistant", "")].into()),
            Row::Pair { good: "a".into(), bad: "b".into() },
            Row::Preference(Box::new(Preference {
                chosen: vec![turn("user", "ça va ?"), turn("assistant", "oui")].into(),
                rejected: vec![turn("user", "ça va ?"), turn("assistant", "yes")].into(),
            })),
        ] {
            assert_eq!(Row::from_json(&row.to_json()).as_ref(), Ok(&row));
        }
    }

    #[test]
    fn unknown_fields_and_nulls_are_ignored() {
        let row = Row::from_json(r#"{"id": [1, {"a": 2}], "text": "x", "messages": null}"#);
        assert_eq!(row, Ok(Row::Text("x".into())));
    }

    #[test]
    fn a_preference_may_be_words_or_messages() {
        let whole = r#"{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}]}"#;
        let words = r#"{"prompt": "q", "chosen": "a", "rejected": "b", "score": 3}"#;
        let messages = r#"{"prompt": [{"role": "user", "content": "q"}], "chosen": "a",
            "rejected": [{"role": "assistant", "content": "b"}]}"#;
        let expected = Row::from_json(&whole.replace('\n', "")).unwrap();
        for line in [words, messages] {
            assert_eq!(Row::from_json(&line.replace('\n', "")), Ok(expected.clone()));
        }
    }

    #[test]
    fn rows_of_no_or_two_kinds_are_refused() {
        for (line, expected) in [
            ("{}", "neither"),
            (r#"{"text": "a", "good": "b"}"#, "not several"),
            (r#"{"good": "b"}"#, "needs both"),
            (r#"{"chosen": "b"}"#, "needs both"),
            (r#"{"chosen": "a", "rejected": "b"}"#, "there is no `prompt`"),
            (r#"{"prompt": 1, "chosen": "a", "rejected": "b"}"#, "`prompt` is neither text nor a list"),
            (r#"{"prompt": "q", "chosen": "a", "rejected": [{"role": 1}]}"#, "`rejected`: the `role`"),
            (r#"{"text": "q", "chosen": "a", "rejected": "b"}"#, "nothing of another kind"),
            (r#"{"messages": []}"#, "empty"),
            (r#"{"messages": [{"role": "user"}]}"#, "missing field `content`"),
            (r#"{"messages": [{"role": "user", "content": "a"}], "tools": {"a": 1}}"#, "`tools` is not a list"),
            (r#"{"text": 7}"#, "invalid type"),
            ("[1]", "invalid"),
            (r#"{"text": "a""#, "EOF"),
            (r#"{"text": "a"} x"#, "trailing"),
        ] {
            let error = Row::from_json(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
