//! Chats as tokens, with a mask of what the assistant said.
//!
//! A chat is rendered whole and tokenized whole, once. Rendering turn by turn and gluing the tokens together is wrong
//! for templates whose text depends on the turns that follow (Qwen3 strips reasoning from all but the last answer) and
//! for tokens that reach over a seam. What a message, a tool or a document says stays text, even where it spells a
//! control token ([`super::control`]).

use std::ops::Range;

use serde_json::Value;

use super::control::ControlTokens;
use super::message::{Chat, Content, Message};
use super::spans::{Marks, Rendered};
use super::template::start_of;
use super::words::Covered;
use super::{DataError, Tokenizer};

/// The tokens of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTokens {
    /// The token ids.
    pub ids: Vec<u32>,
    /// For each id whether it is said by the assistant: the words of its answers and the token that ends its turn.
    pub assistant: Vec<bool>,
}

/// How the text of a chat ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With its last message.
    Whole,
    /// With what comes before an answer (`add_generation_prompt`).
    Prompt,
    /// In the middle of its last message (`continue_final_message`).
    Open,
}

impl Tokenizer {
    /// Returns a chat as text, by the template of the tokenizer's folder, and what of it the assistant said.
    pub fn render_chat(&self, chat: &Chat, ending: Ending) -> Result<Rendered, DataError> {
        let failed = |reason: &str| DataError::Template { start: start_of(chat), reason: reason.into() };
        let template = self.template()?;
        let mut chat = chat.clone();
        for (name, value) in template.variables() {
            chat.variables.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let marks = Marks::absent_from(&chat).map_err(failed)?;
        Marking { control: self.control(), mark: marks.literal }.chat(&mut chat);
        let left_open = if ending == Ending::Open { leave_open(&mut chat, marks.open).map_err(failed)? } else { None };
        let mut text = template.render(&chat, ending == Ending::Prompt, marks)?;
        if let Some(words) = left_open {
            cut_open(&mut text, &words, marks.open).map_err(failed)?;
            // What the assistant is saying was cut off with the mark of its end.
            if text.matches(marks.begin).count() > text.matches(marks.end).count() {
                text.push(marks.end);
            }
        }
        marks.take_out(&text).map_err(failed)
    }

    /// Returns the ids of a chat, without a mask, whoever speaks in it.
    pub fn chat_ids(&self, chat: &Chat, ending: Ending) -> Result<Vec<u32>, DataError> {
        let Rendered { text, literal, .. } = self.render_chat(chat, ending)?;
        self.encode_rendered(&text, &literal, &[]).map(|covered| covered.ids)
    }

    /// Returns the tokens of a chat. A token that reaches beyond what the assistant said doesn't count as said. A chat
    /// in which the assistant says nothing is an error, since training on it would do nothing and hide a mistake.
    pub fn encode_chat(&self, chat: &Chat) -> Result<ChatTokens, DataError> {
        let Rendered { text, said, literal } = self.render_chat(chat, Ending::Whole)?;
        let edges: Vec<usize> = said.iter().flat_map(|span| [span.start, span.end]).collect();
        let Covered { ids, ranges } = self.encode_rendered(&text, &literal, &edges)?;
        let assistant = mask(&ranges, &said);
        if assistant.contains(&true) {
            return Ok(ChatTokens { ids, assistant });
        }
        let reason = if chat.messages.iter().any(|message| message.role == "assistant") {
            "its template neither marks what the assistant says with `{% generation %}` nor is it ChatML, Gemma's or Llama 3's"
        } else {
            "no message has the role `assistant`"
        };
        Err(DataError::NothingTrained { start: start_of(chat), reason })
    }
}

/// Puts the mark before every name of a control token.
struct Marking<'a> {
    control: &'a ControlTokens,
    mark: char,
}

impl Marking<'_> {
    fn chat(&self, chat: &mut Chat) {
        for message in &mut chat.messages {
            self.message(message);
        }
        for list in [&mut chat.tools, &mut chat.documents].into_iter().flatten() {
            for value in list {
                self.value(value);
            }
        }
        chat.variables.values_mut().for_each(|value| self.value(value));
    }

    fn message(&self, message: &mut Message) {
        self.text(&mut message.role);
        match &mut message.content {
            Content::Text(text) => self.text(text),
            Content::Parts(parts) => parts.iter_mut().for_each(|part| self.value(part)),
            Content::Absent => {}
        }
        message.more.values_mut().for_each(|value| self.value(value));
    }

    fn text(&self, text: &mut String) {
        if let std::borrow::Cow::Owned(marked) = self.control.mark(text, self.mark) {
            *text = marked;
        }
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                let named = |name: &String| matches!(self.control.mark(name, self.mark), std::borrow::Cow::Owned(_));
                if fields.keys().any(named) {
                    let renamed = std::mem::take(fields);
                    fields.extend(
                        renamed
                            .into_iter()
                            .map(|(name, value)| (self.control.mark(&name, self.mark).into_owned(), value)),
                    );
                }
                fields.values_mut().for_each(|value| self.value(value));
            }
            _ => {}
        }
    }
}

/// Puts a mark and a space behind the words of the last message, as transformers does, and returns the words. The space
/// tells whether the template trims.
fn leave_open(chat: &mut Chat, mark: char) -> Result<Option<String>, &'static str> {
    let last = chat.messages.last_mut().ok_or("there is no message to continue")?;
    let words = match &mut last.content {
        Content::Text(text) => text,
        Content::Parts(parts) => {
            let text = parts.iter_mut().rev().find_map(|part| match part.get_mut("text") {
                Some(Value::String(text)) => Some(text),
                _ => None,
            });
            text.ok_or("the last message has no words to continue")?
        }
        Content::Absent => return Err("the last message has no words to continue"),
    };
    let before = words.clone();
    words.extend([mark, ' ']);
    Ok(Some(before))
}

/// Cuts the text at the mark.
fn cut_open(text: &mut String, words: &str, mark: char) -> Result<(), &'static str> {
    let gone = "its template does not print the last message as it is, so it cannot be continued";
    let at = text.rfind(mark).ok_or(gone)?;
    if !text.contains(words.trim()) {
        return Err(gone);
    }
    let keeps_space = text[at + mark.len_utf8()..].starts_with(' ');
    text.truncate(at);
    if !keeps_space {
        text.truncate(text.trim_end().len());
    }
    Ok(())
}

/// Returns for every token whether it lies inside one of the spans. Both are in order.
fn mask(tokens: &[Range<usize>], spans: &[Range<usize>]) -> Vec<bool> {
    let mut spans = spans.iter().peekable();
    let inside = |token: &Range<usize>| {
        while spans.next_if(|span| span.end <= token.start).is_some() {}
        !token.is_empty() && spans.peek().is_some_and(|span| span.start <= token.start && token.end <= span.end)
    };
    tokens.iter().map(inside).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_only_if_it_lies_inside_a_span() {
        let tokens = [0..2, 2..3, 3..5, 5..5, 5..6, 6..9, 9..10];
        assert_eq!(mask(&tokens, &[2..5, 7..10]), [false, true, true, false, false, false, true]);
        assert_eq!(mask(&tokens, &[]), [false; 7]);
    }
}
