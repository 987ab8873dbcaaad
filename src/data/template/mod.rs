//! Chat templates: the Jinja program with which a model folder says how a chat becomes text.
//!
//! The template decides the bytes a model is trained on, so it must run here as it does in Hugging Face transformers:
//! `trim_blocks` and `lstrip_blocks`, Python's string methods, values written as Python writes them ([`python`]),
//! `raise_exception`, loop controls, and `{% generation %}` around what the assistant says, which [`rewrite`] turns into
//! marks that [`super::spans`] takes out again.
//!
//! `strftime_now` is defined only if a date is given: today's date would make equal runs differ, and the templates that
//! know it ask `is defined` first and have a fixed date to fall back to.
//!
//! A template is foreign code. It reaches no file and no clock; its instructions are counted, and [`guard`] bounds what
//! it may build, handle and print. All of these bounds grow with the chat.

mod guard;
mod methods;
mod percent;
mod python;
mod rewrite;
pub(super) mod tokens;
mod tuple;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};
use serde_json::{Map, Value as Json};

use super::lines::LONGEST_ROW;
use super::spans::Marks;
use super::{Chat, DataError, beginning};

/// The template of models made here: ChatML, with what the assistant says and the end of its turn marked.
pub const CHATML_TEMPLATE: &str = "\
{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}
        {%- generation %}
            {{- message['content'] + '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

/// Instructions that any chat may cost, and those for every value in it. Real templates need some hundred for a message.
const FUEL: u64 = 1_000_000;
const FUEL_FOR_A_VALUE: u64 = 20_000;
/// How deep macros may call each other. Each level takes a kilobyte or more of the stack.
const RECURSION: usize = 100;
/// The longest text a chat may become, in bytes.
const LONGEST_TEXT: usize = 2 * LONGEST_ROW;
/// The only template in the environment.
const NAME: &str = "chat_template";
/// The variables that hold the marks.
const BEGIN: &str = "luthflow_begin";
const END: &str = "luthflow_end";
const LITERAL: &str = "luthflow_literal";
/// Fields that say the same; templates read one or the other.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// The special tokens that a template may name, as `(variable, token)`; only those that the model has.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecialTokens(pub(super) Vec<(&'static str, String)>);

impl SpecialTokens {
    /// Returns the token in a variable.
    pub(super) fn get(&self, variable: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == variable).map(|(_, token)| token.as_str())
    }
}

/// What a template is told beside the chat.
#[derive(Debug, Clone, Default)]
pub struct TemplateSettings {
    /// Variables for every chat, such as `enable_thinking`. Those of a chat go before them.
    pub variables: Map<String, Json>,
    /// What `strftime_now` takes for now. Without it templates fall back to a date of their own.
    pub date: Option<NaiveDateTime>,
}

impl TemplateSettings {
    /// Returns the settings with a date: `2024-07-26`.
    pub fn on(mut self, date: &str) -> Result<Self, String> {
        let day: NaiveDate = date.parse().map_err(|_| format!("there is no day `{date}`"))?;
        self.date = Some(day.and_time(NaiveTime::MIN));
        Ok(self)
    }
}

/// A template, ready to run.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    tokens: SpecialTokens,
    variables: Map<String, Json>,
}

impl ChatTemplate {
    /// Compiles a template; the error is what the compiler says.
    pub(super) fn new(source: &str, tokens: SpecialTokens, settings: &TemplateSettings) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_recursion_limit(RECURSION);
        environment.set_unknown_method_callback(methods::call);
        environment.set_formatter(print);
        environment.add_function("raise_exception", raise_exception);
        if let Some(date) = settings.date {
            environment.add_function("strftime_now", move |format: &str| python::strftime(date, format));
        }
        environment.add_filter("tojson", python::tojson);
        environment.add_filter("join", methods::join_filter);
        environment.add_filter("string", methods::string_filter);
        environment.add_filter("indent", methods::indent_filter);
        environment.add_filter("format", methods::format_filter);
        environment.add_filter("items", methods::items_filter);
        environment.add_filter("dictsort", methods::dictsort_filter);
        environment.add_filter("batch", methods::batch_filter);
        environment.add_filter("slice", methods::slice_filter);
        // Nothing cannot be gone through, which minijinja takes for an empty list.
        environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        // Writes all variables down, however many there are.
        environment.remove_global("debug");
        guard::add_filters(&mut environment);
        environment
            .add_template_owned(NAME, rewrite::rewrite(source))
            .map_err(|error| format!("the chat template is not valid: {error}"))?;
        Ok(Self { environment, tokens, variables: settings.variables.clone() })
    }

    /// Returns the variables that every chat is rendered with.
    pub(super) fn variables(&self) -> &Map<String, Json> {
        &self.variables
    }

    /// Renders a chat; the text still has the marks in it.
    pub(super) fn render(&self, chat: &Chat, prompt: bool, marks: Marks) -> Result<String, DataError> {
        let context = self.context(chat, prompt, marks);
        let mut size = Size::default();
        size.of(&context);
        let mut text = Bounded(Vec::new());
        let failed = |reason: String| DataError::Template { start: start_of(chat), reason };
        // Cheap: what it holds is shared.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + FUEL_FOR_A_VALUE * size.values));
        let mut variables = match context {
            Json::Object(variables) => variables,
            _ => Map::new(),
        };
        variables.insert(guard::SIZE.into(), size.bytes.into());
        let template = environment.get_template(NAME).expect("added in `new`");
        // The engine has panicked on a slice of nothing; foreign code must not find another such place and end us.
        let rendered = catch_unwind(AssertUnwindSafe(|| {
            template.render_captured_to(Value::from_serialize(&variables), &mut text).map(|_| ())
        }));
        match rendered {
            Ok(rendered) => rendered.map_err(|error| failed(explain(&error)))?,
            Err(_) => return Err(failed("the template engine cannot cope with it".into())),
        }
        String::from_utf8(text.0).map_err(|error| failed(error.to_string()))
    }

    /// Returns the variables of the template. Special tokens that the model lacks stay undefined, as in transformers.
    fn context(&self, chat: &Chat, prompt: bool, marks: Marks) -> Json {
        let list = |list: &Option<Vec<Json>>| list.clone().map_or(Json::Null, Json::Array);
        let mut variables: Map<String, Json> =
            self.tokens.0.iter().map(|(name, token)| ((*name).to_owned(), token.as_str().into())).collect();
        // The chat's own variables hold those of the settings, and are marked.
        variables.extend(chat.variables.clone());
        variables.insert("messages".into(), chat.messages.iter().map(|m| aliased(m.to_fields())).collect());
        variables.insert("add_generation_prompt".into(), prompt.into());
        variables.insert("tools".into(), list(&chat.tools));
        variables.insert("documents".into(), list(&chat.documents));
        for (name, mark) in [(BEGIN, marks.begin), (END, marks.end), (LITERAL, marks.literal)] {
            variables.insert(name.into(), mark.to_string().into());
        }
        Json::Object(variables)
    }
}

