//! Names in an expression or a template that nothing stands for: functions, filters, tests, and patterns that are none.
//!
//! minijinja finds these when it comes to them, which for a step behind hours of others is late. Which columns a row has
//! nobody knows before it is there; which functions there are is known. Only what is surely wrong is refused: what cannot be
//! told apart here is left for the evaluation.

use std::collections::{BTreeSet, HashSet};

use minijinja::{Environment, ErrorKind, Value};

use super::expression::pattern_of;
use super::template::tokens::{Kind, Token, scan};

/// What a template may call that stands in no list.
const OF_TEMPLATES: [&str; 4] = ["loop", "caller", "super", "self"];

/// The names that a text reads, none of its own, and the environment that it is evaluated in.
pub(super) struct Known<'a> {
    pub(super) environment: &'a Environment<'static>,
    pub(super) undeclared: HashSet<String>,
}

/// The words of a text that may name something which it reads. Some do not: keywords and filters are words too. minijinja's own
/// list of what a text reads lacks what is read within `a[1:]`.
#[derive(Default)]
pub(super) struct Words {
    pub(super) names: BTreeSet<String>,
    /// Whether something was not understood, so that there may be others.
    pub(super) unknown: bool,
}

impl Words {
    fn extend(&mut self, tokens: &[Token<'_>]) {
        let is_part = |at: usize| at > 0 && tokens[at - 1].is(".");
        let words = tokens.iter().enumerate().filter(|(at, token)| token.kind == Kind::Word && !is_part(*at));
        self.names.extend(words.map(|(_, token)| token.text.to_owned()));
    }
}

/// Looks through an expression, and returns its words.
pub(super) fn of_expression(source: &str, known: &Known<'_>) -> Result<Words, String> {
    let closed = format!("{source} %}}");
    let mut words = Words::default();
    match scan(&closed, 0, "%}") {
        None => words.unknown = true,
        Some((tokens, _)) => {
            known.look(&tokens)?;
            words.extend(&tokens);
        }
    }
    Ok(words)
}

/// Looks through the tags of a template, and returns their words.
pub(super) fn of_template(source: &str, known: &Known<'_>) -> Result<Words, String> {
    let mut words = Words::default();
    let mut at = 0;
    let mut raw = false;
    while let Some(open) = source[at..].find('{').map(|found| at + found) {
        at = open + 1;
        let close = match source.as_bytes().get(at) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            Some(b'#') => {
                at = source[at..].find("#}").map_or(source.len(), |end| at + end + 2);
                continue;
            }
            _ => continue,
        };
        let Some((tokens, end)) = scan(source, at + 1, close) else {
            words.unknown = true;
            continue;
        };
        let word = tokens.first().map_or("", |token| token.text);
        raw = if close == "%}" && word == "raw" { true } else { raw && word != "endraw" };
        if !raw {
            known.look(&tokens)?;
            words.extend(&tokens);
            at = end;
        }
    }
    Ok(words)
}

