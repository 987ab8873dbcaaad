//! Language models that only run: texts go on token by token, and what was computed for the tokens before is kept.
//!
//! A third engine behind the seam of the blocks ([`engine`]), for the CPU. Weights are used as they lie in the file
//! ([`weights`], [`product`]): opening a model costs nothing, many processes share one copy, and a step reads each weight
//! once for all texts that it continues. Everything is computed in f32.
//!
//! A token's logits are the same, bit for bit, whether the tokens before it were fed at once or one by one, whatever
//! other texts the step continued, and whatever the number of threads. Tests hold that, and the arithmetic against
//! [`CausalLm`](super::CausalLm).
//!
//! What does not fit the model's context is refused: beyond it the answer would be noise, without a word.

mod cache;
mod engine;
mod product;
mod weights;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::arch::Decoder;
use super::causal_lm::tables;
use super::engine::Frame;
use super::fused::storage::read;
use super::kernel::rotary::RotaryTable;
use super::packed::Places;
use super::{Config, ModelError};
use cache::Sequence;
use engine::Continuing;
use weights::{Found, Weights};

/// Tokens that go through the model together. It bounds the memory of a long prompt, not the result.
const STEP: usize = 512;

/// A model to generate with. It never changes, so threads may share it.
#[derive(Debug)]
pub struct LanguageModel {
    config: Config,
    decoder: Decoder,
    weights: Weights,
    /// One table for each rotary embedding of the model. They grow with the longest text seen.
    rotary: Mutex<Arc<[RotaryTable]>>,
}

/// A text that is being continued, in one [`Session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// Texts that are being continued together.
#[derive(Debug)]
pub struct Session<'a> {
    model: &'a LanguageModel,
    weights: Found<'a>,
    sequences: BTreeMap<SequenceId, Sequence>,
    next: u64,
}

impl LanguageModel {
    /// Opens a Hugging Face model folder: `config.json` and safetensors, in one file or in shards.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let config = Config::load(dir)?;
        let (decoder, outlines) = Decoder::new(&config);
        let weights = Weights::open(dir, &config, outlines)?;
        let rotary = Mutex::new(tables(&config, 0));
        Ok(Self { config, decoder, weights, rotary })
    }

    /// Returns the sizes and constants of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns a place for texts to be continued in.
    pub fn session(&self) -> Session<'_> {
        Session { model: self, weights: self.weights.find(), sequences: BTreeMap::new(), next: 0 }
    }

    /// Returns the frame of a step whose documents begin at positions and have as many tokens.
    fn frame(&self, documents: &[(usize, usize)]) -> Frame {
        let mut first = 0;
        let mut places = Places { documents: Vec::new(), positions: Vec::new(), longest: 0 };
        for (start, count) in documents {
            places.documents.push(first..first + count);
            places.positions.extend(*start as u32..(start + count) as u32);
            places.longest = places.longest.max(start + count);
            first += count;
        }
        let mut rotary = self.rotary.lock().unwrap_or_else(PoisonError::into_inner);
        if rotary.iter().any(|table| table.positions() < places.longest) {
            *rotary = tables(&self.config, places.longest.next_power_of_two());
        }
        Frame { places: Arc::new(places), rotary: Arc::clone(&rotary) }
    }
}

