//! `messages`: columns of any of the usual shapes become chat messages.
//!
//! The shapes are those that hub data sets have: a list of `{role, content}` (OpenAI) or `{from, value}` (ShareGPT), Alpaca's
//! `instruction`, `input`, `output`, a prompt with a response, or whatever a template makes of the columns. Nothing else of a
//! row is touched, so that `tools` and `chat_template_kwargs` stay beside their messages.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::data::TextTemplate;
use crate::ops::OpError;
use crate::ops::curate::flow::{Needs, Step, Verdict, Why, each};
use crate::ops::curate::item::Item;
use crate::spec::params::{Messages, MessagesFormat, Thinking};

/// Where lists of messages usually are.
const LISTS: &[&str] = &["messages", "conversations", "conversation"];
/// Where what the user says usually is.
const PROMPTS: &[&str] = &["prompt", "inputs", "question", "instruction", "query", "problem"];
/// Where what the assistant answers usually is.
const RESPONSES: &[&str] = &["response", "completion", "targets", "answer", "output", "solution"];
/// What speakers are called, beside the roles themselves.
const ROLES: &[(&str, &str)] = &[
    ("human", "user"),
    ("prompter", "user"),
    ("gpt", "assistant"),
    ("bot", "assistant"),
    ("chatgpt", "assistant"),
    ("model", "assistant"),
    ("function_call", "assistant"),
    ("observation", "tool"),
    ("function", "tool"),
    ("function_response", "tool"),
];
const KNOWN_ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool"];
const THINK: (&str, &str) = ("<think>", "</think>");

/// What a row becomes, or the rule by which it cannot.
type Made = Result<Vec<Value>, Why>;

pub(super) struct ToMessages {
    settings: Messages,
    /// Role and content of the messages of `template`.
    template: Vec<(String, TextTemplate)>,
}

impl ToMessages {
    pub(super) fn new(settings: &Messages) -> Result<Self, OpError> {
        let mut template = Vec::new();
        for (i, message) in settings.template.iter().enumerate() {
            let failed = |why: String| OpError::new(format!("`template[{i}].content` cannot be read: {why}"));
            template.push((message.role.clone(), TextTemplate::new(&message.content).map_err(failed)?));
        }
        Ok(Self { settings: settings.clone(), template })
    }

    fn make(&self, columns: &mut Map<String, Value>) -> Made {
        let mut messages = match self.settings.format {
            MessagesFormat::Template => self.of_template(columns),
            MessagesFormat::Openai | MessagesFormat::Sharegpt => {
                let list =
                    self.list_column(columns).ok_or_else(|| missing("a list of messages", &LISTS.join("`, `")))?;
                self.of_list(columns, &list)
            }
            MessagesFormat::Alpaca => self.of_alpaca(columns),
            MessagesFormat::PromptCompletion => self.of_pair(columns),
            MessagesFormat::Auto => match self.list_column(columns) {
                Some(list) => self.of_list(columns, &list),
                None if columns.contains_key("instruction") && columns.contains_key("output") => {
                    self.of_alpaca(columns)
                }
                None => self.of_pair(columns),
            },
        }?;
        self.add_system(columns, &mut messages)?;
        for message in &mut messages {
            think(message, self.settings.thinking);
        }
        Ok(messages)
    }

    fn list_column(&self, columns: &Map<String, Value>) -> Option<String> {
        let named = self.settings.messages.as_deref();
        let mut names = named.map_or_else(|| LISTS.to_vec(), |name| vec![name]).into_iter();
        names.find(|name| columns.get(*name).is_some_and(Value::is_array)).map(str::to_owned)
    }

    fn of_list(&self, columns: &mut Map<String, Value>, name: &str) -> Made {
        let Some(Value::Array(list)) = columns.shift_remove(name) else {
            return Err(missing("a list of messages", name));
        };
        if list.is_empty() {
            return Err(Why::of_rule("no_messages", format!("`{name}` is empty")));
        }
        list.into_iter().map(|message| self.message(message)).collect()
    }

    /// Brings one message to `{role, content, …}`.
    fn message(&self, message: Value) -> Result<Value, Why> {
        let Value::Object(mut fields) = message else {
            return Err(Why::of_rule("bad_message", "a message is no object with a role and words"));
        };
        let (speaker, words) = match self.settings.format {
            MessagesFormat::Openai => ("role", "content"),
            MessagesFormat::Sharegpt => ("from", "value"),
            _ if fields.contains_key("role") => ("role", "content"),
            _ => ("from", "value"),
        };
        let who = fields.shift_remove(speaker);
        let Some(who) = who.as_ref().and_then(Value::as_str) else {
            return Err(Why::of_rule("bad_message", format!("a message does not say who speaks, in `{speaker}`")));
        };
        let content = fields.shift_remove(words).unwrap_or(Value::Null);
        let mut made = Map::new();
        made.insert("role".into(), self.role(who)?.into());
        if !content.is_null() || !fields.contains_key("tool_calls") {
            made.insert("content".into(), content);
        }
        made.extend(fields);
        Ok(Value::Object(made))
    }

