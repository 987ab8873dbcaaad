//! Requests made of rows.

use serde_json::{Map, Value, json};

use crate::data::{Record, TextTemplate};
use crate::endpoint::Request;
use crate::ops::OpError;
use crate::spec::params::{AnswerForm, GenerateParams, PromptMessage};

/// What is the same in all requests, and templates for what is not.
pub(super) struct Prompts {
    messages: Vec<(String, String, TextTemplate)>,
    params: Map<String, Value>,
}

impl Prompts {
    pub(super) fn new(params: &GenerateParams) -> Result<Self, OpError> {
        let mut messages = Vec::new();
        for (field, message) in params.conversation() {
            let template = template(&message.content)?;
            messages.push((field, message.role, template));
        }
        Ok(Self { messages, params: sent(params) })
    }

    /// Returns the templates that cannot be read, with their fields.
    pub(super) fn unreadable(params: &GenerateParams) -> Vec<(String, OpError)> {
        let read = |(field, message): (String, PromptMessage)| Some((field, template(&message.content).err()?));
        params.conversation().into_iter().filter_map(read).collect()
    }

    /// Returns the conversation about a row: role and content of each message.
    pub(super) fn conversation<'a>(&'a self, row: &Record, number: u64) -> Result<Vec<(&'a str, String)>, OpError> {
        let fill = |(field, role, template): &'a (String, String, TextTemplate)| {
            let content = template.render(&row.0).map_err(|why| {
                let columns: Vec<&str> = row.0.keys().map(String::as_str).collect();
                let help = format!("its columns are {}", columns.join(", "));
                OpError::new(format!("`{field}` cannot be filled from row {number}: {why}")).help(help)
            })?;
            Ok((role.as_str(), content))
        };
        self.messages.iter().map(fill).collect()
    }

    /// Returns the request for an answer to a conversation.
    pub(super) fn request(
        &self,
        (model, revision): (&str, Option<&str>),
        conversation: &[(&str, String)],
        sample: u32,
    ) -> Request {
        Request {
            model: model.to_owned(),
            revision: revision.map(str::to_owned),
            messages: conversation.iter().map(|(role, content)| json!({"role": role, "content": content})).collect(),
            params: self.params.clone(),
            sample,
        }
    }
}

fn template(source: &str) -> Result<TextTemplate, OpError> {
    TextTemplate::new(source).map_err(|why| {
        let error = OpError::new(format!("`{source}` is no template: {why}"));
        error.help("the template is one of MiniJinja, over the row's columns: `{{text}}`")
    })
}

/// Returns what is sent beside the conversation.
fn sent(params: &GenerateParams) -> Map<String, Value> {
    let settings = &params.params;
    let mut sent = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            sent.insert(name.to_owned(), value);
        }
    };
    set("temperature", settings.temperature.map(Value::from));
    set("top_p", settings.top_p.map(Value::from));
    set("max_tokens", settings.max_tokens.map(Value::from));
    set("seed", settings.seed.map(Value::from));
    set("stop", (!settings.stop.is_empty()).then(|| settings.stop.clone().into()));
    if let AnswerForm::JsonSchema(schema) = &params.output {
        let schema = json!({"name": "answer", "strict": true, "schema": schema});
        set("response_format", Some(json!({"type": "json_schema", "json_schema": schema})));
    }
    sent.extend(settings.extra.clone());
    sent
}
