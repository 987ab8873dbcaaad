//! Punkt's tokens: words with the period that may end them, and marks.

use super::super::super::python::{is_digit, is_space, is_word};

/// A word, as Punkt judges it.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// In lower case, numbers all alike.
    pub(super) kind: String,
    pub(super) ends: bool,
    pub(super) abbreviation: bool,
    pub(super) ellipsis: bool,
}

pub(super) const NUMBER: &str = "##number##";

impl<'a> Token<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let kind = if is_number(text) { NUMBER.to_owned() } else { text.to_lowercase() };
        Self { text, kind, ends: false, abbreviation: false, ellipsis: false }
    }

    pub(super) fn kind_without_period(&self) -> &str {
        match self.kind.strip_suffix('.') {
            Some(word) if !word.is_empty() => word,
            _ => &self.kind,
        }
    }

    pub(super) fn kind_without_end(&self) -> &str {
        if self.ends { self.kind_without_period() } else { &self.kind }
    }

    pub(super) fn starts_upper(&self) -> bool {
        self.text.chars().next().is_some_and(char::is_uppercase)
    }

    pub(super) fn starts_lower(&self) -> bool {
        self.text.chars().next().is_some_and(char::is_lowercase)
    }

    /// A letter and a period.
    pub(super) fn is_initial(&self) -> bool {
        let mut chars = self.text.chars();
        let letter = chars.next().is_some_and(|c| is_word(c) && !is_digit(c));
        letter && chars.as_str() == "."
    }

    pub(super) fn is_ellipsis(&self) -> bool {
        self.text.len() > 1 && self.text.bytes().all(|byte| byte == b'.')
    }
}

/// `^-?[\.,]?\d[\d,\.-]*\.?$`
fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let text = text.strip_prefix(['.', ',']).unwrap_or(text);
    text.starts_with(is_digit) && text.chars().all(|c| is_digit(c) || matches!(c, ',' | '.' | '-'))
}

/// A character that ends a word before it.
pub(super) fn is_mark(c: char) -> bool {
    matches!(c, ')' | '"' | ';' | '}' | ']' | '*' | ':' | '@' | '\'' | '(' | '{' | '[' | '?' | '!')
}

/// Splits a line into tokens.
pub(super) fn tokens(line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = line[at..].chars().next() {
        if is_space(first) {
            at += first.len_utf8();
            continue;
        }
        let many = many(&line[at..]);
        let length = if many > 0 {
            many
        } else if matches!(
            first,
            '(' | '"' | '`' | '{' | '[' | ':' | ';' | '&' | '#' | '*' | '@' | ')' | '}' | ']' | '-' | ','
        ) {
            first.len_utf8()
        } else {
            word(&line[at..])
        };
        tokens.push(Token::new(&line[at..at + length]));
        at += length;
    }
    tokens
}

/// The bytes up to where a word ends.
fn word(text: &str) -> usize {
    let ends = |rest: &str| rest.chars().next().is_none_or(|c| is_space(c) || is_mark(c)) || many(rest) > 0;
    let mut chars = text.char_indices();
    chars.next();
    for (at, c) in chars {
        let rest = &text[at..];
        if ends(rest) || c == ',' && ends(&rest[1..]) {
            return at;
        }
    }
    text.len()
}

/// The bytes of a mark of several characters: `-{2,}`, `\.{2,}` or `(?:\.\s){2,}\.`.
fn many(text: &str) -> usize {
    let same = |sign: u8| text.bytes().take_while(|byte| *byte == sign).count();
    match text.as_bytes().first() {
        Some(b'-') => Some(same(b'-')).filter(|count| *count > 1).unwrap_or(0),
        Some(b'.') => Some(same(b'.')).filter(|count| *count > 1).unwrap_or_else(|| spaced_dots(text)),
        _ => 0,
    }
}

fn spaced_dots(text: &str) -> usize {
    let (mut at, mut dots, mut end) = (0, 0, 0);
    while text[at..].starts_with('.') {
        at += 1;
        dots += 1;
        end = at;
        match text[at..].chars().next() {
            Some(c) if is_space(c) => at += c.len_utf8(),
            _ => break,
        }
    }
    if dots > 2 { end } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_punkts() {
        let of = |line| tokens(line).into_iter().map(|token| token.text).collect::<Vec<_>>();
        assert_eq!(of("M. Dupont, (né en 1900.)"), ["M.", "Dupont", ",", "(", "né", "en", "1900.", ")"]);
        assert_eq!(
            of("a,b c, -- d--e f... . . . g"),
            ["a,b", "c", ",", "--", "d", "--", "e", "f", "...", ". . .", "g"]
        );
        assert_eq!(of("'x' ?! -y"), ["'x", "'", "?", "!", "-", "y"]);
        assert_eq!(Token::new("-1,5.").kind, NUMBER);
        assert_eq!(Token::new("A.").kind_without_period(), "a");
    }
}
