//! What is wrong with an answer in a conversation, or with what it answers: refusals, talk about being a machine, requests for
//! another language, an end that was cut off, an answer that repeats its question or itself.
//!
//! Phrases are looked for in French and English, in small letters, apostrophes made straight. They are few and plain: what a
//! judge should decide is not decided here.

mod balance;
mod phrases;

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use rustc_hash::FxHashSet;

pub use balance::{Unbalanced, unbalanced};

use super::simplify::simplify;

/// Where in an answer a refusal stands, if there is one: in its first characters.
const OPENING: usize = 320;

static REFUSALS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(phrases::REFUSALS).ok());
static MACHINES: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(phrases::MACHINES).ok());

fn level(text: &str) -> String {
    super::lower(text).replace(['’', 'ʼ'], "'").replace(['\u{a0}', '\u{202f}', '\n'], " ")
}

fn first(list: Option<&AhoCorasick>, phrases: &[&'static str], text: &str) -> Option<&'static str> {
    let found = list?.find(text)?;
    phrases.get(found.pattern().as_usize()).copied()
}

/// The phrase with which the answer refuses, if it does.
pub fn refusal(answer: &str) -> Option<&'static str> {
    let opening: String = answer.chars().take(OPENING).collect();
    first(REFUSALS.as_ref(), phrases::REFUSALS, &level(&opening))
}

/// The phrase with which the answer speaks of itself as a machine, if it does.
pub fn speaks_as_machine(answer: &str) -> Option<&'static str> {
    first(MACHINES.as_ref(), phrases::MACHINES, &level(answer))
}

/// A language the prompt asks to be answered in, by its ISO 639-1 code, other than `own`.
pub fn asks_for_language(prompt: &str, own: &str) -> Option<&'static str> {
    let level = level(prompt);
    let asks = phrases::VERBS.iter().flat_map(|verb| level.match_indices(verb).map(|(at, verb)| at + verb.len()));
    for end in asks {
        let near: String = level[end..].chars().take(90).collect();
        let sentence = near.split(['.', '?', '!', ';']).next().unwrap_or_default();
        for (name, code) in phrases::LANGUAGES {
            let named = sentence.match_indices(name).any(|(at, _)| {
                let after = sentence[at + name.len()..].chars().next();
                !after.is_some_and(char::is_alphanumeric)
            });
            if named && *code != own {
                return Some(code);
            }
        }
    }
    None
}

/// Whether the answer seems to have been cut off: it ends within a sentence.
///
/// Formulas, code, list items, headings, tables and short answers end without a full stop, and nothing is said of them.
pub fn seems_cut_off(answer: &str) -> bool {
    const SHORT: usize = 12;
    let text = answer.trim_end();
    let line = text.rsplit('\n').next().unwrap_or_default().trim();
    let item = line.starts_with(['-', '*', '•', '#', '|', '>', '+']) || line.starts_with(|c: char| c.is_ascii_digit());
    let Some(last) = text.chars().next_back() else { return false };
    if text.ends_with("```") || text.ends_with("</think>") || line.ends_with("\\end{") {
        return false;
    }
    if matches!(last, ',' | '(' | '[' | '«' | '“' | '\\' | '=' | '+' | '/') {
        return true;
    }
    let words = line.split_whitespace().count();
    let last_word = line.split_whitespace().next_back().unwrap_or_default().to_lowercase();
    if phrases::NEVER_LAST.contains(&&*last_word) {
        return true;
    }
    !item && words >= SHORT && (last.is_alphanumeric() || last == '-')
}

/// The share of the answer's runs of three words that the prompt has too: 1 where the answer repeats its question.
pub fn echo(prompt: &str, answer: &str) -> f64 {
    const RUN: usize = 3;
    let (prompt, answer) = (simplify(prompt), simplify(answer));
    let prompt: Vec<_> = prompt.split(' ').collect();
    let answer: Vec<_> = answer.split(' ').collect();
    if answer.len() < RUN {
        return 0.0;
    }
    let known: FxHashSet<&[&str]> = prompt.windows(RUN).collect();
    let repeated = answer.windows(RUN).filter(|run| known.contains(run)).count();
    repeated as f64 / (answer.len() - RUN + 1) as f64
}

/// The share of the words that stand in runs of `n` words which were there before: near 1 where a model could not stop.
pub fn looping(answer: &str, n: usize) -> f64 {
    let simple = simplify(answer);
    let words: Vec<_> = simple.split(' ').filter(|word| !word.is_empty()).collect();
    if n == 0 || words.len() <= n {
        return 0.0;
    }
    let mut seen: FxHashSet<&[&str]> = FxHashSet::default();
    let (mut at, mut repeated) = (0, 0);
    while at + n <= words.len() {
        if seen.insert(&words[at..at + n]) {
            at += 1;
        } else {
            repeated += n;
            at += n;
        }
    }
    repeated as f64 / words.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_and_machines() {
        for text in [
            "Je suis désolé, mais je ne peux pas répondre à cette question.",
            "Désolé, je ne suis pas en mesure de vous aider.",
            "I'm sorry, but I can’t help with that.",
        ] {
            assert!(refusal(text).is_some(), "{text}");
        }
        assert!(speaks_as_machine("En tant que modèle de langage, je n’ai pas d’avis.").is_some());
        assert!(speaks_as_machine("As an AI language model, I cannot").is_some());
        for text in ["Il était désolé de partir.", "Un modèle de langage prédit des mots.", "La réponse est 4."] {
            assert!(refusal(text).is_none() && speaks_as_machine(text).is_none(), "{text}");
        }
    }

    #[test]
    fn requests_for_other_languages() {
        for (prompt, code) in [
            ("Écris un poème en anglais sur la mer.", Some("en")),
            ("Traduis la phrase suivante en espagnol : bonjour", Some("es")),
            ("Please answer in German.", Some("de")),
            ("Réponds en français, s'il te plaît.", None),
            ("Qui a traduit Shakespeare ? Il écrivait en anglaise contrée.", None),
            ("Explique la Révolution anglaise.", None),
        ] {
            assert_eq!(asks_for_language(prompt, "fr"), code, "{prompt}");
        }
    }

    #[test]
    fn ends() {
        let long = "Voici une phrase assez longue qui ne se termine pas parce que le modèle";
        for (text, cut) in [
            (long, true),
            ("Paris", false),
            ("Le total est de", true),
            ("- un\n- deux points de plus sans rien au bout de la ligne qui est longue", false),
            ("$x = 2$", false),
            ("```\ncode\n```", false),
            ("Il y a trois raisons,", true),
            ("C'est fini.", false),
        ] {
            assert_eq!(seems_cut_off(text), cut, "{text}");
        }
        assert!(echo("Quelle est la capitale de la France ?", "Quelle est la capitale de la France ?") > 0.99);
        assert!(echo("Quelle est la capitale de la France ?", "C'est Paris, sur la Seine.") < 0.01);
        assert!(looping(&"je ne sais pas quoi dire de plus à ce sujet ici ".repeat(9), 10) > 0.7);
        assert!(looping(long, 10).abs() < f64::EPSILON);
    }
}
