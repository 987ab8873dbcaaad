//! How likely choices, pairs and texts are: one request a continuation, all of a task at once, so that what they share is read
//! once.

use std::collections::BTreeMap;

use super::super::sampled::{Likely, Sampled};
use super::store::{read, reply_of};
use super::{Asked, Counts, Manner, Question, Witness, begun};
use crate::data::Rendered;
use crate::digest::Digest;
use crate::endpoint::Reply;
use crate::generate::{Continuation, Likelihood, Scoring};
use crate::ops::OpError;

/// Answers that are written to the disk together.
const TOGETHER: usize = 256;

/// What is asked about one text.
struct Wanted {
    /// The text, as judges see it.
    text: String,
    /// Its requests: one, or several for a text that the model reads in windows.
    requests: Vec<usize>,
    /// The request of the same text behind a question that says nothing.
    alone: Option<usize>,
}

/// All requests of a task, each once.
#[derive(Default)]
struct Requests {
    all: Vec<(Digest, Continuation)>,
    known: BTreeMap<Digest, usize>,
}

/// A request's answer.
#[derive(Debug, Clone, Copy)]
struct Answer {
    sum: f64,
    greedy: bool,
    truncated: bool,
}

/// Asks all questions.
pub(super) fn ask(
    witness: &Witness<'_>,
    task: &str,
    questions: &[Question],
    manner: &Manner,
) -> Result<Vec<Sampled>, OpError> {
    witness.cx.progress.phase(&format!("preparing {task}"), Some(questions.len() as u64), "rows");
    let mut requests = Requests::default();
    let mut rows = Vec::with_capacity(questions.len());
    for (done, question) in questions.iter().enumerate() {
        witness.cx.check_cancelled()?;
        rows.push(prepare(witness, question, manner, &mut requests)?);
        witness.cx.progress.position(done as u64 + 1);
    }
    let answers = answers(witness, task, &requests.all)?;
    let likely = |wanted: Wanted| {
        let parts = wanted.requests.iter().map(|request| &answers[*request]);
        let tokens = wanted.requests.iter().map(|request| requests.all[*request].1.continuation.len()).sum();
        Likely {
            text: wanted.text,
            sum: parts.clone().map(|part| part.sum).sum(),
            tokens,
            greedy: parts.clone().all(|part| part.greedy),
            alone: wanted.alone.map(|alone| answers[alone].sum),
        }
    };
    let complete = |(mut sampled, wanted): (Sampled, Vec<Wanted>)| {
        let all = wanted.iter().flat_map(|wanted| &wanted.requests);
        sampled.truncated = all.clone().any(|request| answers[*request].truncated);
        sampled.choices = wanted.into_iter().map(likely).collect();
        sampled
    };
    Ok(rows.into_iter().map(complete).collect())
}

/// Makes the requests of one question.
fn prepare(
    witness: &Witness<'_>,
    question: &Question,
    manner: &Manner,
    requests: &mut Requests,
) -> Result<(Sampled, Vec<Wanted>), OpError> {
    let tokenizer = witness.tokenizer();
    let failed = |error| OpError::caused(format!("row {} cannot be tokenized", question.row + 1), error);
    let mut add = |context: &Rendered, text: &str| {
        let (context, continuation) = tokenizer.joined_ids(context, text, manner.joining()).map_err(failed)?;
        let tokens = context.len();
        Ok::<_, OpError>((requests.add(&witness.answers, Continuation { context, continuation }), tokens))
    };
    let empty = Rendered::plain(String::new(), true, tokenizer);
    match &question.asked {
        Asked::Choices { texts, contexts, unconditioned } => {
            let own = manner.context(question, &question.prompt, tokenizer)?;
            let alone = unconditioned.as_ref().map(|prompt| manner.bare(prompt, tokenizer)).transpose()?;
            let (mut wanted, mut longest) = (Vec::new(), 0);
            for (i, text) in texts.iter().map(|text| manner.choice(text)).enumerate() {
                let theirs = contexts.as_ref().map(|contexts| manner.context(question, &contexts[i], tokenizer));
                let theirs = theirs.transpose()?;
                let (request, tokens) = add(theirs.as_ref().unwrap_or(&own), text)?;
                longest = longest.max(tokens);
                let alone = alone.as_ref().map(|alone| add(alone, text)).transpose()?.map(|(request, _)| request);
                wanted.push(Wanted { text: text.to_owned(), requests: vec![request], alone });
            }
            let prompt = match contexts {
                Some(contexts) => manner.context(question, &contexts.join(" | "), tokenizer)?.text,
                None => own.text,
            };
            Ok((begun(question, prompt, longest), wanted))
        }
        Asked::Pair(pair) => {
            let of = |text: &String| {
                let (request, _) = add(&empty, text)?;
                Ok(Wanted { text: text.clone(), requests: vec![request], alone: None })
            };
            let wanted: Result<Vec<_>, OpError> = pair.iter().map(of).collect();
            Ok((begun(question, String::new(), 1), wanted?))
        }
        Asked::Text(text) => {
            let (start, ids) = tokenizer.joined_ids(&empty, text, manner.joining()).map_err(failed)?;
            let windows = windows(&start, &ids, witness.generator.context());
            let numbers = windows.into_iter().map(|window| requests.add(&witness.answers, window)).collect();
            let wanted = Wanted { text: text.clone(), requests: numbers, alone: None };
            Ok((begun(question, String::new(), start.len()), vec![wanted]))
        }
        Asked::Answer { .. } => Err(OpError::new("an answer is no likelihood")),
    }
}

