//! C4's rules for pages of the web, line by line, and its rule on long paragraphs.
//!
//! The order within a line decides: a line that is dropped for its ending is never asked for a curly bracket, which would
//! drop the page. Made for pages: the bracket alone drops every text with LaTeX or code in it.

use std::sync::LazyLock;

use regex::Regex;
use unicode_segmentation::UnicodeSegmentation as _;

use super::Finding;
use crate::text::python;
use crate::text::words::{Words, count_sentences};

/// References of Wikipedia.
static CITATION: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\[\d*\]|\[edit\]|\[citation needed\]").ok());

/// The rules; datatrove's defaults are [`C4::default`].
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of datatrove's")]
pub struct C4 {
    /// Whether `[12]` and `[edit]` go.
    pub remove_citations: bool,
    /// What a line must end in; empty for any ending.
    pub endings: Vec<String>,
    /// A line with a longer word goes.
    pub max_word_length: Option<usize>,
    /// A line with fewer words goes.
    pub min_words_per_line: Option<usize>,
    /// A text with fewer sentences left is dropped.
    pub min_sentences: Option<usize>,
    /// Whether "lorem ipsum" drops the text.
    pub lorem_ipsum: bool,
    /// Whether lines with "javascript" go.
    pub javascript: bool,
    /// Whether a curly bracket drops the text.
    pub curly_bracket: bool,
    /// Lines with one of these go; in small letters.
    pub policies: Vec<String>,
}

impl Default for C4 {
    fn default() -> Self {
        let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        let policies =
            ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];
        Self {
            remove_citations: true,
            endings: owned(&[".", "?", "!", "\"", "'"]),
            max_word_length: Some(1000),
            min_words_per_line: Some(3),
            min_sentences: Some(5),
            lorem_ipsum: true,
            javascript: true,
            curly_bracket: true,
            policies: owned(&policies),
        }
    }
}

impl C4 {
    /// The same rules with French endings and phrases.
    pub fn french() -> Self {
        let mut rules = Self::default();
        rules.endings.extend(["…", "»", ".”"].map(str::to_owned));
        let phrases = [
            "conditions d'utilisation",
            "conditions d’utilisation",
            "politique de confidentialité",
            "mentions légales",
            "utilise des cookies",
            "utilisation de cookies",
        ];
        rules.policies.extend(phrases.map(str::to_owned));
        rules
    }

    /// What is left of the text, or why nothing is.
    pub fn keep(&self, text: &str, cut: Words) -> Result<String, Finding> {
        let mut sentences = 0;
        let mut kept: Vec<String> = Vec::new();
        for line in python::lines(text) {
            let Some(line) = self.line(line)? else { continue };
            if self.min_sentences.is_some() {
                sentences += match cut {
                    Words::SpacyFr => count_sentences(&line),
                    Words::Uax29 | Words::Whitespace => line.unicode_sentences().count().max(1),
                };
            }
            kept.push(line);
        }
        match self.min_sentences {
            Some(least) if sentences < least => Err(Finding::new("too_few_sentences", sentences as f64, least as f64)),
            _ => Ok(python::strip(&kept.join("\n")).to_owned()),
        }
    }

    /// What is left of a line, if anything is; an error drops the text.
    fn line(&self, line: &str) -> Result<Option<String>, Finding> {
        let line = python::strip(line);
        let words = python::split(line).count();
        if let Some(most) = self.max_word_length
            && line.len() > most
            && python::split(line).any(|word| python::len(word) > most)
        {
            return Ok(None);
        }
        let line = match CITATION.as_ref().filter(|_| self.remove_citations && line.contains('[')) {
            Some(citation) => citation.replace_all(line, "").into_owned(),
            None => line.to_owned(),
        };
        let ends = self.endings.iter().any(|ending| line.ends_with(ending.as_str())) && !line.ends_with("...");
        if (!self.endings.is_empty() && !ends) || self.min_words_per_line.is_some_and(|least| words < least) {
            return Ok(None);
        }
        let small = crate::text::lower(&line);
        if self.lorem_ipsum && small.contains("lorem ipsum") {
            return Err(Finding::new("lorem_ipsum", 1.0, 0.0));
        }
        if self.javascript && small.contains("javascript") {
            return Ok(None);
        }
        if self.curly_bracket && line.contains('{') {
            return Err(Finding::new("curly_bracket", 1.0, 0.0));
        }
        if self.policies.iter().any(|phrase| small.contains(phrase.as_str())) {
            return Ok(None);
        }
        Ok(Some(line))
    }
}

/// At least so many lines of at least so many characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct C4Paragraphs {
    /// How many lines.
    pub min_paragraphs: usize,
    /// How many characters each.
    pub min_length: usize,
}

impl Default for C4Paragraphs {
    fn default() -> Self {
        Self { min_paragraphs: 3, min_length: 200 }
    }
}

impl C4Paragraphs {
    pub(super) fn judge(&self, text: &str) -> Option<Finding> {
        let long = text.split('\n').filter(|line| python::len(line) >= self.min_length).count();
        let rule = format!("< {} paragraphs", self.min_paragraphs);
        (long < self.min_paragraphs).then(|| Finding::new(rule, long as f64, self.min_paragraphs as f64))
    }
}
