//! Answers in the model's own words.

use std::collections::BTreeMap;

use super::super::sampled::{Sampled, Written};
use super::{Asked, Counts, Manner, Question, Witness, begun};
use crate::data::{Message, Rendered};
use crate::digest::Digest;
use crate::endpoint::Reply;
use crate::generate::{Answer, Listener, Options, Sampling};
use crate::ops::OpError;
use crate::ops::answered::reply_of;

/// How answers are written.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops::eval) struct Writing {
    pub(in crate::ops::eval) max_tokens: usize,
    pub(in crate::ops::eval) temperature: f64,
    pub(in crate::ops::eval) top_p: f64,
    /// Answers to each question.
    pub(in crate::ops::eval) samples: usize,
    pub(in crate::ops::eval) seed: u64,
}

/// One answer that is wanted.
struct Wanted {
    key: Digest,
    prompt: Vec<u32>,
    stream: u64,
    stop: Vec<String>,
}

/// A question on its way: the conversation so far, and what was answered.
struct Talk<'q> {
    question: &'q Question,
    /// The conversation of each sample, where it is one.
    messages: Vec<Vec<Message>>,
    /// The text of each sample, where it is none.
    texts: Vec<Rendered>,
    truncated: bool,
    prompt_tokens: usize,
    answers: Vec<Written>,
}

/// Asks all questions, in rounds where there are further ones.
pub(super) fn ask(
    witness: &Witness<'_>,
    task: &str,
    questions: &[Question],
    manner: &Manner,
    writing: &Writing,
) -> Result<Vec<Sampled>, OpError> {
    let tokenizer = witness.tokenizer();
    // Drawn answers differ; the likeliest one is always the same.
    let samples = if writing.temperature > 0.0 { writing.samples } else { 1 };
    let mut talks = Vec::with_capacity(questions.len());
    for question in questions {
        let context = manner.context(question, &question.prompt, tokenizer)?;
        talks.push(Talk {
            question,
            messages: vec![manner.messages(question); if manner.chat { samples } else { 0 }],
            texts: vec![context; samples],
            truncated: false,
            prompt_tokens: 0,
            answers: vec![Written::default(); samples],
        });
    }
    let rounds = 1 + questions.iter().map(|question| further(question).len()).max().unwrap_or(0);
    for round in 0..rounds {
        let mut places = Vec::new();
        let mut wanted = Vec::new();
        for (place, talk) in talks.iter_mut().enumerate() {
            if round > further(talk.question).len() {
                continue;
            }
            for sample in 0..samples {
                places.push((place, sample));
                wanted.push(talk.wanted(witness, manner, writing, sample)?);
            }
        }
        let replies = replies(witness, task, &wanted, writing)?;
        for ((place, sample), reply) in places.into_iter().zip(replies) {
            talks[place].hear(witness, manner, (round, sample), &reply)?;
        }
    }
    let sampled = talks.into_iter().zip(questions).map(|(talk, question)| {
        let prompt = manner.context(question, &question.prompt, tokenizer)?.text;
        let truncated = talk.truncated;
        let mut answers = talk.answers;
        // As many as were asked for, so that every score has its number of samples.
        let first = answers[0].clone();
        answers.resize(writing.samples, first);
        Ok(Sampled { truncated, answers, ..begun(question, prompt, talk.prompt_tokens) })
    });
    sampled.collect()
}

fn further(question: &Question) -> &[String] {
    match &question.asked {
        Asked::Answer { then, .. } => then,
        _ => &[],
    }
}

impl Talk<'_> {
    /// Returns the request for the next answer.
    fn wanted(
        &mut self,
        witness: &Witness<'_>,
        manner: &Manner,
        writing: &Writing,
        sample: usize,
    ) -> Result<Wanted, OpError> {
        let failed = |error| OpError::caused(format!("row {} cannot be tokenized", self.question.row + 1), error);
        let start = manner.joining().start;
        let mut prompt = witness.tokenizer().prompt_ids(&self.texts[sample], start).map_err(failed)?;
        if prompt.is_empty() {
            prompt.push(witness.tokenizer().first_token());
        }
        // What is too long loses its beginning, as in the harnesses: the answer needs room.
        let most = witness.generator.context();
        let room = writing.max_tokens.min(most / 2).max(1);
        let kept = if manner.keeps_room() { most - room } else { most - 1 };
        if prompt.len() > kept {
            self.truncated = true;
            prompt.drain(..prompt.len() - (most - room));
        }
        self.prompt_tokens = self.prompt_tokens.max(prompt.len());
        let Asked::Answer { stop, .. } = &self.question.asked else {
            return Err(OpError::new("a likelihood is no answer"));
        };
        let stream = (self.question.row as u64) << 16 | sample as u64;
        let key = witness.answers.answer_key(&prompt, &options(witness, writing, stop.clone()), stream);
        Ok(Wanted { key, prompt, stream, stop: stop.clone() })
    }

    /// Takes an answer, and asks what comes after it.
    fn hear(
        &mut self,
        witness: &Witness<'_>,
        manner: &Manner,
        (round, sample): (usize, usize),
        reply: &Reply,
    ) -> Result<(), OpError> {
        let before = if round == 0 {
            Vec::new()
        } else {
            let last = std::mem::take(&mut self.answers[sample]);
            last.before.into_iter().chain([last.text]).collect()
        };
        self.answers[sample] = Written {
            text: reply.text.clone(),
            finish_reason: reply.finish_reason.clone(),
            tokens: usize::try_from(reply.completion_tokens).unwrap_or(usize::MAX),
            before,
        };
        let Some(next) = further(self.question).get(round) else { return Ok(()) };
        let tokenizer = witness.tokenizer();
        if manner.chat {
            let messages = &mut self.messages[sample];
            messages.push(Message::new("assistant", reply.text.clone()));
            messages.push(Message::new("user", next.clone()));
            self.texts[sample] = manner.render(messages.clone(), tokenizer)?;
        } else {
            self.texts[sample].push(&format!("{}\n\n{next}", reply.text), tokenizer);
        }
        Ok(())
    }
}