impl Session<'_> {
    /// Begins a text, without a token so far.
    pub fn start(&mut self) -> SequenceId {
        let id = SequenceId(self.next);
        self.next += 1;
        self.sequences.insert(id, Sequence::new(&self.model.config));
        id
    }

    /// Forgets a text and what was kept for it. One that is not there is nobody's loss.
    pub fn end(&mut self, id: SequenceId) {
        self.sequences.remove(&id);
    }

    /// Adds tokens to texts; returns the logits after the last token of each entry, `[entries, vocab_size]` row by row.
    ///
    /// A text that is not there or named twice, an entry without tokens, a token that the model doesn't have and a text
    /// longer than the model is meant for are errors, after which all texts are as they were.
    pub fn feed(&mut self, entries: &[(SequenceId, &[u32])]) -> Result<Vec<f32>, ModelError> {
        self.check(entries).map_err(|reason| ModelError::Input { reason })?;
        // Inside the pool from here on: the way in costs more than a small product.
        rayon::scope(|_| self.run(entries))
    }

    fn check(&self, entries: &[(SequenceId, &[u32])]) -> Result<(), String> {
        let config = &self.model.config;
        let mut named = BTreeSet::new();
        for (id, tokens) in entries {
            let text =
                self.sequences.get(id).ok_or("a text was to be continued that is not there: never begun, or ended")?;
            if !named.insert(id) {
                return Err("a text was to be continued twice at once".into());
            }
            if tokens.is_empty() {
                return Err("a text was to be continued with no tokens".into());
            }
            if let Some(token) = tokens.iter().find(|token| **token as usize >= config.vocab_size) {
                let (tokens, help) = (config.vocab_size, "the tokenizer does not belong to this model");
                return Err(format!("token {token} is not among the model's {tokens} tokens; {help}"));
            }
            let (length, most) = (text.length.saturating_add(tokens.len()), config.max_position_embeddings);
            if length > most {
                return Err(format!("a text of {length} tokens is longer than the {most} that the model is meant for"));
            }
        }
        Ok(())
    }

    /// Takes the entries through the model, in steps of bounded size.
    fn run(&mut self, entries: &[(SequenceId, &[u32])]) -> Result<Vec<f32>, ModelError> {
        let width = self.model.config.hidden_size;
        let mut last = Vec::with_capacity(entries.len() * width);
        // Which entry goes on, and with which of its tokens.
        let (mut entry, mut token) = (0, 0);
        while entry < entries.len() {
            let (mut step, mut room) = (Vec::new(), STEP);
            while room > 0 && entry < entries.len() {
                let (id, tokens) = entries[entry];
                let count = room.min(tokens.len() - token);
                let ends = token + count == tokens.len();
                step.push((id, &tokens[token..token + count], ends));
                room -= count;
                (entry, token) = if ends { (entry + 1, 0) } else { (entry, token + count) };
            }
            self.step(&step, &mut last)?;
        }
        let engine = Continuing { weights: &self.weights, texts: RefCell::default() };
        Ok(engine.logits(&last, self.model.decoder.head))
    }

    /// Takes some tokens through the model; adds the rows that the output layer takes, of the tokens that end an entry.
    fn step(&mut self, step: &[(SequenceId, &[u32], bool)], last: &mut Vec<f32>) -> Result<(), ModelError> {
        let wanted: BTreeMap<SequenceId, usize> = step.iter().enumerate().map(|(at, (id, ..))| (*id, at)).collect();
        let mut texts: Vec<(usize, &mut Sequence)> =
            self.sequences.iter_mut().filter_map(|(id, text)| wanted.get(id).map(|at| (*at, text))).collect();
        texts.sort_by_key(|(at, _)| *at);
        let mut texts: Vec<&mut Sequence> = texts.into_iter().map(|(_, text)| text).collect();
        let documents: Vec<(usize, usize)> =
            texts.iter().zip(step).map(|(text, (_, tokens, _))| (text.length, tokens.len())).collect();
        let frame = self.model.frame(&documents);
        let ids: Vec<u32> = step.iter().flat_map(|(_, tokens, _)| *tokens).copied().collect();
        let engine = Continuing { weights: &self.weights, texts: RefCell::new(texts) };
        let rows = self.model.decoder.forward(&engine, &ids, &frame)?;
        texts = engine.texts.into_inner();
        let width = self.model.config.hidden_size;
        read(&rows, |rows| {
            for ((_, _, ends), document) in step.iter().zip(&frame.places.documents) {
                if *ends {
                    last.extend_from_slice(&rows[(document.end - 1) * width..document.end * width]);
                }
            }
        })?;
        texts.into_iter().zip(step).for_each(|(text, (_, tokens, _))| text.keep(tokens.len()));
        Ok(())
    }
}
