//! YAML whose every value knows its place in the text. The one file that names the YAML crates.
//!
//! Values come from serde_yaml; places come from an event-level pass over the same text, since serde keeps none. That pass
//! is made when something has to be pointed at, which in a good file is never; before, the events are only counted.
//! Where the two could disagree (anchors, merge keys) the place falls back to the nearest value around it: a label may
//! then be wide, but it never points at the wrong file or line range.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use saphyr_parser::{Event, Parser, Span, StrInput};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::path::FieldPath;
use super::tree::Tree;

/// The largest pipeline file that is read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// How deep values may lie in each other. serde_yaml stops there too, but only after reading the whole text, in time that
/// grows with the square of the depth.
const MAX_DEPTH: usize = 100;

/// How many values a text may stand for once its aliases are unfolded. A few lines can stand for billions.
const MAX_VALUES: usize = 1 << 20;

/// A YAML text, its value, and where every part of it stands.
#[derive(Debug, Default)]
pub struct Document {
    /// What the text says.
    pub value: Value,
    text: String,
    spans: OnceLock<Spans>,
}

#[derive(Debug, Default)]
struct Spans {
    values: HashMap<FieldPath, Range<usize>>,
    keys: HashMap<FieldPath, Range<usize>>,
    repeated: Vec<Diagnostic>,
    repeated_at: Vec<FieldPath>,
}

impl Document {
    /// Reads a YAML text, or returns what keeps it from being read.
    pub fn read(text: &str) -> Result<Self, Vec<Diagnostic>> {
        if text.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, more than {MAX_BYTES}", text.len());
            return Err(vec![Diagnostic::new(0..0, message)]);
        }
        let mut size = Size::default();
        walk(text, |event, place| match size.count(&event) {
            Ok(()) => Ok(true),
            Err(message) => Err(Diagnostic::new(place.range(), message)),
        })
        .map_err(|diagnostic| vec![diagnostic])?;
        let value = read_value(text).map_err(|diagnostic| {
            // These say where both keys stand; serde_yaml names one key, and the place of its mapping.
            let repeated = Spans::read(text).repeated;
            if repeated.is_empty() { vec![diagnostic] } else { repeated }
        })?;
        Ok(Self { value, text: text.to_owned(), spans: OnceLock::new() })
    }

    fn spans(&self) -> &Spans {
        self.spans.get_or_init(|| Spans::read(&self.text))
    }

    /// Returns where the value at `path` stands, or the nearest value around it.
    pub fn value_span(&self, path: &FieldPath) -> Range<usize> {
        let mut path = path.clone();
        loop {
            if let Some(span) = self.spans().values.get(&path) {
                return span.clone();
            }
            match path.parent() {
                Some(parent) => path = parent,
                None => return 0..0,
            }
        }
    }

    /// Returns where the key of the value at `path` stands, or the value itself if it has none.
    pub fn key_span(&self, path: &FieldPath) -> Range<usize> {
        self.exact_key_span(path).unwrap_or_else(|| self.value_span(path))
    }

    /// Returns where the key of the value at `path` stands, if there is one.
    pub fn exact_key_span(&self, path: &FieldPath) -> Option<Range<usize>> {
        self.spans().keys.get(path).cloned()
    }
}

/// Writes a value as YAML.
pub fn to_yaml(value: &impl Serialize) -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(value)
}

/// Reads a typed value from YAML; the message names line and column.
pub fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// Says why a text lies too deep to be read, or repeats itself by aliases: for texts that are read without their places.
pub fn check_depth(text: &str) -> Result<(), Diagnostic> {
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let mut depth = 0;
    let mut parser = Parser::<StrInput<'_>>::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, at) = match event {
            Ok((event, span)) => (event, span.start.index()),
            Err(error) if error.info().contains("recursion limit") => {
                return Err(Diagnostic::new(byte(error.marker().index())..text.len(), too_deep()));
            }
            // serde_yaml reports it.
            Err(_) => return Ok(()),
        };
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
            Event::SequenceEnd | Event::MappingEnd => depth -= 1,
            Event::Alias(_) => return Err(Diagnostic::new(byte(at)..text.len(), "aliases have no place in it")),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Diagnostic::new(byte(at)..text.len(), too_deep()));
        }
    }
    Ok(())
}

fn read_value(text: &str) -> Result<Value, Diagnostic> {
    if let Ok(Tree(value)) = serde_yaml::from_str(text) {
        return Ok(value);
    }
    read_long(text)
}