fn options(witness: &Witness<'_>, writing: &Writing, stop: Vec<String>) -> Options {
    let sampling =
        Sampling { temperature: writing.temperature as f32, top_p: writing.top_p as f32, ..Sampling::greedy() };
    Options { sampling, max_tokens: writing.max_tokens, stop, seed: writing.seed, batch: witness.batch }
}

/// Returns the answers to all requests: those that are known, and the others written.
fn replies(witness: &Witness<'_>, task: &str, wanted: &[Wanted], writing: &Writing) -> Result<Vec<Reply>, OpError> {
    let mut found: BTreeMap<Digest, Reply> = BTreeMap::new();
    let mut groups: BTreeMap<&[String], Vec<&Wanted>> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for one in wanted.iter().filter(|one| seen.insert(one.key)) {
        match witness.answers.get(&one.key)? {
            Some(reply) => drop(found.insert(one.key, reply)),
            None => groups.entry(&one.stop).or_default().push(one),
        }
    }
    let missing: usize = groups.values().map(Vec::len).sum();
    witness.count(Counts { computed: missing as u64, known: found.len() as u64, tokens: 0 });
    if missing > 0 {
        witness.cx.progress.phase(&format!("asking {task}"), Some(missing as u64), "answers");
    }
    let mut done = 0;
    for (stop, mut group) in groups {
        // Long prompts first: they are begun while others still write.
        group.sort_by_key(|one| (std::cmp::Reverse(one.prompt.len()), one.stream));
        let prompts: Vec<Vec<u32>> = group.iter().map(|one| one.prompt.clone()).collect();
        let streams: Vec<u64> = group.iter().map(|one| one.stream).collect();
        let mut listening =
            Listening { witness, group: &group, found: &mut found, done: &mut done, tokens: (0, 0), failed: None };
        let options = options(witness, writing, stop.to_vec());
        witness
            .generator
            .run_with(&prompts, &streams, &options, &mut listening)
            .map_err(|error| OpError::caused("the model cannot answer", error))?;
        let (failed, tokens) = (listening.failed.take(), listening.tokens);
        witness.count(Counts { tokens: (tokens.0 + tokens.1) as u64, ..Counts::default() });
        if let Some(error) = failed {
            return Err(error);
        }
        witness.cx.check_cancelled()?;
    }
    let answer = |one: &Wanted| found.get(&one.key).cloned();
    wanted.iter().map(|one| answer(one).ok_or_else(|| OpError::new("the model left out an answer"))).collect()
}

/// Keeps answers as they come.
struct Listening<'a, 'b> {
    witness: &'a Witness<'b>,
    group: &'a [&'a Wanted],
    found: &'a mut BTreeMap<Digest, Reply>,
    done: &'a mut u64,
    tokens: (usize, usize),
    failed: Option<OpError>,
}

impl Listener for Listening<'_, '_> {
    fn text(&mut self, _: usize, _: &str) {}

    fn finished(&mut self, index: usize, answer: &Answer) {
        let Some(reply) = reply_of(answer) else { return };
        let key = self.group[index].key;
        if let Err(error) = self.witness.answers.put(&[(key, reply.clone())]) {
            self.failed = Some(error);
        }
        self.found.insert(key, reply);
        *self.done += 1;
        self.witness.cx.progress.position(*self.done);
    }

    fn went_on(&mut self, read: usize, written: usize) {
        self.tokens = (read, written);
    }

    fn cancelled(&self) -> bool {
        self.failed.is_some() || self.witness.cx.check_cancelled().is_err()
    }
}
