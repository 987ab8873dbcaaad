//! Text with what differs between copies of one document taken off: case, digits, punctuation, runs of white space, accents.
//!
//! Exactly what datatrove 0.10.1 calls `simplify_text`, because its words are what MinHash and decontamination hash: one
//! character more or less and no signature is equal. The order of its five passes shows (white space is collapsed before
//! marks are dropped, so a lone mark between two spaces leaves both), yet all is done in one pass here: passes cost more
//! than hashing. What is a letter or a space below U+0250 goes byte by byte, by tables; the rest takes the long way.

use std::sync::LazyLock;

use unicode_general_category::{GeneralCategory, get_general_category};
use unicode_normalization::UnicodeNormalization as _;

/// What datatrove turns into spaces, control characters apart. Not in it, on purpose or not: `€ ° − × ² ≥ ‘`.
pub const PUNCTUATION: &str =
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»";

/// First code point that has no place in the table.
const TABLE_END: usize = 0x250;

/// In the table: the character becomes a space.
const SPACE: char = ' ';

/// In the table: the character is a digit.
const DIGIT: char = '0';

/// The simplified form of each character below [`TABLE_END`]: a space, a zero, or one letter without its marks.
static TABLE: LazyLock<[char; TABLE_END]> = LazyLock::new(|| {
    std::array::from_fn(|code| {
        let c = char::from_u32(code as u32).unwrap_or(SPACE);
        if is_decimal_digit(c) {
            return DIGIT;
        }
        if c.is_whitespace() || is_punctuation(c) {
            return SPACE;
        }
        let plain = c.to_lowercase().nfd().find(|c| !is_mark(*c));
        plain.unwrap_or(c)
    })
});

/// What becomes no single byte, or is a digit.
const OTHER: u8 = 0;

/// Bytes that are put down at once.
const BLOCK: usize = 128;

/// The part of the table that becomes one byte and is no digit; [`OTHER`] for the rest.
static BYTES: LazyLock<[u8; TABLE_END]> = LazyLock::new(|| {
    let byte = |c: char| u8::try_from(c).ok().filter(|byte| byte.is_ascii() && c != DIGIT);
    std::array::from_fn(|code| byte(TABLE[code]).unwrap_or(OTHER))
});

/// The same for bytes that are ASCII.
static ASCII: LazyLock<[u8; 256]> =
    LazyLock::new(|| std::array::from_fn(|code| if code < 128 { BYTES[code] } else { OTHER }));

/// Whether datatrove turns the character into a space.
pub fn is_punctuation(c: char) -> bool {
    matches!(c as u32, 0..=8 | 11..=31 | 127..=159) || PUNCTUATION.contains(c)
}

/// Whether a number may go on after the character: `3,14` is one number.
fn is_decimal_point(c: char) -> bool {
    matches!(c, '.' | ',' | '،' | '٫' | '⎖' | '⎗' | '⎘')
}

fn is_decimal_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric() && get_general_category(c) == GeneralCategory::DecimalNumber)
}

fn is_mark(c: char) -> bool {
    !c.is_ascii() && get_general_category(c) == GeneralCategory::NonspacingMark
}

/// The simplified text.
pub fn simplify(text: &str) -> String {
    let mut out = String::new();
    simplify_into(text, &mut out);
    out
}

/// Writes the simplified text over what `out` holds, so that a loop over documents allocates once.
pub fn simplify_into(text: &str, out: &mut String) {
    out.clear();
    out.reserve(text.len());
    if !write(text, out) {
        // A capital sigma's small form depends on whether its word ends there.
        out.clear();
        write(&text.to_lowercase(), out);
    }
    out.truncate(out.trim_end().len());
    let leading = out.len() - out.trim_start().len();
    out.drain(..leading);
}

/// Length of the number at the start of `text`, which starts with a digit.
fn number(text: &str) -> usize {
    let digits = |text: &str| text.find(|c| !is_decimal_digit(c)).unwrap_or(text.len());
    let whole = digits(text);
    let mut rest = text[whole..].chars();
    match rest.next() {
        Some(point) if is_decimal_point(point) => match digits(rest.as_str()) {
            0 => whole,
            decimals => whole + point.len_utf8() + decimals,
        },
        _ => whole,
    }
}

/// Returns false, its work to be thrown away, at a letter that cannot be lowered alone.
fn write(text: &str, out: &mut String) -> bool {
    let table = &*TABLE;
    let mut simple = std::mem::take(out).into_bytes();
    let (mut at, mut after_space, mut whole) = (0, true, true);
    while whole && at < text.len() {
        at += write_bytes(&text.as_bytes()[at..], &mut simple, &mut after_space);
        let Some(c) = text[at..].chars().next() else { break };
        match table.get(c as usize) {
            Some(&SPACE) => {
                if !after_space {
                    push(SPACE, &mut simple);
                }
                after_space = true;
                at += c.len_utf8();
            }
            Some(&DIGIT) => {
                push(DIGIT, &mut simple);
                after_space = false;
                at += number(&text[at..]);
            }
            Some(&letter) => {
                push(letter, &mut simple);
                after_space = false;
                at += c.len_utf8();
            }
            None => match write_rest(&text[at..], &mut simple, &mut after_space) {
                Some(length) => at += length,
                None => whole = false,
            },
        }
    }
    *out = String::from_utf8(simple).expect("it is made of whole characters");
    whole
}