/// Reads what is not plain, and says what cannot be read.
fn read_long(text: &str) -> Result<Value, Diagnostic> {
    let mut yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| syntax_error(text, &error))?;
    yaml.apply_merge().map_err(|error| syntax_error(text, &error))?;
    serde_json::to_value(&yaml).map_err(|error| {
        Diagnostic::new(0..0, format!("the file cannot be read as data: {error}")).help("keys must be text")
    })
}

fn syntax_error(text: &str, error: &serde_yaml::Error) -> Diagnostic {
    let at = error.location().map_or(0, |location| location.index().min(text.len()));
    let start = (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length).max(start);
    let message = error.to_string();
    // `did not find expected ',' or '}' at line 4 column 4, while parsing a flow mapping at line 3 column 6`
    let (message, context) = message.split_once(", while ").unwrap_or((&message, ""));
    let message = message.split(" at line ").next().unwrap_or(message);
    let help = (!context.is_empty()).then(|| format!("this was while {context}"));
    Diagnostic::new(start..end, message).label("the YAML cannot be read from here").maybe_help(help)
}

/// What the walk is inside of.
enum Frame {
    Sequence { path: FieldPath, start: usize, next: usize },
    Mapping { path: FieldPath, start: usize, key: Option<(String, Range<usize>)> },
}

/// The place of an event, told in bytes when somebody asks.
struct Place<'a> {
    text: &'a str,
    /// Where each character starts; nothing where all are single bytes.
    starts: &'a [usize],
    span: Span,
}

impl Place<'_> {
    fn range(&self) -> Range<usize> {
        let byte = |index: usize| byte(self.text, self.starts, index);
        let (start, end) = (byte(self.span.start.index()), byte(self.span.end.index()));
        start..start + self.text[start..end.max(start)].trim_end().len()
    }
}

fn byte(text: &str, starts: &[usize], char_index: usize) -> usize {
    if starts.is_empty() { char_index.min(text.len()) } else { starts.get(char_index).copied().unwrap_or(text.len()) }
}

/// Hands every event of `text` to `on`, until it says that it has enough. A syntax error ends the walk; serde_yaml reports
/// it. What would take too long or too much memory to read is an error here.
fn walk(text: &str, mut on: impl FnMut(Event<'_>, &Place<'_>) -> Result<bool, Diagnostic>) -> Result<(), Diagnostic> {
    let starts: Vec<usize> = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(i, _)| i).collect() };
    let mut parser = Parser::<StrInput<'_>>::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                let last = matches!(event, Event::DocumentEnd);
                if !on(event, &Place { text, starts: &starts, span })? || last {
                    break;
                }
            }
            Err(error) if error.info().contains("recursion limit") => {
                let at = byte(text, &starts, error.marker().index());
                return Err(Diagnostic::new(at..at, too_deep()));
            }
            Err(_) => break,
        }
    }
    Ok(())
}

