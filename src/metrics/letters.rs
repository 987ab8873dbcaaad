//! The letter that answers a multiple-choice question, as lighteval 0.10.0's `IndicesExtractionConfig` finds it: patterns by
//! priority, the right-most match of the first priority that has one.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::Regex;

use super::maths::Language;

/// Only this much of the end of an output is read.
const READ: usize = 64 * 1024;

/// The patterns for a language and a number of choices, by priority.
type Patterns = Arc<Vec<Regex>>;

/// Compiled once for each language and number of choices.
type Cache = Mutex<Vec<((Language, usize), Patterns)>>;

static CACHE: LazyLock<Cache> = LazyLock::new(|| Mutex::new(Vec::new()));

/// The letter an output answers with, of the first `choices` of the alphabet (26 at the most).
pub fn extract(output: &str, choices: usize, language: Language) -> Option<char> {
    let text = output.trim();
    let mut from = text.len().saturating_sub(READ);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let text = &text[from..];
    let patterns = patterns(language, choices.clamp(1, 26));
    for pattern in patterns.iter() {
        // Right-most by its end, then the longest.
        let last = pattern.captures_iter(text).max_by_key(|c| {
            let whole = c.get(0).map_or(0..0, |m| m.range());
            (whole.end, std::cmp::Reverse(whole.start))
        });
        if let Some(letter) = last.and_then(|c| c.name("letter").map(|m| m.as_str().to_owned())) {
            return letter.chars().find(char::is_ascii_uppercase);
        }
    }
    None
}

fn patterns(language: Language, choices: usize) -> Patterns {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, found)) = cache.iter().find(|(key, _)| *key == (language, choices)) {
        return Arc::clone(found);
    }
    let new = Arc::new(compiled(language, choices));
    cache.push(((language, choices), Arc::clone(&new)));
    new
}

#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
fn compiled(language: Language, choices: usize) -> Vec<Regex> {
    let letters: Vec<String> = ('A'..='Z').take(choices).map(|c| format!(r"(?:{c}|\({c}\))")).collect();
    let letter = format!("(?P<letter>{})", letters.join("|"));
    let word = format!("(?i:{})", language.answer());
    let after = r"(?:\*\*)?(?:[.]|[,]|[:]| |$)";
    let answer = format!(r"(?:^| )(?:\*\*)?{letter}{after}");
    let mut all = Vec::new();
    if language == Language::English {
        all.push(format!(r"(?i:final answer is):?\s*{letter}\.?\s?I hope"));
        all.push(format!(r"(?i:final answer.{{0,100}}?)\s+is:?\s*{letter}"));
    }
    all.push(format!("{word}[:].{{0,50}}?{answer}"));
    all.push(format!("{word}.{{0,50}}?{answer}"));
    all.push(format!(r"^(?:\*\*)?{letter}{after}"));
    all.push(format!(r"\n(?:\*\*)?{letter}{after}"));
    all.push(answer);
    all.push(letter);
    all.into_iter().map(|p| Regex::new(&p).unwrap()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn french_shapes() {
        for (text, letter) in [
            ("Réponse : **B**", 'B'),
            ("La bonne réponse est (C).", 'C'),
            (r"Donc \boxed{D}", 'D'),
            ("A) faux\nB) vrai\nRéponse : B", 'B'),
            ("réponse: A puis Réponse: D", 'D'),
            ("C", 'C'),
        ] {
            assert_eq!(extract(text, 4, Language::French), Some(letter), "{text}");
        }
        assert_eq!(extract("aucune idée", 4, Language::French), None);
    }

    #[test]
    fn english_shapes() {
        assert_eq!(extract("The final answer is B. I hope it helps. Answer: C", 4, Language::English), Some('B'));
        assert_eq!(extract("Answer: D", 4, Language::English), Some('D'));
        assert_eq!(extract("E", 4, Language::English), None);
    }

    #[test]
    fn endless_text_is_read_in_bounded_time() {
        let text = "answer ".repeat(2_000_000);
        assert_eq!(extract(&text, 4, Language::English), None);
    }
}
