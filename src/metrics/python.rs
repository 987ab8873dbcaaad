//! Text as Python's `str` and `re` see it, because the reference judges with them: `isupper`, `islower`, `strip`, `\w`
//! and `\s` each differ a little from Rust's.

use std::sync::LazyLock;

use regex::Regex;
use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// `\s` of `re`, as the inside of a class.
pub(in crate::metrics) const SPACE: &str = r"\s\x1c-\x1f";

/// `\w` of `re`, as the inside of a class: Rust's also takes combining marks and joiners.
pub(in crate::metrics) const WORD: &str = r"\p{L}\p{N}_";

/// `str.isspace` of one character.
pub(in crate::metrics) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

const LETTERS_AND_NUMBERS: [Category; 8] = [
    Category::LowercaseLetter,
    Category::OtherLetter,
    Category::UppercaseLetter,
    Category::TitlecaseLetter,
    Category::ModifierLetter,
    Category::DecimalNumber,
    Category::LetterNumber,
    Category::OtherNumber,
];

/// `\w` of one character.
pub(in crate::metrics) fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    let category = get_general_category(c);
    LETTERS_AND_NUMBERS.contains(&category)
}

/// `\d` of one character.
pub(in crate::metrics) fn is_digit(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { get_general_category(c) == Category::DecimalNumber }
}

fn is_title(c: char) -> bool {
    !c.is_ascii() && get_general_category(c) == Category::TitlecaseLetter
}

/// `str.strip()`.
pub(in crate::metrics) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.isupper()`: a letter with case, and none in lower or title case.
pub(in crate::metrics) fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(|c| c.is_lowercase() || is_title(c))
}

/// `str.islower()`: a letter with case, and none in upper or title case.
pub(in crate::metrics) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(|c| c.is_uppercase() || is_title(c))
}

/// The matches of `\w+`.
pub(in crate::metrics) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// Whether a place in a text is a `\b`.
pub(in crate::metrics) fn is_boundary(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back().is_some_and(is_word);
    before != text[at..].chars().next().is_some_and(is_word)
}

/// A pattern of our own, written for Python: `\s` and `\w` outside classes mean Python's.
pub(in crate::metrics) fn pattern(source: &str) -> Result<Regex, regex::Error> {
    Regex::new(&translated(source))
}

/// Puts Python's classes in the place of `\s`, `\S`, `\w` and `\W`.
pub(in crate::metrics) fn translated(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let (mut chars, mut class) = (source.chars(), false);
    while let Some(c) = chars.next() {
        match (c, class) {
            ('[', _) => class = true,
            (']', _) => class = false,
            ('\\', _) => {
                match (chars.next(), class) {
                    (Some('s'), true) => out.push_str(SPACE),
                    (Some('w'), true) => out.push_str(WORD),
                    (Some('s'), false) => out.extend(["[", SPACE, "]"]),
                    (Some('S'), false) => out.extend(["[^", SPACE, "]"]),
                    (Some('w'), false) => out.extend(["[", WORD, "]"]),
                    (Some('W'), false) => out.extend(["[^", WORD, "]"]),
                    (Some(next), _) => out.extend(['\\', next]),
                    (None, _) => out.push('\\'),
                }
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

/// A pattern that is right at compile time.
pub(in crate::metrics) fn fixed(source: &'static str) -> Regex {
    pattern(source).expect("a literal pattern is valid")
}

/// A literal pattern, compiled at its first use.
pub(in crate::metrics) type Lazy = LazyLock<Regex>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_is_pythons() {
        assert!(is_upper("ÉTÉ 42!"));
        assert!(!is_upper("42!"));
        assert!(!is_upper("ǅ"));
        assert!(!is_upper("AǅB"));
        assert!(!is_upper("Aª"), "ª is lower case for Python");
        assert!(is_lower("l'été ²"));
        assert!(!is_lower("L'été"));
    }

    #[test]
    fn words_are_pythons() {
        assert_eq!(words("l'été x² क्या _a").collect::<Vec<_>>(), ["l", "été", "x²", "क", "य", "_a"]);
        assert_eq!(strip("\x1c a\u{a0}\x1f"), "a");
        assert_eq!(pattern(r"[\s]\w\S").unwrap().as_str(), r"[\s\x1c-\x1f][\p{L}\p{N}_][^\s\x1c-\x1f]");
    }
}