/// Returns the first words of a chat, for messages.
pub(super) fn start_of(chat: &Chat) -> String {
    chat.messages.first().map_or_else(String::new, |message| beginning(&message.content.text()))
}

/// Puts reasoning under every name that templates read it by, as transformers does.
fn aliased(mut fields: Map<String, Json>) -> Json {
    let reasoning = REASONING.iter().find_map(|name| fields.get(*name)).cloned();
    if let Some(reasoning) = reasoning {
        if !fields.contains_key("thinking") {
            fields.shift_insert(0, "thinking".into(), reasoning.clone());
        }
        fields.insert("reasoning_content".into(), reasoning);
    }
    fields.into()
}

/// How much a chat is.
#[derive(Default)]
struct Size {
    values: u64,
    bytes: u64,
}

impl Size {
    fn of(&mut self, value: &Json) {
        self.values += 1;
        self.bytes += 16;
        match value {
            Json::String(text) => self.bytes += text.len() as u64,
            Json::Array(items) => items.iter().for_each(|item| self.of(item)),
            Json::Object(fields) => fields.iter().for_each(|(name, value)| {
                self.bytes += name.len() as u64;
                self.of(value);
            }),
            _ => {}
        }
    }
}

/// Prints a value as Python does.
fn print(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let failed = |_| Error::from(ErrorKind::WriteFailure);
    if let Some(text) = value.as_str() {
        guard::printed(state, text.len())?;
        return out.write_str(text).map_err(failed);
    }
    guard::bounded(state, value)?;
    let text = python::text(value)?;
    guard::printed(state, text.len())?;
    out.write_str(&text).map_err(failed)
}

fn explain(error: &Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "it runs too long for this chat".into(),
        // What a failed write means stands in its source.
        _ => std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// A buffer that refuses to grow beyond [`LONGEST_TEXT`].
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_TEXT {
            return Err(io::Error::other(format!("the text is longer than {LONGEST_TEXT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Message;

    fn render(source: &str, chat: &[Message]) -> Result<String, DataError> {
        let template = ChatTemplate::new(source, SpecialTokens::default(), &TemplateSettings::default()).unwrap();
        template.render(&chat.to_vec().into(), false, Marks { begin: '[', end: ']', literal: '*', open: '^' })
    }

    #[test]
    fn generation_tags_become_marks_and_keep_their_white_space_control() {
        for (source, expected) in [
            ("a {% generation %} b {% endgeneration %} c", "a [ b ] c"),
            ("a {%- generation -%} b {%- endgeneration -%} c", "a[b]c"),
            ("a\n  {% generation %}\nb\n  {% endgeneration %}\nc", "a\n[b\n]c"),
            ("{%generation%}{%endgeneration%}", "[]"),
            ("{% set generation = 1 %}{{ generation }}", "1"),
        ] {
            assert_eq!(render(source, &[]).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn python_is_understood() {
        let chat = [Message::new("user", " l'Été <3 ")];
        let source = "{{ messages[0].content.strip().upper() }} {{ messages[0]|tojson }}{{ bos_token is defined }}";
        let expected = "L'ÉTÉ <3 {\"role\": \"user\", \"content\": \" l'Été <3 \"}False";
        assert_eq!(render(source, &chat).unwrap(), expected);
    }

    #[test]
    fn a_template_that_fails_says_why_and_on_which_chat() {
        let chat = [Message::new("user", "bonjour")];
        let error = render("{{ raise_exception('roles must alternate') }}", &chat).unwrap_err().to_string();
        assert!(error.contains("bonjour") && error.contains("roles must alternate"), "{error}");
    }

    #[test]
    fn a_date_is_known_only_if_it_is_given() {
        let source = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% else %}none{% endif %}";
        assert_eq!(render(source, &[]).unwrap(), "none");
        let date = chrono::NaiveDate::from_ymd_opt(2024, 7, 26).and_then(|date| date.and_hms_opt(0, 0, 0));
        let settings = TemplateSettings { date, ..TemplateSettings::default() };
        let template = ChatTemplate::new(source, SpecialTokens::default(), &settings).unwrap();
        let marks = Marks { begin: '[', end: ']', literal: '*', open: '^' };
        assert_eq!(template.render(&Chat::default(), false, marks).unwrap(), "26 Jul 2024");
    }
}
