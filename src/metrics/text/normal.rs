//! Texts brought to a common form before they are compared.

use unicode_normalization::UnicodeNormalization;

use super::super::python::{is_boundary, is_digit, is_space};

/// Whose articles say nothing about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Articles {
    /// `a`, `an`, `the`.
    English,
    /// `le`, `la`, `les`, `l'`, `un`, `une`, `des`, `du`.
    French,
    /// No articles.
    None,
}

impl Articles {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::English => &["a", "an", "the"],
            Self::French => &["le", "la", "les", "l", "un", "une", "des", "du"],
            Self::None => &[],
        }
    }
}

/// HELM's form as lighteval 0.10.0 makes it (`helm_normalizer`, after QuAC's script): words between spaces or hyphens, in
/// lower case, without ASCII punctuation, numbers as floats, without English articles, in French too. So `A` becomes
/// nothing and `1.5` becomes `15.0`: profile `luth` wants it so.
pub fn helm(text: &str) -> String {
    let words = text.split([' ', '-']).map(|word| {
        let word: String = word.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
        spaced(&without(&python_float(&word).unwrap_or(word), Articles::English))
    });
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// SQuAD's form (`normalize_answer`): lower case, no ASCII punctuation, no English articles.
pub fn squad(text: &str) -> String {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    spaced(&without(&text, Articles::English))
}

/// The form that `native` compares: HELM's with its faults mended. Articles are those of the language, and stay where
/// nothing else is left; points and commas inside numbers stay, `3,0` is `3`; typographic signs are punctuation; accents
/// count, however they are encoded.
pub fn quasi(text: &str, articles: Articles) -> String {
    let text: String = text.nfkc().flat_map(char::to_lowercase).collect();
    let chars: Vec<char> = text.chars().collect();
    let digit = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(char::is_ascii_digit);
    let plain = chars.iter().enumerate().map(|(at, &c)| match c {
        '.' | ',' if digit(at.checked_sub(1)) && digit(Some(at + 1)) => '.',
        '-' | '\u{2212}' if !digit(at.checked_sub(1)) && digit(Some(at + 1)) => '-',
        _ if c.is_alphanumeric() || c == '%' || ('\u{300}'..='\u{36f}').contains(&c) => c,
        _ => ' ',
    });
    let plain: String = plain.collect();
    let words: Vec<String> = plain.split_whitespace().map(number).collect();
    let meant: Vec<&str> = words.iter().map(String::as_str).filter(|word| !articles.words().contains(word)).collect();
    if meant.is_empty() { words.join(" ") } else { meant.join(" ") }
}

/// A number without zeros that say nothing.
fn number(word: &str) -> String {
    match word.split_once('.') {
        Some((whole, part)) if !part.contains('.') && part.bytes().all(|byte| byte.is_ascii_digit()) => {
            let part = part.trim_end_matches('0');
            if part.is_empty() { whole.to_owned() } else { format!("{whole}.{part}") }
        }
        _ => word.to_owned(),
    }
}

/// Puts a space for each article that stands as a word, `\b(a|an|the)\b`.
fn without(text: &str, articles: Articles) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let article = |word: &&&str| {
            text[at..].starts_with(**word) && is_boundary(text, at) && is_boundary(text, at + word.len())
        };
        if let Some(word) = articles.words().iter().find(article) {
            out.push(' ');
            at += word.len();
        } else {
            out.push(c);
            at += c.len_utf8();
        }
    }
    out
}

fn spaced(text: &str) -> String {
    text.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The ASCII digit of any script's. Each script has its ten in a row, from zero.
fn ascii_digit(c: char) -> char {
    if c.is_ascii() || !is_digit(c) {
        return c;
    }
    let below = |n: &u32| char::from_u32(u32::from(c) - n).is_some_and(is_digit);
    let value = (1..60).take_while(below).count() % 10;
    char::from(b'0' + value as u8)
}

/// `str(float(text))` of a text without signs, `None` where Python finds no number.
fn python_float(text: &str) -> Option<String> {
    let text: String = text.trim().chars().map(ascii_digit).collect();
    let text = text.as_str();
    let named = matches!(text, "inf" | "infinity" | "nan");
    let digits = || text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'e');
    if !named && (!text.starts_with(|c: char| c.is_ascii_digit()) || !digits()) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    if number.is_nan() {
        return Some("nan".to_owned());
    }
    if number.is_infinite() {
        return Some("inf".to_owned());
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    // Python writes 17 digits and more, and below 0.0001, with an exponent of at least two digits.
    if (-4..16).contains(&exponent) { Some(format!("{number:?}")) } else { Some(format!("{digits}e{exponent:+03}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helm_has_its_quirks() {
        assert_eq!(helm(" A"), "");
        assert_eq!(helm("A. The well-known \"1.0\""), "well known 10.0");
        assert_eq!(helm("1e5 10\n 12345678901234567 nan"), "100000.0 10.0 1.2345678901234568e+16 nan");
        assert_eq!(squad("An apple, the pear!"), "apple pear");
    }

    #[test]
    fn quasi_mends_them() {
        assert_eq!(quasi("A.", Articles::English), "a");
        assert_eq!(quasi("L’été, la «Seine» : 3,50 %", Articles::French), "été seine 3.5 %");
        assert_eq!(quasi("e\u{301}te\u{301} -2,0", Articles::French), "été -2");
    }
}
