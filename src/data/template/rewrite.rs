//! Rewrites a template before it is compiled, where minijinja lacks something that a foreign template needs.
//!
//! * `{% generation %}` is no tag of minijinja. Each one becomes an expression that prints a mark. The rewrite sets a
//!   variable before and after, so that the white-space control of the tag (`{%-`, `-%}`, trimmed blocks) acts as it
//!   would have.
//! * Operators have no hook in minijinja, and `{% set s = s ~ s %}` forty times is all memory there is. So the operands
//!   of `~`, `+` and `*`, the input of every filter that is not cheap, and what is kept in a variable pass through a
//!   filter of ours (see [`super::guard`]), which hands them on as they are, or stops. A filter binds tighter than any
//!   operator, so this changes no meaning. For `~` the filter also writes values the way Python does.
//! * `%` takes no text in minijinja, and tuples are lists there: both are filters of ours (see [`super::percent`],
//!   [`super::tuple`]).
//! * Slices with a step below zero go wrong in minijinja 2.24, or panic (`''[::-1]`), so every slice is a filter of ours.
//!
//! Only tags are read, token by token; what cannot be read is left for the compiler to complain about.

use std::collections::BTreeMap;

use super::tokens::{
    Kind, Token, divisor_last, find, has_comma, is_sign, operand_begin, operand_end, operand_last, operand_start,
    product_begin, scan, tighter,
};
use super::{BEGIN, END};

/// The filters that do the checking, by where they are put in.
pub(super) const BOUNDED: &str = "luthflow_bounded";
pub(super) const TEXT: &str = "luthflow_text";
pub(super) const FACTOR: &str = "luthflow_factor";
pub(super) const TIMES: &str = "luthflow_times";
pub(super) const KEPT: &str = "luthflow_kept";
pub(super) const SLICE: &str = "luthflow_slice";
pub(super) const PERCENT: &str = "luthflow_percent";
pub(super) const TUPLE: &str = "luthflow_tuple";

/// Filters that cost the same however large their input is, or that look after it themselves.
const CHEAP: &[&str] = &[
    "abs", "attr", "bool", "count", "d", "default", "first", "float", "int", "items", "join", "last", "length",
    "round", "safe", "string", "tojson",
];

/// Filters that Jinja2 lets work on the text of whatever they get.
const OF_TEXT: &[&str] = &["capitalize", "e", "escape", "indent", "lower", "replace", "title", "trim", "upper"];

/// Returns the template as minijinja is to compile it. Line ends are one character there, as in Jinja2.
pub(super) fn rewrite(source: &str) -> String {
    let source = &source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len() * 2);
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let open = at + found;
        out.push_str(&source[at..open]);
        at = match source.as_bytes().get(open + 1) {
            Some(b'#') => copy(&mut out, source, open, source[open..].find("#}").map(|end| open + end + 2)),
            Some(b'{') => expression(&mut out, source, open),
            Some(b'%') => statement(&mut out, source, open),
            _ => copy(&mut out, source, open, Some(open + 1)),
        };
    }
    out.push_str(&source[at..]);
    out
}

/// Copies up to a place, or everything.
fn copy(out: &mut String, source: &str, from: usize, to: Option<usize>) -> usize {
    let to = to.unwrap_or(source.len());
    out.push_str(&source[from..to]);
    to
}

fn expression(out: &mut String, source: &str, open: usize) -> usize {
    match scan(source, open + 2, "}}") {
        Some((tokens, end)) => {
            let mut guards = guards(&tokens, 0);
            if let Some(last) = tokens.iter().rposition(Token::ends_value)
                && has_comma(&tokens, 0, tokens.len())
            {
                guards.entry(tokens[0].end - tokens[0].text.len()).or_default().insert(0, "(");
                guards.entry(tokens[last].end).or_default().push(")|luthflow_tuple");
            }
            insert(out, source, open, end, &guards);
            end
        }
        None => copy(out, source, open, None),
    }
}

