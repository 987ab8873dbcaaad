//! The tokens of a tag, and which of them make an operand.

/// Words that are no operands.
const KEYWORDS: &[&str] = &["and", "or", "not", "in", "is", "if", "else", "elif"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::data) enum Kind {
    Word,
    Literal,
    Open,
    Close,
    Operator,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::data) struct Token<'a> {
    pub(in crate::data) kind: Kind,
    pub(in crate::data) text: &'a str,
    pub(in crate::data) end: usize,
    /// The bracket that belongs to this one.
    pub(in crate::data) partner: usize,
}

/// Reads the tokens of a tag up to its end, which is returned too.
pub(in crate::data) fn scan<'a>(source: &'a str, from: usize, close: &str) -> Option<(Vec<Token<'a>>, usize)> {
    let bytes = source.as_bytes();
    let mut tokens: Vec<Token<'a>> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut at = from;
    loop {
        let rest = &source[at..];
        let first = rest.chars().next()?;
        if open.is_empty() && rest.starts_with(close) {
            return Some((tokens, at + close.len()));
        }
        if at == from && matches!(first, '-' | '+') {
            // No sign, but what becomes of the white space before the tag.
            at += 1;
            continue;
        }
        let length = match first {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '\'' | '"' => string_length(rest)?,
            c if c.is_alphabetic() || c == '_' => rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))?,
            c if c.is_ascii_digit() => number_length(rest)?,
            '*' | '/' | '=' if bytes.get(at + 1) == Some(&bytes[at]) => 2,
            '!' | '<' | '>' if bytes.get(at + 1) == Some(&b'=') => 2,
            c => c.len_utf8(),
        };
        let kind = match first {
            '\'' | '"' => Kind::Literal,
            c if c.is_ascii_digit() => Kind::Literal,
            c if c.is_alphabetic() || c == '_' => Kind::Word,
            '(' | '[' | '{' => Kind::Open,
            ')' | ']' | '}' => Kind::Close,
            _ => Kind::Operator,
        };
        let mut partner = 0;
        if kind == Kind::Open {
            open.push(tokens.len());
        } else if kind == Kind::Close {
            partner = open.pop()?;
            tokens[partner].partner = tokens.len();
        }
        tokens.push(Token { kind, text: &rest[..length], end: at + length, partner });
        at += length;
    }
}

/// Returns the length of a number, or of what comes before its point: `1e-5` is one token, `1.5` are three.
fn number_length(text: &str) -> Option<usize> {
    let end = |from: usize| Some(from + text[from..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?);
    let first = end(0)?;
    let exponent = text[..first].ends_with(['e', 'E']) && text[first..].starts_with(['-', '+']);
    if exponent && !text.starts_with("0x") { end(first + 1) } else { Some(first) }
}

/// Returns the length of a string with its quotes.
fn string_length(text: &str) -> Option<usize> {
    let quote = text.as_bytes()[0];
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

impl Token<'_> {
    pub(super) fn ends_operand(&self) -> bool {
        match self.kind {
            Kind::Word => !KEYWORDS.contains(&self.text),
            Kind::Literal | Kind::Close => true,
            Kind::Open | Kind::Operator => false,
        }
    }

    /// Says whether a tag's value may end here, before white-space control: a comma may be the last of a tuple.
    pub(super) fn ends_value(&self) -> bool {
        self.ends_operand() || self.is(",")
    }

    pub(in crate::data) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Literal && self.text == text
    }
}

