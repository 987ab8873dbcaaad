//! Judgements of one answer in words.

use super::super::sampled::Sampled;
use super::{Fault, gold};
use crate::metrics::letters;
use crate::metrics::maths::{self, Language, hendrycks, lm_eval};
use crate::metrics::text::exact::{Overlook, Part, exact_match, quasi_match};
use crate::metrics::text::{Articles, f1, helm, quasi};
use crate::spec::params::Profile;

/// Only so much of the end of an answer is searched for a box, as by the other rules of mathematics.
const END: usize = 64 << 10;

/// How an answer is compared.
pub(super) enum Kind {
    /// As text.
    Stripped(Part),
    /// In a form that leaves out what says nothing: HELM's, or in profile `native` that of the language.
    Form { part: Part, language: Language, native: bool },
    /// As text with some differences overlooked.
    Exact(Exact),
    /// By shared words.
    Words { language: Language, profile: Profile },
    /// As a number or formula.
    Maths(Language, maths::Profile),
    /// As MATH's authors compare texts.
    Hendrycks,
    /// In Minerva's form.
    Minerva,
    /// By the letter of a choice.
    Letter(Language),
}

/// `exact_match`.
pub(super) struct Exact {
    pub(super) overlook: Overlook,
    /// Whether spaces around do not count. lm-evaluation-harness counts them.
    pub(super) stripped: bool,
}

/// What an answer is worth.
#[derive(Debug, Default, Clone)]
pub(super) struct Verdict {
    pub(super) value: f64,
    /// What was taken out of the answer, where something is taken out.
    pub(super) predicted: Option<String>,
    /// And of the reference.
    pub(super) expected: Option<String>,
}

impl Verdict {
    fn plain(right: bool) -> Self {
        Self { value: f64::from(u8::from(right)), ..Self::default() }
    }

    fn found(right: bool, predicted: Option<String>, expected: Option<String>) -> Self {
        Self { value: f64::from(u8::from(right)), predicted, expected }
    }
}

impl Kind {
    /// Judges an answer by the references of its row; the best of them counts.
    pub(super) fn verdict(&self, sampled: &Sampled, answer: &str) -> Result<Verdict, Fault> {
        if let Self::Letter(language) = self {
            let (right, choices) = gold::letters(sampled)?;
            let said = letters::extract(answer, choices, *language);
            let expected = right.iter().collect();
            return Ok(Verdict::found(
                said.is_some_and(|said| right.contains(&said)),
                said.map(String::from),
                Some(expected),
            ));
        }
        let mut best: Option<Verdict> = None;
        for gold in gold::texts(&sampled.gold)? {
            let verdict = self.by(&gold, answer);
            if best.as_ref().is_none_or(|best| verdict.value > best.value) {
                best = Some(verdict);
            }
        }
        Ok(best.unwrap_or_default())
    }

    fn by(&self, gold: &str, answer: &str) -> Verdict {
        match self {
            Self::Stripped(part) => Verdict::plain(exact_match(gold, answer, *part)),
            Self::Form { part, native: false, .. } => Verdict::plain(quasi_match(gold, answer, *part, helm)),
            Self::Form { part, language, .. } => Verdict::plain(same_words(gold, answer, *part, articles(*language))),
            Self::Exact(exact) if exact.stripped => Verdict::plain(exact.overlook.matches(gold.trim(), answer.trim())),
            Self::Exact(exact) => Verdict::plain(exact.overlook.matches(gold, answer)),
            Self::Words { language, profile } => {
                let value = match profile {
                    Profile::Luth => f1::set_f1(gold, answer),
                    Profile::LmEval => f1::token_f1(gold, answer, Articles::English),
                    Profile::Native => f1::token_f1(gold, answer, articles(*language)),
                };
                Verdict { value, ..Verdict::default() }
            }
            Self::Maths(language, profile) => {
                let verdict = maths::judge(gold, answer, *language, *profile);
                Verdict::found(verdict.correct, verdict.predicted, verdict.expected)
            }
            Self::Hendrycks => {
                let expected = lm_eval::last_box(gold).unwrap_or_else(|| gold.to_owned());
                let predicted = lm_eval::last_box(answer).unwrap_or_else(|| between_dollars(end(answer)).to_owned());
                Verdict::found(hendrycks::equivalent(&expected, &predicted), Some(predicted), Some(expected))
            }
            Self::Minerva => {
                let expected = lm_eval::last_box(gold).unwrap_or_else(|| gold.to_owned());
                let expected = lm_eval::minerva_normalized(&expected);
                let predicted = lm_eval::minerva_answer(answer);
                let right = predicted.as_ref().is_some_and(|said| lm_eval::minerva_equal(&expected, said));
                Verdict::found(right, predicted, Some(expected))
            }
            Self::Letter(_) => Verdict::default(),
        }
    }

    /// Says what the answer says, for a vote; none if it says nothing.
    pub(super) fn vote(&self, verdict: &Verdict, answer: &str) -> Option<String> {
        let text = match self {
            Self::Stripped(_) | Self::Words { .. } => answer.trim().to_owned(),
            Self::Form { native: false, .. } => helm(answer),
            Self::Form { language, .. } => quasi(answer, articles(*language)),
            Self::Exact(exact) => exact.overlook.form(answer.trim()),
            Self::Maths(..) | Self::Hendrycks | Self::Minerva | Self::Letter(_) => verdict.predicted.clone()?,
        };
        (!text.is_empty()).then_some(text)
    }

    /// Says whether two votes are for the same answer.
    pub(super) fn same(&self, one: &str, other: &str) -> bool {
        let boxed = |text: &str| format!("$\\boxed{{{text}}}$");
        one == other
            || match self {
                Self::Maths(language, profile) => maths::judge(&boxed(one), &boxed(other), *language, *profile).correct,
                Self::Hendrycks => hendrycks::equivalent(one, other),
                Self::Minerva => lm_eval::minerva_equal(one, other),
                _ => false,
            }
    }
}

fn articles(language: Language) -> Articles {
    match language {
        Language::English => Articles::English,
        Language::French => Articles::French,
    }
}

/// As [`quasi_match`], but whole words: `Bien` does not begin with the answer `B`. Articles count where that is what makes
/// both the same: `A` may be a letter.
fn same_words(gold: &str, answer: &str, part: Part, articles: Articles) -> bool {
    [articles, Articles::None].into_iter().any(|articles| {
        let (gold, answer) = (quasi(gold, articles), quasi(answer, articles));
        let begins = part == Part::Prefix && answer.strip_prefix(&gold).is_some_and(|rest| rest.starts_with(' '));
        !answer.is_empty() && !gold.is_empty() && (gold == answer || begins)
    })
}

/// What stands between the first and the last dollar, as `hendrycks_math` of lm-evaluation-harness finds an answer.
fn between_dollars(text: &str) -> &str {
    match (text.find('$'), text.rfind('$')) {
        (Some(first), Some(last)) if first < last => &text[first + 1..last],
        _ => text,
    }
}

fn end(text: &str) -> &str {
    let mut from = text.len().saturating_sub(END);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
