//! HTML's entities as characters: `&eacute;`, `&#233;`, `&#xE9;`, and, as ftfy does, `&EACUTE;`.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::codecs::windows_1252;

/// Names, each with the code points it stands for: HTML 5's with a semicolon, and capitals of those that are all small.
static NAMES: LazyLock<FxHashMap<&'static str, String>> = LazyLock::new(|| {
    let code = |hex| u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
    let line = |line: &'static str| {
        line.split_once('\t').map(|(name, codes)| (name, codes.split(' ').filter_map(code).collect()))
    };
    include_str!("entities.tsv").lines().filter_map(line).collect()
});

/// No name is longer, nor any number.
const LONGEST: usize = 24;

/// The text with its entities replaced, if it has any.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    for at in memchr::memchr_iter(b'&', text.as_bytes()) {
        if at < copied {
            continue;
        }
        let rest = &text[at + 1..];
        let name = rest.strip_prefix('#').unwrap_or(rest);
        let length = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
        if length == 0 || length > LONGEST || name.as_bytes().get(length) != Some(&b';') {
            continue;
        }
        let name = &name[..length];
        let character = if rest.starts_with('#') { numbered(name) } else { NAMES.get(name).cloned() };
        if let Some(character) = character {
            out.push_str(&text[copied..at]);
            out.push_str(&character);
            copied = at + 1 + usize::from(rest.starts_with('#')) + length + 1;
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

/// A character by its number, as browsers take it: numbers that mean nothing give nothing.
fn numbered(digits: &str) -> Option<String> {
    let (digits, radix) = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => (hex, 16),
        None => (digits, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let code = u32::from_str_radix(digits, radix).unwrap_or(u32::MAX);
    let Some(c) = char::from_u32(code).filter(|_| code != 0) else { return Some("\u{fffd}".to_owned()) };
    match code {
        // A semicolon would stay behind in what Python makes of it, which ftfy takes for a failure.
        0x3b => None,
        0x0d => Some("\r".to_owned()),
        0x80..=0x9f => Some(windows_1252(c).to_string()),
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => Some(String::new()),
        _ if code & 0xfffe == 0xfffe => Some(String::new()),
        _ => Some(c.to_string()),
    }
}
