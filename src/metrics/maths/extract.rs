//! Finding the answer in a model's output as lighteval 0.10.0's extractive match does: patterns by priority, the right-most match
//! of a priority first, the first that can be read wins.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::{
    Language,
    clean::clean,
    envs::{Env, Envs},
    expr::Expr,
    parse::{Dialect, parse},
    plain,
};

/// Only this much of the end of an output is read: the answer stands there, and foreign text may be endless.
pub(crate) const READ: usize = 64 * 1024;

/// Longer formulas are not answers; comparing them would cost more than it says.
pub(crate) const LONGEST: usize = 2000;

/// No more candidates of one priority are tried.
const TRIES: usize = 200;

const PRIORITIES: [u16; 6] = [0, 50, 55, 100, 200, 300];

/// An answer as it was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Extracted {
    /// What the output says, as far as it can be shown.
    pub text: String,
    pub value: Expr,
}

enum Place {
    Chain(Vec<Env>),
    Boxed(Range<usize>),
    Plain(Option<Expr>),
}

struct Candidate {
    start: usize,
    end: usize,
    place: Place,
}

#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
static HOPE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\.?\s?I hope").unwrap());
#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
static FINAL_IS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?i)final answer is(?-i::?)").unwrap());
#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
static FINAL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?i)final answer").unwrap());
#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
static IS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\s+is:?").unwrap());

/// The answer in an output, if one can be read; `human` as in `Dialect`.
pub(crate) fn extract(output: &str, language: Language, human: bool) -> Option<Extracted> {
    let text = tail(output.trim());
    let (and, or) = language.joiners();
    let envs = Envs::new(text, and, or);
    let answers = plain::of(language).answers(text);
    for priority in PRIORITIES {
        if !answers && matches!(priority, 0 | 50 | 100 | 200) {
            continue;
        }
        let mut found = latex(text, &envs, language, priority);
        found.extend(plain::of(language).find(text, priority).into_iter().map(|f| Candidate {
            start: f.start,
            end: f.end,
            place: Place::Plain(f.value),
        }));
        found.sort_by(|a, b| b.end.cmp(&a.end).then(a.start.cmp(&b.start)));
        if let Some(answer) = found.iter().take(TRIES).find_map(|c| read(text, c, human)) {
            return Some(answer);
        }
    }
    None
}

/// The last `READ` bytes or so.
pub(crate) fn tail(text: &str) -> &str {
    let mut from = text.len().saturating_sub(READ);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

fn read(text: &str, candidate: &Candidate, human: bool) -> Option<Extracted> {
    match &candidate.place {
        Place::Plain(value) => {
            Some(Extracted { text: text[candidate.start..candidate.end].trim().to_owned(), value: value.clone()? })
        }
        Place::Boxed(range) => formula(&text[range.clone()], true, human),
        Place::Chain(chain) => {
            let mut parts = chain.iter().map(|env| {
                let mut part = formula(&text[env.content.clone()], false, human)?;
                if env.percent {
                    part.value = Expr::Percent(Box::new(part.value));
                }
                Some(part)
            });
            if chain.len() == 1 {
                return parts.next()?;
            }
            let parts = parts.collect::<Vec<_>>();
            if parts.iter().any(Option::is_none) {
                return parts.into_iter().next()?;
            }
            let parts: Vec<Extracted> = parts.into_iter().flatten().collect();
            let text = parts.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(" and ");
            let flat = parts.into_iter().flat_map(|p| if let Expr::Set(all) = p.value { all } else { vec![p.value] });
            Some(Extracted { text, value: Expr::Set(flat.collect()) })
        }
    }
}

/// One formula, cleaned and parsed.
pub(crate) fn formula(source: &str, last_box: bool, human: bool) -> Option<Extracted> {
    let source = if human {
        super::french::respelled(source.trim_end_matches(['.', ',', ';', ' ', '\n']))
    } else {
        source.to_owned()
    };
    if source.len() > LONGEST && !source.contains(r"\boxed") {
        return None;
    }
    let text = clean(&source, last_box);
    if text.len() > LONGEST {
        return None;
    }
    let dialect = Dialect { human };
    let value =
        parse(&text, dialect).or_else(|| if human { parse(&super::french::decimals(&text), dialect) } else { None })?;
    Some(Extracted { text, value })
}

fn latex(text: &str, envs: &Envs, language: Language, priority: u16) -> Vec<Candidate> {
    let plain = |(start, chain, end)| Candidate { start, end, place: Place::Chain(chain) };
    match priority {
        0 if language == Language::English => hoped(text, envs),
        50 if language == Language::English => anchored(text, &FINAL, |at| {
            let window = &text[at..limit(text, at, 101)];
            IS.find_iter(window).find_map(|is| spaced(text, envs, at + is.end()))
        }),
        55 => {
            let mut found: Vec<Candidate> = Vec::new();
            if let Some(open) = text.find(r"\boxed{") {
                found.extend(envs.all(true).into_iter().map(plain));
                if let Some(close) = text.rfind('}').filter(|close| *close > open + 7) {
                    found.push(Candidate { start: open, end: close + 1, place: Place::Boxed(open..close + 1) });
                }
            }
            found
        }
        100 | 200 => anchored(text, language.word(), |at| {
            let at = if priority == 200 { at } else { at + usize::from(text[at..].starts_with(':')) };
            if priority == 100 && !text[..at].ends_with(':') {
                return None;
            }
            let window = &text[at..limit(text, at, 51)];
            window.char_indices().find_map(|(i, _)| envs.chain_at(at + i, false))
        }),
        300 => envs.all(false).into_iter().map(plain).collect(),
        _ => Vec::new(),
    }
}

/// `final answer is … I hope`.
fn hoped(text: &str, envs: &Envs) -> Vec<Candidate> {
    anchored(text, &FINAL_IS, |at| {
        let (chain, end) = spaced(text, envs, at)?;
        HOPE.find(&text[end..]).map(|m| (chain, end + m.end()))
    })
}

/// Matches that begin with `lead`; `rest` says what follows it, and where that ends.
fn anchored(text: &str, lead: &Regex, rest: impl Fn(usize) -> Option<(Vec<Env>, usize)>) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(m) = lead.find_at(text, from) {
        from = m.end();
        if let Some((chain, end)) = rest(m.end()) {
            found.push(Candidate { start: m.start(), end, place: Place::Chain(chain) });
            from = end;
        }
    }
    found
}

fn spaced(text: &str, envs: &Envs, at: usize) -> Option<(Vec<Env>, usize)> {
    let start = text.len() - text[at..].trim_start().len();
    envs.chain_at(start, false).or_else(|| {
        let before = text[at..start].chars().next_back()?;
        envs.chain_at(start - before.len_utf8(), false)
    })
}

/// The byte where `chars` characters after `at` end.
fn limit(text: &str, at: usize, chars: usize) -> usize {
    text[at..].char_indices().nth(chars).map_or(text.len(), |(i, _)| at + i)
}
