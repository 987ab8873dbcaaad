//! Text without what is no prose: code, formulas, addresses on the web. What is left says in which language its author wrote.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// What is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leave {
    /// Fenced code, and code between back-ticks.
    pub code: bool,
    /// Formulas between dollars, `\(…\)`, `\[…\]`, and environments.
    pub latex: bool,
    /// Addresses on the web.
    pub urls: bool,
}

static CODE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?s)```.*?(?:```|\z)|~~~.*?(?:~~~|\z)|`[^`\n]+`").ok());
static LATEX: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?s)\$\$.*?\$\$|\\\(.*?\\\)|\\\[.*?\\\]|\\begin\{(?:align|equation|cases|matrix|pmatrix|bmatrix|array|gather|split)\*?\}.*?\\end\{[a-z]+\*?\}|\$[^$\n]+\$").ok()
});
static URL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?:https?://|www\.)\S+").ok());

/// The text without them, a space in place of each.
pub fn prose(text: &str, leave: Leave) -> Cow<'_, str> {
    let rules = [
        (leave.code, '`', &*CODE),
        (leave.code, '~', &*CODE),
        (leave.latex, '$', &*LATEX),
        (leave.latex, '\\', &*LATEX),
        (leave.urls, '/', &*URL),
        (leave.urls, 'w', &*URL),
    ];
    let mut plain = Cow::Borrowed(text);
    for (_, _, pattern) in rules.iter().filter(|(on, sign, _)| *on && text.contains(*sign)) {
        if let Some(pattern) = pattern
            && let Cow::Owned(without) = pattern.replace_all(&plain, " ")
        {
            plain = Cow::Owned(without);
        }
    }
    plain
}

/// The share of the characters, white space apart, that is code: fenced, or on lines that end and begin as code does.
pub fn code_share(text: &str) -> f64 {
    let count = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
    let all = count(text);
    if all == 0 {
        return 0.0;
    }
    let rest = prose(text, Leave { code: true, ..Leave::default() });
    let lines: usize = rest.lines().filter(|line| is_code(line)).map(count).sum();
    (all - count(&rest) + lines) as f64 / all as f64
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    let starts = [
        "def ",
        "class ",
        "import ",
        "from ",
        "return ",
        "return;",
        "function ",
        "const ",
        "let ",
        "var ",
        "public ",
        "private ",
        "#include",
        "using namespace",
        "fn ",
        "pub fn ",
        "impl ",
        "if (",
        "for (",
        "while (",
        "} else",
        "else:",
        "elif ",
        "SELECT ",
        "INSERT INTO",
        "</",
        "<?php",
        "<div",
        "<html",
        "//",
        "/*",
        "print(",
        "console.log(",
        "System.out",
    ];
    let ends = [';', '{', '}'];
    let prose = line.split(' ').count() > 6 && line.ends_with(['.', '!', '?', '…']);
    !prose && (line.ends_with(ends) || starts.iter().any(|start| line.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_prose_goes() {
        let all = Leave { code: true, latex: true, urls: true };
        let text = "Soit $f(x) = x^2$ et `let x` :\n```rust\nfn f() {}\n```\nVoir https://a.fr/b. Coût : 5 $ ou\n6 $.";
        assert_eq!(prose(text, all), "Soit   et   :\n \nVoir   Coût : 5 $ ou\n6 $.");
        assert_eq!(prose("rien à enlever", all), "rien à enlever");
        assert!(code_share(text) < 0.5);
        assert!(code_share("def f(x):\n    return x\nprint(f(2))\nx = 1;") > 0.5);
        assert!(code_share("Bonjour, je voudrais importer des données.") < 0.01);
        assert!(code_share("").abs() < f64::EPSILON);
    }
}
