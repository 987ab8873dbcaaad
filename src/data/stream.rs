//! Tokens as text while they come.
//!
//! A token may end inside a character, and what a token means may depend on its neighbours: SentencePiece drops the space
//! before the first word, and bytes that spell no character become one replacement sign each, up to the last byte of the
//! run. So a token's text is what the decoded text grows by, and text is held back as long as tokens to come may still
//! change it: a broken character at the end, or a run of byte tokens. What comes out in pieces is what
//! [`Tokenizer::decode_visible`] gives for all tokens at once.

use super::{DataError, Tokenizer};

/// What stands for bytes that are no character.
const BROKEN: char = '\u{FFFD}';

/// Turns tokens into text, one after the other.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The last tokens: those whose text is out, as context, and those whose text is held back.
    window: Vec<u32>,
    /// How many of the window's tokens are context.
    context: usize,
}

impl<'a> TextStream<'a> {
    /// Returns an empty stream.
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer, window: Vec::new(), context: 0 }
    }

    /// Adds a token and returns the text that is certain now, which may be none.
    pub fn push(&mut self, id: u32) -> Result<String, DataError> {
        if self.tokenizer.is_special(id) {
            // It has no text, and what stands at its sides is decoded as if it were not there.
            return Ok(String::new());
        }
        self.window.push(id);
        if self.tokenizer.is_byte(id) {
            return Ok(String::new());
        }
        self.take(false)
    }

    /// Ends the stream and returns what was held back.
    pub fn finish(mut self) -> Result<String, DataError> {
        self.take(true)
    }

    fn take(&mut self, all: bool) -> Result<String, DataError> {
        let before = self.tokenizer.decode_visible(&self.window[..self.context])?;
        let text = self.tokenizer.decode_visible(&self.window)?;
        let Some(new) = text.strip_prefix(&before) else {
            return if all { Ok(text.chars().skip(before.chars().count()).collect()) } else { Ok(String::new()) };
        };
        if new.is_empty() || (new.ends_with(BROKEN) && !all) {
            return Ok(String::new());
        }
        let new = new.to_owned();
        // What was new is the context of what comes.
        self.window.drain(..self.context);
        self.context = self.window.len();
        Ok(new)
    }
}
