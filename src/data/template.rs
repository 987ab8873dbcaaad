//! Chat templates: the Jinja program with which a model folder says how a chat becomes text.
//!
//! The template decides the bytes a model is trained on, so it must run here as it does in Hugging Face transformers:
//! `trim_blocks` and `lstrip_blocks`, Python's string methods, `raise_exception`, a `tojson` with Python's separators.
//! `strftime_now` is left undefined: today's date would make equal runs differ, and the templates that know it ask
//! `is defined` first and have a fixed date to fall back to.
//!
//! `{% generation %}` marks what the assistant says. minijinja has no such tag, so each one is rewritten into an
//! expression that prints a mark; [`super::spans`] takes the marks out again. The rewrite sets a variable before and
//! after, so that the white-space control of the tag (`{%-`, `-%}`, trimmed blocks) acts as it would have.
//!
//! A template is foreign code. It reaches no file and no clock, runs on a ration of instructions, and its output is
//! bounded. A value that it doubles in memory again and again isn't: that costs the process it runs in.

use std::io::{self, Write};

use minijinja::{Environment, Error, ErrorKind, Value};
use minijinja_contrib::pycompat;

use super::lines::LONGEST_ROW;
use super::spans::Marks;
use super::{DataError, Message, beginning};

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

/// Instructions that one chat may cost. The longest real templates need some hundred for a message.
const FUEL: u64 = 20_000_000;
/// The longest text a chat may become, in bytes.
const LONGEST_TEXT: usize = 2 * LONGEST_ROW;
/// The only template in the environment.
const NAME: &str = "chat_template";
/// The variables that hold the marks.
const BEGIN: &str = "luthflow_begin";
const END: &str = "luthflow_end";

/// The special tokens that a template may name, as `(variable, token)`; only those that the model has.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecialTokens(pub(super) Vec<(&'static str, String)>);

impl SpecialTokens {
    /// Returns the token in a variable.
    pub(super) fn get(&self, variable: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == variable).map(|(_, token)| token.as_str())
    }
}

/// A template, ready to run.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    tokens: SpecialTokens,
}

impl ChatTemplate {
    /// Compiles a template; the error is what the compiler says.
    pub(super) fn new(source: &str, tokens: SpecialTokens) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", tojson);
        environment
            .add_template_owned(NAME, rewrite_generation(source))
            .map_err(|error| format!("the chat template is not valid: {error}"))?;
        Ok(Self { environment, tokens })
    }

    /// Renders a chat; the text still has the marks in it.
    pub(super) fn render(&self, chat: &[Message], prompt: bool, marks: Marks) -> Result<String, DataError> {
        let context = self.context(chat, prompt, marks);
        let mut text = Bounded(Vec::new());
        let failed = |reason: String| {
            let start = beginning(chat.first().map_or("", |message| &message.content));
            DataError::Template { start, reason }
        };
        let template = self.environment.get_template(NAME).expect("added in `new`");
        template.render_captured_to(context, &mut text).map_err(|error| failed(explain(&error)))?;
        String::from_utf8(text.0).map_err(|error| failed(error.to_string()))
    }

    /// Returns the variables of the template. Special tokens that the model lacks stay undefined, as in transformers.
    fn context(&self, chat: &[Message], prompt: bool, marks: Marks) -> Value {
        let tokens = self.tokens.0.iter().map(|(name, token)| (*name, Value::from(token.as_str())));
        let variables = [
            ("messages", Value::from_serialize(chat)),
            ("add_generation_prompt", prompt.into()),
            ("tools", ().into()),
            ("documents", ().into()),
            (BEGIN, marks.begin.to_string().into()),
            (END, marks.end.to_string().into()),
        ];
        variables.into_iter().chain(tokens).collect()
    }
}

fn explain(error: &Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "it runs too long".into(),
        // What a failed write means stands in its source.
        _ => std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands keyword arguments over by value")]
fn tojson(value: &Value, options: minijinja::value::Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let written = if let Some(indent) = indent.filter(|&indent| indent <= 64) {
        let indent = " ".repeat(indent);
        let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
        serde::Serialize::serialize(value, &mut serde_json::Serializer::with_formatter(&mut bytes, pretty))
    } else {
        serde::Serialize::serialize(value, &mut serde_json::Serializer::with_formatter(&mut bytes, PythonSpaces))
    };
    written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    Ok(Value::from_safe_string(text))
}

/// Writes `", "` and `": "`.
struct PythonSpaces;

impl serde_json::ser::Formatter for PythonSpaces {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
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

/// Replaces `{% generation %}` and `{% endgeneration %}` by expressions that print the marks.
fn rewrite_generation(source: &str) -> String {
    let mut rewritten = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        rewritten.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((open, mark, close, length)) = generation_tag(rest) {
            let before = ["{%", open, " set luthflow_x = 0 %}"];
            let after = ["{% set luthflow_x = 0 ", close, "%}"];
            rewritten.extend(before.into_iter().chain(["{{ ", mark, " }}"]).chain(after));
            rest = &rest[length..];
        } else {
            rewritten.push_str("{%");
            rest = &rest[2..];
        }
    }
    rewritten.push_str(rest);
    rewritten
}

/// Takes apart a tag at the beginning of `text`: its white-space control before and behind, the mark that it stands for,
/// and its length. `None` if it is another tag.
fn generation_tag(text: &str) -> Option<(&str, &'static str, &str, usize)> {
    let inside = text.strip_prefix("{%")?;
    let length = inside.find("%}")?;
    let inside = &inside[..length];
    let open = &inside[..usize::from(inside.starts_with(['-', '+']))];
    let close = &inside[inside.len() - usize::from(inside.len() > open.len() && inside.ends_with(['-', '+']))..];
    let word = inside[open.len()..inside.len() - close.len()].trim();
    let mark = match word {
        "generation" => BEGIN,
        "endgeneration" => END,
        _ => return None,
    };
    Some((open, mark, close, length + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, chat: &[Message]) -> Result<String, DataError> {
        let template = ChatTemplate::new(source, SpecialTokens::default()).unwrap();
        template.render(chat, false, Marks { begin: '[', end: ']', literal: '*' })
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
        let chat = [Message { role: "user".into(), content: " l'Été <3 ".into() }];
        let source = "{{ messages[0].content.strip().upper() }} {{ messages[0]|tojson }}{{ bos_token is defined }}";
        let expected = "L'ÉTÉ <3 {\"role\": \"user\", \"content\": \" l'Été <3 \"}False";
        assert_eq!(render(source, &chat).unwrap(), expected);
    }

    #[test]
    fn a_template_that_fails_says_why_and_on_which_chat() {
        let chat = [Message { role: "user".into(), content: "bonjour".into() }];
        let error = render("{{ raise_exception('roles must alternate') }}", &chat).unwrap_err().to_string();
        assert!(error.contains("bonjour") && error.contains("roles must alternate"), "{error}");
    }

    #[test]
    fn a_template_cannot_run_forever_nor_write_without_end() {
        let endless = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
        assert!(render(endless, &[]).unwrap_err().to_string().contains("too long"));
        let long = "{% set s = 'x' * 1000000 %}{% for a in range(1000) %}{{ s }}{% endfor %}";
        assert!(render(long, &[]).unwrap_err().to_string().contains("longer than"));
        assert!(ChatTemplate::new("{% if %}", SpecialTokens::default()).is_err());
        assert!(render("{% include '/etc/passwd' %}", &[]).is_err());
    }
}