    fn role(&self, who: &str) -> Result<String, Why> {
        if let Some(role) = self.settings.roles.get(who) {
            return Ok(role.clone());
        }
        let lower = who.to_lowercase();
        let known = ROLES.iter().find(|(name, _)| *name == lower).map(|(_, role)| *role);
        let role = known.or_else(|| KNOWN_ROLES.iter().find(|role| **role == lower).copied());
        role.map(str::to_owned).ok_or_else(|| Why::of_rule("unknown_role", format!("nobody knows the role of `{who}`")))
    }

    fn of_alpaca(&self, columns: &mut Map<String, Value>) -> Made {
        let name = |given: &Option<String>, usual: &str| given.clone().unwrap_or_else(|| usual.to_owned());
        let mut prompt = taken(columns, &name(&self.settings.prompt, "instruction"))?;
        let input = name(&self.settings.input, "input");
        if let Some(Value::String(more)) = columns.shift_remove(&input)
            && !more.trim().is_empty()
        {
            prompt = format!("{prompt}\n\n{more}");
        }
        let response = taken(columns, &name(&self.settings.response, "output"))?;
        Ok(vec![said("user", prompt), said("assistant", response)])
    }

    fn of_pair(&self, columns: &mut Map<String, Value>) -> Made {
        let find = |given: &Option<String>, usual: &[&str], what: &str| {
            if let Some(name) = given {
                return Ok(name.clone());
            }
            let there = usual.iter().find(|name| columns.get(**name).is_some_and(Value::is_string));
            there.map(|name| (*name).to_owned()).ok_or_else(|| missing(what, &usual.join("`, `")))
        };
        let prompt = find(&self.settings.prompt, PROMPTS, "a prompt")?;
        let response = find(&self.settings.response, RESPONSES, "a response")?;
        let (mut prompt, response) = (taken(columns, &prompt)?, taken(columns, &response)?);
        if let Some(input) = &self.settings.input
            && let Some(Value::String(more)) = columns.shift_remove(input)
            && !more.trim().is_empty()
        {
            prompt = format!("{prompt}\n\n{more}");
        }
        Ok(vec![said("user", prompt), said("assistant", response)])
    }

    fn of_template(&self, columns: &mut Map<String, Value>) -> Made {
        let mut messages = Vec::new();
        for (role, content) in &self.template {
            let content = content
                .render(&*columns)
                .map_err(|why| Why::of_rule("template", format!("the template fails: {why}")))?;
            if !content.trim().is_empty() {
                messages.push(said(role, content));
            }
        }
        if messages.is_empty() { Err(Why::of_rule("no_messages", "the template writes nothing")) } else { Ok(messages) }
    }

    fn add_system(&self, columns: &mut Map<String, Value>, messages: &mut Vec<Value>) -> Result<(), Why> {
        let system = match &self.settings.system {
            Some(name) => Some(taken(columns, name)?),
            // A column of that name that is no text is something else.
            None if columns.get("system").is_some_and(Value::is_string) => Some(taken(columns, "system")?),
            None => None,
        };
        if let Some(system) = system.filter(|words| !words.trim().is_empty())
            && messages.first().is_none_or(|first| first["role"] != "system")
        {
            messages.insert(0, said("system", system));
        }
        Ok(())
    }
}

fn missing(what: &str, names: &str) -> Why {
    Why::of_rule("no_columns", format!("no column holds {what}: there is none of `{names}`"))
}

fn said(role: &str, content: String) -> Value {
    Value::Object(Map::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content.into())]))
}

fn taken(columns: &mut Map<String, Value>, name: &str) -> Result<String, Why> {
    match columns.shift_remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(Why::of_rule("no_columns", format!("the column `{name}` is no text"))),
        None => Err(Why::of_rule("no_columns", format!("there is no column `{name}`"))),
    }
}