impl Known<'_> {
    fn look(&self, tokens: &[Token<'_>]) -> Result<(), String> {
        for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.kind == Kind::Word) {
            let before = |back: usize| at.checked_sub(back).map(|place| tokens[place]);
            let is = |back: usize, text: &str| before(back).is_some_and(|token| token.is(text));
            if is(1, ".") {
                continue;
            }
            let opens = tokens.get(at + 1).filter(|next| next.is("("));
            if is(1, "|") {
                self.filter(token.text)?;
            } else if (is(1, "is") || is(1, "not") && is(2, "is")) && token.text != "not" {
                self.test(token.text)?;
                continue;
            } else if opens.is_some() {
                self.function(token.text)?;
            }
            if let Some(open) = opens {
                self.pattern(token.text, is(1, "|"), &tokens[at + 2..open.partner.max(at + 2)])?;
            }
        }
        Ok(())
    }

    fn function(&self, name: &str) -> Result<(), String> {
        let mut there = self.environment.globals().map(|(name, _)| name);
        if !self.undeclared.contains(name) || OF_TEMPLATES.contains(&name) || there.any(|known| known == name) {
            return Ok(());
        }
        let mut names: Vec<&str> = self.environment.globals().map(|(name, _)| name).collect();
        names.sort_unstable();
        Err(format!("there is no function `{name}`, only `{}`", names.join("`, `")))
    }

    fn filter(&self, name: &str) -> Result<(), String> {
        let tried = self.environment.empty_state().apply_filter(name, &[Value::UNDEFINED]);
        let unknown = tried.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter);
        if unknown { Err(format!("there is no filter `{name}`")) } else { Ok(()) }
    }

    fn test(&self, name: &str) -> Result<(), String> {
        let tried = self.environment.empty_state().perform_test(name, &[Value::UNDEFINED]);
        let unknown = tried.is_err_and(|error| error.kind() == ErrorKind::UnknownTest);
        if unknown { Err(format!("there is no test `is {name}`")) } else { Ok(()) }
    }

    /// Reads the pattern that a function is given, where it stands there as a text.
    fn pattern(&self, function: &str, filters: bool, arguments: &[Token<'_>]) -> Result<(), String> {
        if !matches!(function, "matches" | "regex_replace") {
            return Ok(());
        }
        let mut of_argument: Vec<&[Token<'_>]> = Vec::new();
        let (mut from, mut depth) = (0, 0_usize);
        for (at, token) in arguments.iter().enumerate() {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                _ if depth == 0 && token.is(",") => {
                    of_argument.push(&arguments[from..at]);
                    from = at + 1;
                }
                _ => {}
            }
        }
        of_argument.push(&arguments[from..]);
        let Some([only]) = of_argument.get(usize::from(!filters)) else { return Ok(()) };
        let quoted = only.kind == Kind::Literal && only.text.starts_with(['\'', '"']);
        let read = || self.environment.compile_expression(only.text).ok()?.eval(()).ok();
        match quoted.then(read).flatten() {
            Some(value) => pattern_of(value.as_str().unwrap_or_default()).map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::data::{Expression, TextTemplate};

    #[test]
    fn names_that_nothing_stands_for_are_told() {
        for (source, why) in [
            ("mtches(text, 'a')", "no function `mtches`"),
            ("false and nothing(1)", "no function `nothing`"),
            ("text | uper == 'A'", "no filter `uper`"),
            ("text is empti", "no test `is empti`"),
            ("text is not empti", "no test `is empti`"),
            ("matches(text, '(')", "no regular expression"),
            ("text | regex_replace('[', '') == ''", "no regular expression"),
        ] {
            let told = Expression::new(source).err().unwrap_or_default();
            assert!(told.contains(why), "{source}: {told}");
        }
        for source in ["a {{ b | nofilter }}", "{% if x is nothing %}{% endif %}", "{{ f(1) }}", "{{ '}}' ~ f(1) }}"] {
            assert!(TextTemplate::new(source).is_err(), "{source}");
        }
    }

    #[test]
    fn what_is_right_is_left_alone() {
        for source in [
            "text.lower().startswith('a')",
            "f is defined and x is not none and y in [1]",
            "a in (1, 2) and not (b or c)",
            "range(3) | list | length == n",
            "matches(text, pattern) or matches(text, 'a' ~ '(')",
            "{'a': f}['a'] is divisibleby 2",
            "column('a b') | default(1) >= 2",
            "'nothing(1) | nofilter' in text",
            "x is sameas(none) or x is eq(1)",
            "[0, 1] | map('letter') | list == list",
        ] {
            assert!(Expression::new(source).is_ok(), "{source}: {:?}", Expression::new(source).err());
        }
        for source in [
            "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(1) }}",
            "{% raw %}{{ f(1) | nothing }}{% endraw %}",
            "{# {{ f(1) }} #}{{ a }}",
            "{% for x in y recursive %}{{ loop(x) }}{% endfor %}",
            "{% set f = 1 %}{{ f }} { f(1) }",
            "{% for (a, b) in c %}{{ a }}{% endfor %}",
            "{% filter upper %}f(1) | nothing{% endfilter %}",
            "f(1) }} {{ a }}",
        ] {
            assert!(TextTemplate::new(source).is_ok(), "{source}: {:?}", TextTemplate::new(source).err());
        }
    }
}
