//! Where sentences end: each `.`, `?` or `!` that a mark or a space follows is judged with the words around it.

use super::super::super::python::is_space;
use super::model::{BEGIN_LOWER, LOWER, MID_UPPER, Model, UPPER};
use super::tokens::{NUMBER, Token, is_mark, tokens};

/// Returns the sentences of a text, as `PunktSentenceTokenizer.tokenize` does.
pub fn sentences<'a>(text: &'a str, model: &Model) -> Vec<&'a str> {
    let mut slices = Vec::new();
    let mut start = 0;
    for candidate in candidates(text) {
        if has_end(&text[candidate.word..candidate.after], model) {
            slices.push((start, candidate.end));
            start = candidate.next.unwrap_or(candidate.end);
        }
    }
    slices.push((start, text.trim_end_matches(is_space).len().max(start)));
    realigned(text, &slices)
}

/// A sign that may end a sentence.
struct Candidate {
    /// Where the word before it starts, where the sign ends, where what is judged ends.
    word: usize,
    end: usize,
    after: usize,
    /// Where the next word starts, if a space comes between.
    next: Option<usize>,
}

/// The signs that may end sentences; of those that one word holds, the last.
fn candidates(text: &str) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    // The slice of the word before the last sign.
    let (mut word, mut sign) = (0, 0);
    for (at, _) in text.match_indices(['.', '?', '!']) {
        let end = at + 1;
        let Some((after, next)) = follows(text, end) else { continue };
        let between = &text[sign..at];
        let space = between.rfind([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        // A space that comes first of all does not count.
        let start = space.filter(|space| *space > 0).map_or(word, |space| sign + space + 1);
        if start < sign {
            found.pop();
        }
        found.push(Candidate { word: start, end, after, next });
        (word, sign) = (start, at);
    }
    found
}

/// What follows a sign: a mark, or a space and a word.
fn follows(text: &str, end: usize) -> Option<(usize, Option<usize>)> {
    let rest = &text[end..];
    let first = rest.chars().next()?;
    if is_mark(first) {
        return Some((end + first.len_utf8(), None));
    }
    let word = rest.trim_start_matches(is_space);
    if word.is_empty() || word.len() == rest.len() {
        return None;
    }
    let next = text.len() - word.len();
    Some((next + word.find(is_space).unwrap_or(word.len()), Some(next)))
}

/// Whether one of the words, the last apart, ends a sentence.
fn has_end(context: &str, model: &Model) -> bool {
    let lines = context.split('\n').filter(|line| !line.trim_matches(is_space).is_empty());
    let mut before: Option<Token> = None;
    for mut token in lines.flat_map(tokens) {
        first_pass(&mut token, model);
        if let Some(mut before) = before.take() {
            second_pass(&mut before, &token, model);
            if before.ends {
                return true;
            }
        }
        before = Some(token);
    }
    false
}

/// Judges a word by itself.
fn first_pass(token: &mut Token, model: &Model) {
    let text = token.text;
    if matches!(text, "." | "?" | "!") {
        token.ends = true;
    } else if token.is_ellipsis() {
        token.ellipsis = true;
    } else if let Some(word) = text.strip_suffix('.').filter(|word| !word.ends_with('.')) {
        let word = word.to_lowercase();
        let last = word.rsplit('-').next().unwrap_or_default();
        token.abbreviation = model.abbreviations.contains(&word) || model.abbreviations.contains(last);
        token.ends = !token.abbreviation;
    }
}

/// Judges a word with a period by the word after it.
fn second_pass(token: &mut Token, next: &Token, model: &Model) {
    if !token.text.ends_with('.') {
        return;
    }
    let (kind, next_kind) = (token.kind_without_period(), next.kind_without_end());
    let initial = token.is_initial();
    let number = kind == NUMBER;
    if model.pairs.contains(&format!("{kind} {next_kind}")) {
        (token.ends, token.abbreviation) = (false, true);
        return;
    }
    let starts = starts_sentence(next, model);
    let opens = starts == Some(true) || next.starts_upper() && model.starters.contains(next_kind);
    if (token.abbreviation || token.ellipsis) && !initial && opens {
        token.ends = true;
        return;
    }
    if initial || number {
        let seen = model.seen.get(next_kind).copied().unwrap_or(0);
        let name = starts.is_none() && initial && next.starts_upper() && seen & LOWER == 0;
        if starts == Some(false) || name {
            (token.ends, token.abbreviation) = (false, true);
        }
    }
}

/// Whether a word starts a sentence, by how it was seen; `None` where that is not sure.
fn starts_sentence(token: &Token, model: &Model) -> Option<bool> {
    if matches!(token.text, ";" | ":" | "," | "." | "!" | "?") {
        return Some(false);
    }
    let seen = model.seen.get(token.kind_without_end()).copied().unwrap_or(0);
    if token.starts_upper() && seen & LOWER != 0 && seen & MID_UPPER == 0 {
        return Some(true);
    }
    if token.starts_lower() && (seen & UPPER != 0 || seen & BEGIN_LOWER == 0) {
        return Some(false);
    }
    None
}

/// Gives the quotes and brackets that open a sentence to the one before.
fn realigned<'a>(text: &'a str, slices: &[(usize, usize)]) -> Vec<&'a str> {
    let mut out = Vec::new();
    let mut moved = 0;
    for (index, &(start, end)) in slices.iter().enumerate() {
        let start = start + moved;
        moved = 0;
        let closing = slices.get(index + 1).and_then(|&(from, to)| Some((from, closing(&text[from..to])?)));
        if let Some((from, (marks, whole))) = closing {
            out.push(&text[start.min(from + marks)..from + marks]);
            moved = whole;
        } else if start < end {
            out.push(&text[start..end]);
        }
    }
    out
}

/// The bytes of closing marks at the start of a text, without and with the space after them.
fn closing(text: &str) -> Option<(usize, usize)> {
    let marks = text.bytes().take_while(|byte| matches!(byte, b'"' | b'\'' | b')' | b']' | b'}')).count();
    let rest = &text[marks..];
    let word = rest.trim_start_matches(is_space);
    let ends = rest.len() > word.len() || rest.is_empty() || rest.starts_with("--");
    (marks > 0 && ends).then_some((marks, text.len() - word.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sentences_are_punkts() {
        let english = |text| sentences(text, Model::english());
        assert_eq!(
            english("Dr. Smith left. He \"ran.\" (Fast!) Then... he slept?!"),
            ["Dr. Smith left.", "He \"ran.\"", "(Fast!)", "Then... he slept?", "!"]
        );
        assert_eq!(english(""), Vec::<&str>::new());
        assert_eq!(sentences("Il vint le 3. Mai. Puis M. Dupont dit oui.", Model::french_with_more()).len(), 3);
    }

    proptest! {
        #[test]
        fn any_text_is_split_in_order(text in r#"([A-Za-zé .!?\n"')\]-]|\PC){0,60}"#) {
            let mut at = text.as_ptr() as usize;
            for sentence in sentences(&text, Model::english()) {
                prop_assert!(sentence.as_ptr() as usize >= at);
                at = sentence.as_ptr() as usize + sentence.len();
            }
        }
    }
}
