//! The single-byte encodings that text is taken for by mistake, unassigned bytes standing for themselves.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

use super::tables::CODECS;

/// One encoding.
pub(super) struct Codec {
    pub(super) name: &'static str,
    /// Whether unassigned bytes stand for themselves, and U+FFFD can be written, as the byte 1A.
    pub(super) sloppy: bool,
    bytes: FxHashMap<char, u8>,
}

/// All of them after Latin-1, in the order they are tried.
pub(super) static ALL: LazyLock<Vec<Codec>> = LazyLock::new(|| {
    let codec = |(name, sloppy, upper): &(&'static str, bool, &str)| Codec {
        name,
        sloppy: *sloppy,
        bytes: upper.chars().zip(0x80..=0xff).collect(),
    };
    CODECS.iter().map(codec).collect()
});

impl Codec {
    /// The bytes of the text, if the encoding has them all.
    pub(super) fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let byte = |c: char| match c {
            '\u{1a}' if self.sloppy => None,
            '\u{fffd}' if self.sloppy => Some(0x1a),
            '\0'..='\x7f' => Some(c as u8),
            _ => self.bytes.get(&c).copied(),
        };
        text.chars().map(byte).collect()
    }
}

/// The bytes of the text in Latin-1.
pub(super) fn latin_1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// What Windows-1252 has in the place of a control character of Latin-1; itself where there is nothing.
pub(super) fn windows_1252(c: char) -> char {
    let at = (c as usize).checked_sub(0x80).filter(|at| *at < 0x20);
    at.and_then(|at| CODECS[0].2.chars().nth(at)).unwrap_or(c)
}
