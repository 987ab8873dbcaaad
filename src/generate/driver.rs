//! Many prompts through one model: as one answer ends, the next prompt takes its room.
//!
//! Long prompts go in piece by piece, so that the others don't stand still meanwhile and a user who wants to stop is
//! heard. What prompts share is read once ([`stem`](super::stem)).

use std::collections::VecDeque;

use super::stem::{AHEAD, Stems};
use super::stop::StopText;
use super::{GenerateError, Generator, Sampler, Sampling};
use crate::data::TextStream;
use crate::model::{SequenceId, Session};

/// Tokens of a prompt that go into the model at once.
const CHUNK: usize = 512;

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// Texts after which an answer ends; they are no part of it.
    pub stop: Vec<String>,
    /// Where randomness begins.
    pub seed: u64,
    /// How many prompts go through the model together.
    pub batch: usize,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// This token came, which ends a text.
    Token(u32),
    /// This text came.
    Text(String),
    /// It has as many tokens as were asked for.
    Length,
    /// The model reads no more tokens.
    Context,
    /// The user had enough.
    Cancelled,
}

/// What a model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// How many tokens the prompt has.
    pub prompt_tokens: usize,
    /// The tokens, with the one that ended it.
    pub tokens: Vec<u32>,
    /// For each token the natural logarithm of its probability, by the model, before any setting had its say.
    pub log_probs: Vec<f32>,
    /// The text, without special tokens and without what ended it.
    pub text: String,
    /// Why it ended.
    pub stopped: Stopped,
}

/// Who hears of answers as they come.
pub trait Listener {
    /// The answer to prompt `index` goes on with this text.
    fn text(&mut self, index: usize, piece: &str);
    /// The answer to prompt `index` is there.
    fn finished(&mut self, index: usize, answer: &Answer);
    /// So many tokens went into the model, and so many came out, of all prompts together.
    fn went_on(&mut self, read: usize, written: usize);
    /// Whether the user wants to stop.
    fn cancelled(&self) -> bool;
}

/// Nobody.
pub struct Silent;

impl Listener for Silent {
    fn text(&mut self, _: usize, _: &str) {}
    fn finished(&mut self, _: usize, _: &Answer) {}
    fn went_on(&mut self, _: usize, _: usize) {}
    fn cancelled(&self) -> bool {
        false
    }
}

/// An answer that is being made.
struct Growing<'a> {
    index: usize,
    sequence: SequenceId,
    /// What the model is still to read.
    waiting: Vec<u32>,
    /// How many tokens of the text the model has read.
    read: usize,
    sampler: Sampler,
    stream: Option<TextStream<'a>>,
    stop: StopText<'a>,
    answer: Answer,
}

impl Generator {
    /// Answers all prompts; the answers stand in the order of the prompts. After a cancellation, those that were not
    /// begun are missing at the end.
    pub fn run(
        &self,
        prompts: &[Vec<u32>],
        options: &Options,
        listener: &mut dyn Listener,
    ) -> Result<Vec<Answer>, GenerateError> {
        let streams: Vec<u64> = (0..prompts.len() as u64).collect();
        self.run_with(prompts, &streams, options, listener)
    }

