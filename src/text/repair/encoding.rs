//! Mojibake undone: text that was UTF-8 and was read as something else, perhaps more than once, perhaps with bytes lost.
//!
//! The text is written in each likely encoding and read as UTF-8 again; the first that works is it. What cannot be undone as a
//! whole is undone piece by piece.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::badness::is_bad;
use super::codecs::{self, latin_1, windows_1252};
use super::tables::{CONTINUATION, CONTINUATION_STRICT, FIRST_OF_2, FIRST_OF_3, FIRST_OF_4};

/// UTF-8 in which a no-break space became a space, where the character is one that is likely.
static ALTERED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    bytes(
        r"[\xc2\xc3\xc5\xce\xd0\xd9][ ]|[\xe2\xe3][ ][\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf][ ]|[\xf0][ ][\x80-\xbf][\x80-\xbf]|[\xf0][\x80-\xbf][ ][\x80-\xbf]|[\xf0][\x80-\xbf][\x80-\xbf][ ]",
    )
});

/// UTF-8 in which a byte was lost: 1A stands for U+FFFD, and one question mark may.
static LOSSY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    bytes(
        r"[\xc2-\xdf][\x1a]|[\xc2-\xc3][?]|\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]|\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]|[\xe0-\xef][\x1a?][\x1a\x80-\xbf]|[\xe0-\xef][\x1a\x80-\xbf][\x1a?]|[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]|\x1a",
    )
});

fn bytes(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("(?-u){pattern}")).ok()
}

/// The text with its mojibake undone.
pub fn fix_encoding(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(fixed) = step(&text).filter(|fixed| *fixed != text) {
        text = fixed;
    }
    text
}

/// One decoding undone.
fn step(text: &str) -> Option<String> {
    if !is_bad(text) {
        return None;
    }
    let latin = latin_1(text);
    if let Some(fixed) = latin.clone().and_then(|bytes| read(bytes, true, false)) {
        return Some(fixed);
    }
    for codec in codecs::ALL.iter() {
        let bytes = codec.encode(text);
        // In Mac OS Roman the byte would be a dash before a space.
        if let Some(fixed) = bytes.and_then(|bytes| read(bytes, codec.name != "macroman", codec.sloppy)) {
            return Some(fixed);
        }
    }
    if let Some(fixed) = in_pieces(text) {
        return Some(fixed);
    }
    if latin.is_some() && !text.contains(['\u{81}', '\u{8d}', '\u{8f}', '\u{90}', '\u{9d}']) {
        let fixed: String = text.chars().map(windows_1252).collect();
        if fixed != text {
            return Some(fixed);
        }
    }
    fix_c1(text)
}

/// Controls of Latin-1 as what Windows-1252 has in their places.
pub(super) fn fix_c1(text: &str) -> Option<String> {
    let c1 = |c: char| ('\u{80}'..='\u{9f}').contains(&c);
    (!text.is_ascii() && text.contains(c1)).then(|| text.chars().map(windows_1252).collect())
}

/// Reads bytes as UTF-8, small damage mended first.
fn read(mut bytes: Vec<u8>, spaces: bool, lossy: bool) -> Option<String> {
    if spaces && ALTERED.as_ref().is_some_and(|altered| altered.is_match(&bytes)) {
        bytes = restore_spaces(&bytes);
    }
    if lossy && let Some(sequence) = LOSSY.as_ref() {
        bytes = sequence.replace_all(&bytes, "\u{fffd}".as_bytes()).into_owned();
    }
    if bytes.contains(&0xed) || bytes.contains(&0xc0) {
        bytes = without_variants(&bytes);
    }
    String::from_utf8(bytes).ok()
}

/// Spaces that were no-break spaces, put back. A lone `Ã` is the word `à`, whose own space was lost with it.
fn restore_spaces(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    let mut at = 0;
    while at < bytes.len() {
        if let Some(after) = bytes[at..].strip_prefix(b"\xc3 ") {
            let word_goes_on =
                [&b" "[..], b"quele", b"quela", b"quilo", b"s "].iter().any(|end| after.starts_with(end));
            if !word_goes_on {
                out.extend_from_slice(b"\xc3\xa0 ");
                at += 2;
                continue;
            }
        }
        out.push(bytes[at]);
        at += 1;
    }
    let Some(altered) = ALTERED.as_ref() else { return out };
    let put_back = |found: &regex::bytes::Captures| {
        found[0].iter().map(|byte| if *byte == b' ' { 0xa0 } else { *byte }).collect::<Vec<u8>>()
    };
    altered.replace_all(&out, put_back).into_owned()
}

/// The two odd forms of UTF-8 made regular: surrogates written one by one, and a zero in two bytes.
fn without_variants(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at..] {
            [0xc0, 0x80, ..] => {
                out.push(0);
                at += 2;
            }
            [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ 0x80..=0xbf, ..] => {
                let bits = |byte: u8, mask: u8, shift: u32| u32::from(byte & mask) << shift;
                let code = 0x10000 + bits(a, 0x0f, 16) + bits(b, 0x3f, 10) + bits(c, 0x0f, 6) + bits(d, 0x3f, 0);
                let mut buffer = [0; 4];
                out.extend_from_slice(char::from_u32(code).unwrap_or('\u{fffd}').encode_utf8(&mut buffer).as_bytes());
                at += 6;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

fn within(table: &[(u32, u32)], c: char) -> bool {
    let after = table.partition_point(|(first, _)| *first <= c as u32);
    after > 0 && c as u32 <= table[after - 1].1
}

/// Length of one sequence that looks like UTF-8 read wrongly, at the start of `text`.
fn sequence(text: &str) -> usize {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    for (table, more) in [(FIRST_OF_2, 1), (FIRST_OF_3, 2), (FIRST_OF_4, 3)] {
        if within(table, first) {
            let mut length = first.len_utf8();
            let fits =
                chars.clone().take(more).filter(|c| within(CONTINUATION, *c)).map(|c| length += c.len_utf8()).count();
            if fits == more {
                return length;
            }
        }
    }
    0
}

/// Sequences of mojibake inside other text, each undone for itself.
fn in_pieces(text: &str) -> Option<String> {
    let mut out = String::new();
    let (mut at, mut copied, mut before) = (0, 0, None);
    while let Some(c) = text[at..].chars().next() {
        let mut end = at;
        if !before.is_some_and(|before| within(CONTINUATION_STRICT, before)) {
            loop {
                match sequence(&text[end..]) {
                    0 => break,
                    length => end += length,
                }
            }
        }
        if end == at {
            before = Some(c);
            at += c.len_utf8();
            continue;
        }
        let piece = &text[at..end];
        if piece.len() < text.len() && is_bad(piece) {
            out.push_str(&text[copied..at]);
            out.push_str(&fix_encoding(piece));
            copied = end;
        }
        before = piece.chars().next_back();
        at = end;
    }
    out.push_str(&text[copied..]);
    (copied > 0 && out != text).then_some(out)
}
