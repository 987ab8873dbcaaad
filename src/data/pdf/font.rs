//! A font: how bytes become codes, what the codes mean, and how far each one moves the pen.

use std::collections::BTreeMap;

use lopdf::{Dictionary, Document, Object, Stream};

use super::cmap::ToUnicode;
use super::encoding::{self, Codes};

/// What a table of text or codes may unpack to.
const LARGEST_TABLE: usize = 8 << 20;
/// The most widths of a font: one for every glyph that there can be.
const MOST_WIDTHS: usize = 1 << 16;

/// A code that was drawn.
pub(super) struct Drawn {
    /// What it means.
    pub(super) text: String,
    /// How far the pen moves, in units of the font's size.
    pub(super) width: f64,
    /// Whether it is the one byte that is a space, which can be made wider.
    pub(super) is_space: bool,
}

/// A font, as far as text needs it.
pub(super) struct Font {
    to_unicode: Option<ToUnicode>,
    /// What the codes of a simple font mean; nothing if codes have several bytes.
    simple: Option<Codes>,
    /// Whether codes are text themselves, in UTF-16.
    is_utf16: bool,
    widths: BTreeMap<u32, f64>,
    /// The width of the others, if it is known.
    other: Option<f64>,
    /// How long its table is.
    pub(super) unpacked: usize,
}

impl Font {
    /// Reads a font.
    pub(super) fn read(font: &Dictionary, document: &Document) -> Self {
        let table = stream_of(font, b"ToUnicode", document);
        let table = table.and_then(|stream| stream.get_plain_content_with_limit(LARGEST_TABLE).ok());
        let unpacked = table.as_ref().map_or(0, Vec::len);
        let to_unicode = table.map(|bytes| ToUnicode::read(&bytes));
        let read = Self::read_widths(font, document);
        Self { to_unicode, unpacked, ..read }
    }

    fn read_widths(font: &Dictionary, document: &Document) -> Self {
        if is_named(font, b"Subtype", b"Type0") {
            return Self::composite(font, document);
        }
        let descriptor = font.get_deref(b"FontDescriptor", document).and_then(Object::as_dict).ok();
        let number = |dict: Option<&Dictionary>, key: &[u8]| {
            dict.and_then(|dict| dict.get_deref(key, document).and_then(Object::as_float).ok()).map(f64::from)
        };
        // A drawn font has units of its own.
        let drawn = is_named(font, b"Subtype", b"Type3");
        let matrix = font.get_deref(b"FontMatrix", document).and_then(Object::as_array).ok();
        let unit = matrix.and_then(|matrix| matrix.first()?.as_float().ok()).filter(|_| drawn);
        let unit = unit.map_or(0.001, f64::from);
        let first = number(Some(font), b"FirstChar").unwrap_or(0.0).clamp(0.0, 255.0) as u32;
        let widths = font.get_deref(b"Widths", document).and_then(Object::as_array).ok();
        let widths = (first..).zip(widths.into_iter().flatten().take(256));
        let widths = widths.filter_map(|(code, width)| {
            let (_, width) = document.dereference(width).ok()?;
            Some((code, f64::from(width.as_float().ok()?) * unit))
        });
        let widths: BTreeMap<u32, f64> = widths.collect();
        let other =
            if widths.is_empty() { None } else { Some(number(descriptor, b"MissingWidth").unwrap_or(0.0) * unit) };
        let simple = Some(encoding::codes(font, document, descriptor));
        Self { to_unicode: None, simple, is_utf16: false, widths, other, unpacked: 0 }
    }

