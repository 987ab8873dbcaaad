//! White space in order, and the colours of terminals gone.

/// Which white space is put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Spaces {
    /// Windows' and Mac OS's line breaks become line feeds.
    pub line_breaks: bool,
    /// White space at the end of lines goes. Markdown's two spaces for a break are among it.
    pub line_ends: bool,
    /// More than two line feeds in a row become two.
    pub blank_lines: bool,
    /// No-break and narrow no-break spaces become spaces. French wants them before `;:!?` and inside `« »`.
    pub no_break: bool,
    /// White space before the first and after the last character goes.
    pub trim: bool,
}

/// The text with its white space in order.
pub fn clean_spaces(text: &str, which: Spaces) -> String {
    let mut text = text.to_owned();
    if which.line_breaks && text.contains('\r') {
        text = text.replace("\r\n", "\n").replace('\r', "\n");
    }
    if which.no_break {
        text = text.replace(['\u{a0}', '\u{202f}'], " ");
    }
    if which.line_ends {
        let lines: Vec<_> = text.split('\n').map(|line| line.trim_end_matches([' ', '\t', '\u{a0}', '\r'])).collect();
        text = lines.join("\n");
    }
    if which.blank_lines {
        while text.contains("\n\n\n") {
            text = text.replace("\n\n\n", "\n\n");
        }
    }
    if which.trim {
        text = text.trim().to_owned();
    }
    text
}

/// The text without `ESC [ 1 ; 31 m` and its like, if it has any.
pub(super) fn without_escapes(text: &str) -> Option<String> {
    if !text.contains('\x1b') {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        let after = &rest[at + 2..];
        let end = after.find(|c: char| !(c.is_numeric() || c == ';')).unwrap_or(after.len());
        if after[end..].starts_with(|c: char| c.is_ascii_alphabetic()) {
            out.push_str(&rest[..at]);
            rest = &after[end + 1..];
        } else {
            out.push_str(&rest[..at + 2]);
            rest = after;
        }
    }
    out.push_str(rest);
    Some(out)
}
