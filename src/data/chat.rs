//! Chats as tokens, with a mask of what the assistant said.
//!
//! A chat is rendered whole and tokenized whole, once. Rendering turn by turn and gluing the tokens together is wrong
//! for templates whose text depends on the turns that follow (Qwen3 strips reasoning from all but the last answer) and
//! for tokens that reach over a seam. What a message says stays text, even where it spells a control token
//! ([`super::control`]).

use std::ops::Range;

use super::spans::{Marks, Rendered};
use super::{DataError, Message, Tokenizer, beginning};

/// The tokens of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTokens {
    /// The token ids.
    pub ids: Vec<u32>,
    /// For each id whether it is said by the assistant: the words of its answers and the token that ends its turn.
    pub assistant: Vec<bool>,
}

impl Tokenizer {
    /// Returns a chat as text, by the template of the tokenizer's folder.
    pub fn render_chat(&self, chat: &[Message], add_generation_prompt: bool) -> Result<String, DataError> {
        self.render(chat, add_generation_prompt).map(|rendered| rendered.text)
    }

    /// Returns the ids of a chat, without a mask, whoever speaks in it.
    pub fn chat_ids(&self, chat: &[Message]) -> Result<Vec<u32>, DataError> {
        let Rendered { text, literal, .. } = self.render(chat, false)?;
        self.encode_rendered(&text, &literal).map(|(ids, _)| ids)
    }

    /// Returns the tokens of a chat. A token that reaches beyond what the assistant said doesn't count as said. A chat
    /// in which the assistant says nothing is an error, since training on it would do nothing and hide a mistake.
    pub fn encode_chat(&self, chat: &[Message]) -> Result<ChatTokens, DataError> {
        let Rendered { text, said, literal } = self.render(chat, false)?;
        let (ids, covered) = self.encode_rendered(&text, &literal)?;
        let assistant = mask(&covered, &said);
        if assistant.contains(&true) {
            return Ok(ChatTokens { ids, assistant });
        }
        let reason = if chat.iter().any(|message| message.role == "assistant") {
            "its template neither marks what the assistant says with `{% generation %}` nor is it ChatML"
        } else {
            "no message has the role `assistant`"
        };
        Err(DataError::NothingTrained { start: start_of(chat), reason })
    }

    fn render(&self, chat: &[Message], prompt: bool) -> Result<Rendered, DataError> {
        let failed = |reason: &str| DataError::Template { start: start_of(chat), reason: reason.into() };
        let marks = Marks::absent_from(chat).map_err(failed)?;
        let mark = |text: &str| self.control().mark(text, marks.literal).into_owned();
        let marked: Vec<Message> =
            chat.iter().map(|turn| Message { role: mark(&turn.role), content: mark(&turn.content) }).collect();
        marks.take_out(&self.template()?.render(&marked, prompt, marks)?).map_err(failed)
    }
}

fn start_of(chat: &[Message]) -> String {
    beginning(chat.first().map_or("", |message| &message.content))
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
