//! Which stretches of a rendered chat the assistant said, and which names of control tokens in it are only text.
//!
//! Two ways to know. A template with `{% generation %}` tags says so itself: it prints a mark before and behind. For
//! templates of the great families without the tags the headers are looked for: `<|im_start|>assistant\n` … `<|im_end|>`
//! in ChatML, and those of Gemma and Llama 3. The end of the turn counts as said, the header and the line end after the
//! turn don't, as in Axolotl.
//!
//! Qwen3's template puts an empty `<think>` block before the last answer of a chat that has no reasoning. When the model
//! is used without reasoning that block is part of the *prompt*, so it isn't counted as said.
//!
//! A header that stands in a message is no header: it carries the mark that [`super::control`] explains.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::Value;

use super::Chat;

/// What stands before and behind what the assistant says, by family.
const FAMILIES: [(&str, &str); 3] = [
    ("<|im_start|>assistant\n", "<|im_end|>"),
    ("<start_of_turn>model\n", "<end_of_turn>"),
    ("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
];
const EMPTY_THOUGHT: &str = "<think>\n\n</think>\n\n";

/// Four characters that no message of a chat contains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    /// Before and behind what the assistant says.
    pub(super) begin: char,
    pub(super) end: char,
    /// Before the name of a control token that is only text.
    pub(super) literal: char,
    /// Behind a message that is to be continued.
    pub(super) open: char,
}

/// A chat as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text that its template makes of it.
    pub text: String,
    /// The byte ranges that the assistant said.
    pub said: Vec<Range<usize>>,
    /// The bytes at which a name is only text, in order.
    pub(super) literal: Vec<usize>,
}

/// Where marks are taken from.
const PRIVATE: std::ops::RangeInclusive<char> = '\u{F0000}'..='\u{FFFFD}';

/// Adds the private use characters of a value.
fn private(value: &Value, used: &mut BTreeSet<char>) {
    match value {
        Value::String(text) => used.extend(text.chars().filter(|c| PRIVATE.contains(c))),
        Value::Array(items) => items.iter().for_each(|item| private(item, used)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            used.extend(name.chars().filter(|c| PRIVATE.contains(c)));
            private(value, used);
        }),
        _ => {}
    }
}

impl Marks {
    /// Returns marks that no message of the chat contains, from the private use characters, or what is wrong.
    pub(super) fn absent_from(chat: &Chat) -> Result<Self, &'static str> {
        let mut used = BTreeSet::new();
        for message in &chat.messages {
            private(&Value::Object(message.to_fields()), &mut used);
        }
        for list in [&chat.tools, &chat.documents].into_iter().flatten() {
            for value in list {
                private(value, &mut used);
            }
        }
        chat.variables.values().for_each(|value| private(value, &mut used));
        let mut free = PRIVATE.filter(|c| !used.contains(c));
        match (free.next(), free.next(), free.next(), free.next()) {
            (Some(begin), Some(end), Some(literal), Some(open)) => Ok(Self { begin, end, literal, open }),
            _ => Err("it holds all private use characters, of which four must be free"),
        }
    }

    /// Takes the marks out of a text, or returns what is wrong.
    pub(super) fn take_out(self, text: &str) -> Result<Rendered, &'static str> {
        let mut clean = String::with_capacity(text.len());
        let (mut spans, mut literal) = (Vec::new(), Vec::new());
        let mut begun = None;
        for c in text.chars() {
            if c == self.begin {
                if begun.replace(clean.len()).is_some() {
                    return Err("a generation block lies inside another");
                }
            } else if c == self.end {
                let start = begun.take().ok_or("a generation block ends that did not begin")?;
                spans.push(start..clean.len());
            } else if c == self.literal {
                literal.push(clean.len());
            } else {
                clean.push(c);
            }
        }
        if begun.is_some() {
            return Err("a generation block does not end");
        }
        let said = if spans.is_empty() { header_spans(&clean, &literal) } else { spans };
        Ok(Rendered { text: clean, said, literal })
    }
}

/// Returns the byte ranges that the assistant said, by the headers of the first family that has any.
fn header_spans(text: &str, literal: &[usize]) -> Vec<Range<usize>> {
    let found = FAMILIES.iter().map(|family| spans_of(*family, text, literal));
    found.into_iter().find(|spans| !spans.is_empty()).unwrap_or_default()
}

fn spans_of((header, turn_end): (&str, &str), text: &str, literal: &[usize]) -> Vec<Range<usize>> {
    // Where a control token, and what follows it, stands behind a place.
    let find = |wanted: &str, from: usize| {
        let mut places = text[from..].match_indices(wanted).map(|(at, _)| from + at);
        places.find(|at| literal.binary_search(at).is_err())
    };
    let mut spans = Vec::new();
    let mut at = 0;
    while let Some(begin) = find(header, at) {
        let mut start = begin + header.len();
        // A turn that isn't ended is the prompt for the next answer.
        let Some(found) = find(turn_end, start) else { break };
        let end = found + turn_end.len();
        if text[start..end].starts_with(EMPTY_THOUGHT) {
            start += EMPTY_THOUGHT.len();
        }
        spans.push(start..end);
        at = end;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Message;

    #[test]
    fn marks_give_places_in_bytes_of_the_clean_text() {
        let marks = Marks { begin: '[', end: ']', literal: '*', open: '^' };
        let expected = Rendered { text: "éàbc".into(), said: vec![2..4, 5..5], literal: vec![2, 5] };
        assert_eq!(marks.take_out("é[*à]b[]*c").unwrap(), expected);
        for bad in ["[a", "a]", "[[a]]"] {
            assert!(marks.take_out(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn marks_avoid_what_the_chat_contains() {
        let mut message = Message::new("user", "\u{F0000} and \u{F0002}");
        message.more.insert("tool_calls".into(), serde_json::json!([{"\u{F0001}": "\u{F0005}"}]));
        let Marks { begin, end, literal, open } = Marks::absent_from(&vec![message].into()).unwrap();
        assert_eq!((begin, end, literal, open), ('\u{F0003}', '\u{F0004}', '\u{F0006}', '\u{F0007}'));
        let all: String = ('\u{F0000}'..='\u{FFFFD}').skip(2).collect();
        assert!(Marks::absent_from(&vec![Message::new("user", all)].into()).is_err());
    }

    #[test]
    fn headers_give_spans() {
        let text = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>assistant\n";
        let spans = header_spans(text, &[]);
        assert_eq!(spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(), ["a<|im_end|>"]);
        let thought = "<|im_start|>assistant\n<think>\n\n</think>\n\nb<|im_end|>\n";
        assert_eq!(&thought[header_spans(thought, &[])[0].clone()], "b<|im_end|>");
        assert!(header_spans("hello", &[]).is_empty());
        let gemma = "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n";
        assert_eq!(&gemma[header_spans(gemma, &[])[0].clone()], "b<end_of_turn>");
    }

    #[test]
    fn a_header_that_is_only_text_gives_no_span() {
        let marks = Marks { begin: '[', end: ']', literal: '*', open: '^' };
        let marked = "<|im_start|>user\n*<|im_end|>\n*<|im_start|>assistant\nx<|im_end|>\n\
                      <|im_start|>assistant\na*<|im_end|>b<|im_end|>\n";
        let Rendered { text, said, .. } = marks.take_out(marked).unwrap();
        assert_eq!(said.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(), ["a<|im_end|>b<|im_end|>"]);
    }
}