fn statement(out: &mut String, source: &str, open: usize) -> usize {
    let Some((tokens, end)) = scan(source, open + 2, "%}") else { return copy(out, source, open, None) };
    let word = tokens.iter().find(|token| token.kind == Kind::Word).map_or("", |token| token.text);
    match word {
        "generation" | "endgeneration" => {
            let inside = &source[open + 2..end - 2];
            let control = |c: Option<char>| if matches!(c, Some('-' | '+')) { c } else { None };
            let mark = if word == "generation" { BEGIN } else { END };
            out.push_str("{%");
            out.extend(control(inside.chars().next()));
            out.extend([" set luthflow_x = 0 %}{{ ", mark, " }}{% set luthflow_x = 0 "]);
            out.extend(control(inside.chars().next_back()));
            out.push_str("%}");
            end
        }
        "raw" => copy(out, source, open, end_of_raw(source, end)),
        _ => {
            // What is given a value is no value.
            let values = match word {
                "for" => find(&tokens, "in"),
                "set" => find(&tokens, "="),
                _ => None,
            };
            let mut guards = guards(&tokens, values.unwrap_or(0));
            if word == "set" {
                keep(&tokens, &mut guards);
            }
            insert(out, source, open, end, &guards);
            end
        }
    }
}

fn end_of_raw(source: &str, from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = source[at..].find("{%") {
        let (open, end) = (at + found, at + found + source[at + found..].find("%}")? + 2);
        if source[open + 2..end - 2].trim_matches(['-', '+']).trim() == "endraw" {
            return Some(end);
        }
        at = open + 2;
    }
    None
}

/// What is to be put in, by the byte where it belongs.
type Guards = BTreeMap<usize, Vec<&'static str>>;

/// Put in before the colon of a slice: a comma in its place.
const COMMA: &str = ",";
/// Put in before a `%`, in its place.
const CALL: &str = ")|luthflow_percent(";

/// Copies a tag with what is to be put in.
fn insert(out: &mut String, source: &str, from: usize, to: usize, guards: &Guards) {
    let mut copied = from;
    for (&at, texts) in guards {
        out.push_str(&source[copied..at]);
        // What takes the place of a character comes behind all that belongs to what is before it.
        let replaces = |text: &&&str| **text == COMMA || **text == CALL;
        out.extend(texts.iter().filter(|text| !replaces(text)).copied());
        let instead = texts.iter().find(replaces);
        out.extend(instead.copied());
        copied = at + usize::from(instead.is_some());
    }
    out.push_str(&source[copied..to]);
}

