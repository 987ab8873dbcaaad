//! Continuing texts on the CPU: tokens go through the blocks in steps, and what is kept of each text grows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::cache::Sequence;
use super::engine::Continuing;
use super::weights::{Found, Weights};
use super::{Runs, SequenceId, Texts};
use crate::model::angles::Angles;
use crate::model::arch::Decoder;
use crate::model::engine::Frame;
use crate::model::fused::storage::read;
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

    fn end(&mut self, id: SequenceId) {
        self.sequences.remove(&id);
    }

    fn length(&self, id: SequenceId) -> Option<usize> {
        self.sequences.get(&id).map(|text| text.length)
    }

    fn feed(&mut self, entries: &[(SequenceId, &[u32])]) -> Result<Vec<f32>, ModelError> {
        // Inside the pool from here on: the way in costs more than a small product.
        rayon::scope(|_| self.run(entries))
    }
}

impl CpuTexts<'_> {
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
        let engine = Continuing { weights: &self.weights, texts: RefCell::default(), wanted: &[] };
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
        let ends = step.iter().zip(&frame.places.documents).filter(|((_, _, ends), _)| *ends);
        let wanted: Vec<usize> = ends.map(|(_, document)| document.end - 1).collect();
        let engine = Continuing { weights: &self.weights, texts: RefCell::new(texts), wanted: &wanted };
        let rows = self.model.decoder.forward(&engine, &ids, &frame)?;
        texts = engine.texts.into_inner();
        read(&rows, |rows| last.extend_from_slice(rows))?;
        texts.into_iter().zip(step).for_each(|(text, (_, tokens, _))| text.keep(tokens.len()));
        Ok(())
    }
}