    fn composite(font: &Dictionary, document: &Document) -> Self {
        let below = font.get_deref(b"DescendantFonts", document).and_then(Object::as_array).ok();
        let below = below.and_then(|fonts| document.dereference(fonts.first()?).ok()?.1.as_dict().ok());
        let number = |object: &Object| Some(f64::from(document.dereference(object).ok()?.1.as_float().ok()?));
        let mut widths = BTreeMap::new();
        let listed = below.and_then(|below| below.get_deref(b"W", document).and_then(Object::as_array).ok());
        let mut listed = listed.map_or(&[][..], Vec::as_slice);
        // `code [width …]` and `first last width`, in any order.
        while let [first, second, rest @ ..] = listed {
            let Some(start) = number(first).map(|first| first as u32) else { break };
            let Ok((_, second)) = document.dereference(second) else { break };
            if let Object::Array(several) = second {
                let several = (start..).zip(several.iter().take(MOST_WIDTHS));
                widths.extend(several.filter_map(|(code, width)| Some((code, number(width)? / 1000.0))));
                listed = rest;
            } else {
                let [width, rest @ ..] = rest else { break };
                let end =
                    number(second).map_or(start, |end| (end as u32).min(start.saturating_add(MOST_WIDTHS as u32)));
                if let Some(width) = number(width) {
                    widths.extend((start..=end).map(|code| (code, width / 1000.0)));
                }
                listed = rest;
            }
            if widths.len() > MOST_WIDTHS {
                break;
            }
        }
        let other = below.and_then(|below| number(below.get(b"DW").ok()?)).unwrap_or(1000.0) / 1000.0;
        let named = font.get(b"Encoding").and_then(Object::as_name).unwrap_or_default();
        let is_utf16 = [&b"UCS2"[..], b"UTF16"].into_iter().any(|word| memchr::memmem::find(named, word).is_some());
        Self { to_unicode: None, simple: None, is_utf16, widths, other: Some(other), unpacked: 0 }
    }

    /// Takes the first code out of `bytes`.
    pub(super) fn next(&self, bytes: &mut &[u8]) -> Option<Drawn> {
        let told = self.to_unicode.as_ref();
        let length = match &self.simple {
            Some(_) => 1,
            None => told.and_then(|table| table.length(bytes)).unwrap_or(2),
        };
        let (code, rest) = bytes.split_at_checked(length.min(bytes.len())).filter(|(code, _)| !code.is_empty())?;
        *bytes = rest;
        let number = code.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let meant = told.and_then(|table| table.text(number)).filter(|text| !text.starts_with('\0'));
        let text = meant.or_else(|| match &self.simple {
            Some(codes) => codes.get(number as usize)?.clone(),
            None if self.is_utf16 => char::from_u32(number).map(String::from),
            // Something was drawn there, and the file does not say what.
            None => Some(char::REPLACEMENT_CHARACTER.into()),
        });
        let text = text.unwrap_or_default();
        let width = self.widths.get(&number).copied().or(self.other).unwrap_or_else(|| usual_width(&text));
        Some(Drawn { is_space: self.simple.is_some() && number == 32, text, width })
    }
}

/// Returns about how wide a letter is, for the fonts whose widths every reader of PDFs is expected to know.
fn usual_width(text: &str) -> f64 {
    match text.chars().next() {
        Some(
            'i' | 'j' | 'l' | 't' | 'f' | 'I' | ' ' | '.' | ',' | ':' | ';' | '!' | '\'' | '|' | '’' | '/' | '(' | ')',
        ) => 0.28,
        Some('m' | 'w' | 'M' | 'W' | 'œ' | 'Œ' | '—' | '…') => 0.83,
        Some(c) if c.is_uppercase() => 0.68,
        None => 0.0,
        _ => 0.53,
    }
}

/// Returns the stream that a dictionary names.
pub(super) fn stream_of<'a>(dict: &'a Dictionary, key: &[u8], document: &'a Document) -> Option<&'a Stream> {
    dict.get_deref(key, document).and_then(Object::as_stream).ok()
}

/// Says whether a dictionary has this name under a key.
pub(super) fn is_named(dict: &Dictionary, key: &[u8], name: &[u8]) -> bool {
    dict.get(key).and_then(Object::as_name).is_ok_and(|found| found == name)
}
