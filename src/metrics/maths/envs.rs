//! LaTeX environments in running text, found as lighteval's patterns find them: `$$…$$`, `\[…\]`, `$…$`, `\(…\)`, ` […] `, a bare
//! `\frac{1}{2}`; up to six in a row joined by "and", "or" or a comma. Written by hand and not as patterns because foreign text is
//! read here: every opener remembers how far its closer was looked for, so that the time grows with the text and no faster.

use std::{cell::Cell, ops::Range, sync::LazyLock};

use regex::Regex;

#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
static PERCENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\s*(?:\\?%|[Pp]ercent(?:age)?|[Pp]ct)").unwrap());
#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
static FRACTION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^-?\\frac\{-?\d+(?:[.,]\d+)?\}\{-?\d+(?:[.,]\d+)?\}").unwrap());

/// One environment: what it holds, and whether a percent sign follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Env {
    pub content: Range<usize>,
    pub percent: bool,
    end: usize,
}

/// The kinds with a closing mark of their own, which may be far away.
#[derive(Clone, Copy)]
enum Far {
    Dollars,
    Bracket,
    Parenthesis,
}

/// A text in which environments are looked for.
pub(crate) struct Envs<'a> {
    text: &'a str,
    joiners: [&'a str; 3],
    /// For each far kind: from where to where no closer lies, and the end that was found.
    known: [Cell<(usize, usize, Option<usize>)>; 3],
}

impl<'a> Envs<'a> {
    pub(crate) fn new(text: &'a str, and: &'a str, or: &'a str) -> Self {
        let none = (1, 0, None);
        Self { text, joiners: [and, or, ","], known: [Cell::new(none), Cell::new(none), Cell::new(none)] }
    }

    /// The environments that begin right at `at`, and where each possible chain of them ends.
    pub(crate) fn chain_at(&self, at: usize, boxed: bool) -> Option<(Vec<Env>, usize)> {
        let first = self.env_at(at, boxed)?;
        let mut end = first.end;
        let mut chain = vec![first];
        while chain.len() < 6 {
            let rest = self.text[end..].trim_start();
            let Some(joined) = self.joiners.iter().find_map(|j| rest.strip_prefix(j)) else { break };
            let start = self.text.len() - joined.len();
            let Some(next) = self.after_space(start, boxed) else { break };
            end = next.end;
            chain.push(next);
        }
        Some((chain, end))
    }

    /// An environment after optional white space.
    pub(crate) fn after_space(&self, start: usize, boxed: bool) -> Option<Env> {
        let rest = self.text[start..].trim_start();
        let at = self.text.len() - rest.len();
        self.env_at(at, boxed).or_else(|| {
            let before = self.text[start..at].chars().next_back()?;
            self.env_at(at - before.len_utf8(), boxed)
        })
    }

    /// All chains from left to right, none overlapping.
    pub(crate) fn all(&self, boxed: bool) -> Vec<(usize, Vec<Env>, usize)> {
        let mut found = Vec::new();
        let mut from = 0;
        for (at, c) in self.text.char_indices() {
            if at >= from
                && (matches!(c, '$' | '\\' | '-') || c.is_whitespace())
                && let Some((chain, end)) = self.chain_at(at, boxed)
            {
                found.push((at, chain, end));
                from = end;
            }
        }
        found
    }

    fn env_at(&self, at: usize, boxed: bool) -> Option<Env> {
        let rest = &self.text[at..];
        let escaped = self.text[..at].ends_with('\\');
        let content = if rest.starts_with("$$") && !escaped {
            self.far(at + 2, Far::Dollars, boxed).or_else(|| self.inline_dollar(at, boxed))
        } else if rest.starts_with('$') && !escaped {
            self.inline_dollar(at, boxed)
        } else if rest.starts_with(r"\[") && !escaped {
            self.far(at + 2, Far::Bracket, boxed)
        } else if rest.starts_with(r"\(") && !escaped {
            self.far(at + 2, Far::Parenthesis, boxed)
        } else if rest.starts_with(char::is_whitespace) {
            self.spaced_bracket(at, boxed)
        } else if !boxed {
            FRACTION.find(rest).map(|m| (at..at + m.end(), at + m.end()))
        } else {
            None
        }?;
        let (content, close) = content;
        let percent = PERCENT.find(&self.text[close..]);
        let end = percent.map_or_else(|| self.text.len() - self.text[close..].trim_start().len(), |m| close + m.end());
        Some(Env { content, percent: percent.is_some(), end })
    }

    fn far(&self, start: usize, kind: Far, boxed: bool) -> Option<(Range<usize>, usize)> {
        let slot = &self.known[kind as usize];
        let (from, to, end) = slot.get();
        let end = if (from..=to).contains(&start) && end != Some(start) {
            end
        } else {
            let (end, to) = self.closer(start, kind);
            slot.set((start, to, end));
            end
        }?;
        (end > start && (!boxed || has_box(&self.text[start..end]))).then_some((start..end, end + 2))
    }

    /// Where the closer is, and how far was looked.
    fn closer(&self, start: usize, kind: Far) -> (Option<usize>, usize) {
        let body = &self.text[start..];
        let (mark, limit) = match kind {
            Far::Dollars => ("$$", body.len()),
            Far::Bracket => (r"\]", body.len()),
            Far::Parenthesis => (r"\)", body.find('\n').unwrap_or(body.len())),
        };
        let found = body[..limit]
            .match_indices(mark)
            .map(|(i, _)| start + i)
            .find(|&i| i > start && !self.text[..i].ends_with('\\'));
        (found, found.unwrap_or(start + limit))
    }

    fn inline_dollar(&self, at: usize, boxed: bool) -> Option<(Range<usize>, usize)> {
        if self.text[..at].ends_with(|c: char| c.is_numeric()) {
            return None;
        }
        let start = at + 1;
        let bytes = self.text.as_bytes();
        let mut i = start;
        loop {
            match bytes.get(i)? {
                b'\n' => return None,
                b'\\' if bytes.get(i + 1) == Some(&b'$') => i += 2,
                b'$' => break,
                _ => i += 1,
            }
        }
        (i > start && (!boxed || has_box(&self.text[start..i]))).then_some((start..i, i + 1))
    }

    fn spaced_bracket(&self, at: usize, boxed: bool) -> Option<(Range<usize>, usize)> {
        let space = self.text[at..].chars().next()?.len_utf8();
        let inner = self.text[at + space..].strip_prefix('[')?;
        let start = at + space + 1;
        let close = inner.find([']', '[', '\n'])?;
        let after = inner[close..].strip_prefix(']')?.chars().next().filter(|c| c.is_whitespace())?;
        let end = start + close;
        (close > 0 && (!boxed || has_box(&inner[..close]))).then_some((start..end, end + 1 + after.len_utf8()))
    }
}

/// Whether `\boxed{` stands in it with something inside and a brace after.
fn has_box(content: &str) -> bool {
    content.find(r"\boxed{").is_some_and(|at| content[at..].rfind('}').is_some_and(|close| close > 7))
}
