//! The runs of letters by which langdetect judges a text, after it cleaned the text its way: no addresses, no Latin
//! letters in a text of another script, capital words left out, related letters read as one.

use unicode_normalization::UnicodeNormalization;

use super::profiles::{key, profiles};

/// Characters of a text that are looked at.
const LONGEST: usize = 10_000;

/// Returns the rows of the runs in a text that any profile knows, in the order of the text.
pub(super) fn grams(text: &str) -> Vec<u32> {
    let profiles = profiles();
    let mut rows = Vec::new();
    let mut run = Run::default();
    for c in cleaned(text) {
        run.push(normal(c));
        if run.capital {
            continue;
        }
        for length in 1..=run.length {
            let tail = &run.letters[3 - length..];
            if tail != [' '] {
                rows.extend(profiles.find(key(tail)));
            }
        }
    }
    rows
}

/// The last letters of the word at hand, up to three, a space before its first.
struct Run {
    /// Filled from the right.
    letters: [char; 3],
    length: usize,
    /// Whether the word has two capitals in a row, up to here.
    capital: bool,
}

impl Default for Run {
    fn default() -> Self {
        Self { letters: [' '; 3], length: 1, capital: false }
    }
}

impl Run {
    fn push(&mut self, c: char) {
        let last = self.letters[2];
        if last == ' ' {
            *self = Self::default();
            if c == ' ' {
                return;
            }
        }
        self.letters = [self.letters[1], last, c];
        self.length = (self.length + 1).min(3);
        self.capital = c.is_uppercase() && (self.capital || last.is_uppercase());
    }
}

/// The characters that are judged.
fn cleaned(text: &str) -> Vec<char> {
    let mut letters = composed(&without_mail(&without_links(text)));
    letters.truncate(LONGEST);
    letters.dedup_by(|next, last| *next == ' ' && *last == ' ');
    let latin = letters.iter().filter(|c| matches!(c, 'A'..='z')).count();
    let other = letters.iter().filter(|c| **c >= '\u{300}' && !matches!(c, '\u{1e00}'..='\u{1eff}')).count();
    if latin * 2 < other {
        letters.retain(|c| !matches!(c, 'A'..='z'));
    }
    letters
}

/// Puts a space for each match of `https?://[-_.?&~;+=/#0-9A-Za-z]{1,2076}`.
fn without_links(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("http") {
        let after = &rest[at + 4..];
        let scheme = ["://", "s://"].into_iter().find(|scheme| after.starts_with(scheme));
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.?&~;+=/#".contains(byte);
        let path = scheme.map_or(0, |scheme| after[scheme.len()..].bytes().take(2076).take_while(|b| fits(b)).count());
        out.push_str(&rest[..at]);
        if path == 0 {
            out.push_str("http");
            rest = after;
        } else {
            out.push(' ');
            rest = &after[scheme.map_or(0, str::len) + path..];
        }
    }
    out + rest
}

/// Puts a space for each match of `[-_.0-9A-Za-z]{1,64}@[-_0-9A-Za-z]{1,255}[-_.0-9A-Za-z]{1,255}`.
fn without_mail(text: &str) -> String {
    let bytes = text.as_bytes();
    let dotless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let dotted = |byte: &u8| dotless(byte) || *byte == b'.';
    let mut out = String::with_capacity(text.len());
    // Up to where the text is settled, and where to look on.
    let (mut done, mut from) = (0, 0);
    while let Some(at) = text[from..].find('@').map(|at| from + at) {
        from = at + 1;
        let name = bytes[done..at].iter().rev().take(64).take_while(|byte| dotted(byte)).count();
        let host = bytes[from..].iter().take(255).take_while(|byte| dotless(byte)).count();
        let more = bytes[from + host..].iter().take(255).take_while(|byte| dotted(byte)).count();
        // The last part needs a character, which it takes from the host where no other follows.
        if name == 0 || host == 0 || host + more < 2 {
            continue;
        }
        out.push_str(&text[done..at - name]);
        out.push(' ');
        done = from + host + more;
        from = done;
    }
    out + &text[done..]
}

/// Joins Vietnamese vowels with the marks of tone that follow them.
fn composed(text: &str) -> Vec<char> {
    let marks = |c: char| matches!(c, '\u{300}' | '\u{301}' | '\u{303}' | '\u{309}' | '\u{323}');
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    let mut joined = true;
    for c in text.chars() {
        if marks(c)
            && !joined
            && let Some(vowel) = out.last_mut()
            && "AEIOUYaeiouyÂÊÔâêôĂăƠơƯư".contains(*vowel)
            && let Some(both) = [*vowel, c].into_iter().nfc().next()
        {
            *vowel = both;
            joined = true;
        } else {
            out.push(c);
            joined = false;
        }
    }
    out
}

/// One letter for those that langdetect takes as the same, and a space for what is no letter.
fn normal(c: char) -> char {
    match c {
        'A'..='Z' | 'a'..='z' => c,
        '\0'..='\x7f' | '\u{a0}' | '«' | '°' | '»' | '\u{2000}'..='\u{206f}' => ' ',
        '\u{219}' => '\u{15f}',
        '\u{21b}' => '\u{163}',
        '\u{6cc}' => '\u{64a}',
        '\u{1ea0}'..='\u{1eff}' => '\u{1ec3}',
        '\u{3040}'..='\u{309f}' => '\u{3042}',
        '\u{30a0}'..='\u{30ff}' => '\u{30a2}',
        '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' => '\u{3105}',
        '\u{4e00}'..='\u{9fff}' => profiles().readings.get(&c).copied().unwrap_or(c),
        '\u{ac00}'..='\u{d7af}' => '\u{ac00}',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go() {
        assert_eq!(without_links("a https://x.fr/é http://b, http:// httphttp://c"), "a  é  , http:// http ");
        assert_eq!(without_mail("à a.b@c.d, @x a@b é@fr.com x@yz@ab"), "à  , @x a@b é@fr.com  @ab");
        assert_eq!(composed("a\u{300}\u{301}o"), ['à', '\u{301}', 'o']);
    }
}
