//! What `native` judges otherwise than the references: each function mends one quirk and says which. Kinds that have
//! none are not named here.

use regex::Regex;
use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;

use super::super::python::{self, Lazy, fixed, is_upper, strip};
use super::json::Dialect;
use super::kinds::{Kind, Relation, Tongue};
use super::language::detect;
use super::sentences::{Model, sentences};
use super::{layout, wording};

static BULLET: Lazy = Lazy::new(|| fixed(r"(?m)^[ \t]*[*+•-][ \t]+\S"));
static MARKDOWN: Lazy = Lazy::new(|| fixed(r"(?m)^[ \t]*(?:[*+•-]|#+|\d+[.)])[ \t]+|[*_`]+"));
static HIGHLIGHT: Lazy = Lazy::new(|| fixed(r"\*\*[^\n*]*\*\*|\*[^\n*]*\*"));
static PLACEHOLDER: Lazy = Lazy::new(|| fixed(r"\[([^\[\]\n]*)\](\(?)"));

/// Says whether an answer follows an instruction, or `None` where the reference is right.
pub(super) fn is_followed(kind: &Kind, tongue: Tongue, text: &str) -> Option<bool> {
    Some(match kind {
        Kind::Keywords(keywords) => {
            let text = composed(text);
            keywords.iter().all(|keyword| keyword.literal.is_match(&text))
        }
        Kind::KeywordFrequency(keyword, relation) => relation.holds(keyword.literal.find_iter(&composed(text)).count()),
        Kind::ForbiddenWords(words) => {
            let text = composed(text);
            !words.iter().any(|word| wording::has_word(&word.literal, &text))
        }
        Kind::ResponseLanguage(code) => is_in(text, code),
        Kind::Sentences(relation) => relation.holds(sentence_count(text, tongue)),
        Kind::Words(relation) => relation.holds(word_count(text)),
        Kind::FirstWord { paragraphs, nth, word } => has_first_word(text, *paragraphs, *nth, word),
        Kind::Placeholders(relation) => relation.holds(placeholders(text)),
        Kind::Postscript { marker, .. } => has_postscript(text, marker),
        Kind::Bullets(relation) => relation.holds(BULLET.find_iter(text).count()),
        Kind::ConstrainedResponse => is_constrained(text, tongue),
        Kind::Highlights(relation) => relation.holds(highlights(text)),
        Kind::Sections { literal, count, .. } => count.holds(literal.find_iter(text).count()),
        Kind::Json => layout::is_json(text, Dialect::Standard),
        Kind::RepeatPrompt(prompt) => spaced(&text.to_lowercase()).starts_with(&spaced(prompt)),
        Kind::EndPhrase(phrase) => ends_with(text, phrase),
        Kind::Quotation => is_quoted(text),
        Kind::CapitalWords(relation) => capital_words(text, *relation),
        Kind::AllCapital => is_upper(text) && is_in(text, code(tongue)),
        Kind::AllLower => python::is_lower(text) && is_in(text, code(tongue)),
        Kind::NoComma => !text.contains([',', '，', '、', '،']),
        Kind::NoAccents => text.nfd().all(|c| !('\u{300}'..='\u{36f}').contains(&c)),
        _ => return None,
    })
}

fn code(tongue: Tongue) -> &'static str {
    match tongue {
        Tongue::English => "en",
        Tongue::French => "fr",
    }
}

/// Keywords are words, not patterns, however their accents are encoded.
fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// Capital words are seen by langdetect in lower case; `zh` is either Chinese; what has no letters is in no language.
fn is_in(text: &str, code: &str) -> bool {
    detect(&text.to_lowercase()).is_some_and(|found| found == code || found.split('-').next() == Some(code))
}

/// A heading, a list item and a paragraph each end a sentence; marks and numbers alone are none; French has its model.
fn sentence_count(text: &str, tongue: Tongue) -> usize {
    let model = match tongue {
        Tongue::English => Model::english(),
        Tongue::French => Model::french_with_more(),
    };
    let text = MARKDOWN.replace_all(text, "");
    let has_word = |sentence: &&str| sentence.chars().any(char::is_alphabetic);
    text.lines().map(|line| sentences(line, model).into_iter().filter(has_word).count()).sum()
}

