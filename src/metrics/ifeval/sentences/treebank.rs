//! NLTK's words (`word_tokenize`): Punkt's sentences of the English model, each through the substitutions of the Penn
//! Treebank's tokenizer as `NLTKWordTokenizer` of NLTK 3.9.1 has them, in its order.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::super::super::python::{fixed, is_boundary, is_space, is_word};
use super::{Model, sentences};

type Step = (Regex, &'static str);

const OPENING: &[(&str, &str)] =
    &[("([«“‘„]|[`]+)", " $1 "), (r#"^""#, "``"), ("(``)", " $1 "), (r#"([ \(\[{<])("|'{2})"#, "$1 `` ")];

const MARKS: &[(&str, &str)] = &[
    (r#"([^\.])(\.)([\]\)}>"'»”’ ]*)\s*$"#, "$1 $2 $3 "),
    (r"([:,])([^\d])", " $1 $2"),
    (r"([:,])$", " $1 "),
    (r"\.{2,}", " $0 "),
    (r"[;@#$%&]", " $0 "),
    (r#"([^\.])(\.)([\]\)}>"']*)\s*$"#, "$1 $2$3 "),
    (r"[?!]", " $0 "),
    (r"([^'])' ", "$1 ' "),
    (r"[*]", " $0 "),
    (r"[\]\[(){}<>]", " $0 "),
    (r"--", " -- "),
];

const CLOSING: &[(&str, &str)] = &[
    ("([»”’])", " $1 "),
    ("''", " '' "),
    (r#"""#, " '' "),
    (r"\s+", " "),
    (r"([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
    (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
];

/// Words that are written as one, split before the second part: `\b(can)(not)\b`, `\b(wan)(na)(?=\s)` or ` ('t)(is)\b`.
const CONTRACTIONS: &[(&str, usize)] = &[
    ("cannot", 3),
    ("d'ye", 1),
    ("gimme", 3),
    ("gonna", 3),
    ("gotta", 3),
    ("lemme", 3),
    ("more'n", 4),
    ("wanna", 3),
    (" 'tis", 3),
    (" 'twas", 3),
];

static SPLITS: LazyLock<Vec<(Regex, usize)>> = LazyLock::new(|| {
    let split = |(word, at): &(&str, usize)| (Regex::new(&format!("(?i){word}")).expect("a word is a pattern"), *at);
    CONTRACTIONS.iter().map(split).collect()
});

static STEPS: LazyLock<[Vec<Step>; 3]> = LazyLock::new(|| {
    [OPENING, MARKS, CLOSING].map(|steps| steps.iter().map(|(pattern, by)| (fixed(pattern), *by)).collect())
});

/// Hands each word of a text to `see`.
pub fn words(text: &str, mut see: impl FnMut(&str)) {
    for sentence in sentences(text, Model::english()) {
        let [opening, marks, closing] = &*STEPS;
        let text = apply(sentence.to_owned(), opening);
        let text = apply(unquoted(&text), marks);
        let text = apply(format!(" {text} "), closing);
        let text = SPLITS.iter().fold(text, |text, (word, at)| contracted(text, word, *at));
        text.split(is_space).filter(|word| !word.is_empty()).for_each(&mut see);
    }
}

fn apply(mut text: String, steps: &[Step]) -> String {
    for (pattern, by) in steps {
        if let Cow::Owned(changed) = pattern.replace_all(&text, *by) {
            text = changed;
        }
    }
    text
}

/// Splits a contraction wherever it is a word.
fn contracted(text: String, word: &Regex, split: usize) -> String {
    let is_word = |(start, end): (usize, usize)| {
        let after = &text[end..];
        // `wanna` wants a space, not just an end.
        let ends = if split == 3 && end - start == 5 && text[start..].starts_with(['w', 'W']) {
            after.starts_with(is_space)
        } else {
            is_boundary(&text, end)
        };
        ends && (text[start..].starts_with(' ') || is_boundary(&text, start))
    };
    let found: Vec<_> =
        word.find_iter(&text).map(|found| (found.start(), found.end())).filter(|at| is_word(*at)).collect();
    if found.is_empty() {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 3 * found.len());
    let mut done = 0;
    for (start, end) in found {
        // A word of a sign that folds to an ASCII letter has other lengths, and is not split.
        let Some((first, second)) = text[start..end].split_at_checked(split) else { continue };
        out.extend([&text[done..start], " ", first.trim_start(), " ", second, " "]);
        done = end;
    }
    out + &text[done..]
}

/// Parts a quote from the single letter that it opens, but for the letters of English clitics:
/// `(?i)(')(?!re|ve|ll|m|t|s|d|n)(\w)\b` becomes `\1 \2`.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\'') {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        let mut chars = after.chars();
        let single = chars.next().is_some_and(|letter| is_word(letter) && !"mtsdnMTSDN".contains(letter));
        if single && !chars.next().is_some_and(is_word) {
            out.push(' ');
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_nltks() {
        let of = |text| {
            let mut out = Vec::new();
            words(text, |word| out.push(word.to_owned()));
            out
        };
        assert_eq!(
            of("Good muffins cost $3.88 (in N.Y.). Please, I can't."),
            ["Good", "muffins", "cost", "$", "3.88", "(", "in", "N.Y.", ")", ".", "Please", ",", "I", "ca", "n't", "."]
        );
        assert_eq!(
            of("'A' \"B\" cannot L'ÉTÉ **NON**"),
            ["'", "A", "'", "``", "B", "''", "can", "not", "L'ÉTÉ", "*", "*", "NON", "*", "*"]
        );
    }
}
