//! How likely a model finds given continuations, for many requests at once.
//!
//! Requests of an evaluation begin alike: the choices of a question share the question, and questions share the examples
//! before them. What is shared is read once ([`tree`]), a text that others leave is forked there, the last token of a
//! continuation is never read, and only rows after which a token is asked for go through the output layer. Four choices of
//! one token each cost one reading of the question.
//!
//! The tree is walked depth first, as many branches side by side as fill a step: a text is kept only until the last of its
//! branches has begun, and where too much is kept all the same, one branch at a time is walked, beside those that end with
//! the step, until there is room again.
//! Steps hold tokens without padding, so the order of lengths is no matter.
//!
//! What a request gets does not depend on what it shares with whom: the model's numbers are the same, bit for bit, however
//! texts are cut and batched.

#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;

use super::{GenerateError, Generator};
use crate::model::{Asking, Config, LanguageModel, Scored, SequenceId, Session};
use tree::{Branch, Node, Text, Tree};

/// How much is done together. It bounds memory, not the result.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Tokens that go through the model together.
    step: usize,
    /// Texts that go through the model together.
    texts: usize,
    /// Tokens that may be kept for later: beyond it, one branch at a time is walked.
    kept: usize,
}

const LIMITS: Limits = Limits { step: 512, texts: 64, kept: 1 << 13 };
/// Tokens that a text may take room for beyond those it has: a page that is not full, or that was copied.
const PAGE: usize = 32;

/// How likely is this continuation of this context?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continuation {
    /// What was said before; at least one token.
    pub context: Vec<u32>,
    /// What is asked about.
    pub continuation: Vec<u32>,
}

/// How likely a continuation is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Likelihood {
    /// For each token of the continuation the natural logarithm of its probability, given all before it.
    pub log_probs: Vec<f32>,
    /// Whether the model, always taking the likeliest token, would say just this.
    pub greedy: bool,
    /// Whether the beginning of the context was left out: the model does not read as many tokens.
    pub truncated: bool,
}

/// Who hears of likelihoods as they come.
pub trait Scoring {
    /// So many tokens are to be read for all requests together.
    fn begins(&mut self, tokens: usize) {
        let _ = tokens;
    }
    /// This is how likely request `index` is.
    fn scored(&mut self, index: usize, likelihood: Likelihood);
    /// So many tokens were read so far.
    fn went_on(&mut self, read: usize);
    /// Whether the user wants to stop.
    fn cancelled(&self) -> bool;
}

impl Generator {
    /// Says how likely the continuations are; each request is scored once, in no order that means something. After a
    /// cancellation the others are not scored.
    ///
    /// A context that is too long loses its beginning, as much as is needed; a continuation that is too long by itself is
    /// an error.
    pub fn likelihoods(&self, requests: &[Continuation], listener: &mut dyn Scoring) -> Result<(), GenerateError> {
        score_all(&self.model, requests, LIMITS, listener)
    }
}

fn score_all(
    model: &LanguageModel,
    requests: &[Continuation],
    limits: Limits,
    listener: &mut dyn Scoring,
) -> Result<(), GenerateError> {
    let mut texts = Vec::with_capacity(requests.len());
    for (index, request) in requests.iter().enumerate() {
        check(model.config(), request).map_err(|reason| GenerateError::Request { number: index + 1, reason })?;
        texts.push(Text::new(index, request, model.config().max_position_embeddings));
    }
    for text in texts.extract_if(.., |text| text.asked() == 0) {
        listener.scored(text.index, Likelihood { greedy: true, truncated: text.truncated, ..Default::default() });
    }
    let tree = Tree::new(texts);
    listener.begins(tree.size());
    let mut walk = Walk::new(&tree, model.session(), limits, requests.len());
    let mut read = 0;
    while !walk.open.is_empty() && !listener.cancelled() {
        read += walk.step(listener)?;
        listener.went_on(read);
    }
    Ok(())
}

fn check(config: &Config, Continuation { context, continuation }: &Continuation) -> Result<(), String> {
    let (tokens, most, known) = (continuation.len(), config.max_position_embeddings, config.vocab_size);
    if context.is_empty() {
        return Err("its context has no tokens: nothing makes its first token likely or not".into());
    }
    if tokens > most {
        return Err(format!("its continuation has {tokens} tokens, and the model reads {most}"));
    }
    if let Some(token) = context.iter().chain(continuation).find(|token| **token as usize >= known) {
        return Err(format!("token {token} is not among the model's {known} tokens"));
    }
    Ok(())
}

/// A text that branches off others, or is about to.
struct Begun {
    node: Node,
    /// The number of the text that it goes on from, until it has a text of its own.
    parent: Option<usize>,
    text: Option<SequenceId>,
    /// How many tokens of the node were read.
    read: usize,
}

/// A text that waits for its branches to begin.
struct Parent {
    text: SequenceId,
    waiting: usize,
}

/// Some tokens of a node that are in a step.
struct Part {
    begun: Begun,
    text: SequenceId,
    tokens: Vec<u32>,
    /// By the place in the text.
    asked: Vec<(usize, Branch)>,
    /// By the place among these tokens.
    wanted: Vec<(usize, u32)>,
}

impl Part {
    fn entry(&self) -> Asking<'_> {
        Asking { text: self.text, tokens: &self.tokens, asked: &self.wanted }
    }
}

