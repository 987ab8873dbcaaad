//! What a model of the pipeline answered, in the words that a server's answers are kept in.

use crate::endpoint::Reply;
use crate::generate::{Answer, Stopped};

/// Returns an answer as a reply; nothing if it was broken off.
pub(super) fn reply_of(answer: &Answer) -> Option<Reply> {
    let finish_reason = match answer.stopped {
        Stopped::Token(_) | Stopped::Text(_) => "stop",
        Stopped::Length | Stopped::Context => "length",
        Stopped::Cancelled => return None,
    };
    Some(Reply {
        text: answer.text.clone(),
        finish_reason: finish_reason.into(),
        prompt_tokens: answer.prompt_tokens as u64,
        completion_tokens: answer.tokens.len() as u64,
    })
}
