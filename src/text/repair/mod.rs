//! Text that was damaged on its way, mended: mojibake, HTML's entities, escapes of terminals, control characters.
//!
//! The rules, their order and their tables are those of ftfy 6.3: each line for itself, all steps again until none changes
//! anything. Two profiles: ftfy's own, and datatrove's, which leaves quotes, ligatures, widths and line breaks as the
//! author wrote them and is the default. In French, straightening quotes is damage.

mod badness;
mod codecs;
mod encoding;
mod entities;
mod latex;
#[rustfmt::skip]
mod tables;
mod whitespace;

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

pub use badness::is_bad;
pub use encoding::fix_encoding;
pub use latex::fix_latex;
pub use whitespace::{Spaces, clean_spaces};

use super::{nfc, nfkc};

/// When HTML's entities become characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entities {
    /// Until the first line with a `<`, which says that the text is HTML.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which Unicode normalisation the text gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalization {
    /// Letters and their marks in one character.
    Nfc,
    /// As `Nfc`, and compatibility characters become plain ones: `x²` becomes `x2`.
    Nfkc,
}

/// The steps of ftfy, each on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of ftfy's")]
pub struct Repair {
    /// `&eacute;` becomes `é`.
    pub unescape_html: Entities,
    /// Mojibake: `Ã©` becomes `é`.
    pub fix_encoding: bool,
    /// U+0080 to U+009F become what Windows-1252 has there.
    pub fix_c1_controls: bool,
    /// `ﬁ` becomes `fi`.
    pub fix_latin_ligatures: bool,
    /// `ＬＯＵＤ` becomes `LOUD`.
    pub fix_character_width: bool,
    /// `’` becomes `'`.
    pub uncurl_quotes: bool,
    /// All line breaks become line feeds.
    pub fix_line_breaks: bool,
    /// Colours of terminals go.
    pub remove_terminal_escapes: bool,
    /// Control characters that show nothing go.
    pub remove_control_chars: bool,
    /// Normalisation, if any.
    pub normalization: Option<Normalization>,
}

/// A line longer than this many characters is mended in parts.
const LONGEST: usize = 1_000_000;

impl Repair {
    /// What ftfy does by default.
    pub const FTFY: Self = Self {
        unescape_html: Entities::Auto,
        fix_encoding: true,
        fix_c1_controls: true,
        fix_latin_ligatures: true,
        fix_character_width: true,
        uncurl_quotes: true,
        fix_line_breaks: true,
        remove_terminal_escapes: true,
        remove_control_chars: true,
        normalization: Some(Normalization::Nfc),
    };

    /// What datatrove has ftfy do.
    pub const DATATROVE: Self = Self {
        fix_latin_ligatures: false,
        fix_character_width: false,
        uncurl_quotes: false,
        fix_line_breaks: false,
        normalization: None,
        ..Self::FTFY
    };

    /// Nothing.
    pub const NONE: Self = Self {
        unescape_html: Entities::Never,
        fix_encoding: false,
        fix_c1_controls: false,
        fix_latin_ligatures: false,
        fix_character_width: false,
        uncurl_quotes: false,
        fix_line_breaks: false,
        remove_terminal_escapes: false,
        remove_control_chars: false,
        normalization: None,
    };