/// Does with the thinking of a message what the settings say.
fn think(message: &mut Value, thinking: Thinking) {
    if thinking == Thinking::Keep || message["role"] != "assistant" {
        return;
    }
    let Some(content) = message["content"].as_str() else { return };
    let Some((thought, answer)) = thought_of(content) else { return };
    let (thought, answer) = (thought.trim().to_owned(), answer.trim_start().to_owned());
    message["content"] = answer.into();
    if thinking == Thinking::Split && !thought.is_empty() {
        message["reasoning_content"] = thought.into();
    }
}

/// Returns the thinking at the beginning of a text, and what follows it.
fn thought_of(content: &str) -> Option<(Cow<'_, str>, &str)> {
    let inside = content.trim_start().strip_prefix(THINK.0)?;
    let (thought, answer) = inside.split_once(THINK.1)?;
    Some((thought.into(), answer))
}

impl Step for ToMessages {
    fn needs(&self) -> Needs {
        Needs::Columns
    }

    fn judge(&mut self, items: Vec<Item>) -> Result<Vec<Verdict>, OpError> {
        Ok(each(items, |mut item| {
            let mut columns = item.columns().clone();
            match self.make(&mut columns) {
                Ok(messages) => {
                    // A row says one thing: what it said before goes.
                    for said in ["text", "good", "bad", "chosen", "rejected"] {
                        columns.shift_remove(said);
                    }
                    columns.insert("messages".into(), messages.into());
                    let same = *item.columns() == columns;
                    *item.columns_mut() = columns;
                    if same { Verdict::Keep(item) } else { Verdict::Change(item) }
                }
                Err(why) => Verdict::Drop(item, why),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::Record;

    fn made(settings: Value, row: &Value) -> Result<Value, String> {
        let mut step = ToMessages::new(&serde_json::from_value(settings).unwrap()).unwrap();
        let item = Item::new(0, 1, Record::from_json(&row.to_string()).unwrap());
        match step.judge(vec![item]).unwrap().pop().unwrap() {
            Verdict::Keep(item) | Verdict::Change(item) => Ok(Value::Object(item.columns().clone())),
            Verdict::Drop(_, why) => Err(why.reason),
            Verdict::Become(_) | Verdict::Flag(..) => unreachable!(),
        }
    }

    #[test]
    fn all_usual_shapes_become_messages() {
        let chat = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
        for row in [
            json!({"messages": chat}),
            json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
            json!({"instruction": "q", "input": "", "output": "a"}),
            json!({"inputs": "q", "targets": "a"}),
            json!({"prompt": "q", "completion": "a"}),
        ] {
            assert_eq!(made(json!({}), &row), Ok(json!({"messages": chat})), "{row}");
        }
        let row = json!({"id": 1, "instruction": "q", "input": "i", "output": "a", "system": "s"});
        let expected = json!({"id": 1, "messages": [{"role": "system", "content": "s"},
            {"role": "user", "content": "q\n\ni"}, {"role": "assistant", "content": "a"}]});
        assert_eq!(made(json!({"format": "alpaca"}), &row), Ok(expected));
    }

    #[test]
    fn templates_thinking_and_roles() {
        let template = json!({"format": "template", "template": [
            {"role": "system", "content": "{{ system if system is defined else '' }}"},
            {"role": "user", "content": "{{context}}\n{{question}}"}, {"role": "assistant", "content": "{{answer}}"}]});
        let row = json!({"context": "c", "question": "q", "answer": "<think>\nhm\n</think>\n\na"});
        let chat = made(template.clone(), &row).unwrap();
        assert_eq!(chat["messages"][0], json!({"role": "user", "content": "c\nq"}));
        let with = |thinking: &str| {
            let mut settings = template.clone();
            settings["thinking"] = thinking.into();
            made(settings, &row).unwrap()["messages"][1].clone()
        };
        assert_eq!(with("strip"), json!({"role": "assistant", "content": "a"}));
        assert_eq!(with("split"), json!({"role": "assistant", "content": "a", "reasoning_content": "hm"}));
        let row = json!({"conversations": [{"from": "élève", "value": "q"}]});
        assert_eq!(made(json!({}), &row).unwrap_err(), "nobody knows the role of `élève`");
        assert!(made(json!({"roles": {"élève": "user"}}), &row).is_ok());
    }

    #[test]
    fn what_cannot_be_a_chat_is_told() {
        for (row, why) in [
            (json!({"a": 1}), "no column holds a prompt"),
            (json!({"messages": []}), "`messages` is empty"),
            (json!({"messages": [1]}), "a message is no object"),
            (json!({"messages": [{"content": "x"}]}), "does not say who speaks"),
            (json!({"prompt": "q"}), "no column holds a response"),
        ] {
            let error = made(json!({}), &row).unwrap_err();
            assert!(error.contains(why), "{row}: {error}");
        }
    }
}
