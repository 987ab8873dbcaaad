//! White space and lines as Python's `str` knows them, for what must decide as a Python program did.
//!
//! Rust's `is_whitespace` lacks the four separators of ASCII, and its `lines` knows one kind of line break of eleven.

/// `str.isspace` of one character.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.split()`.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// `str.splitlines()`.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = |c: char| matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let Some(at) = rest.find(end) else { return Some(std::mem::take(&mut rest)) };
        let line = &rest[..at];
        let after = &rest[at..];
        let skip = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        rest = &after[skip..];
        Some(line)
    })
}

/// `len(str)`.
pub fn len(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_python_ends_them() {
        let of = |text| lines(text).collect::<Vec<_>>();
        assert_eq!(of("a\r\nb\rc\n\nd\u{2028}e\x0bf\x1cg\u{85}"), ["a", "b", "c", "", "d", "e", "f", "g"]);
        assert_eq!(of("a\n"), ["a"]);
        assert_eq!(of("\n"), [""]);
        assert!(of("").is_empty());
        assert_eq!(split("\x1c a\u{a0}b\x1f").collect::<Vec<_>>(), ["a", "b"]);
    }
}