/// Returns the byte at which the operand begins that ends with a token.
pub(super) fn operand_start(tokens: &[Token<'_>], end: usize) -> usize {
    let token = tokens[operand_begin(tokens, end)];
    token.end - token.text.len()
}

/// Returns the first token of the operand that ends with a token, filters and what they filter included.
pub(super) fn operand_begin(tokens: &[Token<'_>], end: usize) -> usize {
    let mut at = end;
    loop {
        if tokens[at].kind == Kind::Close {
            at = tokens[at].partner;
            // A call or a subscript belongs to what is before it; any other bracket begins the operand.
            if at > 0 && tokens[at - 1].ends_operand() {
                at -= 1;
                continue;
            }
        } else if at > 1 && tokens[at - 1].is(".") {
            at -= 2;
            continue;
        }
        if at > 1 && tokens[at - 1].is("|") {
            at -= 2;
            continue;
        }
        return at;
    }
}

/// Says whether an operator binds tighter than `~`.
pub(super) fn tighter(token: Token<'_>) -> bool {
    token.kind == Kind::Operator && matches!(token.text, "*" | "/" | "//" | "%" | "**")
}

/// Says whether a token is the sign of what follows, and no operator between two operands.
pub(super) fn is_sign(tokens: &[Token<'_>], at: usize) -> bool {
    (tokens[at].is("-") || tokens[at].is("+")) && (at == 0 || !tokens[at - 1].ends_operand())
}

/// Returns the byte behind the operand that begins at a token, and whether it is nothing but a literal.
pub(super) fn operand_end(tokens: &[Token<'_>], from: usize) -> Option<(usize, bool)> {
    let (last, literal) = operand(tokens, from)?;
    Some((tokens[last].end, literal))
}

pub(super) fn operand_last(tokens: &[Token<'_>], from: usize) -> Option<usize> {
    operand(tokens, from).map(|(last, _)| last)
}

/// Returns the last token of the operand that begins at a token, and whether it is nothing but a literal.
pub(super) fn operand(tokens: &[Token<'_>], from: usize) -> Option<(usize, bool)> {
    let mut at = from;
    while tokens.get(at)?.is("-") || tokens[at].is("+") || tokens[at].is("not") {
        at += 1;
    }
    let mut literal = tokens[at].kind == Kind::Literal;
    if tokens[at].kind == Kind::Open {
        at = tokens[at].partner;
    }
    loop {
        let next = tokens.get(at + 1);
        at = match next {
            Some(next) if literal && next.kind == Kind::Literal => at + 1,
            Some(next) if next.is(".") => at + 2,
            Some(next) if next.is("(") || next.is("[") => next.partner,
            Some(next) if next.is("|") => at + 2,
            _ => return (at < tokens.len()).then_some((at, literal)),
        };
        literal = literal && next.is_some_and(|next| next.kind == Kind::Literal);
    }
}

/// Returns the first token of everything that is multiplied and divided up to a token, and so belongs to a `%` behind it.
pub(super) fn product_begin(tokens: &[Token<'_>], end: usize) -> usize {
    let mut at = end;
    loop {
        at = operand_begin(tokens, at);
        // Strings that stand side by side are one.
        while at > 0 && tokens[at].kind == Kind::Literal && tokens[at - 1].kind == Kind::Literal {
            at -= 1;
        }
        while at > 0 && is_sign(tokens, at - 1) {
            at -= 1;
        }
        if at > 1 && tighter(tokens[at - 1]) {
            at -= 2;
        } else {
            return at;
        }
    }
}

/// Returns the last token of what a `%` divides by. Powers bind tighter.
pub(super) fn divisor_last(tokens: &[Token<'_>], from: usize) -> Option<usize> {
    let mut last = operand_last(tokens, from)?;
    while tokens.get(last + 1).is_some_and(|token| token.is("**")) {
        last = operand_last(tokens, last + 2)?;
    }
    tokens[last].ends_operand().then_some(last)
}

/// Says whether there is a comma between two tokens and in no bracket.
pub(super) fn has_comma(tokens: &[Token<'_>], from: usize, to: usize) -> bool {
    let mut at = from;
    while at < to {
        match tokens[at].kind {
            Kind::Open => at = tokens[at].partner,
            _ if tokens[at].is(",") => return true,
            _ => {}
        }
        at += 1;
    }
    false
}

/// Returns the first token in no bracket that is a certain word or operator.
pub(super) fn find(tokens: &[Token<'_>], text: &str) -> Option<usize> {
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].kind {
            Kind::Open => at = tokens[at].partner,
            _ if tokens[at].is(text) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}
