//! What the codes of a simple font stand for: names of glyphs, and what the names mean.
//!
//! The encodings and Adobe's list of names are those of `lopdf`, which gives them out for fonts only; so fonts are made up
//! to ask about. Fonts of TeX carry their encoding inside, as PostScript, and say nothing of it outside.

use lopdf::{Dictionary, Document, Encoding, Object};

use super::font::stream_of;

/// The text of every code.
pub(super) type Codes = Vec<Option<String>>;

/// Adobe's Symbol from code 0x41 and from 0x61, where its letters are.
const SYMBOL: [(usize, &str); 2] = [(0x41, "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ"), (0x61, "αβχδεφγηιϕκλμνοπθρστυϖωξψζ")];
/// What a font inside a file may unpack to.
const LARGEST_FONT: usize = 1 << 20;

/// Returns what the codes of a simple font stand for, `/ToUnicode` apart.
pub(super) fn codes(font: &Dictionary, document: &Document, descriptor: Option<&Dictionary>) -> Codes {
    let encoding = font.get_deref(b"Encoding", document).ok();
    let (base, differences) = match encoding {
        Some(Object::Name(name)) => (Some(&**name), None),
        Some(Object::Dictionary(dict)) => {
            let differences = dict.get_deref(b"Differences", document).and_then(Object::as_array).ok();
            (dict.get(b"BaseEncoding").and_then(Object::as_name).ok(), differences)
        }
        _ => (None, None),
    };
    let mut codes = match base {
        Some(name) => named(name),
        None => own(font, document, descriptor),
    };
    let mut code = 0_usize;
    for object in differences.into_iter().flatten() {
        match object {
            Object::Integer(start) => code = usize::try_from(*start).unwrap_or(usize::MAX),
            Object::Name(name) => {
                if let Some(place) = codes.get_mut(code) {
                    *place = glyph(name);
                }
                code = code.saturating_add(1);
            }
            _ => {}
        }
    }
    codes
}

/// Returns the encoding that the font has by itself.
fn own(font: &Dictionary, document: &Document, descriptor: Option<&Dictionary>) -> Codes {
    let name = font.get(b"BaseFont").and_then(Object::as_name).unwrap_or_default();
    // A part of a font has six letters and a plus sign before its name.
    let name = name.iter().position(|byte| *byte == b'+').map_or(name, |plus| &name[plus + 1..]);
    if name.starts_with(b"Symbol") {
        let mut codes = named(b"StandardEncoding");
        for (start, letters) in SYMBOL {
            for (code, letter) in (start..).zip(letters.chars()) {
                codes[code] = Some(letter.into());
            }
        }
        return codes;
    }
    let file = descriptor.and_then(|descriptor| stream_of(descriptor, b"FontFile", document));
    let file = file.and_then(|stream| stream.get_plain_content_with_limit(LARGEST_FONT).ok());
    let inside = file.and_then(|bytes| inside(&bytes));
    let plain: &[u8] = match font.get(b"Subtype").and_then(Object::as_name) {
        Ok(b"TrueType") => b"WinAnsiEncoding",
        _ => b"StandardEncoding",
    };
    inside.unwrap_or_else(|| named(plain))
}

