//! Numbers and sums written without LaTeX: lighteval 0.10.0's `ExprExtractionConfig` patterns and what it makes of their matches.

use std::sync::LazyLock;

use fancy_regex::Regex as Fancy;
use regex::Regex;

use super::{
    Language,
    expr::Expr,
    lex::{Tok, tokens},
    parse::{Dialect, parse},
    rational::Rat,
};

const NUMBER: &str = concat!(
    r"(?:(?P<integer1>-?\d{1,3}(?:[ ,]\d{3})+)(?P<decimal1>\.\d+)?|(?P<integer2>-?\d+)(?P<decimal2>[.,]\d+)",
    r"|(?P<decimal3>\.\d+)|(?P<integer3>-?\d+))(?P<percent>\s*(?:%|[Pp]ercent|\s*[Pp]ercentage|\s*[Pp]ct))?"
);
const SUM: &str = r"(?P<expr>-?\(?-?\d[\d.\s+\-*×/^()÷]*[+\-*×/^()÷][\d.\s+\-*×/^()÷]+\)?)";
const BEFORE: &str = r"(?:^|\s|=)(?:\*\*)?";
const AFTER: &str = r"(?:\*\*)?(?:[.,:]|\s|\)|\$|$)";
const CURRENCY: &str = "[$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿]";

/// The patterns of one language, each with its priority; lower is tried first.
pub(crate) struct Patterns {
    plain: Vec<(Regex, u16)>,
    /// Those that must not be followed by `=`.
    guarded: Vec<(Fancy, u16)>,
    word: Regex,
}

/// A match: where, and what was read from it.
pub(crate) struct Found {
    pub start: usize,
    pub end: usize,
    pub value: Option<Expr>,
}

#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
fn patterns(language: Language) -> Patterns {
    let sum = format!("(?:{BEFORE}{SUM}{AFTER})");
    let number = format!("(?:{BEFORE}{CURRENCY}?{NUMBER})");
    let either = format!("(?:{sum}|{number})");
    let word = language.answer();
    let mut plain = vec![(sum, 300), (number, 300)];
    if language == Language::English {
        plain.push((format!(r"(?i:final answer is):?\s*{either}\.?\s?I hope"), 0));
        plain.push((format!(r"(?i:final answer.{{0,100}}?)\s+is:?{either}"), 50));
    }
    let guarded = [(format!("(?i:{word}):"), 100), (format!("(?i:{word})"), 200)]
        .map(|(lead, priority)| (format!(r"{lead}(?:.{{0,100}}=\s*|.{{0,50}}?){either}(?!\s*=)"), priority));
    Patterns {
        plain: plain.into_iter().map(|(p, priority)| (Regex::new(&p).unwrap(), priority)).collect(),
        guarded: guarded.into_iter().map(|(p, priority)| (Fancy::new(&p).unwrap(), priority)).collect(),
        word: Regex::new(&format!("(?i){word}")).unwrap(),
    }
}

static ENGLISH: LazyLock<Patterns> = LazyLock::new(|| patterns(Language::English));
static FRENCH: LazyLock<Patterns> = LazyLock::new(|| patterns(Language::French));

pub(crate) fn of(language: Language) -> &'static Patterns {
    match language {
        Language::English => &ENGLISH,
        Language::French => &FRENCH,
    }
}

impl Patterns {
    /// Whether the word for "answer" occurs, without which half of the patterns cannot match.
    pub(crate) fn answers(&self, text: &str) -> bool {
        self.word.is_match(text)
    }

    /// The matches of one priority, in no order.
    pub(crate) fn find(&self, text: &str, priority: u16) -> Vec<Found> {
        let mut found = Vec::new();
        for (pattern, _) in self.plain.iter().filter(|(_, p)| *p == priority) {
            for c in pattern.captures_iter(text) {
                let group = |name: &str| c.name(name).map(|m| m.as_str());
                let Some(whole) = c.get(0) else { continue };
                found.push(Found { start: whole.start(), end: whole.end(), value: value(&group) });
            }
        }
        for (pattern, _) in self.guarded.iter().filter(|(_, p)| *p == priority) {
            for c in pattern.captures_iter(text).map_while(Result::ok) {
                let group = |name: &str| c.name(name).map(|m| m.as_str());
                let Some(whole) = c.get(0) else { continue };
                found.push(Found { start: whole.start(), end: whole.end(), value: value(&group) });
            }
        }
        found
    }
}

fn value<'a>(group: &dyn Fn(&str) -> Option<&'a str>) -> Option<Expr> {
    let first = |names: &[&str]| names.iter().find_map(|n| group(n)).unwrap_or_default();
    let integer = first(&["integer1", "integer2", "integer3"]);
    let decimal = first(&["decimal1", "decimal2", "decimal3"]);
    if integer.is_empty() && decimal.is_empty() {
        return sum(group("expr")?);
    }
    let digits: String = integer.chars().filter(char::is_ascii_digit).collect();
    let value = Rat::decimal(&format!("{digits}{}", decimal.replace(',', ".")))?;
    let number = if decimal.is_empty() { Expr::Num(value) } else { Expr::Dec(value) };
    let number = if integer.starts_with('-') { number.negated() } else { number };
    Some(if group("percent").is_some() { Expr::Percent(Box::new(number)) } else { number })
}

#[expect(clippy::unwrap_used, reason = "a pattern of this file, compiled by its tests")]
static POINT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\d)\.(\D|$)").unwrap());

/// A sum as Python would read it: no product without its sign.
fn sum(text: &str) -> Option<Expr> {
    if text.contains(['×', '÷']) {
        return None;
    }
    // `3.` is a decimal to Python.
    let text = &POINT.replace_all(text, "$1.0$2");
    let toks = tokens(text)?;
    let ends = |t: &Tok| matches!(t, Tok::Num(_) | Tok::Sign(')'));
    let begins = |t: &Tok| matches!(t, Tok::Num(_) | Tok::Sign('('));
    if toks.windows(2).any(|w| ends(&w[0]) && begins(&w[1])) {
        return None;
    }
    parse(&text.replace("**", "^"), Dialect::default())
}
