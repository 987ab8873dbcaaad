//! Judgements by likelihood. What is no number, or not finite, is never the best.

use super::super::sampled::{Likely, Sampled};
use super::{Fault, gold};
use crate::metrics::text::choice::{self, Choice, Weight};
use crate::spec::params::Profile;

/// 1 if the best choice is a right one.
pub(super) fn choice(sampled: &Sampled, weight: Weight, before: &str) -> Result<f64, Fault> {
    let gold = gold::places(&sampled.gold, sampled.choices.len())?;
    let mut choices = choices(sampled, f64::NAN);
    if matches!(weight, Weight::Characters | Weight::Bytes) {
        for choice in &mut choices {
            choice.text = choice.text.strip_prefix(before).unwrap_or(choice.text);
        }
    }
    if weight == Weight::MutualInformation && choices.iter().any(|choice| choice.alone.is_none()) {
        let help = "ask again: the answers were kept before the task had an `unconditioned` question";
        return Err(Fault::new("it does not have the likelihoods of its choices by themselves", help));
    }
    Ok(f64::from(u8::from(choice::is_right(&choices, &gold, weight))))
}

/// 1 if the first of two texts is better. Of equals, `native` says that the model does not know; the harnesses take the first.
pub(super) fn pair(sampled: &Sampled, weight: Weight, profile: Profile) -> Result<f64, Fault> {
    let choices = choices(sampled, f64::NAN);
    let [good, bad] = &choices[..] else {
        let message = format!("it has {} likelihoods, not those of two texts", choices.len());
        return Err(Fault::new(message, "ask again: the answers were kept for another request"));
    };
    if profile == Profile::Native && good.score(weight).total_cmp(&bad.score(weight)).is_eq() && good.sum.is_finite() {
        return Ok(0.5);
    }
    Ok(f64::from(u8::from(choice::best(&choices, weight) == Some(0))))
}

/// The part of the probability that the right choices have among all (`mc2` of TruthfulQA).
pub(super) fn share(sampled: &Sampled) -> Result<f64, Fault> {
    let gold = gold::places(&sampled.gold, sampled.choices.len())?;
    let shares = choice::shares(&choices(sampled, f64::NEG_INFINITY));
    let mut share = 0.0;
    for (place, part) in shares.iter().enumerate() {
        share += if gold.contains(&place) { *part } else { 0.0 };
    }
    Ok(if share.is_finite() { share } else { 0.0 })
}

/// The Brier score; 2, the worst, where no likelihood is a number.
pub(super) fn brier(sampled: &Sampled) -> Result<f64, Fault> {
    let gold = gold::places(&sampled.gold, sampled.choices.len())?;
    let [gold] = gold[..] else {
        let message = format!("{} choices are right", gold.len());
        return Err(Fault::new(message, "the Brier score knows one; `share` takes several"));
    };
    let score = choice::brier(&choices(sampled, f64::NEG_INFINITY), gold);
    Ok(if score.is_finite() { score } else { 2.0 })
}

/// Bits for a byte of the row's text; none if it has no byte. A text that the model holds for impossible has no likelihood that
/// could be added to others.
pub(super) fn bits_per_byte(sampled: &Sampled) -> Result<Option<f64>, Fault> {
    let [text] = &sampled.choices[..] else {
        let message = format!("it has {} likelihoods, not that of one text", sampled.choices.len());
        return Err(Fault::new(message, "ask again: the answers were kept for another request"));
    };
    if !text.sum.is_finite() {
        let help = "its weights may hold numbers that are not finite";
        return Err(Fault::new("the model gives it a probability that is zero or undefined", help));
    }
    let bits = choice::Likelihood::of(&text.text, text.sum).bits_per_byte();
    Ok((!text.text.is_empty()).then_some(bits))
}

fn choices<'a>(sampled: &'a Sampled, unknown: f64) -> Vec<Choice<'a>> {
    let choice = |likely: &'a Likely| Choice {
        text: &likely.text,
        sum: if likely.sum.is_finite() { likely.sum } else { unknown },
        tokens: likely.tokens,
        alone: likely.alone,
    };
    sampled.choices.iter().map(choice).collect()
}
