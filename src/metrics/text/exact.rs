//! Exact matches: lighteval's four (`em`, `pem`, `qem`, `pqem`) and lm-evaluation-harness's with its switches.

use super::super::pattern::Pattern;
use super::super::python::strip;

/// What of the answer must equal the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Full,
    /// Its start.
    Prefix,
    /// Its end.
    Suffix,
}

impl Part {
    fn matches(self, gold: &str, answer: &str) -> bool {
        match self {
            Self::Full => answer == gold,
            Self::Prefix => answer.starts_with(gold),
            Self::Suffix => answer.ends_with(gold),
        }
    }
}

/// lighteval's `em`, `pem` and `sem`: both stripped. An empty answer matches nothing.
pub fn exact_match(gold: &str, answer: &str, part: Part) -> bool {
    !answer.is_empty() && part.matches(strip(gold), strip(answer))
}

/// lighteval's `qem` and `pqem`: both in a form of [`helm`](super::helm) or [`quasi`](super::quasi). Note that a
/// reference that the form leaves empty is the prefix of every answer.
pub fn quasi_match(gold: &str, answer: &str, part: Part, form: impl Fn(&str) -> String) -> bool {
    !answer.is_empty() && part.matches(&form(gold), &form(answer))
}

/// What lm-evaluation-harness's `exact_match` overlooks, in its order.
#[derive(Debug, Clone, Default)]
pub struct Overlook {
    /// Patterns that are taken out of both.
    pub patterns: Vec<Pattern>,
    /// Upper and lower case.
    pub case: bool,
    /// ASCII punctuation.
    pub punctuation: bool,
    /// ASCII digits.
    pub numbers: bool,
}

impl Overlook {
    /// `exact_match` of lm-evaluation-harness (after Hugging Face's `evaluate`).
    pub fn matches(&self, gold: &str, answer: &str) -> bool {
        self.form(gold) == self.form(answer)
    }

    /// What is left of a text.
    pub fn form(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for pattern in &self.patterns {
            text = pattern.removed(&text);
        }
        if self.case {
            text = text.to_lowercase();
        }
        text.retain(|c| !(self.punctuation && c.is_ascii_punctuation() || self.numbers && c.is_ascii_digit()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::helm;
    use super::*;

    #[test]
    fn matches_as_lighteval_does() {
        assert!(exact_match(" A", "A\n", Part::Full));
        assert!(!exact_match("", "", Part::Full));
        assert!(exact_match("Paris", "Paris.", Part::Prefix));
        assert!(exact_match("Paris", "à Paris", Part::Suffix));
        assert!(quasi_match(" A", "C", Part::Prefix, helm), "the article A is the prefix of everything");
        assert!(!quasi_match(" B", "C", Part::Prefix, helm));
    }

    #[test]
    fn overlooks_as_the_harness_does() {
        let patterns = [",", r"\$", r"(?s).*#### ", r"\.$"].map(|pattern| Pattern::new(pattern).unwrap()).to_vec();
        let gsm8k = Overlook { patterns, case: true, ..Overlook::default() };
        assert!(gsm8k.matches("So 2.\n#### 1,000", "$1000."));
        assert!(!gsm8k.matches("#### 10", "100"));
    }
}
