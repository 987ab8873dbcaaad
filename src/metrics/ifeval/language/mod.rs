//! The language of a text as langdetect 1.0.9 names it, with seed 0: IFEval's language and case checks are defined by
//! that program's answer, right or wrong.
//!
//! Naive Bayes over the runs of one to three letters that a text shares with 55 profiles, seven trials that draw runs
//! at random until one language is sure (Nakatani 2010). The reference draws without a seed, so its own answers for
//! short or capital text change from run to run; ours do not.

mod grams;
mod profiles;

use super::super::random::Random;
use grams::grams;
use profiles::{LANGUAGES, profiles};

const SEED: u32 = 0;
const TRIALS: usize = 7;
const SMOOTHING: f64 = 0.5;
const SPREAD: f64 = 0.05;
const MOST_DRAWS: usize = 1000;
const SURE: f64 = 0.99999;
/// A language below this share is not named.
const LEAST: f64 = 0.1;
const BASE: f64 = 10_000.0;

/// Returns the code of a text's language (`fr`, `zh-cn`), `unknown` where none stands out, or `None` where the text has
/// nothing to judge by (the reference raises an exception).
pub fn detect(text: &str) -> Option<&'static str> {
    let profiles = profiles();
    let rows = grams(text);
    if rows.is_empty() {
        return None;
    }
    let mut random = Random::new(SEED);
    let mut shares = [0.0; LANGUAGES];
    for _ in 0..TRIALS {
        let trial = trial(&rows, &mut random);
        shares.iter_mut().zip(trial).for_each(|(share, part)| *share += part / TRIALS as f64);
    }
    let mut best = None;
    for (language, share) in shares.into_iter().enumerate() {
        if share > LEAST && best.is_none_or(|(_, most)| share > most) {
            best = Some((language, share));
        }
    }
    Some(best.map_or("unknown", |(language, _)| profiles.names[language].as_str()))
}

/// One trial: the probability of each language after as many draws as it takes.
fn trial(rows: &[u32], random: &mut Random) -> [f64; LANGUAGES] {
    let profiles = profiles();
    let mut shares = [1.0 / LANGUAGES as f64; LANGUAGES];
    let weight = (SMOOTHING + random.normal() * SPREAD) / BASE;
    for draw in 0.. {
        let row = rows[random.below(rows.len())];
        let mut factors = [weight; LANGUAGES];
        for &(language, chance) in profiles.row(row) {
            factors[usize::from(language)] += chance;
        }
        shares.iter_mut().zip(factors).for_each(|(share, factor)| *share *= factor);
        if draw % 5 == 0 && (normalize(&mut shares) > SURE || draw >= MOST_DRAWS) {
            break;
        }
    }
    shares
}

/// Makes the shares add up to one; returns the greatest.
fn normalize(shares: &mut [f64; LANGUAGES]) -> f64 {
    let sum: f64 = shares.iter().sum();
    for share in &mut *shares {
        *share /= sum;
    }
    shares.iter().fold(0.0, |most, share| share.max(most))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_languages() {
        assert_eq!(detect("Le renard brun saute par-dessus le chien paresseux."), Some("fr"));
        assert_eq!(detect("The quick brown fox jumps over the lazy dog."), Some("en"));
        assert_eq!(detect("素早い茶色の狐がのろまな犬を飛び越える。"), Some("ja"));
        assert_eq!(detect("42 !? https://exemple.fr/page a@b.fr"), None);
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in any::<String>()) {
            detect(&text);
        }
    }
}
