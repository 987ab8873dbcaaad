//! Multiple choice by likelihood: which answer the model finds most probable, each weighed by its length or not.

use super::super::python::is_space;

/// A choice and how probable the model found it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Choice<'a> {
    /// The text that was scored, with the space before it, if any.
    pub text: &'a str,
    /// The sum of its tokens' log-probabilities after the question.
    pub sum: f64,
    /// Its tokens.
    pub tokens: usize,
    /// The sum after a question that says nothing, where it was asked for.
    pub alone: Option<f64>,
}

/// What a sum is weighed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Nothing (`acc`).
    Sum,
    /// Tokens (lighteval's `acc_norm_token`).
    Tokens,
    /// Code points, the space before the text too (lighteval's `acc_norm`; lm-evaluation-harness's, whose texts have none).
    Characters,
    /// Code points without that space (lighteval's `acc_norm_nospace`).
    CharactersNoSpace,
    /// Bytes of UTF-8 (lm-evaluation-harness's `acc_bytes`).
    Bytes,
    /// The sum after nothing, taken away (PMI; Holtzman et al. 2021; lm-evaluation-harness's `acc_mutual_info`).
    MutualInformation,
}

impl Choice<'_> {
    /// The weighed sum. Without what it is weighed by (an empty text, no sum after nothing), no number.
    pub fn score(&self, weight: Weight) -> f64 {
        let per = |length: usize| if length == 0 { f64::NAN } else { self.sum / length as f64 };
        match weight {
            Weight::Sum => self.sum,
            Weight::Tokens => per(self.tokens),
            Weight::Characters => per(self.text.chars().count()),
            Weight::CharactersNoSpace => per(self.text.strip_prefix(' ').unwrap_or(self.text).chars().count()),
            Weight::Bytes => per(self.text.len()),
            Weight::MutualInformation => self.alone.map_or(f64::NAN, |alone| self.sum - alone),
        }
    }
}

/// The best choice; the first of equals, as NumPy's `argmax`. What is no number is never best; `None` where all are none.
pub fn best(choices: &[Choice], weight: Weight) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, choice) in choices.iter().enumerate() {
        let score = choice.score(weight);
        if !score.is_nan() && best.is_none_or(|(_, most)| score > most) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// Whether the best choice is a right one.
pub fn is_right(choices: &[Choice], gold: &[usize], weight: Weight) -> bool {
    best(choices, weight).is_some_and(|best| gold.contains(&best))
}

/// The probability of each choice among the others (softmax of the sums).
pub fn shares(choices: &[Choice]) -> Vec<f64> {
    let most = choices.iter().map(|choice| choice.sum).fold(f64::NEG_INFINITY, f64::max);
    let parts: Vec<f64> = choices.iter().map(|choice| (choice.sum - most).exp()).collect();
    let sum: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}

/// The Brier score (1950) over all choices, as lm-evaluation-harness computes it: 0 is sure and right, 2 sure and wrong.
pub fn brier(choices: &[Choice], gold: usize) -> f64 {
    shares(choices).iter().enumerate().map(|(index, share)| (share - f64::from(u8::from(index == gold))).powi(2)).sum()
}

/// How well a text is predicted, by the sum of its log-probabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Likelihood {
    /// The sum of log-probabilities; those of several texts add up.
    pub sum: f64,
    /// Bytes of UTF-8.
    pub bytes: usize,
    /// Words between spaces, as lm-evaluation-harness counts them: one more than the runs of space.
    pub words: usize,
}

impl Likelihood {
    /// Of one text.
    pub fn of(text: &str, sum: f64) -> Self {
        let spaces = text.split(|c| !is_space(c)).filter(|run| !run.is_empty()).count();
        Self { sum, bytes: text.len(), words: spaces + 1 }
    }

    /// `bits_per_byte`.
    pub fn bits_per_byte(&self) -> f64 {
        -self.sum / self.bytes as f64 / std::f64::consts::LN_2
    }

    /// `byte_perplexity`.
    pub fn byte_perplexity(&self) -> f64 {
        (-self.sum / self.bytes as f64).exp()
    }

    /// `word_perplexity`.
    pub fn word_perplexity(&self) -> f64 {
        (-self.sum / self.words as f64).exp()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "the same division gives the same number")]

    use super::*;

    fn choice(text: &str, sum: f64, tokens: usize, alone: f64) -> Choice<'_> {
        Choice { text, sum, tokens, alone: Some(alone) }
    }

    #[test]
    fn each_weight_may_choose_otherwise() {
        let choices =
            [choice(" oui", -2.0, 1, -1.0), choice(" été", -2.4, 3, -2.0), choice(" certainement", -4.0, 2, -5.0)];
        let best = |weight| best(&choices, weight).unwrap();
        assert_eq!(best(Weight::Sum), 0);
        assert_eq!(best(Weight::Tokens), 1);
        assert_eq!([best(Weight::Characters), best(Weight::CharactersNoSpace), best(Weight::Bytes)], [2, 2, 2]);
        assert_eq!(best(Weight::MutualInformation), 2);
        assert!((choices[1].score(Weight::CharactersNoSpace) + 0.8).abs() < 1e-12);
        assert_eq!(choices[1].score(Weight::Bytes), -2.4 / 6.0);
    }

    #[test]
    fn what_is_no_number_is_never_right() {
        let choices = [choice("a", f64::NAN, 1, 0.0), choice("b", -1.0, 1, 0.0), choice("c", -1.0, 1, 0.0)];
        assert_eq!(best(&choices, Weight::Sum), Some(1));
        assert!(is_right(&choices, &[2, 1], Weight::Sum));
        assert_eq!(best(&choices[..1], Weight::Sum), None);
        assert_eq!(choice("", -1.0, 0, 0.0).score(Weight::Tokens).to_bits() & 0x7ff0 << 48, 0x7ff0 << 48);
    }

    #[test]
    fn probabilities_and_likelihoods() {
        let choices = [choice("a", (0.6_f64).ln(), 1, 0.0), choice("b", (0.2_f64).ln(), 1, 0.0)];
        assert!((shares(&choices)[0] - 0.75).abs() < 1e-12);
        assert!((brier(&choices, 0) - 0.125).abs() < 1e-12);
        let likelihood = Likelihood::of("un deux  trois", -14.0 * std::f64::consts::LN_2);
        assert!((likelihood.bits_per_byte() - 1.0).abs() < 1e-12);
        assert_eq!(likelihood.words, 3);
    }
}
