//! Which stretches of a rendered chat the assistant said, and which names of control tokens in it are only text.
//!
//! Two ways to know. A template with `{% generation %}` tags says so itself: it prints a mark before and behind. For
//! ChatML templates without the tags the headers are looked for: `<|im_start|>assistant\n` … `<|im_end|>`. The end of the
//! turn counts as said, the header and the line end after the turn don't, as in Axolotl.
//!
//! Qwen3's template puts an empty `<think>` block before the last answer of a chat that has no reasoning. When the model
//! is used without reasoning that block is part of the *prompt*, so it isn't counted as said.
//!
//! A header that stands in a message is no header: it carries the mark that [`super::control`] explains.

use std::ops::Range;

use super::Message;

const HEADER: &str = "<|im_start|>assistant\n";
const TURN_END: &str = "<|im_end|>";
const EMPTY_THOUGHT: &str = "<think>\n\n</think>\n\n";

/// Three characters that no message of a chat contains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    /// Before and behind what the assistant says.
    pub(super) begin: char,
    pub(super) end: char,
    /// Before the name of a control token that is only text.
    pub(super) literal: char,
}

/// A chat as text, without marks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    pub(super) text: String,
    /// The byte ranges that the assistant said.
    pub(super) said: Vec<Range<usize>>,
    /// The bytes at which a name is only text, in order.
    pub(super) literal: Vec<usize>,
}

impl Marks {
    /// Returns marks that no message of the chat contains, from the private use characters, or what is wrong.
    pub(super) fn absent_from(chat: &[Message]) -> Result<Self, &'static str> {
        let used = |c: char| chat.iter().any(|message| message.content.contains(c) || message.role.contains(c));
        let mut free = ('\u{F0000}'..='\u{FFFFD}').filter(|&c| !used(c));
        match (free.next(), free.next(), free.next()) {
            (Some(begin), Some(end), Some(literal)) => Ok(Self { begin, end, literal }),
            _ => Err("it holds all private use characters, of which three must be free"),
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
        let said = if spans.is_empty() { chatml_spans(&clean, &literal) } else { spans };
        Ok(Rendered { text: clean, said, literal })
    }
}

/// Returns the byte ranges that the assistant said in a text in ChatML, by its headers.
fn chatml_spans(text: &str, literal: &[usize]) -> Vec<Range<usize>> {
    // Where a control token, and what follows it, stands behind a place.
    let find = |wanted: &str, from: usize| {
        let mut places = text[from..].match_indices(wanted).map(|(at, _)| from + at);
        places.find(|at| literal.binary_search(at).is_err())
    };
    let mut spans = Vec::new();
    let mut at = 0;
    while let Some(header) = find(HEADER, at) {
        let mut start = header + HEADER.len();
        // A turn that isn't ended is the prompt for the next answer.
        let Some(turn_end) = find(TURN_END, start) else { break };
        let end = turn_end + TURN_END.len();
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

    #[test]
    fn marks_give_places_in_bytes_of_the_clean_text() {
        let marks = Marks { begin: '[', end: ']', literal: '*' };
        let expected = Rendered { text: "éàbc".into(), said: vec![2..4, 5..5], literal: vec![2, 5] };
        assert_eq!(marks.take_out("é[*à]b[]*c").unwrap(), expected);
        for bad in ["[a", "a]", "[[a]]"] {
            assert!(marks.take_out(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn marks_avoid_what_the_chat_contains() {
        let chat = [Message { role: "user".into(), content: "\u{F0000} and \u{F0002}".into() }];
        let Marks { begin, end, literal } = Marks::absent_from(&chat).unwrap();
        assert_eq!((begin, end, literal), ('\u{F0001}', '\u{F0003}', '\u{F0004}'));
        let all: String = ('\u{F0000}'..='\u{FFFFD}').skip(2).collect();
        assert!(Marks::absent_from(&[Message { role: "user".into(), content: all }]).is_err());
    }

    #[test]
    fn headers_give_spans() {
        let text = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>assistant\n";
        let spans = chatml_spans(text, &[]);
        assert_eq!(spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(), ["a<|im_end|>"]);
        let thought = "<|im_start|>assistant\n<think>\n\n</think>\n\nb<|im_end|>\n";
        assert_eq!(&thought[chatml_spans(thought, &[])[0].clone()], "b<|im_end|>");
        assert!(chatml_spans("hello", &[]).is_empty());
    }

    #[test]
    fn a_header_that_is_only_text_gives_no_span() {
        let marks = Marks { begin: '[', end: ']', literal: '*' };
        let marked = "<|im_start|>user\n*<|im_end|>\n*<|im_start|>assistant\nx<|im_end|>\n\
                      <|im_start|>assistant\na*<|im_end|>b<|im_end|>\n";
        let Rendered { text, said, .. } = marks.take_out(marked).unwrap();
        assert_eq!(said.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(), ["a<|im_end|>b<|im_end|>"]);
    }
}
