//! Whether a text is JSON for Python's `json.loads`, which takes `NaN`, `Infinity` and unpaired surrogates, and refuses
//! numbers of more digits than it converts. A walk with a stack of its own: depth is the model's choice.

/// Nesting beyond which Python gives up, which ends the reference; here the text is just not JSON.
const DEEPEST: usize = 990;

/// Digits beyond which Python refuses to convert a whole number.
const LONGEST: usize = 4300;

/// What JSON a text may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// What `json.loads` takes.
    Python,
    /// RFC 8259, no constants such as `NaN`.
    Standard,
}

/// Says whether a text is one JSON value.
pub(super) fn is_json(text: &str, dialect: Dialect) -> bool {
    Walk { bytes: text.as_bytes(), at: 0, dialect }.document().is_some()
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
}

/// The start of a value.
enum Begun {
    Whole,
    Open(u8),
}

impl Walk<'_> {
    /// Each step gives `None` where the text breaks the grammar.
    fn document(&mut self) -> Option<()> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.space();
            if let Begun::Open(bracket) = self.begin()? {
                if open.len() == DEEPEST {
                    return None;
                }
                open.push(bracket);
                continue;
            }
            // A value ended; close and continue what holds it.
            loop {
                self.space();
                let Some(inside) = open.last() else {
                    return (self.at == self.bytes.len()).then_some(());
                };
                match (self.next()?, inside) {
                    (b',', b'{') => {
                        self.space();
                        self.key()?;
                        break;
                    }
                    (b',', _) => break,
                    (b'}', b'{') | (b']', b'[') => _ = open.pop(),
                    _ => return None,
                }
            }
        }
    }

    /// Reads a simple or empty value, or the bracket of one with members.
    fn begin(&mut self) -> Option<Begun> {
        match self.peek()? {
            b'{' => {
                self.at += 1;
                self.space();
                if self.take(b"}") {
                    return Some(Begun::Whole);
                }
                self.key()?;
                Some(Begun::Open(b'{'))
            }
            b'[' => {
                self.at += 1;
                self.space();
                Some(if self.take(b"]") { Begun::Whole } else { Begun::Open(b'[') })
            }
            _ => self.scalar().map(|()| Begun::Whole),
        }
    }

    fn key(&mut self) -> Option<()> {
        self.string()?;
        self.space();
        self.take(b":").then_some(())
    }

    fn scalar(&mut self) -> Option<()> {
        if self.peek()? == b'"' {
            return self.string();
        }
        let words: &[&[u8]] = match self.dialect {
            Dialect::Python => &[b"true", b"false", b"null", b"NaN", b"Infinity", b"-Infinity"],
            Dialect::Standard => &[b"true", b"false", b"null"],
        };
        if words.iter().any(|word| self.take(word)) {
            return Some(());
        }
        self.number()
    }

    fn number(&mut self) -> Option<()> {
        self.take(b"-");
        let whole = if self.take(b"0") { 1 } else { self.digits() };
        if whole == 0 {
            return None;
        }
        let mut fraction = false;
        // A dot or an `e` without digits ends the number before it, and is then a stray character.
        for (signs, marks) in [(&b""[..], &b"."[..]), (b"+-", b"eE")] {
            let start = self.at;
            if self.one_of(marks) {
                self.one_of(signs);
                if self.digits() == 0 {
                    self.at = start;
                } else {
                    fraction = true;
                }
            }
        }
        (fraction || whole <= LONGEST || self.dialect == Dialect::Standard).then_some(())
    }

    fn string(&mut self) -> Option<()> {
        if !self.take(b"\"") {
            return None;
        }
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            self.next().filter(u8::is_ascii_hexdigit)?;
                        }
                    }
                    _ => return None,
                },
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn digits(&mut self) -> usize {
        let count = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn one_of(&mut self, bytes: &[u8]) -> bool {
        let found = self.peek().is_some_and(|byte| bytes.contains(&byte));
        self.at += usize::from(found);
        found
    }

    fn take(&mut self, word: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_what_python_takes() {
        for good in [
            "{}",
            "[]",
            " [1, -0.5e+3, NaN, -Infinity]\n",
            r#"{"a": {"b": [true, null]}, "a": "\ud800é"}"#,
            "0",
            "\"x\"",
        ] {
            assert!(is_json(good, Dialect::Python), "{good}");
        }
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "+1",
            "1.",
            "1e",
            "'a'",
            "{a: 1}",
            "\"\n\"",
            "[1]]",
            "\u{feff}[]",
            "\u{a0}1",
        ] {
            assert!(!is_json(bad, Dialect::Python), "{bad}");
        }
        assert!(!is_json("NaN", Dialect::Standard));
        assert!(!is_json(&"9".repeat(4301), Dialect::Python));
        assert!(is_json(&format!("{}.5", "9".repeat(4301)), Dialect::Python));
        assert!(!is_json(&"[".repeat(10_000_000), Dialect::Python));
    }

    proptest! {
        #[test]
        fn agrees_with_another_parser(text in r#"([\[\]{},: ]|"[a-z\\"]*"|-?[0-9.eE+]{0,4}|true|null){0,12}"#) {
            prop_assert_eq!(is_json(&text, Dialect::Standard), serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|_| true) || out_of_range(&text));
        }
    }

    /// serde_json refuses numbers beyond a double, which JSON allows.
    fn out_of_range(text: &str) -> bool {
        serde_json::from_str::<serde_json::Value>(text).is_err_and(|error| error.to_string().contains("out of range"))
            && is_json(text, Dialect::Standard)
    }
}
