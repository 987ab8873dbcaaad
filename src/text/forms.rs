//! Unicode's normal forms, and the form in which texts are compared.
//!
//! Nearly all text is in its form already, and to find that out takes a hundredth of the time of bringing it there: below
//! U+0300 nothing combines, so only what lies beyond is looked up (UAX #15, "Detecting Normalization Forms").

use std::borrow::Cow;
use std::sync::LazyLock;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick, is_nfkc_quick};

/// The first code point that NFC may touch.
const COMBINING: char = '\u{300}';
/// The first byte of characters from [`COMBINING`] on; those before it have less.
const COMBINING_BYTE: u8 = 0xcc;

/// The small letter of each character below [`COMBINING`]; nothing where that is several.
static SMALL: LazyLock<[Option<char>; COMBINING as usize]> =
    LazyLock::new(|| std::array::from_fn(|code| char::from_u32(code as u32).and_then(one_small)));

fn one_small(c: char) -> Option<char> {
    let mut small = c.to_lowercase();
    small.next().filter(|_| small.len() == 0)
}

/// Returns the text in NFC.
pub fn nfc(text: &str) -> Cow<'_, str> {
    let formed = text.bytes().all(|byte| byte < COMBINING_BYTE)
        || is_nfc_quick(text.chars().filter(|c| *c >= COMBINING)) == IsNormalized::Yes;
    if formed { text.into() } else { text.nfc().collect::<String>().into() }
}

/// Returns the text in NFKC.
pub fn nfkc(text: &str) -> Cow<'_, str> {
    let formed = text.is_ascii() || is_nfkc_quick(text.chars().filter(|c| !c.is_ascii())) == IsNormalized::Yes;
    if formed { text.into() } else { text.nfkc().collect::<String>().into() }
}

/// Returns the text in lower case, in NFC and with single spaces: texts that differ in nothing else are the same then.
pub fn light(text: &str) -> String {
    let light = single_spaced(&lower(text));
    match nfc(&light) {
        Cow::Borrowed(_) => light,
        Cow::Owned(formed) => formed,
    }
}

/// Returns the text in lower case, as [`str::to_lowercase`] does. A letter mostly takes the place of its capital.
pub fn lower(text: &str) -> String {
    let table = &*SMALL;
    let mut lower = text.to_ascii_lowercase();
    let mut at = 0;
    while let Some(skipped) = text.as_bytes()[at..].iter().position(|byte| !byte.is_ascii()) {
        at += skipped;
        let c = text[at..].chars().next().unwrap_or_default();
        let small = table.get(c as usize).copied().unwrap_or_else(|| one_small(c));
        match small {
            Some(small) if small == c => {}
            // The small form of a capital sigma depends on what stands around it.
            Some(small) if small.len_utf8() == c.len_utf8() && c != 'Σ' => {
                lower.replace_range(at..at + c.len_utf8(), small.encode_utf8(&mut [0; 4]));
            }
            _ => return text.to_lowercase(),
        }
        at += c.len_utf8();
    }
    lower
}

/// Returns the words of a text between single spaces. What has them already is copied in one piece.
fn single_spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    // Where the piece begins, and whether white space stands before the byte.
    let (mut from, mut after) = (0, true);
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        let before = std::mem::replace(&mut after, byte == b' ' || at < from);
        // Other white space in ASCII, and the bytes that white space beyond it begins with.
        let other = matches!(byte, b'\t'..=b'\r' | 0xc2 | 0xe1..=0xe3);
        if !(other || before && after) || at < from {
            continue;
        }
        let c = text[at..].chars().next().unwrap_or_default();
        if !c.is_whitespace() {
            continue;
        }
        spaced.push_str(&text[from..at]);
        if !before {
            spaced.push(' ');
        }
        from = at + c.len_utf8();
        after = true;
    }
    spaced.push_str(&text[from..]);
    spaced.truncate(spaced.trim_end_matches(' ').len());
    spaced
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn forms_are_those_of_unicode(
            text in "(?s)([ \t\r\n\u{A0}a-eA-EéÉ’œŒ\u{301}\u{327}\u{130}ΣσΑｱﾞﬁ½\u{B4}\u{2003}\u{2028}\u{AC00}\u{1100}\u{1161}\u{0344}]|.){0,40}",
        ) {
            prop_assert_eq!(nfc(&text), text.nfc().collect::<String>());
            prop_assert_eq!(nfkc(&text), text.nfkc().collect::<String>());
            prop_assert_eq!(lower(&text), text.to_lowercase());
            let lower = text.to_lowercase();
            let words: Vec<&str> = lower.split_whitespace().collect();
            prop_assert_eq!(light(&text), words.join(" ").nfc().collect::<String>());
        }
    }

    #[test]
    fn text_in_its_form_is_not_copied() {
        for text in ["", "a b", "L'été", "« Œuvre » — n’est-ce pas…", "日本語"] {
            assert!(matches!(nfc(text), Cow::Borrowed(_)), "{text}");
        }
        assert!(matches!(nfkc("n’est-ce pas"), Cow::Borrowed(_)));
    }
}
