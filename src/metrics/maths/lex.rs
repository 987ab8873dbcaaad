//! LaTeX cut into tokens: spacing commands vanish, `\text{…}` becomes one token.

/// One token of a formula.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tok {
    Num(String),
    Letter(char),
    /// A command without its backslash.
    Cmd(String),
    /// The content of a text command, spaces removed.
    Text(String),
    /// `\overline{AB}` and the like: a name.
    Accent(String),
    /// `\begin{name}` and `\end{name}`.
    Begin(String),
    End(String),
    Sign(char),
    /// `\\`, the end of a matrix row.
    Row,
}

/// More tokens than any answer has; longer ones are not read.
const MOST: usize = 1500;

const TEXT: [&str; 11] = [
    "text",
    "mbox",
    "textbf",
    "textit",
    "textrm",
    "textnormal",
    "mathrm",
    "mathbf",
    "mathit",
    "operatorname",
    "mathsf",
];
const ACCENTS: [&str; 8] = ["overline", "bar", "vec", "overrightarrow", "hat", "widehat", "tilde", "widetilde"];
const SKIP: [&str; 17] = [
    "left",
    "right",
    "displaystyle",
    "limits",
    "quad",
    "qquad",
    "big",
    "Big",
    "bigl",
    "bigr",
    "Bigl",
    "Bigr",
    "bigg",
    "mleft",
    "mright",
    "textstyle",
    "thinspace",
];

/// The tokens of a formula, or `None` where it holds something that no formula holds.
pub(crate) fn tokens(source: &str) -> Option<Vec<Tok>> {
    let mut lexer = Lexer { rest: source, out: Vec::new() };
    while !lexer.rest.is_empty() {
        lexer.step()?;
        if lexer.out.len() > MOST {
            return None;
        }
    }
    Some(lexer.out)
}

struct Lexer<'a> {
    rest: &'a str,
    out: Vec<Tok>,
}

impl Lexer<'_> {
    fn step(&mut self) -> Option<()> {
        let c = self.rest.chars().next()?;
        match c {
            '\\' => return self.command(),
            '0'..='9' | '.' => return self.number(),
            '~' | '\u{a0}' | '\u{202f}' | '\u{2009}' => {}
            '−' | '–' => self.out.push(Tok::Sign('-')),
            '×' | '·' => self.out.push(Tok::Sign('*')),
            '÷' => self.out.push(Tok::Sign('/')),
            'π' => self.out.push(Tok::Cmd("pi".to_owned())),
            '∞' => self.out.push(Tok::Cmd("infty".to_owned())),
            c if c.is_whitespace() => {}
            c if c.is_alphabetic() => self.out.push(Tok::Letter(c)),
            '+' | '-' | '*' | '/' | '^' | '_' | '(' | ')' | '[' | ']' | '{' | '}' | '=' | '<' | '>' | ',' | ';'
            | ':' | '!' | '|' | '%' | '&' | '\'' => self.out.push(Tok::Sign(c)),
            _ => return None,
        }
        self.rest = &self.rest[c.len_utf8()..];
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let after = &self.rest[digits..];
        let part = after.strip_prefix('.').map_or(0, |p| p.bytes().take_while(u8::is_ascii_digit).count());
        let end = if part > 0 { digits + 1 + part } else { digits };
        if end == 0 {
            return None;
        }
        self.out.push(Tok::Num(self.rest[..end].to_owned()));
        self.rest = &self.rest[end..];
        Some(())
    }

    fn command(&mut self) -> Option<()> {
        let body = &self.rest[1..];
        let first = body.chars().next()?;
        if !first.is_ascii_alphabetic() {
            self.rest = &body[first.len_utf8()..];
            match first {
                '\\' => self.out.push(Tok::Row),
                '{' => self.out.push(Tok::Cmd("lbrace".to_owned())),
                '}' => self.out.push(Tok::Cmd("rbrace".to_owned())),
                '%' => self.out.push(Tok::Sign('%')),
                '|' => self.out.push(Tok::Sign('|')),
                _ => {}
            }
            return Some(());
        }
        let len = body.bytes().take_while(u8::is_ascii_alphabetic).count();
        let name = &body[..len];
        self.rest = &body[len..];
        if SKIP.contains(&name) {
            return Some(());
        }
        let token = if TEXT.contains(&name) {
            Tok::Text(plain(self.braced()?))
        } else if ACCENTS.contains(&name) {
            Tok::Accent(format!("{name}{{{}}}", plain(self.braced()?)))
        } else if name == "begin" {
            Tok::Begin(self.braced()?.to_owned())
        } else if name == "end" {
            Tok::End(self.braced()?.to_owned())
        } else if name == "mathbb" {
            Tok::Cmd(format!("mathbb{}", self.braced()?.trim()))
        } else {
            Tok::Cmd(name.to_owned())
        };
        self.out.push(token);
        Some(())
    }

    /// The content of the braces that come next.
    fn braced(&mut self) -> Option<&str> {
        let inner = self.rest.trim_start().strip_prefix('{')?;
        let mut depth = 1_usize;
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.rest = &inner[at + 1..];
                return Some(&inner[..at]);
            }
        }
        None
    }
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '(' | ')')).collect()
}
