//! The answers to one question: one of them, or several whose mean, whose chance of being right (pass@k) or whose majority
//! (maj@k) counts.

use serde_json::{Value, json};

use super::super::sampled::Sampled;
use super::answer::{Kind, Verdict};
use super::{Fault, Judged, Worth};
use crate::metrics::at_k::{majority_by, pass_at_k};
use crate::metrics::pattern::Pattern;

/// An answer with more bytes than this has no end, and counts as empty.
const LONGEST: usize = 1 << 20;

/// What lm-evaluation-harness judges where its filter finds nothing.
const INVALID: &str = "[invalid]";

/// What is kept of something that was extracted, in characters.
const SHOWN: usize = 2000;

/// Returns the answers of a row as texts. There is at least one.
pub(super) fn any(sampled: &Sampled) -> Result<impl Iterator<Item = &str>, Fault> {
    if sampled.answers.is_empty() {
        return Err(Fault::new("it has no answer", "ask again: the answers were kept for another request"));
    }
    let bounded = |text: &str| text.len() <= LONGEST;
    Ok(sampled.answers.iter().map(|answer| answer.text.as_str()).map(move |text| if bounded(text) { text } else { "" }))
}

/// The part of an answer that is judged. An answer in which nothing is found is judged as no right one can be.
pub(super) fn part<'a>(answer: &'a str, extract: Option<&(Pattern, bool)>) -> &'a str {
    match extract {
        Some((pattern, last)) => pattern.pick(answer, *last).unwrap_or(INVALID),
        None => answer,
    }
}

/// Judges all answers of a row.
pub(super) fn answers(
    judged: &Judged,
    sampled: &Sampled,
    extract: Option<&(Pattern, bool)>,
    kind: &Kind,
    worth: &mut Worth,
) -> Result<f64, Fault> {
    let texts: Vec<&str> = any(sampled)?.map(|answer| part(answer, extract)).collect();
    let mut verdicts = texts.iter().map(|text| kind.verdict(sampled, text)).collect::<Result<Vec<_>, _>>()?;
    if extract.is_some() {
        for (verdict, text) in verdicts.iter_mut().zip(&texts) {
            verdict.predicted = verdict.predicted.take().or_else(|| Some((*text).to_owned()));
        }
    }
    keep(judged, &verdicts, worth);
    let enough = |field: &str, wanted: usize| {
        let message = format!("`{field}: {wanted}` needs so many answers, and it has {}", texts.len());
        let help = format!("set `samples: {wanted}` or more");
        if texts.len() < wanted { Err(Fault::new(message, help)) } else { Ok(()) }
    };
    if let Some(k) = judged.pass_at {
        enough("pass_at", k)?;
        let right = verdicts.iter().filter(|verdict| verdict.value >= 1.0).count();
        return Ok(pass_at_k(verdicts.len(), right, k));
    }
    if let Some(k) = judged.maj_at {
        enough("maj_at", k)?;
        return Ok(majority(kind, &verdicts[..k], &texts[..k]));
    }
    Ok(verdicts.iter().map(|verdict| verdict.value).sum::<f64>() / verdicts.len() as f64)
}

/// The value of the most frequent answer. What says nothing has no vote.
fn majority(kind: &Kind, verdicts: &[Verdict], texts: &[&str]) -> f64 {
    let vote = |place: usize| {
        let vote = kind.vote(&verdicts[place], texts[place]);
        vote.filter(|vote| vote != INVALID).map(|vote| (place, vote))
    };
    let votes: Vec<(usize, String)> = (0..verdicts.len()).filter_map(vote).collect();
    let winner = majority_by(&votes, votes.len(), |one, other| kind.same(&one.1, &other.1));
    winner.map_or(0.0, |winner| verdicts[votes[winner].0].value)
}

/// Keeps what was taken out of answer and reference: of several answers a list.
fn keep(judged: &Judged, verdicts: &[Verdict], worth: &mut Worth) {
    let short = |text: &Option<String>| text.as_ref().map(|text| text.chars().take(SHOWN).collect::<String>());
    let predicted: Vec<_> = verdicts.iter().map(|verdict| short(&verdict.predicted)).collect();
    let expected = verdicts.iter().find_map(|verdict| short(&verdict.expected));
    if predicted.iter().all(Option::is_none) && expected.is_none() {
        return;
    }
    let predicted = if let [one] = &predicted[..] { json!(one) } else { json!(predicted) };
    let mut extracted = serde_json::Map::new();
    extracted.insert("predicted".to_owned(), predicted);
    if let Some(expected) = expected {
        extracted.insert("expected".to_owned(), Value::from(expected));
    }
    worth.extracted.insert(judged.name.clone(), Value::Object(extracted));
}