/// A way through all texts.
struct Walk<'a, 't> {
    tree: &'t Tree<'a>,
    session: Session<'t>,
    limits: Limits,
    /// What is next, the last first.
    open: Vec<Begun>,
    parents: BTreeMap<usize, Parent>,
    /// Tokens that each text has beyond those it shares with the text it was forked from.
    own: BTreeMap<SequenceId, usize>,
    /// What is known of each request.
    likelihoods: Vec<Likelihood>,
}

impl<'a, 't> Walk<'a, 't> {
    fn new(tree: &'t Tree<'a>, session: Session<'t>, limits: Limits, requests: usize) -> Self {
        let begun = |node| Begun { node, parent: None, text: None, read: 0 };
        let open = tree.roots().into_iter().rev().map(begun).collect();
        let likelihoods = vec![Likelihood::default(); requests];
        Self { tree, session, limits, open, parents: BTreeMap::new(), own: BTreeMap::new(), likelihoods }
    }

    /// Takes some tokens through the model; returns how many.
    fn step(&mut self, listener: &mut dyn Scoring) -> Result<usize, GenerateError> {
        let step = self.next_step()?;
        let entries: Vec<Asking<'_>> = step.iter().map(Part::entry).collect();
        let scored = self.session.score(&entries)?;
        let asked = step.iter().flat_map(|part| &part.asked);
        for ((row, branch), scored) in asked.zip(scored) {
            self.add(*row, branch, scored, listener)?;
        }
        let read = step.iter().map(|part| part.tokens.len()).sum();
        // The first one goes on first.
        step.into_iter().rev().for_each(|part| self.go_on(part));
        Ok(read)
    }

    /// Returns how many tokens are kept, of those that take room of their own.
    fn kept(&self) -> usize {
        self.own.values().map(|own| own + PAGE).sum()
    }

    /// Takes what is next, as much as goes through the model together.
    fn next_step(&mut self) -> Result<Vec<Part>, GenerateError> {
        let mut step: Vec<Part> = Vec::new();
        let mut room = self.limits.step;
        while room > 0 && step.len() < self.limits.texts {
            let full = self.kept() >= self.limits.kept;
            let ends = |next: &Begun| self.session.shares() && self.tree.is_leaf(&next.node);
            let fits = |next: &mut Begun| step.is_empty() || !full || ends(next);
            let Some(mut begun) = self.open.pop_if(fits) else { break };
            let text = match begun.text {
                Some(text) => text,
                None => self.begin(&mut begun)?,
            };
            let from = begun.node.rows.start + begun.read;
            let rows = from..begun.node.rows.end.min(from + room);
            let asked = self.tree.asked(&begun.node, rows.clone());
            let wanted = asked.iter().map(|(row, (token, _))| (row - from, *token)).collect();
            room -= rows.len();
            begun.read += rows.len();
            *self.own.entry(text).or_default() += rows.len();
            step.push(Part { text, tokens: self.tree.tokens(&begun.node, rows), begun, asked, wanted });
        }
        Ok(step)
    }

    /// Returns the text of a branch that begins: the last one takes the text that all others forked.
    fn begin(&mut self, begun: &mut Begun) -> Result<SequenceId, GenerateError> {
        let text = match begun.parent.and_then(|parent| Some((parent, self.parents.get_mut(&parent)?))) {
            None => self.session.start(),
            Some((_, parent)) if parent.waiting > 1 => {
                parent.waiting -= 1;
                let fork = self.session.fork(parent.text)?;
                if !self.session.shares() {
                    self.own.insert(fork, begun.node.rows.start);
                }
                fork
            }
            Some((number, parent)) => {
                let text = parent.text;
                self.parents.remove(&number);
                text
            }
        };
        begun.text = Some(text);
        Ok(text)
    }

    /// Puts back what is not read to its end, and what comes after what is.
    fn go_on(&mut self, Part { begun, text, .. }: Part) {
        if begun.read < begun.node.rows.len() {
            self.open.push(begun);
            return;
        }
        let children = self.tree.children(&begun.node);
        if children.is_empty() {
            self.session.end(text);
            self.own.remove(&text);
            return;
        }
        let number = self.parents.last_key_value().map_or(0, |(last, _)| last + 1);
        self.parents.insert(number, Parent { text, waiting: children.len() });
        let begun = |node| Begun { node, parent: Some(number), text: None, read: 0 };
        self.open.extend(children.into_iter().rev().map(begun));
    }

    /// Gives a score to all that ask for it.
    fn add(
        &mut self,
        row: usize,
        (_, texts): &Branch,
        scored: Scored,
        listener: &mut dyn Scoring,
    ) -> Result<(), GenerateError> {
        for text in self.tree.asking(texts.clone(), row) {
            if !scored.log_prob.is_finite() {
                let reason = format!(
                    "the model gives no usable probabilities after {} of its tokens: its weights may be damaged",
                    row + 1
                );
                return Err(GenerateError::Request { number: text.index + 1, reason });
            }
            let likelihood = &mut self.likelihoods[text.index];
            likelihood.greedy = scored.likeliest && (likelihood.greedy || likelihood.log_probs.is_empty());
            likelihood.log_probs.push(scored.log_prob);
            if likelihood.log_probs.len() == text.asked() {
                likelihood.truncated = text.truncated;
                listener.scored(text.index, std::mem::take(likelihood));
            }
        }
        Ok(())
    }
}
