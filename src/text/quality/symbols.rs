//! Characters that are no part of a word, and lines of nothing else.

use crate::text::python;
use crate::text::simplify::is_punctuation;

/// The characters that end a sentence in some script, as ranges (datatrove's list, Apache-2.0).
#[rustfmt::skip]
const TERMINAL: &[(u32, u32)] = &[
    (0x21, 0x21), (0x2E, 0x2E), (0x3F, 0x3F), (0x589, 0x589), (0x61D, 0x61F), (0x6D4, 0x6D4), (0x700, 0x702),
    (0x7F9, 0x7F9), (0x837, 0x837), (0x839, 0x839), (0x83D, 0x83E), (0x964, 0x965), (0x104A, 0x104B), (0x1362, 0x1362),
    (0x1367, 0x1368), (0x166E, 0x166E), (0x1735, 0x1736), (0x17D4, 0x17D6), (0x17D9, 0x17DA), (0x1803, 0x1803),
    (0x1809, 0x1809), (0x1944, 0x1945), (0x1AA8, 0x1AAB), (0x1B5A, 0x1B5B), (0x1B5E, 0x1B5F), (0x1B7D, 0x1B7E),
    (0x1C3B, 0x1C3C), (0x1C7E, 0x1C7F), (0x203C, 0x203D), (0x2047, 0x2049), (0x2E2E, 0x2E2E), (0x2E3C, 0x2E3C),
    (0x2E53, 0x2E54), (0x3002, 0x3002), (0xA4FF, 0xA4FF), (0xA60E, 0xA60F), (0xA6F3, 0xA6F3), (0xA6F7, 0xA6F7),
    (0xA876, 0xA877), (0xA8CE, 0xA8CF), (0xA92F, 0xA92F), (0xA9C8, 0xA9C9), (0xAA5D, 0xAA5F), (0xAAF0, 0xAAF1),
    (0xABEB, 0xABEB), (0xFE52, 0xFE52), (0xFE56, 0xFE57), (0xFF01, 0xFF01), (0xFF0E, 0xFF0E), (0xFF1F, 0xFF1F),
    (0xFF61, 0xFF61), (0x10A56, 0x10A57), (0x10F55, 0x10F59), (0x10F86, 0x10F89), (0x11047, 0x11048),
    (0x110BE, 0x110C1), (0x11141, 0x11143), (0x111C5, 0x111C6), (0x111CD, 0x111CD), (0x111DE, 0x111DF),
    (0x11238, 0x11239), (0x1123B, 0x1123C), (0x112A9, 0x112A9), (0x1144B, 0x1144C), (0x115C2, 0x115C3),
    (0x115C9, 0x115D7), (0x11641, 0x11642), (0x1173C, 0x1173E), (0x11944, 0x11944), (0x11946, 0x11946),
    (0x11A42, 0x11A43), (0x11A9B, 0x11A9C), (0x11C41, 0x11C42), (0x11EF7, 0x11EF8), (0x11F43, 0x11F44),
    (0x16A6E, 0x16A6F), (0x16AF5, 0x16AF5), (0x16B37, 0x16B38), (0x16B44, 0x16B44), (0x16E98, 0x16E98),
    (0x1BC9F, 0x1BC9F), (0x1DA88, 0x1DA88),
];

/// Whether a sentence of some script may end with the character.
pub(super) fn is_terminal(c: char) -> bool {
    let after = TERMINAL.partition_point(|(first, _)| *first <= c as u32);
    after > 0 && c as u32 <= TERMINAL[after - 1].1
}

/// Whether the character counts as a symbol.
pub(super) fn is_symbol(c: char) -> bool {
    if c.is_ascii() { !c.is_ascii_alphanumeric() && is_punctuation(c) } else { is_punctuation(c) || is_terminal(c) }
}

/// datatrove's `SymbolLinesFormatter`: lines of symbols and spaces alone are taken out.
pub fn drop_symbol_lines(text: &str) -> String {
    let symbols = |line: &&str| !python::strip(line).is_empty() && line.chars().all(|c| is_symbol(c) || c == ' ');
    let kept: Vec<_> = python::lines(text).filter(|line| !symbols(line)).collect();
    kept.join("\n")
}

/// What a text is made of, in shares of its characters other than white space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Symbols {
    /// Letters of any script.
    pub letters: f64,
    /// Digits of any script.
    pub digits: f64,
    /// Letters outside the Latin script, of all letters.
    pub foreign: f64,
    /// Everything else: punctuation, signs, emoji.
    pub symbols: f64,
    /// Capitals, of all letters.
    pub capitals: f64,
}

impl Symbols {
    /// Counts them.
    pub fn of(text: &str) -> Self {
        let (mut all, mut letters, mut digits, mut foreign, mut capitals) = (0, 0, 0, 0, 0);
        for c in text.chars().filter(|c| !python::is_space(*c)) {
            all += 1;
            if c.is_alphabetic() {
                letters += 1;
                let latin = (c as u32) < 0x250
                    || matches!(c as u32, 0x1E00..=0x1EFF | 0x2C60..=0x2C7F | 0xA720..=0xA7FF | 0xFB00..=0xFB06);
                foreign += usize::from(!latin);
                capitals += usize::from(c.is_uppercase());
            } else if c.is_numeric() {
                digits += 1;
            }
        }
        let share = |part| super::share(part, all);
        Self {
            letters: share(letters),
            digits: share(digits),
            foreign: super::share(foreign, letters),
            symbols: share(all - letters - digits),
            capitals: super::share(capitals, letters),
        }
    }
}