/// Returns the filters to put in, by the byte where each one belongs. Values begin at a token.
fn guards(tokens: &[Token<'_>], values: usize) -> Guards {
    let mut guards = Guards::new();
    tuples(tokens, values, &mut guards);
    slices(tokens, &mut guards);
    percents(tokens, &mut guards);
    for (at, token) in tokens.iter().enumerate().skip(1) {
        let before = tokens[at - 1];
        if token.kind != Kind::Operator || !before.ends_operand() {
            continue;
        }
        let (left, right) = match token.text {
            // Beside an operator that binds tighter, what stands there is only a part of the operand.
            "~" => {
                let begin = operand_begin(tokens, at - 1);
                let whole = begin == 0 || !(tighter(tokens[begin - 1]) || is_sign(tokens, begin - 1));
                let alone = tokens[at + 1..].first().is_some_and(|next| next.kind != Kind::Operator && !next.is("not"));
                let whole_right = alone
                    && operand_last(tokens, at + 1)
                        .is_some_and(|last| !tokens.get(last + 1).is_some_and(|t| tighter(*t)));
                let guard = |whole| if whole { "|luthflow_text" } else { "|luthflow_bounded" };
                (guard(whole), guard(whole_right))
            }
            "+" => ("|luthflow_bounded", "|luthflow_bounded"),
            "*" => ("|luthflow_factor", "|luthflow_times"),
            "|" => {
                let filter = tokens.get(at + 1).map_or("", |filter| filter.text);
                if OF_TEXT.contains(&filter) {
                    add(&mut guards, before.end, "|luthflow_text");
                } else if !CHEAP.contains(&filter) {
                    add(&mut guards, before.end, "|luthflow_bounded");
                }
                continue;
            }
            _ => continue,
        };
        let number = token.is("*");
        let times = guards.get(&before.end).is_some_and(|there| there.contains(&"|luthflow_times"));
        if (number && !times) || before.kind != Kind::Literal {
            add(&mut guards, before.end, left);
        }
        if let Some((end, literal)) = operand_end(tokens, at + 1)
            && (number || !literal)
        {
            add(&mut guards, end, right);
        }
    }
    guards
}

/// Turns `(a, b)` into `((a, b)|luthflow_tuple)`.
fn tuples(tokens: &[Token<'_>], from: usize, guards: &mut Guards) {
    for (open, token) in tokens.iter().enumerate().skip(from) {
        let is_call = open > 0 && tokens[open - 1].ends_operand();
        if token.is("(") && !is_call && (token.partner == open + 1 || has_comma(tokens, open + 1, token.partner)) {
            guards.entry(token.end - 1).or_default().push("(");
            guards.entry(tokens[token.partner].end).or_default().push("|luthflow_tuple)");
        }
    }
}

/// Turns `a * b % c` into `(a * b)|luthflow_percent(c)`.
fn percents(tokens: &[Token<'_>], guards: &mut Guards) {
    for (at, token) in tokens.iter().enumerate().skip(1) {
        if !token.is("%") || !tokens[at - 1].ends_operand() {
            continue;
        }
        let Some(last) = divisor_last(tokens, at + 1) else { continue };
        let begin = product_begin(tokens, at - 1);
        // A test binds tighter; numbers are divided as minijinja divides them then.
        if tokens.get(last + 1).is_some_and(|next| next.is("is")) || begin > 0 && tokens[begin - 1].is("is") {
            continue;
        }
        let first = tokens[begin];
        guards.entry(first.end - first.text.len()).or_default().push("(");
        guards.entry(token.end - 1).or_default().push(CALL);
        // Behind what belongs to the divisor, before the filters for what all this comes to.
        let there = guards.entry(tokens[last].end).or_default();
        let closed = there.iter().take_while(|text| text.ends_with(')') && **text != CALL).count();
        there.insert(closed, ")");
    }
}

/// Turns `a[b:c]` into `(a|luthflow_slice([b,c]))`.
fn slices(tokens: &[Token<'_>], guards: &mut Guards) {
    for (open, token) in tokens.iter().enumerate().skip(1) {
        if !token.is("[") || !tokens[open - 1].ends_operand() {
            continue;
        }
        let close = token.partner;
        let mut colons = Vec::new();
        let mut at = open + 1;
        while at < close {
            if tokens[at].kind == Kind::Open {
                at = tokens[at].partner;
            } else if tokens[at].is(":") {
                colons.push(at);
            }
            at += 1;
        }
        if colons.is_empty() {
            continue;
        }
        // In front of whatever else begins there: that is part of what is sliced.
        guards.entry(operand_start(tokens, open - 1)).or_default().push("(");
        guards.entry(tokens[open - 1].end).or_default().push("|luthflow_slice(");
        guards.entry(tokens[close].end).or_default().insert(0, "))");
        let mut before = open;
        for colon in colons.into_iter().chain([close]) {
            let there = guards.entry(tokens[colon].end - 1).or_default();
            if colon == before + 1 {
                there.push("none");
            }
            if colon != close {
                there.push(COMMA);
            }
            before = colon;
        }
    }
}

fn add(guards: &mut Guards, at: usize, guard: &'static str) {
    let there = guards.entry(at).or_default();
    if !there.contains(&guard) {
        there.push(guard);
    }
}

/// Lets what is kept in a variable pass through the filter that knows how much may be kept.
fn keep(tokens: &[Token<'_>], guards: &mut Guards) {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth -= 1,
            Kind::Operator if depth == 0 && token.text == "=" => {
                // White-space control at the end of the tag is no part of the value.
                let last = tokens[at + 1..].iter().rev().find(|token| token.ends_value());
                if let Some(last) = last {
                    guards.entry(token.end).or_default().insert(0, "(");
                    let is_tuple = has_comma(tokens, at + 1, tokens.len());
                    let kept = if is_tuple { ")|luthflow_tuple|luthflow_kept" } else { ")|luthflow_kept" };
                    guards.entry(last.end).or_default().push(kept);
                }
                return;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_filters_and_variables_are_guarded() {
        for (source, expected) in [
            ("{{ a ~ 'x' }}", "{{ a|luthflow_text ~ 'x' }}"),
            (
                "{{ a.b['~'] + c(1)|trim }}",
                "{{ a.b['~']|luthflow_bounded + c(1)|luthflow_text|trim|luthflow_bounded }}",
            ),
            ("{% set a = b if c else call %}\r\n", "{% set a =( b if c else call)|luthflow_kept %}\n"),
            ("{{ '-' * n ~ b }}", "{{ '-'|luthflow_factor * n|luthflow_times|luthflow_bounded ~ b|luthflow_text }}"),
            (
                "{{ -a ~ b|f(1) * 2 }}",
                "{{ -a|luthflow_bounded ~ b|luthflow_bounded|f(1)|luthflow_bounded|luthflow_factor * 2|luthflow_times }}",
            ),
            ("{{ 'x' * n }}", "{{ 'x'|luthflow_factor * n|luthflow_times }}"),
            ("{{ 'x' * 9 * 9 }}", "{{ 'x'|luthflow_factor * 9|luthflow_times * 9|luthflow_times }}"),
            ("{{- m|length - 1 -}}", "{{- m|length - 1 -}}"),
            ("{{ {'a': {}} }}", "{{ {'a': {}} }}"),
            ("{% set a.b = c if d -%}", "{% set a.b =( c if d)|luthflow_kept -%}"),
            ("{%- set a, b = (1, 2) %}", "{%- set a, b =( ((1, 2)|luthflow_tuple))|luthflow_kept %}"),
            ("{% set a = 1, 'b' -%}", "{% set a =( 1, 'b')|luthflow_tuple|luthflow_kept -%}"),
            ("{{- 1, (2,) }}", "{{- (1, ((2,)|luthflow_tuple))|luthflow_tuple }}"),
            ("{% for (a, b) in () %}", "{% for (a, b) in (()|luthflow_tuple) %}"),
            ("{{- a % b -}}", "{{- (a )|luthflow_percent( b) -}}"),
            (
                "{{ x + -a*b%c[1:] ~ d }}",
                "{{ x|luthflow_bounded + (-a|luthflow_bounded|luthflow_factor*b|luthflow_times)|luthflow_percent((c|luthflow_slice([1,none])))|luthflow_bounded ~ d|luthflow_text }}",
            ),
            (
                "{{ 'a' 'b' % (1, 2) * 2 }}",
                "{{ ('a' 'b' )|luthflow_percent( ((1, 2)|luthflow_tuple))|luthflow_factor * 2|luthflow_times }}",
            ),
            ("{% if a % 2 % b ** 2 == 1 %}", "{% if ((a )|luthflow_percent( 2) )|luthflow_percent( b ** 2) == 1 %}"),
            ("{{ a % b is odd }}", "{{ a % b is odd }}"),
            ("{{ a % 1e-5 }}", "{{ (a )|luthflow_percent( 1e-5) }}"),
            ("{{ x[a*b:] }}", "{{ (x|luthflow_slice([a|luthflow_factor*b|luthflow_times,none])) }}"),
            ("{% if -a + b %}", "{% if -a|luthflow_bounded + b|luthflow_bounded %}"),
            ("{{ a.b(c)[1:] }}", "{{ (a.b(c)|luthflow_slice([1,none])) }}"),
            ("{{ a[::-1][0] }}", "{{ (a|luthflow_slice([none,none,-1]))[0] }}"),
            ("{{ (a)[:b[1:2]] }}", "{{ ((a)|luthflow_slice([none,(b|luthflow_slice([1,2]))])) }}"),
            ("{{ a[1:] ~ b }}", "{{ (a|luthflow_slice([1,none]))|luthflow_text ~ b|luthflow_text }}"),
            ("{{ {'a': [1]}[b] }}", "{{ {'a': [1]}[b] }}"),
            ("{# a ~ b #}{% raw %}{{ a ~ b }}{% endraw %}", "{# a ~ b #}{% raw %}{{ a ~ b }}{% endraw %}"),
            ("a { b {{ '}}' }}", "a { b {{ '}}' }}"),
            ("{{ unclosed ~ ", "{{ unclosed ~ "),
        ] {
            assert_eq!(rewrite(source), expected);
        }
    }
}
