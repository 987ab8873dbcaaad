//! Answers to mathematics problems: found in a model's output, read into a small expression tree, and compared.
//!
//! Extraction and the order of comparisons follow lighteval 0.10.0 (`extractive_match_utils.py`, `math_comparison.py`), because
//! published scores rest on them; SymPy's simplification is replaced by a normal form that proves equality, and by values at fixed
//! points where functions leave the normal form nothing to say. Nothing here needs a clock: every step is bounded by sizes.

mod clean;
mod envs;
mod equal;
mod expr;
mod extract;
mod french;
pub mod hendrycks;
mod lex;
pub mod lm_eval;
mod normal;
mod numeric;
mod parse;
mod parse_atom;
mod parse_bracket;
mod parse_sum;
mod plain;
mod rational;
mod sets;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use regex::Regex;

use equal::Rules;

/// The language of a task's answers: it decides the words around the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    English,
    French,
}

#[expect(clippy::unwrap_used, reason = "patterns of this file, compiled by its tests")]
static WORDS: LazyLock<[Regex; 2]> = LazyLock::new(|| ["(?i)answer", "(?i)réponse"].map(|w| Regex::new(w).unwrap()));

impl Language {
    pub(crate) fn answer(self) -> &'static str {
        match self {
            Self::English => "answer",
            Self::French => "réponse",
        }
    }

    fn joiners(self) -> (&'static str, &'static str) {
        match self {
            Self::English => ("and", "or"),
            Self::French => ("et", "ou"),
        }
    }

    fn word(self) -> &'static Regex {
        &WORDS[usize::from(self == Self::French)]
    }
}

/// Whose verdicts are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// lighteval 0.10.0 as its `pass@k` calls it: gold and prediction change places and nothing is rounded, so `5.0` is not `5`.
    Luth,
    /// The same comparison as it was meant, rounding to six decimals.
    Lighteval,
    /// math-verify 0.9, which lm-evaluation-harness uses: chains of equations, percentages and units are understood.
    MathVerify,
    /// What a reader would accept: also `3,5`, `1 000`, `]a, b[`, "et" and French units.
    Native,
}

/// A verdict and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub correct: bool,
    /// The prediction's answer, where one was found.
    pub predicted: Option<String>,
    /// The reference's answer, where one was found.
    pub expected: Option<String>,
}

/// Compares a model's output with a reference: a solution whose answer is found as the prediction's is, or `$…$` around an answer.
///
/// lighteval finds nothing in a bare `x + 1` and too little in a bare `3\sqrt{2}`; only `Profile::Native` reads such references.
pub fn judge(reference: &str, output: &str, language: Language, profile: Profile) -> Verdict {
    let human = matches!(profile, Profile::Native);
    let alone = if human { french::alone(reference) } else { None };
    let expected = alone.or_else(|| extract::extract(reference, language, human));
    let said = if human { french::bare(output, language) } else { None };
    let predicted = said.or_else(|| extract::extract(output, language, human));
    let mut correct = match (&expected, &predicted) {
        (Some(gold), Some(pred)) => equal::matches(&gold.value, &pred.value, Rules::of(profile)),
        _ => false,
    };
    if !correct && let (Some(gold), Some(pred)) = (&expected, &predicted) {
        correct = french::lenient(gold, pred, profile);
    }
    Verdict { correct, predicted: predicted.map(|p| p.text), expected: expected.map(|g| g.text) }
}
