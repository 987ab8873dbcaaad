//! Control tokens: which stretches of a text are one, and which only spell its name.
//!
//! A row of a data set is foreign text. If `<|im_end|>` inside it became the token that ends a turn, whoever wrote the row
//! could end turns, speak as the assistant and be trained on. So the names of special tokens in prose and in messages are
//! text like any other, and only what a chat template writes itself is a control token.
//!
//! A template may do anything with a message, so what it wrote and what it passed on cannot be told apart afterwards.
//! Therefore each name in a message gets a mark in front *before* the template runs, and the marks are taken out of what
//! it wrote. A template that cuts a message apart at such a name may leave the mark alone in front of something else; then
//! that is text too: a control token is lost in a rare case, and none is ever made up.
//!
//! The text between control tokens is tokenized piece by piece, as `tokenizers` does it. One difference is left: a
//! tokenizer that treats the beginning of its input in a special way (`Metaspace` with `prepend_scheme: first`) takes
//! every piece for a beginning. Byte-level tokenizers don't.

use std::borrow::Cow;
use std::ops::Range;

/// The special tokens of a tokenizer.
pub(super) struct ControlTokens {
    /// By length, longest first, so that the first one that fits is the longest.
    tokens: Vec<Control>,
    /// For every byte whether a name begins with it.
    begins: [bool; 256],
}

struct Control {
    name: String,
    id: u32,
    /// Whether the white space before or behind it belongs to it.
    takes_before: bool,
    takes_behind: bool,
}

/// A stretch of text, and the control token that it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    pub(super) id: Option<u32>,
}

impl ControlTokens {
    /// Returns the special ones of the added tokens.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Self {
        Self::among(tokenizer, true)
    }

    /// Returns the added tokens that are not special: anyone may write them.
    pub(super) fn plain_of(tokenizer: &tokenizers::Tokenizer) -> Self {
        Self::among(tokenizer, false)
    }

    fn among(tokenizer: &tokenizers::Tokenizer, special: bool) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        let wanted = added.iter().filter(|(_, token)| token.special == special && !token.content.is_empty());
        let tokens = wanted
            .map(|(id, token)| Control {
                name: token.content.clone(),
                id: *id,
                takes_before: token.lstrip,
                takes_behind: token.rstrip,
            })
            .collect();
        Self::new(tokens)
    }

    fn new(mut tokens: Vec<Control>) -> Self {
        tokens.sort_by(|a, b| b.name.len().cmp(&a.name.len()).then_with(|| a.id.cmp(&b.id)));
        let mut begins = [false; 256];
        for token in &tokens {
            begins[usize::from(token.name.as_bytes()[0])] = true;
        }
        Self { tokens, begins }
    }

    /// Says whether an id is a special token's.
    pub(super) fn holds(&self, id: u32) -> bool {
        self.tokens.iter().any(|token| token.id == id)
    }

    /// Says whether the name of one stands anywhere in a text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        (0..text.len()).any(|at| self.at(text, at).is_some())
    }

    /// Returns the longest token whose name stands at a byte of a text.
    fn at(&self, text: &str, at: usize) -> Option<&Control> {
        if !self.begins[usize::from(text.as_bytes()[at])] {
            return None;
        }
        self.tokens.iter().find(|token| text.as_bytes()[at..].starts_with(token.name.as_bytes()))
    }

    /// Puts a mark in front of every name of a token, those that overlap included.
    pub(super) fn mark<'a>(&self, text: &'a str, mark: char) -> Cow<'a, str> {
        let mut marked = String::new();
        let mut copied = 0;
        for at in (0..text.len()).filter(|at| self.at(text, *at).is_some()) {
            marked.push_str(&text[copied..at]);
            marked.push(mark);
            copied = at;
        }
        if marked.is_empty() {
            return text.into();
        }
        marked.push_str(&text[copied..]);
        marked.into()
    }

    /// Cuts a text into control tokens and what lies between them. No control token begins at a byte in `literal`,
    /// which is in order.
    pub(super) fn split(&self, text: &str, literal: &[usize]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let found = self.at(text, at).filter(|_| literal.binary_search(&at).is_err());
            let Some(token) = found else {
                at += 1;
                continue;
            };
            let (mut from, mut to) = (at, at + token.name.len());
            if token.takes_before {
                from = start + text[start..at].trim_end().len();
            }
            if token.takes_behind {
                to = text.len() - text[to..].trim_start().len();
            }
            if start < from {
                pieces.push(Piece { range: start..from, id: None });
            }
            pieces.push(Piece { range: from..to, id: Some(token.id) });
            (start, at) = (to, to);
        }
        if start < text.len() {
            pieces.push(Piece { range: start..text.len(), id: None });
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(names: &[(&str, bool)]) -> ControlTokens {
        let control = |(id, (name, takes)): (usize, &(&str, bool))| Control {
            name: (*name).into(),
            id: id as u32,
            takes_before: *takes,
            takes_behind: *takes,
        };
        ControlTokens::new(names.iter().enumerate().map(control).collect())
    }

    fn shown(tokens: &ControlTokens, text: &str, literal: &[usize]) -> Vec<String> {
        let show = |piece: &Piece| {
            piece.id.map_or_else(
                || text[piece.range.clone()].to_owned(),
                |id| format!("{id}:{}", &text[piece.range.clone()]),
            )
        };
        tokens.split(text, literal).iter().map(show).collect()
    }

    #[test]
    fn the_longest_name_is_a_token_unless_it_is_literal() {
        let tokens = tokens(&[("<a>", false), ("<a><b>", false)]);
        assert_eq!(shown(&tokens, "é<a>x<a><b>", &[]), ["é", "0:<a>", "x", "1:<a><b>"]);
        assert_eq!(shown(&tokens, "é<a>x<a><b>", &[6]), ["é", "0:<a>", "x<a><b>"]);
        assert_eq!(shown(&tokens, "", &[]), [""; 0]);
    }

    #[test]
    fn white_space_goes_to_the_token_that_takes_it() {
        let tokens = tokens(&[("<a>", true), ("<b>", false)]);
        assert_eq!(shown(&tokens, "x  <a> <a>\n y <b> z", &[]), ["x", "0:  <a> ", "0:<a>\n ", "y ", "1:<b>", " z"]);
    }

    #[test]
    fn every_name_is_marked_and_other_text_stays() {
        let tokens = tokens(&[("<a>", false), ("><", false)]);
        assert_eq!(tokens.mark("é<a><a> <a", '*'), "é*<a*>*<a> <a");
        assert!(matches!(tokens.mark("plain < text", '*'), Cow::Borrowed(_)));
    }
}
