//! What lighteval 0.10.0 does to a LaTeX answer before it is parsed (latex2sympy2_extended 1.0.6, `math_normalization.py`), step
//! by step and in its order: boxes, spelling of commands, chains of equations, units, malformed fractions and roots.

use std::{borrow::Cow, sync::LazyLock};

use fancy_regex::Regex as Fancy;
use regex::{Captures, Regex};

type Static<T> = LazyLock<T>;

#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
fn re(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

static LEFT: Static<Regex> = LazyLock::new(|| {
    re(r"\\m?left(\\\{|\{|\\\||\||\[|\(|\\lgroup|\\lbrace|\\lbrack|\\l?vert|\\lceil|\\lfloor|\\langle)")
});
static RIGHT: Static<Regex> = LazyLock::new(|| {
    re(r"\\m?right(\\\}|\}|\\\||\||\]|\)|\\rgroup|\\rbrace|\\rbrack|\\r?vert|\\rceil|\\rfloor|\\rangle)")
});
static PERMUTATION: Static<Regex> = LazyLock::new(|| re(r"\(([a-zA-Z0-9+\-*/\\ ]+?)\)_\{([a-zA-Z0-9+\-*/\\ ]+?)\}"));
static REMOVED: Static<Regex> =
    LazyLock::new(|| re(r#"\\mathrm\{th\}|\\!\s*|\\text\s*\{\s*\}|\\\$|\$|\\["']|["']|\\displaystyle"#));
#[expect(clippy::unwrap_used, reason = "a pattern of this file, compiled by its tests")]
static REPLACED: Static<Fancy> = LazyLock::new(|| {
    let parts = [
        r"(?P<text>\\math(?:rm|it|bf)|\\text(?:normal|bf|it|rm))",
        r"(?P<frac>\\[dtc]frac)",
        r"(?P<dot>\s\.)",
        r"(?P<bracedot>\{\.)",
        r"(?P<approx>~=)",
        r"(?P<comma>\s*\{\s*,\s*\})",
        r"(?P<or>(?<!\w)(?:and|or)(?!\w)|\\text\{\s*(?:and|or)\s*\})",
        r"(?P<space>(?<!\\)\\\s)",
        r"(?P<infinity>infinity)",
        r"(?P<dots>,?\\ldots)",
        r"(?P<percent>\s*percent|\\text\{percent\})",
        r"(?P<inf>(?<!\\)inf(?!inity))",
        r"(?P<sqrt> sqrt)",
    ];
    Fancy::new(&parts.join("|")).unwrap()
});
const REPLACEMENTS: [(&str, &str); 13] = [
    ("text", r"\text"),
    ("frac", r"\frac"),
    ("dot", " 0."),
    ("bracedot", "{0."),
    ("approx", r"\approx"),
    ("comma", ","),
    ("or", ";"),
    ("space", " "),
    ("infinity", r"\infty"),
    ("dots", " "),
    ("percent", r"\%"),
    ("inf", r"\infty"),
    ("sqrt", r"\sqrt"),
];
static DOUBLED: Static<Regex> = LazyLock::new(|| re(r"\\\\([a-zA-Z])"));
static UNIT: Static<Regex> = LazyLock::new(|| re(r"\\(?:text|mbox)\{[^\n]*?\}(?:\^\d|\{\^\d\})?$"));
static MALFORMED: Static<[(&str, Regex, &str); 7]> = LazyLock::new(|| {
    [
        ("^", re(r"\^\s?\((.*?)\)"), "^{$1}"),
        ("sqrt", re(r"sqrt\s?\((.*?)\)"), r"\sqrt{$1}"),
        (r"\frac", re(r"\\frac\s?(\d)\s?(\d+)"), r"\frac{$1}{$2}"),
        (r"\log_", re(r"\\log_\s?(\d)\s?(\d+)"), r"\log_{$1}{$2}"),
        (r"\frac", re(r"\\frac\s?\{(.*?)\}\s?(\d)"), r"\frac{$1}{$2}"),
        (r"\frac", re(r"\\frac\s?(\d)\s?\{(.*?)\}"), r"\frac{$1}{$2}"),
        (r"\sqrt", re(r"\\sqrt\s?(\d)"), r"\sqrt{$1}"),
    ]
});
static SEPARATOR: Static<Regex> = LazyLock::new(|| re(r"^\s*(?:and|or|,)\s*$"));

/// The answer as lighteval hands it to its parser. With `last_box`, only the last box counts (and those listed right before it).
pub(crate) fn clean(source: &str, last_box: bool) -> String {
    let mut text = unboxed(source, last_box);
    text = basic(&text);
    if !text.contains([',', ';']) {
        let parts = equation_parts(&text);
        if parts.len() > 2 {
            text = String::from(parts[parts.len() - 1]);
        }
    }
    let bare = UNIT.replace(&text, "");
    if !bare.trim().is_empty() && matches!(bare, Cow::Owned(_)) {
        text = String::from(bare.trim());
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    if text == "0.5" {
        r"\frac{1}{2}".clone_into(&mut text);
    }
    repaired(text).trim().to_owned()
}

fn basic(source: &str) -> String {
    let mut text = source.to_owned();
    if text.contains('\\') {
        text = text.replace(r"\mathrm{T}", "T").replace(r"\mathrm{d}", "d").replace(r"{\rm d}", "d");
        text = LEFT.replace_all(&text, "$1").into_owned();
        text = RIGHT.replace_all(&text, "$1").into_owned();
    }
    if text.contains(")_{") {
        text = PERMUTATION.replace_all(&text, r"\frac{($1)!}{(($1)-($2))!}").into_owned();
    }
    if text.contains(['\\', '$', '"', '\'']) {
        let keep =
            |c: &Captures| if c[0].len() == 2 && c[0].ends_with(['"', '\'']) { c[0].to_owned() } else { String::new() };
        text = REMOVED.replace_all(&text, keep).into_owned();
    }
    let named = |c: &fancy_regex::Captures<str>| {
        REPLACEMENTS.iter().find(|(name, _)| c.name(name).is_some()).map_or("", |(_, new)| new)
    };
    if text.contains(|c: char| c.is_whitespace() || c == '\\' || c == '{' || c == '~' || c.is_ascii_lowercase())
        && let Ok(new) = REPLACED.try_replacen(&text, 0, named)
    {
        text = new.into_owned();
    }
    text = text.replace(['\n', '\t'], " ");
    if text.contains(r"\\") && !text.contains("matrix") {
        text = DOUBLED.replace_all(&text, r"\$1").into_owned();
    }
    text
}

/// The text cut at every `=` that belongs to no other sign.
pub(crate) fn equation_parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices('=') {
        if !text[..at].ends_with(['\\', '<', '!', '>']) {
            parts.push(&text[start..at]);
            start = at + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn repaired(mut text: String) -> String {
    for (trigger, pattern, new) in &*MALFORMED {
        if text.contains(trigger)
            && let Cow::Owned(new) = pattern.replace_all(&text, *new)
        {
            text = new;
        }
    }
    text = text.replace(" sqrt", r"\sqrt");
    slashed(fracs(&roots(&text)))
}

/// `\sqrt2` gets its braces.
fn roots(text: &str) -> String {
    let mut pieces = text.split(r"\sqrt");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        out.push_str(r"\sqrt");
        let piece = piece.trim_start();
        match piece.chars().next() {
            Some(c) if c != '{' && c != '[' => {
                out.extend(['{', c, '}']);
                out.push_str(&piece[c.len_utf8()..]);
            }
            _ => out.push_str(piece),
        }
    }
    out
}

/// `\frac12` and `\frac1{2}` get their braces (Hendrycks' rule).
pub(crate) fn fracs(text: &str) -> String {
    let mut pieces = text.split(r"\frac");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let piece = piece.trim_start();
        out.push_str(r"\frac");
        if piece.starts_with('{') {
            out.push_str(piece);
            continue;
        }
        let mut chars = piece.chars();
        let (Some(a), Some(b)) = (chars.next(), chars.next()) else { return text.to_owned() };
        out.extend(['{', a, '}']);
        if b == '{' {
            out.push(b);
        } else {
            out.extend(['{', b, '}']);
        }
        out.push_str(chars.as_str());
    }
    out
}

/// A lone `a/b` becomes a `\frac`.
pub(crate) fn slashed(text: String) -> String {
    let whole = |s: &str| s.parse::<i64>().is_ok_and(|n| n.to_string() == s);
    match text.split_once('/') {
        Some((a, b)) if whole(a) && whole(b) => format!(r"\frac{{{a}}}{{{b}}}"),
        _ => text,
    }
}

/// The content of the boxes, joined by commas: all of them, or the last and those listed right before it. A last box that is
/// never closed counts from its brace; without any box the text is returned.
pub(crate) fn unboxed(text: &str, last: bool) -> String {
    let mut results: Vec<&str> = Vec::new();
    let mut end = text.len();
    let mut following: Option<usize> = None;
    while let Some((start, command)) = last_box(&text[..end]) {
        let after = &text[start + command..end];
        let body = after.trim_start();
        if body.is_empty() {
            break;
        }
        let content = body.strip_prefix('{').and_then(|inner| closing(inner).map(|at| (&inner[..at], at)));
        let Some((inner, at)) = content else {
            if results.is_empty() {
                let open = start + command + (after.len() - body.len());
                results.push(&text[open..]);
            }
            break;
        };
        let close = end - body.len() + 1 + at;
        if last && following.is_some_and(|next| !SEPARATOR.is_match(&text[close + 1..next])) {
            break;
        }
        results.push(inner.trim());
        following = Some(start);
        end = start;
    }
    if results.is_empty() {
        return text.to_owned();
    }
    results.reverse();
    results.join(",")
}

/// Where the last `\boxed` or `\fbox` starts, and the length of its name.
fn last_box(text: &str) -> Option<(usize, usize)> {
    let (boxed, fbox) = (text.rfind(r"\boxed"), text.rfind(r"\fbox"));
    if boxed > fbox { boxed.map(|at| (at, 6)) } else { fbox.map(|at| (at, 5)) }
}

fn closing(inner: &str) -> Option<usize> {
    let mut depth = 1_usize;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}