impl Spans {
    /// Notes the place of every value and key, as far as the text can be read.
    fn read(text: &str) -> Self {
        let mut spans = Self::default();
        let mut stack: Vec<Frame> = Vec::new();
        let walked = walk(text, |event, place| {
            let span = place.range();
            match event {
                Event::Scalar(text, ..) => spans.scalar(&mut stack, Some(&text), span),
                Event::Alias(_) => spans.scalar(&mut stack, None, span),
                Event::SequenceStart(..) => {
                    let path = place_of(&mut stack);
                    stack.push(Frame::Sequence { path, start: span.start, next: 0 });
                }
                Event::MappingStart(..) => {
                    let path = place_of(&mut stack);
                    stack.push(Frame::Mapping { path, start: span.start, key: None });
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(Frame::Sequence { path, start, .. } | Frame::Mapping { path, start, .. }) = stack.pop()
                    else {
                        return Ok(false);
                    };
                    let end = text[..span.end.max(start)].trim_end().len().max(start);
                    spans.value(&mut stack, path, start..end);
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
                Event::DocumentEnd => return Ok(false),
            }
            Ok(true)
        });
        // What is wrong with the text was said when it was read.
        drop(walked);
        spans
    }

    fn scalar(&mut self, stack: &mut [Frame], text: Option<&str>, span: Range<usize>) {
        if let Some(Frame::Mapping { path, key: key @ None, .. }) = stack.last_mut() {
            let name = text.unwrap_or_default().to_owned();
            let at = path.key(name.clone());
            // Below a repeated key everything is there twice.
            let below = self.repeated_at.iter().any(|repeated| path.0.starts_with(&repeated.0));
            if self.keys.insert(at.clone(), span.clone()).is_some() && !below {
                self.repeated_at.push(at);
                let place = if path.0.is_empty() { String::new() } else { format!(" in `{path}`") };
                let message = format!("`{name}` stands twice{place}");
                self.repeated.push(Diagnostic::new(span.clone(), message).label("the second one"));
            }
            *key = Some((name, span));
            return;
        }
        let path = place_of(stack);
        self.value(stack, path, span);
    }

    /// Notes where a finished value stands, and that its mapping waits for a key again.
    fn value(&mut self, stack: &mut [Frame], path: FieldPath, span: Range<usize>) {
        self.values.insert(path, span);
        match stack.last_mut() {
            Some(Frame::Mapping { key, .. }) => *key = None,
            Some(Frame::Sequence { next, .. }) => *next += 1,
            None => {}
        }
    }
}

fn too_deep() -> String {
    format!("more than {MAX_DEPTH} values lie in each other")
}

/// How much a text stands for, so that it can be given up before it is unfolded.
#[derive(Debug, Default)]
struct Size {
    /// The values so far.
    values: usize,
    /// The anchors of the values that are open, and how many values there were before each; 0 is no anchor.
    open: Vec<(usize, usize)>,
    /// How many values stand behind each anchor.
    anchors: HashMap<usize, usize>,
}

impl Size {
    fn count(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Scalar(_, _, anchor, _) => {
                self.values += 1;
                self.anchors.insert(*anchor, 1);
            }
            Event::Alias(anchor) => match self.anchors.get(anchor) {
                Some(values) => self.values = self.values.saturating_add(*values),
                None => return Err("the alias stands inside the value that it repeats".to_owned()),
            },
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                self.open.push((*anchor, self.values));
                self.values += 1;
                if self.open.len() > MAX_DEPTH {
                    return Err(too_deep());
                }
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((anchor, before)) = self.open.pop() {
                    self.anchors.insert(anchor, self.values - before);
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        if self.values > MAX_VALUES {
            return Err(format!("the file stands for more than {MAX_VALUES} values, aliases unfolded"));
        }
        Ok(())
    }
}

/// Returns the path of the value that begins now.
fn place_of(stack: &mut [Frame]) -> FieldPath {
    match stack.last() {
        None => FieldPath::root(),
        Some(Frame::Sequence { path, next, .. }) => path.index(*next),
        Some(Frame::Mapping { path, key, .. }) => path.key(key.as_ref().map_or("", |(name, _)| name.as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_place() {
        let text = "a: é\nb:\n  - x: 1\n  - {y: [2, 33]}\nc: |\n  long\n  text\nd: end\n";
        let document = Document::read(text).unwrap();
        let value = |path: &str| &text[document.value_span(&FieldPath::parse(path))];
        let key = |path: &str| &text[document.key_span(&FieldPath::parse(path))];
        assert_eq!(value("a"), "é");
        assert_eq!(value("b[0].x"), "1");
        assert_eq!(value("b[1].y[1]"), "33");
        assert_eq!(value("b[1].y"), "[2, 33]");
        assert_eq!(key("b[1].y"), "y");
        assert_eq!(value("d"), "end");
        assert_eq!(value("d.nowhere"), "end");
    }

    #[test]
    fn the_short_way_reads_what_the_long_way_reads_or_nothing() {
        let plain = [
            "a: 1\nb: [x, 2.5, -3, 1e3, .inf, ~, true, 'no', \"y\"]\nc: {d: e}\nd: |\n  text\n",
            "a: 18446744073709551615\nb: -9223372036854775808\nc: 0x1f\nd: 0o17\n",
            "a: &x {b: 1}\nc: *x\n",
            "- a\n- [b, {c: d}]\n",
            "x: 2026-11-22\ny: 1_000\nz: +1\n",
        ];
        for text in plain {
            let Tree(short) = serde_yaml::from_str(text).unwrap();
            assert_eq!(short, read_long(text).unwrap(), "{text}");
        }
        let odd = [
            "a: &x {b: 1}\nc: {<<: *x, d: 2}\n",
            "1: a\n0x2: b\n",
            "a: !tag b\n",
            "a: 1\na: 2\n",
            "a: 340282366920938463463374607431768211455\n",
            "",
            "--- a\n--- b\n",
            "a: [\n",
            "~: a\n",
        ];
        for text in odd {
            assert!(serde_yaml::from_str::<Tree>(text).is_err() || read_long(text) == read_value(text), "{text}");
        }
    }

    #[test]
    fn a_repeated_key_is_an_error_with_a_place() {
        let errors = Document::read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!((errors.len(), errors[0].span), (1, (10, 11)));
        assert_eq!(errors[0].message, "`a` stands twice");
    }
}