/// Writes the run at the start of `bytes` of what becomes one byte and is no digit, and returns its length.
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>, after_space: &mut bool) -> usize {
    let (ascii, table) = (&*ASCII, &*BYTES);
    let (mut at, mut after) = (0, *after_space);
    loop {
        let mut block = [0; BLOCK];
        let mut length = 0;
        while length < BLOCK && at < bytes.len() {
            let mut letter = ascii[usize::from(bytes[at])];
            let mut width = 1;
            if letter == OTHER {
                (letter, width) = (of_two(&bytes[at..], table), 2);
                if letter == OTHER {
                    break;
                }
            }
            // Too many turns for the processor to guess: every space is put down, and the next byte covers one too many.
            let space = letter == b' ';
            block[length] = letter;
            length += usize::from(!(space & after));
            after = space;
            at += width;
        }
        out.extend_from_slice(&block[..length]);
        if length < BLOCK {
            *after_space = after;
            return at;
        }
    }
}

/// What the character of two bytes at the start of `bytes` becomes.
fn of_two(bytes: &[u8], table: &[u8; TABLE_END]) -> u8 {
    match *bytes {
        [first @ 0xc2..=0xdf, second, ..] => {
            let code = (usize::from(first) & 0x1f) << 6 | usize::from(second & 0x3f);
            table.get(code).copied().unwrap_or(OTHER)
        }
        _ => OTHER,
    }
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Writes the run of characters beyond the table at the start of `text`, and returns its length.
fn write_rest(text: &str, out: &mut Vec<u8>, after_space: &mut bool) -> Option<usize> {
    let mut at = 0;
    let mut letters = String::new();
    while let Some(c) = text[at..].chars().next().filter(|c| *c as usize >= TABLE_END) {
        if c == 'Σ' {
            return None;
        }
        if is_decimal_digit(c) || c.is_whitespace() || is_punctuation(c) {
            // Neither has marks of its own, so the letters before it can be taken apart by themselves.
            take_apart(&mut letters, out);
            let digit = is_decimal_digit(c);
            if digit || !*after_space {
                push(if digit { DIGIT } else { SPACE }, out);
            }
            *after_space = !digit;
            at += if digit { number(&text[at..]) } else { c.len_utf8() };
        } else {
            letters.extend(c.to_lowercase());
            *after_space = false;
            at += c.len_utf8();
        }
    }
    take_apart(&mut letters, out);
    Some(at)
}

/// Moves letters over, marks dropped. They are decomposed together because marks have an order among themselves.
fn take_apart(letters: &mut String, out: &mut Vec<u8>) {
    letters.nfd().filter(|c| !is_mark(*c)).for_each(|c| push(c, out));
    letters.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The passes of datatrove, one after another.
    fn by_passes(text: &str) -> String {
        let lower = text.to_lowercase();
        let mut numbers = String::new();
        let mut at = 0;
        while let Some(c) = lower[at..].chars().next() {
            if is_decimal_digit(c) {
                numbers.push('0');
                at += number(&lower[at..]);
            } else {
                numbers.push(c);
                at += c.len_utf8();
            }
        }
        let spaced: String = numbers.chars().map(|c| if is_punctuation(c) { ' ' } else { c }).collect();
        let single = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
        let plain: String = single.nfd().filter(|c| !is_mark(*c)).collect();
        plain.trim().to_owned()
    }

    #[test]
    fn what_datatrove_says() {
        for (text, simple) in [
            (
                "L'été 2024, 3,14 € — « ÇA » à 10h30 : n°5 !\n\nŒuvre naïve… 1.234.567,89",
                "l ete 0 0 € ca a 0h0 n°0 œuvre naive 0 0",
            ),
            ("Prix : 12$ (−5 %) x² ≥ 3", "prix 0 −0 x² ≥ 0"),
            ("e-mail: a.b@c.fr  http://x.fr/a_b?c=1", "e mail a b c fr http x fr a b c 0"),
            ("", ""),
            ("\u{301} a \u{301} b \u{301}", "a  b"),
            ("ΟΔΟΣ Σ ΣΑΣ.", "οδος σ σας"),
            ("İstanbul ŉ ǅ １２،３ ٣٫٤", "istanbul ŉ ǆ 0 0"),
        ] {
            assert_eq!(simplify(text), simple);
        }
    }

    proptest::proptest! {
        #[test]
        fn one_pass_is_five(text in r"(\PC|[a-zA-Z0-9 .,éÉ’…\n\t]|[\u{1B00}-\u{1B50}\u{300}-\u{330}\u{660}-\u{669}Σς\u{85}\u{1C}]){0,60}") {
            proptest::prop_assert_eq!(simplify(&text), by_passes(&text));
        }

        #[test]
        fn what_out_held_does_not_matter(text in r"\PC{0,20}", before in r"\PC{0,20}") {
            let mut out = before;
            simplify_into(&text, &mut out);
            proptest::prop_assert_eq!(out, simplify(&text));
        }
    }
}