    /// As [`Self::run`], where the random numbers of each answer are a stream of the seed that does not follow from its
    /// place: the same prompt with the same stream gives the same answer, whatever stands beside it.
    pub fn run_with(
        &self,
        prompts: &[Vec<u32>],
        streams: &[u64],
        options: &Options,
        listener: &mut dyn Listener,
    ) -> Result<Vec<Answer>, GenerateError> {
        options.sampling.check()?;
        for (index, prompt) in prompts.iter().enumerate() {
            self.check_prompt(index, prompt)?;
        }
        let mut session = self.session();
        let mut queue: VecDeque<usize> = (0..prompts.len()).collect();
        let mut growing: Vec<Growing<'_>> = Vec::new();
        let mut answers: Vec<Option<Answer>> = vec![None; prompts.len()];
        let (mut read, mut written) = (0, 0);
        let mut stems = Stems::default();
        loop {
            let mut cancelled = listener.cancelled();
            while !cancelled && growing.len() < options.batch.max(1) {
                let Some(index) = queue.pop_front() else { break };
                let stream = streams.get(index).copied().unwrap_or(index as u64);
                let ahead = queue.iter().take(AHEAD).map(|index| prompts[*index].as_slice());
                let mut went_on = |tokens| {
                    read += tokens;
                    listener.went_on(read, written);
                    !listener.cancelled()
                };
                // Where no answer is wanted, nothing is read.
                let begun = match options.max_tokens {
                    0 => (session.start(), 0),
                    _ => stems.begin(&mut session, &prompts[index], ahead, &mut went_on)?,
                };
                growing.push(self.begin(begun, index, &prompts[index], stream, options));
                cancelled = listener.cancelled();
            }
            if growing.is_empty() {
                break;
            }
            let ended = if cancelled {
                for one in &mut growing {
                    one.answer.stopped = Stopped::Cancelled;
                }
                std::mem::take(&mut growing)
            } else {
                step(self, &mut session, &mut growing, options, listener, &mut (&mut read, &mut written))?
            };
            for one in ended {
                session.end(one.sequence);
                let index = one.index;
                let answer = one.finish(listener)?;
                listener.finished(index, &answer);
                answers[index] = Some(answer);
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Returns a place for one conversation, in which the model does not read again what it has read.
    pub fn thread(&self) -> Thread<'_> {
        Thread { generator: self, session: self.session(), known: None, turns: 0 }
    }

    fn session(&self) -> Session<'_> {
        self.model.session()
    }

    fn check_prompt(&self, index: usize, prompt: &[u32]) -> Result<(), GenerateError> {
        let (number, tokens, context) = (index + 1, prompt.len(), self.context());
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt { number });
        }
        if tokens >= context { Err(GenerateError::PromptTooLong { number, tokens, context }) } else { Ok(()) }
    }

    /// Begins an answer whose prompt was read so far in a text.
    fn begin<'a>(
        &'a self,
        (sequence, read): (SequenceId, usize),
        index: usize,
        prompt: &[u32],
        stream: u64,
        options: &'a Options,
    ) -> Growing<'a> {
        let mut sampler = Sampler::new(options.sampling, options.seed, stream);
        sampler.saw(prompt);
        let stopped = Stopped::Length;
        let answer =
            Answer { prompt_tokens: prompt.len(), tokens: vec![], log_probs: vec![], text: String::new(), stopped };
        Growing {
            index,
            sequence,
            waiting: prompt[read..].to_vec(),
            read,
            sampler,
            stream: Some(TextStream::new(self.tokenizer())),
            stop: StopText::new(&options.stop),
            answer,
        }
    }
}

/// Lets every answer grow by a token, or its prompt be read a little further. Returns those that ended.
fn step<'a>(
    generator: &Generator,
    session: &mut Session<'_>,
    growing: &mut Vec<Growing<'a>>,
    options: &Options,
    listener: &mut dyn Listener,
    (read, written): &mut (&mut usize, &mut usize),
) -> Result<Vec<Growing<'a>>, GenerateError> {
    if options.max_tokens == 0 {
        return Ok(std::mem::take(growing));
    }
    let entries: Vec<(SequenceId, &[u32])> =
        growing.iter().map(|one| (one.sequence, &one.waiting[..one.waiting.len().min(CHUNK)])).collect();
    let logits = session.feed(&entries)?;
    **read += entries.iter().map(|(_, tokens)| tokens.len()).sum::<usize>();
    let width = logits.len() / growing.len();
    let mut ended = Vec::new();
    let mut still = Vec::with_capacity(growing.len());
    for (mut one, logits) in growing.drain(..).zip(logits.chunks_exact(width)) {
        let fed = one.waiting.len().min(CHUNK);
        one.read += fed;
        one.waiting.drain(..fed);
        if one.waiting.is_empty() {
            **written += 1;
            one.grow(generator, logits, options, listener)?;
        }
        if one.waiting.is_empty() { ended.push(one) } else { still.push(one) }
    }
    *growing = still;
    listener.went_on(**read, **written);
    Ok(ended)
}

