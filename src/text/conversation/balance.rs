//! Whether what was opened was closed: fences of code, tags of thinking, formulas.

/// Something that is open at the end, or closed without having been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbalanced {
    /// A fence of code.
    Fence,
    /// `<think>` or `</think>`.
    Think,
    /// A formula of LaTeX, or an environment.
    Latex,
}

impl Unbalanced {
    /// Its name among the reasons of drops.
    pub fn name(self) -> &'static str {
        match self {
            Unbalanced::Fence => "unbalanced_fence",
            Unbalanced::Think => "unbalanced_think",
            Unbalanced::Latex => "unbalanced_latex",
        }
    }
}

/// All that is out of balance.
pub fn unbalanced(text: &str) -> Vec<Unbalanced> {
    let (prose, open) = without_fences(text);
    let checks = [
        (open, Unbalanced::Fence),
        (!nested(text, "<think>", "</think>"), Unbalanced::Think),
        (!latex(&prose), Unbalanced::Latex),
    ];
    checks.into_iter().filter(|(broken, _)| *broken).map(|(_, what)| what).collect()
}

/// The text outside fenced code, and whether a fence is open at the end. A fence is closed by one at least as long.
fn without_fences(text: &str) -> (String, bool) {
    let mut prose = String::new();
    let mut open: Option<(char, usize)> = None;
    for line in text.lines() {
        let mark = line.trim_start();
        let sign = mark.chars().next().filter(|c| matches!(c, '`' | '~'));
        let length = sign.map_or(0, |sign| mark.chars().take_while(|c| *c == sign).count());
        match (open, sign) {
            (None, Some(sign)) if length >= 3 && !mark[length..].contains(sign) => open = Some((sign, length)),
            (Some((with, least)), Some(sign))
                if sign == with && length >= least && mark[length..].trim().is_empty() =>
            {
                open = None;
            }
            (None, _) => {
                prose.push_str(line);
                prose.push('\n');
            }
            _ => {}
        }
    }
    (prose, open.is_some())
}

/// Whether the two come in turns, the opening one first.
fn nested(text: &str, open: &str, close: &str) -> bool {
    let mut inside = false;
    let mut rest = text;
    loop {
        let next = if inside { close } else { open };
        let other = if inside { open } else { close };
        match (rest.find(next), rest.find(other)) {
            (None, None) => return !inside,
            (Some(at), other) if other.is_none_or(|other| at < other) => {
                rest = &rest[at + next.len()..];
                inside = !inside;
            }
            _ => return false,
        }
    }
}

/// Whether formulas are closed. A single dollar may be money, so that only an odd number of `$$` counts.
fn latex(text: &str) -> bool {
    let plain = without_inline_code(text);
    let unescaped = |sign: &str| {
        let found = plain.match_indices(sign);
        found.filter(|(at, _)| !plain[..*at].ends_with('\\')).count()
    };
    unescaped(r"\(") == unescaped(r"\)")
        && unescaped(r"\[") == unescaped(r"\]")
        && unescaped("$$").is_multiple_of(2)
        && environments(&plain)
}

fn without_inline_code(text: &str) -> String {
    text.split('`').step_by(2).collect()
}

/// Whether each `\begin` has its `\end`, in the order of nesting.
fn environments(text: &str) -> bool {
    let mut open = Vec::new();
    for (at, _) in text.match_indices('\\') {
        let rest = &text[at..];
        let name = |rest: &str| rest.split_once('}').map(|(name, _)| name.to_owned());
        if let Some(name) = rest.strip_prefix(r"\begin{").and_then(name) {
            open.push(name);
        } else if let Some(name) = rest.strip_prefix(r"\end{").and_then(name)
            && open.pop() != Some(name)
        {
            return false;
        }
    }
    open.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_seen() {
        use Unbalanced::{Fence, Latex, Think};
        for (text, broken) in [
            ("```rust\nlet x = \"\\(\";\n```\nfini", vec![]),
            ("````\n```\n````", vec![]),
            ("```rust\nlet x = 1;", vec![Fence]),
            ("<think>a</think>b", vec![]),
            ("a</think>b", vec![Think]),
            ("<think>a", vec![Think]),
            ("<think>a<think>b</think>", vec![Think]),
            (r"\(x\) et \[y\] \\[2pt] et 5 $", vec![]),
            (r"\(x et $$y$$", vec![Latex]),
            ("$$x", vec![Latex]),
            (r"\begin{a}\begin{b}\end{b}\end{a}", vec![]),
            (r"\begin{a}\begin{b}\end{a}\end{b}", vec![Latex]),
            ("le signe `$$` seul", vec![]),
        ] {
            assert_eq!(unbalanced(text), broken, "{text}");
        }
    }
}
