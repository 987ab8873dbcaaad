//! YAML whose every value knows its place in the text. The one file that names the YAML crates.
//!
//! Values come from serde_yaml; places come from a second, event-level pass over the same text, since serde keeps none.
//! Where the two could disagree (anchors, merge keys) the place falls back to the nearest value around it: a label may
//! then be wide, but it never points at the wrong file or line range.

use std::collections::HashMap;
use std::ops::Range;

use saphyr_parser::{Event, Parser, Span, StrInput};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::path::FieldPath;

/// The largest pipeline file that is read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// A YAML text, its value, and where every part of it stands.
#[derive(Debug)]
pub struct Document {
    /// What the text says.
    pub value: Value,
    spans: Spans,
}

#[derive(Debug, Default)]
struct Spans {
    values: HashMap<FieldPath, Range<usize>>,
    keys: HashMap<FieldPath, Range<usize>>,
}

impl Document {
    /// Reads a YAML text.
    pub fn read(text: &str) -> Result<Self, Diagnostic> {
        if text.len() > MAX_BYTES {
            return Err(Diagnostic::new(0..0, format!("the file has {} bytes, more than {MAX_BYTES}", text.len())));
        }
        let spans = Spans::read(text);
        let mut yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| syntax_error(text, &error))?;
        yaml.apply_merge().map_err(|error| syntax_error(text, &error))?;
        let value = serde_json::to_value(&yaml).map_err(|error| {
            Diagnostic::new(0..0, format!("the file cannot be read as data: {error}")).help("keys must be text")
        })?;
        Ok(Self { value, spans })
    }

    /// Returns where the value at `path` stands, or the nearest value around it.
    pub fn value_span(&self, path: &FieldPath) -> Range<usize> {
        let mut path = path.clone();
        loop {
            if let Some(span) = self.spans.values.get(&path) {
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
        self.spans.keys.get(path).cloned().unwrap_or_else(|| self.value_span(path))
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

fn syntax_error(text: &str, error: &serde_yaml::Error) -> Diagnostic {
    let at = error.location().map_or(0, |location| location.index().min(text.len()));
    let start = (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length).max(start);
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
    Diagnostic::new(start..end, message).label("the YAML cannot be read from here")
}

/// What the walk is inside of.
enum Frame {
    Sequence { path: FieldPath, start: usize, next: usize },
    Mapping { path: FieldPath, start: usize, key: Option<(String, Range<usize>)> },
}

impl Spans {
    /// Walks the events of `text`. A syntax error ends the walk; serde_yaml reports it.
    fn read(text: &str) -> Self {
        let bytes: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
        let byte = |char_index: usize| bytes.get(char_index).copied().unwrap_or(text.len());
        let range = |span: Span| {
            let (start, end) = (byte(span.start.index()), byte(span.end.index()));
            start..start + text[start..end.max(start)].trim_end().len()
        };
        let mut spans = Self::default();
        let mut stack: Vec<Frame> = Vec::new();
        let mut parser = Parser::<StrInput<'_>>::new_from_str(text);
        while let Some(Ok((event, span))) = parser.next_event() {
            let span = range(span);
            match event {
                Event::Scalar(text, ..) => spans.scalar(&mut stack, Some(&text), span),
                Event::Alias(_) => spans.scalar(&mut stack, None, span),
                Event::SequenceStart(..) => {
                    let path = place(&mut stack);
                    stack.push(Frame::Sequence { path, start: span.start, next: 0 });
                }
                Event::MappingStart(..) => {
                    let path = place(&mut stack);
                    stack.push(Frame::Mapping { path, start: span.start, key: None });
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    let Some(Frame::Sequence { path, start, .. } | Frame::Mapping { path, start, .. }) = stack.pop()
                    else {
                        return spans;
                    };
                    let end = text[..span.end.max(start)].trim_end().len().max(start);
                    spans.value(&mut stack, path, start..end);
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
                Event::DocumentEnd => return spans,
            }
        }
        spans
    }

    fn scalar(&mut self, stack: &mut [Frame], text: Option<&str>, span: Range<usize>) {
        if let Some(Frame::Mapping { path, key: key @ None, .. }) = stack.last_mut() {
            let name = text.unwrap_or_default().to_owned();
            self.keys.insert(path.key(name.clone()), span.clone());
            *key = Some((name, span));
            return;
        }
        let path = place(stack);
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

/// Returns the path of the value that begins now.
fn place(stack: &mut [Frame]) -> FieldPath {
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
    fn a_repeated_key_is_an_error_with_a_place() {
        let error = Document::read("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert!(error.message.contains("duplicate"), "{}", error.message);
    }
}
