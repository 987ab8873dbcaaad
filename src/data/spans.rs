//! Which stretches of a rendered chat the assistant said.
//!
//! Two ways to know. A template with `{% generation %}` tags says so itself: it prints a mark before and behind. For
//! ChatML templates without the tags the headers are looked for: `<|im_start|>assistant\n` … `<|im_end|>`. The end of the
//! turn counts as said, the header and the line end after the turn don't, as in Axolotl.
//!
//! Qwen3's template puts an empty `<think>` block before the last answer of a chat that has no reasoning. When the model
//! is used without reasoning that block is part of the *prompt*, so it isn't counted as said.

use std::ops::Range;

use super::Message;

const HEADER: &str = "<|im_start|>assistant\n";
const TURN_END: &str = "<|im_end|>";
const EMPTY_THOUGHT: &str = "<think>\n\n</think>\n\n";

/// Two characters that no message of a chat contains.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub(super) begin: char,
    pub(super) end: char,
}

impl Marks {
    /// Returns marks that no message of the chat contains, from the private use characters.
    pub(super) fn absent_from(chat: &[Message]) -> Self {
        let used = |c: char| chat.iter().any(|message| message.content.contains(c) || message.role.contains(c));
        let mut free = ('\u{F0000}'..='\u{FFFFD}').filter(|&c| !used(c));
        match (free.next(), free.next()) {
            (Some(begin), Some(end)) => Self { begin, end },
            _ => Self { begin: '\u{10FFFC}', end: '\u{10FFFD}' },
        }
    }

    /// Takes the marks out of a text; returns it with the byte ranges that were between them, or what is wrong.
    pub(super) fn take_out(self, text: &str) -> Result<(String, Vec<Range<usize>>), &'static str> {
        let mut clean = String::with_capacity(text.len());
        let mut spans = Vec::new();
        let mut begun = None;
        for c in text.chars() {
            if c == self.begin {
                if begun.replace(clean.len()).is_some() {
                    return Err("a generation block lies inside another");
                }
            } else if c == self.end {
                let start = begun.take().ok_or("a generation block ends that did not begin")?;
                spans.push(start..clean.len());
            } else {
                clean.push(c);
            }
        }
        if begun.is_some() { Err("a generation block does not end") } else { Ok((clean, spans)) }
    }
}

/// Returns the byte ranges that the assistant said in a text in ChatML, by its headers.
pub(super) fn chatml_spans(text: &str) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut at = 0;
    while let Some(header) = text[at..].find(HEADER) {
        let mut start = at + header + HEADER.len();
        // A turn that isn't ended is the prompt for the next answer.
        let Some(length) = text[start..].find(TURN_END) else { break };
        let end = start + length + TURN_END.len();
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
    fn marks_give_spans_in_bytes_of_the_clean_text() {
        let marks = Marks { begin: '[', end: ']' };
        assert_eq!(marks.take_out("é[à]b[]c").unwrap(), ("éàbc".into(), vec![2..4, 5..5]));
        for bad in ["[a", "a]", "[[a]]"] {
            assert!(marks.take_out(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn marks_avoid_what_the_chat_contains() {
        let chat = [Message { role: "user".into(), content: "\u{F0000} and \u{F0002}".into() }];
        let Marks { begin, end } = Marks::absent_from(&chat);
        assert_eq!((begin, end), ('\u{F0001}', '\u{F0003}'));
    }

    #[test]
    fn headers_give_spans() {
        let text = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>assistant\n";
        let spans = chatml_spans(text);
        assert_eq!(spans.iter().map(|span| &text[span.clone()]).collect::<Vec<_>>(), ["a<|im_end|>"]);
        let thought = "<|im_start|>assistant\n<think>\n\n</think>\n\nb<|im_end|>\n";
        assert_eq!(&thought[chatml_spans(thought)[0].clone()], "b<|im_end|>");
        assert!(chatml_spans("hello").is_empty());
    }
}
