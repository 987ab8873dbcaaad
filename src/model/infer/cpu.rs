//! Continuing texts on the CPU: tokens go through the blocks in steps, and what is kept of each text grows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;

use super::cache::Sequence;
use super::engine::Continuing;
use super::score::score_rows;
use super::weights::{Found, Weights};
use super::{Asking, Runs, Scored, SequenceId, Texts};
use crate::model::angles::Angles;
use crate::model::arch::Decoder;
use crate::model::engine::Frame;
use crate::model::fused::storage::read;
use crate::model::heap::keep_freed;
use crate::model::packed::Places;
use crate::model::{Config, ModelError};

/// Tokens that go through the model together. It bounds the memory of a long prompt, not the result.
const STEP: usize = 512;

/// A model whose weights are used as they lie in their files.
#[derive(Debug)]
pub(super) struct Cpu {
    config: Config,
    decoder: Decoder,
    weights: Weights,
    angles: Angles,
}

impl Cpu {
    /// Opens a model folder.
    pub(super) fn open(dir: &Path, config: &Config) -> Result<Self, ModelError> {
        keep_freed();
        let (decoder, outlines) = Decoder::new(config);
        let weights = Weights::open(dir, config, outlines)?;
        Ok(Self { config: config.clone(), decoder, weights, angles: Angles::new(config) })
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
        let rotary = self.angles.up_to(places.longest);
        Frame { places: Arc::new(places), rotary, noise: None }
    }
}

impl Runs for Cpu {
    fn texts(&self) -> Box<dyn Texts + '_> {
        Box::new(CpuTexts { model: self, weights: self.weights.find(), sequences: BTreeMap::new() })
    }
}

/// Texts that are being continued.
#[derive(Debug)]
struct CpuTexts<'a> {
    model: &'a Cpu,
    weights: Found<'a>,
    sequences: BTreeMap<SequenceId, Sequence>,
}

impl Texts for CpuTexts<'_> {
    fn start(&mut self, id: SequenceId) {
        self.sequences.insert(id, Sequence::new(&self.model.config));
    }

    fn shares(&self) -> bool {
        true
    }

    fn fork(&mut self, id: SequenceId, fork: SequenceId) -> Result<(), ModelError> {
        if let Some(text) = self.sequences.get(&id).cloned() {
            self.sequences.insert(fork, text);
        }
        Ok(())
    }

    fn end(&mut self, id: SequenceId) {
        self.sequences.remove(&id);
    }

    fn length(&self, id: SequenceId) -> Option<usize> {
        self.sequences.get(&id).map(|text| text.length)
    }

    fn feed(&mut self, entries: &[(SequenceId, &[u32])]) -> Result<Vec<f32>, ModelError> {
        // Inside the pool from here on: the way in costs more than a small product.
        rayon::scope(|_| {
            let mut last = Vec::with_capacity(entries.len() * self.model.config.hidden_size);
            let ends: Vec<[usize; 1]> = entries.iter().map(|(_, tokens)| [tokens.len() - 1]).collect();
            let ends: Vec<&[usize]> = ends.iter().map(<[usize; 1]>::as_slice).collect();
            self.run(entries, &ends, &mut |_, rows| last.extend_from_slice(rows))?;
            Ok(outputs(&self.weights).logits(&last, self.model.decoder.head))
        })
    }

    fn score(&mut self, entries: &[Asking<'_>]) -> Result<Vec<Scored>, ModelError> {
        rayon::scope(|_| {
            let fed: Vec<(SequenceId, &[u32])> = entries.iter().map(|entry| (entry.text, entry.tokens)).collect();
            let rows: Vec<Vec<usize>> = entries.iter().map(Asking::rows).collect();
            let rows: Vec<&[usize]> = rows.iter().map(Vec::as_slice).collect();
            let (head, vocabulary) = (self.model.decoder.head, self.model.config.vocab_size);
            let mut asked = entries.iter().flat_map(Asking::tokens_by_row);
            let mut scored = Vec::new();
            self.run(&fed, &rows, &mut |weights, rows| {
                let width = weights.get(head).columns;
                let asked: Vec<Vec<u32>> = asked.by_ref().take(rows.len() / width).collect();
                let logits = |rows: &[f32]| outputs(weights).logits(rows, head);
                score_rows(rows, width, vocabulary, &asked, logits, &mut scored);
            })?;
            Ok(scored)
        })
    }
}

/// Returns the blocks for what comes behind the last layer, which looks at no text.
fn outputs<'a>(weights: &'a Found<'a>) -> Continuing<'a, 'a> {
    Continuing { weights, texts: RefCell::default(), wanted: &[] }
}

/// Some tokens of an entry that are in a step.
struct Part<'a> {
    text: SequenceId,
    tokens: &'a [u32],
    /// Those of them whose rows are wanted.
    wanted: Vec<usize>,
}

impl CpuTexts<'_> {
    /// Takes the entries through the model, in steps of bounded size. After each, `take` gets the rows that the output
    /// layer takes of the tokens that are wanted of each entry, in their order; these ascend.
    fn run(
        &mut self,
        entries: &[(SequenceId, &[u32])],
        wanted: &[&[usize]],
        take: &mut dyn FnMut(&Found<'_>, &[f32]),
    ) -> Result<(), ModelError> {
        // Which entry goes on, and with which of its tokens.
        let (mut entry, mut token) = (0, 0);
        while entry < entries.len() {
            let (mut step, mut room) = (Vec::new(), STEP);
            while room > 0 && entry < entries.len() {
                let (text, tokens) = entries[entry];
                let count = room.min(tokens.len() - token);
                let inside = wanted[entry].iter().filter(|row| (token..token + count).contains(*row));
                let wanted = inside.map(|row| row - token).collect();
                step.push(Part { text, tokens: &tokens[token..token + count], wanted });
                room -= count;
                token += count;
                if token == tokens.len() {
                    (entry, token) = (entry + 1, 0);
                }
            }
            let rows = self.step(&step)?;
            read(&rows, |rows| take(&self.weights, rows))?;
        }
        Ok(())
    }

    /// Takes some tokens through the model; returns the rows that the output layer takes, of the tokens that are wanted.
    fn step(&mut self, step: &[Part<'_>]) -> Result<Tensor, ModelError> {
        let places: BTreeMap<SequenceId, usize> = step.iter().enumerate().map(|(at, part)| (part.text, at)).collect();
        let mut texts: Vec<(usize, &mut Sequence)> =
            self.sequences.iter_mut().filter_map(|(id, text)| places.get(id).map(|at| (*at, text))).collect();
        texts.sort_by_key(|(at, _)| *at);
        let texts: Vec<&mut Sequence> = texts.into_iter().map(|(_, text)| text).collect();
        let documents: Vec<(usize, usize)> =
            texts.iter().zip(step).map(|(text, part)| (text.length, part.tokens.len())).collect();
        let frame = self.model.frame(&documents);
        let ids: Vec<u32> = step.iter().flat_map(|part| part.tokens).copied().collect();
        let of_document = |(part, document): (&Part<'_>, &Range<usize>)| {
            part.wanted.iter().map(|row| document.start + row).collect::<Vec<_>>()
        };
        let wanted: Vec<usize> = step.iter().zip(&frame.places.documents).flat_map(of_document).collect();
        let engine = Continuing { weights: &self.weights, texts: RefCell::new(texts), wanted: &wanted };
        let rows = self.model.decoder.forward(&engine, &ids, &frame)?;
        let texts = engine.texts.into_inner();
        texts.into_iter().zip(step).for_each(|(text, part)| text.keep(part.tokens.len()));
        Ok(rows)
    }
}