/// Reads the encoding at the beginning of a Type 1 font: `dup 12 /fi put`.
fn inside(font: &[u8]) -> Option<Codes> {
    let start = find(font, b"/Encoding")?;
    let end = find(&font[start..], b"eexec").map_or(font.len(), |end| start + end);
    let text = String::from_utf8_lossy(&font[start..end]);
    let mut words = text.split_ascii_whitespace().skip(1);
    if words.clone().next() == Some("StandardEncoding") {
        return None;
    }
    let mut codes = vec![None; 256];
    while let Some(word) = words.next() {
        match word {
            "dup" => {
                let code = words.next().and_then(|code| code.parse::<usize>().ok());
                let name = words.next().and_then(|name| name.strip_prefix('/'));
                if let (Some(code @ ..256), Some(name)) = (code, name) {
                    codes[code] = glyph(name.as_bytes());
                }
            }
            "def" | "readonly" => break,
            _ => {}
        }
    }
    codes.iter().any(Option::is_some).then_some(codes)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

/// Returns one of the encodings that have a name.
fn named(name: &[u8]) -> Codes {
    let font = made_up(Object::Name(name.to_vec()));
    let document = Document::new();
    let encoding = font.get_font_encoding(&document);
    let text = |code: u8| {
        let text = encoding.as_ref().ok()?.bytes_to_string(&[code]).ok()?;
        (!text.is_empty() && !text.starts_with(|c: char| c.is_control())).then_some(text)
    };
    (0..=255).map(text).collect()
}

/// Returns the text that a glyph stands for, by its name.
pub(super) fn glyph(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    // What follows a point tells variants apart, and an underscore joins ligatures.
    let plain = name.split('.').next().filter(|plain| !plain.is_empty())?;
    let parts: Option<Vec<String>> = plain.split('_').map(part).collect();
    parts.map(|parts| parts.concat())
}

fn part(name: &str) -> Option<String> {
    let listed = Object::Array(vec![Object::Integer(0), Object::Name(name.as_bytes().to_vec())]);
    let mut encoding = Dictionary::new();
    encoding.set("Differences", listed);
    let font = made_up(Object::Dictionary(encoding));
    let document = Document::new();
    if let Ok(Encoding::Differences(differences)) = font.get_font_encoding(&document) {
        let unit = differences.map.get(&0)?.utf16_code_unit();
        return char::from_u32(unit.into()).filter(|c| *c != '\0').map(String::from);
    }
    let digits = name.strip_prefix("uni").filter(|digits| digits.len() == 4);
    let digits = digits.or_else(|| name.strip_prefix('u').filter(|digits| (4..=6).contains(&digits.len())));
    let code = u32::from_str_radix(digits?, 16).ok()?;
    char::from_u32(code).map(String::from)
}

fn made_up(encoding: Object) -> Dictionary {
    let mut font = Dictionary::new();
    font.set("Type", Object::Name(b"Font".to_vec()));
    font.set("Encoding", encoding);
    font
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_text() {
        for (name, text) in
            [("eacute", "é"), ("fi", "ﬁ"), ("f_f_i", "ffi"), ("uni0153", "œ"), ("A.sc", "A"), ("u1D400", "𝐀")]
        {
            assert_eq!(glyph(name.as_bytes()).as_deref(), Some(text), "{name}");
        }
        assert_eq!((glyph(b".notdef"), glyph(b"g123"), glyph(b"")), (None, None, None));
    }

    #[test]
    fn encodings_are_those_of_the_standard() {
        assert_eq!(named(b"WinAnsiEncoding")[0xe9].as_deref(), Some("é"));
        assert_eq!(named(b"WinAnsiEncoding")[0x9c].as_deref(), Some("œ"));
        assert_eq!(named(b"MacRomanEncoding")[0x8e].as_deref(), Some("é"));
        assert_eq!(named(b"StandardEncoding")[0xae].as_deref(), Some("ﬁ"));
    }

    #[test]
    fn fonts_of_tex_say_inside_what_their_codes_are() {
        let font = b"%!PS\n/FontName /CMR10 def\n/Encoding 256 array\n0 1 255 {1 index exch /.notdef put} for\n\
                     dup 12 /fi put\ndup 19 /acute put\nreadonly def\ncurrentfile eexec dup 13 /fl put";
        let codes = inside(font).unwrap();
        assert_eq!((codes[12].as_deref(), codes[19].as_deref(), codes[13].as_deref()), (Some("ﬁ"), Some("´"), None));
        assert!(inside(b"/Encoding StandardEncoding def").is_none());
    }
}