/// "don't" and "l'eau" are one word (Unicode's words, UAX 29).
fn word_count(text: &str) -> usize {
    text.unicode_words().count()
}

/// Empty lines do not shift the count, and emphasis and French quotes are no part of the word.
fn has_first_word(text: &str, paragraphs: Relation, nth: usize, word: &str) -> bool {
    let pieces: Vec<_> = text.split("\n\n").map(strip).filter(|piece| !piece.is_empty()).collect();
    let Some(piece) = pieces.get(nth - 1).filter(|_| paragraphs.holds(pieces.len())) else { return false };
    let edge = |c: char| !c.is_alphanumeric();
    let first = piece.split(python::is_space).find(|part| !part.trim_matches(edge).is_empty()).unwrap_or_default();
    let first = first.trim_matches(edge).to_lowercase();
    first == word.trim_matches(edge) || first.unicode_words().next() == Some(word)
}

/// `[text](link)` and `[ ]` are no placeholders.
fn placeholders(text: &str) -> usize {
    let named = |found: &regex::Captures| !matches!(strip(&found[1]), "" | "x" | "X") && found[2].is_empty();
    PLACEHOLDER.captures_iter(text).filter(named).count()
}

/// The marker starts a line, whatever comes before it in words such as "corps".
fn has_postscript(text: &str, marker: &str) -> bool {
    let signs = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let marker = signs(marker);
    !marker.is_empty()
        && text.lines().any(|line| {
            let line = line.to_lowercase();
            let line = line.trim_start_matches(|c: char| !c.is_alphanumeric());
            let mut rest = marker.as_str();
            // The marker's letters, with dots, hyphens and spaces between, and then no letter of the same word.
            let after = line.trim_start_matches(|c: char| match rest.strip_prefix(c) {
                Some(left) => {
                    rest = left;
                    true
                }
                None => !rest.is_empty() && matches!(c, '.' | '-' | ' '),
            });
            rest.is_empty() && !after.starts_with(char::is_alphanumeric)
        })
}

/// French prompts may be answered in French or, as the reference wants, in English.
fn is_constrained(text: &str, tongue: Tongue) -> bool {
    let text = text.to_lowercase().replace('’', "'");
    let english = ["my answer is yes", "my answer is no", "my answer is maybe"];
    let translated = ["ma réponse est oui", "ma réponse est non", "ma réponse est peut-être"];
    let said = |option: &&str| wording::has_word(&literal(option), &text);
    english.iter().chain(&translated).any(said)
        || tongue == Tongue::French
            && wording::options(tongue).iter().any(|option| text.contains(&option.to_lowercase()))
}

fn literal(text: &str) -> Regex {
    Regex::new(&regex::escape(text)).expect("an escaped text is a pattern")
}

/// The asterisks of a bullet open no highlight.
fn highlights(text: &str) -> usize {
    let text = BULLET.replace_all(text, |found: &regex::Captures| found[0].replace(['*', '+', '•', '-'], " "));
    let filled = |found: &regex::Match| !strip(found.as_str().trim_matches('*')).is_empty();
    HIGHLIGHT.find_iter(&text).filter(filled).count()
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Emphasis and quotes around the phrase are no other words.
fn ends_with(text: &str, phrase: &str) -> bool {
    let edge = |c: char| python::is_space(c) || matches!(c, '"' | '*' | '_' | '«' | '»' | '“' | '”' | '`');
    spaced(&text.trim_matches(edge).to_lowercase().replace('’', "'"))
        .ends_with(&spaced(&phrase.trim_matches(edge).replace('’', "'")))
}

/// Any pair of quotes.
fn is_quoted(text: &str) -> bool {
    let text = strip(text);
    let pairs = [('"', '"'), ('“', '”'), ('«', '»'), ('„', '“')];
    text.chars().nth(1).is_some() && pairs.iter().any(|(open, close)| text.starts_with(*open) && text.ends_with(*close))
}

/// "I", "A" and "À" are written so in any text, and are not counted.
fn capital_words(text: &str, relation: Relation) -> bool {
    let capital = |word: &&str| is_upper(word) && word.chars().filter(|c| c.is_alphabetic()).nth(1).is_some();
    relation.holds(text.unicode_words().filter(capital).count())
}
