//! What kind of character each is, looked up: the tokenizer asks for every character of a text.

use std::sync::LazyLock;

use super::tables::{ALPHA, ICONS, LOWER, UPPER};

/// The kinds of one character, as bits.
#[derive(Clone, Copy)]
pub(super) struct Class(u8);

impl Class {
    pub(super) const ALPHA: u8 = 1;
    pub(super) const LOWER: u8 = 2;
    pub(super) const UPPER: u8 = 4;
    pub(super) const ICON: u8 = 8;
    pub(super) const QUOTE: u8 = 16;
    pub(super) const PUNCT: u8 = 32;
    pub(super) const CURRENCY: u8 = 64;
    pub(super) const DIGIT: u8 = 128;

    /// Whether the character is of one of the kinds.
    pub(super) fn is(self, kinds: u8) -> bool {
        self.0 & kinds != 0
    }
}

/// Latin letters, and the block of French punctuation.
const LATIN: u32 = 0x250;
const GENERAL: std::ops::Range<u32> = 0x2000..0x2100;

static TABLE: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..LATIN).chain(GENERAL).map(|code| char::from_u32(code).map_or(0, work_out)).collect());

/// The kinds of `c`.
pub(super) fn of(c: char) -> Class {
    let code = c as u32;
    if code < LATIN {
        Class(TABLE[code as usize])
    } else if GENERAL.contains(&code) {
        Class(TABLE[(code - GENERAL.start + LATIN) as usize])
    } else {
        Class(work_out(c))
    }
}

/// Whether `c`, case apart, is a small letter.
pub(super) fn is_letter_of_any_case(c: char) -> bool {
    of(c).is(Class::LOWER) || c.to_lowercase().next().is_some_and(|small| of(small).is(Class::LOWER))
}

fn within(table: &[(u32, u32)], c: char) -> bool {
    let after = table.partition_point(|(first, _)| *first <= c as u32);
    after > 0 && c as u32 <= table[after - 1].1
}

fn work_out(c: char) -> u8 {
    let kinds = [
        (Class::ALPHA, within(ALPHA, c)),
        (Class::LOWER, within(LOWER, c)),
        (Class::UPPER, within(UPPER, c)),
        (Class::ICON, within(ICONS, c)),
        (Class::QUOTE, "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》〈〉〈〉⟦⟧".contains(c)),
        (Class::PUNCT, "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪".contains(c)),
        (Class::CURRENCY, "$£€¥฿₽﷼".contains(c) || ('\u{20a0}'..='\u{20bf}').contains(&c)),
        (Class::DIGIT, c.is_ascii_digit()),
    ];
    kinds.iter().filter(|(_, is)| *is).fold(0, |all, (kind, _)| all | kind)
}