impl Growing<'_> {
    /// Adds a token. If the answer is to go on, the token waits to be read.
    fn grow(
        &mut self,
        generator: &Generator,
        logits: &[f32],
        options: &Options,
        listener: &mut dyn Listener,
    ) -> Result<(), GenerateError> {
        let (number, tokens) = (self.index + 1, self.read);
        let (token, log_prob) = self.sampler.choose(logits).ok_or(GenerateError::NotFinite { number, tokens })?;
        self.answer.tokens.push(token);
        self.answer.log_probs.push(log_prob);
        if generator.stops.contains(&token) {
            self.answer.stopped = Stopped::Token(token);
            return Ok(());
        }
        let piece = match &mut self.stream {
            Some(stream) => stream.push(token)?,
            None => String::new(),
        };
        self.show(&piece, listener);
        if let Some(stop) = self.stop.found() {
            self.answer.stopped = Stopped::Text(stop.to_owned());
        } else if self.answer.tokens.len() >= options.max_tokens {
            self.answer.stopped = Stopped::Length;
        } else if self.read >= generator.context() {
            self.answer.stopped = Stopped::Context;
        } else {
            self.waiting.push(token);
        }
        Ok(())
    }

    fn show(&mut self, piece: &str, listener: &mut dyn Listener) {
        let shown = self.stop.push(piece);
        if !shown.is_empty() {
            listener.text(self.index, &shown);
            self.answer.text.push_str(&shown);
        }
    }

    /// Shows what was held back, and returns the answer.
    fn finish(mut self, listener: &mut dyn Listener) -> Result<Answer, GenerateError> {
        if self.stop.found().is_none() {
            if let Some(stream) = self.stream.take() {
                let rest = stream.finish()?;
                self.show(&rest, listener);
            }
            if let Some(stop) = self.stop.found() {
                self.answer.stopped = Stopped::Text(stop.to_owned());
            } else {
                let held = self.stop.finish();
                if !held.is_empty() {
                    listener.text(self.index, &held);
                    self.answer.text.push_str(&held);
                }
            }
        }
        Ok(self.answer)
    }
}

/// One conversation with a model.
pub struct Thread<'a> {
    generator: &'a Generator,
    session: Session<'a>,
    /// A text in the session, and the tokens of it that the model has read.
    known: Option<(SequenceId, Vec<u32>)>,
    turns: u64,
}

impl Thread<'_> {
    /// Answers a prompt. If it begins with what the model has read already, only the rest is read.
    pub fn answer(
        &mut self,
        prompt: &[u32],
        options: &Options,
        listener: &mut dyn Listener,
    ) -> Result<Answer, GenerateError> {
        options.sampling.check()?;
        self.generator.check_prompt(0, prompt)?;
        let begun = match self.known.take() {
            Some((sequence, tokens)) if prompt.len() > tokens.len() && prompt.starts_with(&tokens) => {
                (sequence, tokens.len())
            }
            known => {
                // Its template told the story anew.
                if let Some((sequence, _)) = known {
                    self.session.end(sequence);
                }
                (self.session.start(), 0)
            }
        };
        let mut growing = vec![self.generator.begin(begun, 0, prompt, self.turns, options)];
        self.turns += 1;
        let (mut read, mut written) = (0, 0);
        let mut one = loop {
            if listener.cancelled() {
                let mut one = growing.remove(0);
                one.answer.stopped = Stopped::Cancelled;
                break one;
            }
            let counts = &mut (&mut read, &mut written);
            let mut ended = step(self.generator, &mut self.session, &mut growing, options, listener, counts)?;
            if let Some(one) = ended.pop() {
                break one;
            }
        };
        let tokens: Vec<u32> = prompt.iter().chain(&one.answer.tokens).copied().take(one.read).collect();
        self.known = Some((one.sequence, tokens));
        one.waiting.clear();
        let answer = one.finish(listener)?;
        listener.finished(0, &answer);
        Ok(answer)
    }
}