/// Cuts a text into windows of at most `most` tokens that are read, in which each token is scored once, as
/// lm-evaluation-harness does it: later windows see as many of the tokens before as fit.
fn windows(start: &[u32], ids: &[u32], most: usize) -> Vec<Continuation> {
    let mut windows = Vec::new();
    let whole = [start, ids].concat();
    let mut at = start.len();
    while at < whole.len() {
        // The last token of a window is scored and not read.
        let room = if windows.is_empty() { most + 1 - start.len().min(most) } else { most };
        let end = whole.len().min(at + room);
        let from = (end - 1).saturating_sub(most).min(at - 1);
        windows.push(Continuation { context: whole[from..at].to_vec(), continuation: whole[at..end].to_vec() });
        at = end;
    }
    windows
}

impl Requests {
    /// Returns the number of a request, which may have been made before.
    fn add(&mut self, answers: &super::Answers, request: Continuation) -> usize {
        let key = answers.likelihood_key(&request.context, &request.continuation);
        let next = self.all.len();
        let number = *self.known.entry(key).or_insert(next);
        if number == next {
            self.all.push((key, request));
        }
        number
    }
}

/// Returns the answers to all requests: those that are known, and the others computed.
fn answers(witness: &Witness<'_>, task: &str, requests: &[(Digest, Continuation)]) -> Result<Vec<Answer>, OpError> {
    let mut answers: Vec<Option<Answer>> = Vec::with_capacity(requests.len());
    for (key, _) in requests {
        let reply = witness.answers.get(key)?;
        answers.push(reply.as_ref().and_then(of_reply));
    }
    let missing: Vec<usize> = (0..requests.len()).filter(|number| answers[*number].is_none()).collect();
    let (computed, known) = (missing.len() as u64, (requests.len() - missing.len()) as u64);
    witness.count(Counts { computed, known, tokens: 0 });
    if !missing.is_empty() {
        let asked: Vec<Continuation> = missing.iter().map(|number| requests[*number].1.clone()).collect();
        let mut listening =
            Listening { witness, task, keys: requests, missing: &missing, fresh: Vec::new(), read: 0, failed: None };
        witness
            .generator
            .likelihoods(&asked, &mut listening)
            .map_err(|error| OpError::caused("the model cannot say how likely an answer is", error))?;
        listening.flush();
        let (failed, read) = (listening.failed.take(), listening.read);
        witness.count(Counts { tokens: read as u64, ..Counts::default() });
        if let Some(error) = failed {
            return Err(error);
        }
        witness.cx.check_cancelled()?;
        for number in missing {
            answers[number] = witness.answers.get(&requests[number].0)?.as_ref().and_then(of_reply);
        }
    }
    answers.into_iter().map(|answer| answer.ok_or_else(|| OpError::new("the model left out a request"))).collect()
}

fn of_reply(reply: &Reply) -> Option<Answer> {
    let (sum, greedy, truncated) = read(reply)?;
    Some(Answer { sum, greedy, truncated })
}

/// Keeps likelihoods as they come.
struct Listening<'a, 'b> {
    witness: &'a Witness<'b>,
    task: &'a str,
    keys: &'a [(Digest, Continuation)],
    missing: &'a [usize],
    fresh: Vec<(Digest, Reply)>,
    read: usize,
    failed: Option<OpError>,
}

impl Listening<'_, '_> {
    fn flush(&mut self) {
        if !self.fresh.is_empty()
            && self.failed.is_none()
            && let Err(error) = self.witness.answers.put(&std::mem::take(&mut self.fresh))
        {
            self.failed = Some(error);
        }
    }
}

impl Scoring for Listening<'_, '_> {
    fn begins(&mut self, tokens: usize) {
        self.witness.cx.progress.phase(&format!("asking {}", self.task), Some(tokens as u64), "tokens");
    }

    fn scored(&mut self, index: usize, likelihood: Likelihood) {
        let (key, request) = &self.keys[self.missing[index]];
        self.fresh.push((*key, reply_of(&likelihood, request.context.len())));
        if self.fresh.len() >= TOGETHER {
            self.flush();
        }
    }

    fn went_on(&mut self, read: usize) {
        self.read = read;
        self.witness.cx.progress.position(read as u64);
    }

    fn cancelled(&self) -> bool {
        self.failed.is_some() || self.witness.cx.check_cancelled().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_of_a_text_is_scored_once_behind_as_many_as_fit() {
        let ids: Vec<u32> = (1..=10).collect();
        let windows = windows(&[0], &ids, 4);
        let scored: Vec<u32> = windows.iter().flat_map(|window| window.continuation.clone()).collect();
        assert_eq!(scored, ids);
        let lengths: Vec<(usize, usize)> =
            windows.iter().map(|window| (window.context.len(), window.continuation.len())).collect();
        // The first is conditioned on the start alone; the last has room for context.
        assert_eq!(lengths, [(1, 4), (1, 4), (3, 2)]);
        assert_eq!(windows[2].context, [6, 7, 8]);
    }
}
