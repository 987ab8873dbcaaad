//! `/ToUnicode`: which text a code of a font stands for, as the file itself says.
//!
//! Only what such a table needs is read of PostScript: ranges of codes and what they mean. Ranges stay ranges, so that one
//! that claims all codes there could be costs no more than any other.

/// The most ranges of lengths, which are gone through for every code. Real tables have one to four.
const MOST_SPACES: usize = 256;

/// What codes mean.
#[derive(Debug, Default)]
pub(super) struct ToUnicode {
    /// How many bytes the codes have that begin with a byte in a range: `(bytes, first, last)`.
    spaces: Vec<(usize, u32, u32)>,
    /// Codes and the text of the first one, whose last character counts up.
    ranges: Vec<(u32, u32, Vec<u16>)>,
}

#[derive(Debug, PartialEq)]
enum Token<'a> {
    Hex(Vec<u8>),
    Word(&'a [u8]),
    Open,
    Close,
}

impl ToUnicode {
    /// Reads a table. What cannot be read in it is passed over.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut table = Self::default();
        let mut section: &[u8] = b"";
        let mut waiting: Vec<Token<'_>> = Vec::new();
        for token in Tokens(bytes) {
            match token {
                Token::Word(word) if word.starts_with(b"begin") => section = word,
                Token::Word(_) => section = b"",
                token => waiting.push(token),
            }
            let done = match section {
                b"begincodespacerange" => table.space(&waiting),
                b"beginbfchar" => table.char(&waiting),
                b"beginbfrange" => table.range(&waiting),
                _ => true,
            };
            if done {
                waiting.clear();
            }
        }
        table.ranges.sort_by_key(|(first, ..)| *first);
        table
    }

    fn space(&mut self, waiting: &[Token<'_>]) -> bool {
        if let [Token::Hex(first), Token::Hex(last)] = waiting
            && self.spaces.len() < MOST_SPACES
        {
            self.spaces.push((first.len().clamp(1, 4), number(first), number(last)));
        }
        waiting.len() >= 2
    }

    fn char(&mut self, waiting: &[Token<'_>]) -> bool {
        if let [Token::Hex(code), Token::Hex(text)] = waiting {
            self.ranges.push((number(code), number(code), units(text)));
        }
        waiting.len() >= 2
    }

    fn range(&mut self, waiting: &[Token<'_>]) -> bool {
        match waiting {
            [Token::Hex(first), Token::Hex(last), Token::Hex(text)] => {
                self.ranges.push((number(first), number(last), units(text)));
                true
            }
            [Token::Hex(first), Token::Hex(_), Token::Open, texts @ .., Token::Close] => {
                for (code, text) in (number(first)..).zip(texts) {
                    if let Token::Hex(text) = text {
                        self.ranges.push((code, code, units(text)));
                    }
                }
                true
            }
            [_, _, Token::Open, ..] => false,
            _ => waiting.len() >= 3,
        }
    }

    /// Returns how many bytes the code at the start of `bytes` has, if the table says so.
    pub(super) fn length(&self, bytes: &[u8]) -> Option<usize> {
        let fits = |(length, first, last): &&(usize, u32, u32)| {
            bytes.get(..*length).is_some_and(|code| (*first..=*last).contains(&number(code)))
        };
        self.spaces.iter().find(fits).or(self.spaces.first()).map(|(length, ..)| *length)
    }

    /// Returns what a code means.
    pub(super) fn text(&self, code: u32) -> Option<String> {
        let end = self.ranges.partition_point(|(first, ..)| *first <= code);
        let (first, last, text) = self.ranges[..end].last()?;
        if code > *last {
            return None;
        }
        let mut text = text.clone();
        let end = text.last_mut()?;
        *end = end.wrapping_add((code - first) as u16);
        Some(String::from_utf16_lossy(&text))
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes[bytes.len().saturating_sub(4)..].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn units(bytes: &[u8]) -> Vec<u16> {
    match bytes {
        [byte] => vec![u16::from(*byte)],
        bytes => bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect(),
    }
}

/// The tokens of PostScript that such a table is made of.
struct Tokens<'a>(&'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let all = self.0;
            let (&first, rest) = all.split_first()?;
            let until = |ends: &dyn Fn(&u8) -> bool| rest.iter().position(ends).unwrap_or(rest.len());
            self.0 = rest;
            match first {
                b'%' => self.0 = &rest[until(&|byte| matches!(byte, b'\n' | b'\r'))..],
                b'[' => return Some(Token::Open),
                b']' => return Some(Token::Close),
                b'<' if rest.first() != Some(&b'<') => {
                    let end = until(&|byte| *byte == b'>');
                    self.0 = rest.get(end + 1..).unwrap_or_default();
                    return Some(Token::Hex(hex(&rest[..end])));
                }
                // The second of two.
                b'<' => self.0 = &rest[1..],
                b'>' | b'(' | b')' | b'{' | b'}' | 0 => {}
                byte if byte.is_ascii_whitespace() => {}
                _ => {
                    let end = until(&|byte| byte.is_ascii_whitespace() || b"<>[]()/%{}".contains(byte));
                    self.0 = &rest[end..];
                    // A name (`/…`) or a number is no operator, and says nothing here.
                    if first.is_ascii_alphabetic() {
                        return Some(Token::Word(&all[..=end]));
                    }
                }
            }
        }
    }
}

fn hex(digits: &[u8]) -> Vec<u8> {
    let digits: Vec<u8> = digits.iter().filter_map(|digit| Some((*digit as char).to_digit(16)? as u8)).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_table_says() {
        let table = ToUnicode::read(
            b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap << /Registry (Adobe) >> def\n\
              1 begincodespacerange <0000> <FFFF> endcodespacerange % <01> <02>\n\
              2 beginbfchar <0003> <0020> <0010> <00660066> endbfchar\n\
              3 beginbfrange <0024> <0026> <0041> <0030><0031>[<00E9> <D835DC00>] <0100> <FFFFFFFF> <00C0> endbfrange\n\
              endcmap end end",
        );
        for (code, text) in [(3, " "), (0x10, "ff"), (0x24, "A"), (0x26, "C"), (0x30, "é"), (0x31, "𝐀"), (0x101, "Á")]
        {
            assert_eq!(table.text(code).as_deref(), Some(text), "{code:x}");
        }
        assert_eq!((table.text(0x27), table.text(0), table.length(&[0, 3, 9])), (None, None, Some(2)));
        assert_eq!(ToUnicode::read(b"beginbfchar <41").text(0x41), None);
        let many = ToUnicode::read(&[&b"begincodespacerange "[..], &b"<00> <01> ".repeat(100_000)].concat());
        assert_eq!(many.spaces.len(), MOST_SPACES);
    }
}
