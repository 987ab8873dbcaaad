//! Glyphs as lines of text.
//!
//! A PDF has no words and no lines: there is a space where the next glyph begins well after the last one's end, and a line
//! ends where the pen goes back or down. The order is that of the file, which is the order of reading in what TeX and word
//! processors write, columns included; an order guessed from places alone tears tables and formulas apart.

use unicode_normalization::UnicodeNormalization;

use super::draw::Glyph;

/// In parts of a line's height: where words end, what is still the same line, and where a paragraph ends.
const SPACE: f64 = 0.17;
const SAME_LINE: f64 = 0.5;
const PARAGRAPH: f64 = 1.9;
/// How far the pen may go back within a line: to an accent's letter, or for a kern.
const BACK: f64 = 1.2;

/// Accents that stand alone, and what they are on a letter.
const ACCENTS: &[(&str, char)] = &[
    ("´", '\u{301}'),
    ("`", '\u{300}'),
    ("ˆ", '\u{302}'),
    ("^", '\u{302}'),
    ("¨", '\u{308}'),
    ("˜", '\u{303}'),
    ("ˇ", '\u{30C}'),
    ("˚", '\u{30A}'),
    ("¸", '\u{327}'),
];

/// Returns the text of a page.
pub(super) fn text(glyphs: &[Glyph]) -> String {
    let mut text = String::new();
    let mut last: Option<&Glyph> = None;
    for glyph in glyphs.iter().filter(|glyph| !glyph.text.is_empty() && is_somewhere(glyph)) {
        let Some(before) = last else {
            push(&mut text, &glyph.text);
            last = Some(glyph);
            continue;
        };
        let size = glyph.size.max(before.size);
        let step = |from: (f64, f64), to: (f64, f64)| (to.0 - from.0, to.1 - from.1);
        let moved = step(before.at, glyph.at);
        // Bold that is made by drawing twice.
        if glyph.text == before.text && moved.0.hypot(moved.1) < 0.1 * size && glyph.text.trim() != "" {
            continue;
        }
        let (along, down) = frame(before, step(before.end, glyph.at));
        if down.abs() > SAME_LINE * size || along < -BACK * size || !is_parallel(before, glyph) {
            let down = frame(before, moved).1;
            text.push_str(if down > PARAGRAPH * size { "\n\n" } else { "\n" });
        } else if is_accent(before) && along < -0.3 * before.size && on_letter(&mut text, before, glyph) {
            last = Some(glyph);
            continue;
        } else if is_accent(glyph) && along < 0.0 && accented(&mut text, &glyph.text) {
            continue;
        } else if along > SPACE * size && !text.ends_with(char::is_whitespace) {
            text.push(' ');
        }
        push(&mut text, &glyph.text);
        last = Some(glyph);
    }
    tidy(&text)
}

fn is_somewhere(glyph: &Glyph) -> bool {
    [glyph.at.0, glyph.at.1, glyph.end.0, glyph.end.1, glyph.size].iter().all(|number| number.is_finite())
}

/// Returns the direction that a glyph is written in.
fn direction(glyph: &Glyph) -> (f64, f64) {
    let (x, y) = (glyph.end.0 - glyph.at.0, glyph.end.1 - glyph.at.1);
    let length = x.hypot(y);
    if length > 0.0 { (x / length, y / length) } else { (1.0, 0.0) }
}

/// Returns how far a step leads along the line of a glyph, and how far below it.
fn frame(glyph: &Glyph, (x, y): (f64, f64)) -> (f64, f64) {
    let (ux, uy) = direction(glyph);
    (x * ux + y * uy, x * uy - y * ux)
}

fn is_parallel(one: &Glyph, other: &Glyph) -> bool {
    let ((ax, ay), (bx, by)) = (direction(one), direction(other));
    ax * bx + ay * by > 0.9
}

fn is_accent(glyph: &Glyph) -> bool {
    ACCENTS.iter().any(|(accent, _)| *accent == glyph.text)
}

/// Puts the accent `before`, which was drawn last, onto the letter that is drawn under it.
fn on_letter(text: &mut String, before: &Glyph, letter: &Glyph) -> bool {
    let Some((base, rest)) =
        letter.text.chars().next().filter(|c| c.is_alphabetic()).map(|c| (c, &letter.text[c.len_utf8()..]))
    else {
        return false;
    };
    if !text.ends_with(&before.text) {
        return false;
    }
    text.truncate(text.len() - before.text.len());
    // There is no space between a word and its accented letter, however far the accent stood.
    push(text, base.encode_utf8(&mut [0; 4]));
    accented(text, &before.text);
    push(text, rest);
    true
}

/// Puts an accent onto the last letter of the text.
fn accented(text: &mut String, accent: &str) -> bool {
    let mark = ACCENTS.iter().find(|(alone, _)| *alone == accent).map(|(_, mark)| *mark);
    let Some((mark, letter)) = mark.zip(text.chars().last().filter(|c| c.is_alphabetic())) else { return false };
    // TeX sets accents on letters that have no dot.
    let base = if letter == 'ı' { 'i' } else { letter };
    text.pop();
    text.extend([base, mark].into_iter().nfc());
    true
}

/// Adds a glyph's text, with ligatures taken apart.
fn push(text: &mut String, glyph: &str) {
    for c in glyph.chars() {
        match c {
            '\u{FB00}'..='\u{FB06}' => text.extend(std::iter::once(c).nfkc()),
            '\u{A0}' | '\u{2002}'..='\u{200A}' | '\u{202F}' => text.push(' '),
            // A hyphen that shows only at the end of a line, and so it does here.
            '\u{AD}' => text.push('-'),
            c if c.is_control() && c != '\t' => {}
            c => text.push(c),
        }
    }
}

/// Leaves no blanks at the sides of lines and not more than one blank line.
fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            blank += 1;
            continue;
        }
        if !tidied.is_empty() {
            tidied.push_str(if blank > 0 { "\n\n" } else { "\n" });
        }
        blank = 0;
        tidied.push_str(line);
    }
    tidied.nfc().collect()
}