    /// The mended text, borrowed if nothing was broken.
    pub fn fix<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut rules = *self;
        let mut out = String::new();
        let mut changed = false;
        let (mut at, mut copied) = (0, 0);
        while at < text.len() {
            let line = memchr::memchr(b'\n', &text.as_bytes()[at..]).map_or(text.len(), |found| at + found + 1);
            let end = if line - at > LONGEST {
                text[at..line].char_indices().nth(LONGEST).map_or(line, |(length, _)| at + length)
            } else {
                line
            };
            let segment = &text[at..end];
            if rules.unescape_html == Entities::Auto && segment.contains('<') {
                rules.unescape_html = Entities::Never;
            }
            if let Cow::Owned(fixed) = rules.fix_segment(segment)
                && fixed != segment
            {
                out.push_str(&text[copied..at]);
                out.push_str(&fixed);
                copied = end;
                changed = true;
            }
            at = end;
        }
        if !changed {
            return Cow::Borrowed(text);
        }
        out.push_str(&text[copied..]);
        Cow::Owned(out)
    }

    /// Whether a segment needs no closer look: plain ASCII without entities, escapes and control characters.
    fn is_plain(segment: &str) -> bool {
        segment.bytes().all(|byte| matches!(byte, b' '..=b'%' | b'\''..=b'~' | b'\t' | b'\n' | 0x0c))
    }

    fn fix_segment<'t>(&self, segment: &'t str) -> Cow<'t, str> {
        if Self::is_plain(segment) {
            return Cow::Borrowed(segment);
        }
        let mut text = Cow::Borrowed(segment);
        loop {
            let Some(next) = self.pass(&text) else { return text };
            text = Cow::Owned(next);
        }
    }

    /// All steps once; nothing if none changed anything.
    fn pass(&self, before: &str) -> Option<String> {
        let mut text = Cow::Borrowed(before);
        let mut step = |on: bool, fix: &dyn Fn(&str) -> Option<String>| {
            if on && let Some(fixed) = fix(&text) {
                text = Cow::Owned(fixed);
            }
        };
        step(self.unescape_html != Entities::Never, &entities::unescape);
        step(self.fix_encoding, &|text| Some(fix_encoding(text)).filter(|fixed| fixed != text));
        step(self.fix_c1_controls, &encoding::fix_c1);
        step(self.fix_latin_ligatures, &|text| replace(text, |c| ligature(c).map(str::to_owned)));
        step(self.fix_character_width, &|text| replace(text, plain_width));
        step(self.uncurl_quotes, &|text| replace(text, |c| straight(c).map(str::to_owned)));
        step(self.fix_line_breaks, &line_breaks);
        step(self.remove_terminal_escapes, &whitespace::without_escapes);
        step(self.remove_control_chars, &|text| replace(text, |c| is_control(c).then(String::new)));
        step(self.normalization.is_some(), &|text| self.normalized(text));
        match text {
            Cow::Owned(text) if text != before => Some(text),
            _ => None,
        }
    }

    fn normalized(&self, text: &str) -> Option<String> {
        let formed = match self.normalization? {
            Normalization::Nfc => nfc(text),
            Normalization::Nfkc => nfkc(text),
        };
        match formed {
            Cow::Borrowed(_) => None,
            Cow::Owned(formed) => Some(formed),
        }
    }
}

/// The text with some characters replaced, if there are such.
fn replace(text: &str, new: impl Fn(char) -> Option<String>) -> Option<String> {
    if text.is_ascii() && text.chars().all(|c| new(c).is_none()) {
        return None;
    }
    let mut out = String::new();
    let mut copied = 0;
    for (at, c) in text.char_indices() {
        if let Some(new) = new(c) {
            out.push_str(&text[copied..at]);
            out.push_str(&new);
            copied = at + c.len_utf8();
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

fn plain_width(c: char) -> Option<String> {
    match c {
        '\u{3000}' => Some(" ".to_owned()),
        '\u{ff01}'..='\u{ffef}' => {
            Some(std::iter::once(c).nfkc().collect::<String>()).filter(|new| !new.chars().eq([c]))
        }
        _ => None,
    }
}

fn straight(c: char) -> Option<&'static str> {
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => Some("'"),
        '\u{201c}'..='\u{201f}' => Some("\""),
        _ => None,
    }
}

fn line_breaks(text: &str) -> Option<String> {
    let breaks = ['\r', '\u{2028}', '\u{2029}', '\u{85}'];
    text.contains(breaks).then(|| text.replace("\r\n", "\n").replace(breaks, "\n"))
}

/// Controls that show nothing; those that are white space, and those that join or turn letters, stay.
pub fn is_control(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}'
    )
}
