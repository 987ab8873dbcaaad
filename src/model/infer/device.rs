//! Continuing texts on another device than the CPU.
//!
//! Each text's keys and values lie on the device. Clones of them are cheap (a tensor is a handle), so a step works on
//! clones, and a step that fails leaves every text as it was.

use std::collections::BTreeMap;

use super::{Asking, Runs, Scored, SequenceId, Texts};
use crate::model::composed::Kept;
use crate::model::{ModelError, OnDevice, Packed};

impl Runs for OnDevice {
    fn texts(&self) -> Box<dyn Texts + '_> {
        Box::new(DeviceTexts { model: self, texts: BTreeMap::new() })
    }
}

/// Tokens of a text that attend together. It bounds the memory of a long prompt, not the result.
const STEP: usize = 512;

/// Texts that are being continued: how many tokens each has, and what is kept of it.
#[derive(Debug)]
struct DeviceTexts<'a> {
    model: &'a OnDevice,
    texts: BTreeMap<SequenceId, (usize, Kept)>,
}

impl Texts for DeviceTexts<'_> {
    fn start(&mut self, id: SequenceId) {
        self.texts.insert(id, (0, Kept::default()));
    }

    fn shares(&self) -> bool {
        false
    }

    fn fork(&mut self, id: SequenceId, fork: SequenceId) -> Result<(), ModelError> {
        if let Some((length, kept)) = self.texts.get(&id) {
            let text = (*length, kept.fork()?);
            self.texts.insert(fork, text);
        }
        Ok(())
    }

    fn end(&mut self, id: SequenceId) {
        self.texts.remove(&id);
    }

    fn length(&self, id: SequenceId) -> Option<usize> {
        self.texts.get(&id).map(|(length, _)| *length)
    }

    fn feed(&mut self, entries: &[(SequenceId, &[u32])]) -> Result<Vec<f32>, ModelError> {
        let mut batch = Batch::default();
        for (id, tokens) in entries {
            let (mut length, mut text) = self.texts.get(id).cloned().unwrap_or_default();
            let last = tokens.len().saturating_sub(1) / STEP * STEP;
            for chunk in tokens[..last].chunks(STEP) {
                let only = Packed { ids: chunk.to_vec(), lengths: vec![chunk.len()] };
                let (_, mut kept) = self.model.feed(&only, &[length], vec![text])?;
                text = kept.pop().unwrap_or_default();
                length += chunk.len();
            }
            batch.push(*id, &tokens[last..], length, text);
        }
        let (logits, kept) = self.model.feed(&batch.packed, &batch.starts, std::mem::take(&mut batch.kept))?;
        self.texts.extend(batch.texts(kept));
        Ok(logits)
    }

    fn score(&mut self, entries: &[Asking<'_>]) -> Result<Vec<Scored>, ModelError> {
        // A text that takes several steps goes by itself; the others go together, as many as fit into a step.
        let mut texts: BTreeMap<SequenceId, (usize, Kept)> = BTreeMap::new();
        let mut scores = Vec::new();
        let mut batch = Batch::default();
        for entry in entries {
            let mut before = self.texts.get(&entry.text).cloned().unwrap_or_default();
            for (number, tokens) in entry.tokens.chunks(STEP).enumerate() {
                if number > 0 || batch.packed.ids.len() + tokens.len() > STEP {
                    scores.append(&mut self.score_batch(std::mem::take(&mut batch), &mut texts)?);
                }
                if number > 0 {
                    before = texts.get(&entry.text).cloned().unwrap_or_default();
                }
                let (from, first) = (number * STEP, batch.packed.ids.len());
                let inside = entry.asked.iter().filter(|(row, _)| (from..from + tokens.len()).contains(row));
                batch.asked.extend(inside.map(|(row, token)| (row - from + first, *token)));
                let (length, text) = std::mem::take(&mut before);
                batch.push(entry.text, tokens, length, text);
            }
        }
        scores.append(&mut self.score_batch(batch, &mut texts)?);
        self.texts.append(&mut texts);
        Ok(scores)
    }
}

/// Texts that go through the model together.
#[derive(Debug, Default)]
struct Batch {
    ids: Vec<SequenceId>,
    packed: Packed,
    starts: Vec<usize>,
    kept: Vec<Kept>,
    asked: Vec<(usize, u32)>,
}

impl Batch {
    /// Adds tokens of a text that has so many already.
    fn push(&mut self, id: SequenceId, tokens: &[u32], length: usize, kept: Kept) {
        self.ids.push(id);
        self.packed.push(tokens);
        self.starts.push(length);
        self.kept.push(kept);
    }

    /// Returns what the texts are once the model has read their tokens.
    fn texts(&self, kept: Vec<Kept>) -> impl Iterator<Item = (SequenceId, (usize, Kept))> {
        let lengths = self.starts.iter().zip(&self.packed.lengths).map(|(start, length)| start + length);
        self.ids.iter().copied().zip(lengths.zip(kept))
    }
}

impl DeviceTexts<'_> {
    /// Takes a batch through the model; the texts go to `texts`, so that an error leaves all as they were.
    fn score_batch(
        &self,
        mut batch: Batch,
        texts: &mut BTreeMap<SequenceId, (usize, Kept)>,
    ) -> Result<Vec<Scored>, ModelError> {
        if batch.ids.is_empty() {
            return Ok(Vec::new());
        }
        let kept = std::mem::take(&mut batch.kept);
        let (scores, kept) = self.model.score(&batch.packed, &batch.starts, kept, &batch.asked)?;
        texts.extend(batch.texts(kept));
        Ok(scores.into_iter().map(|(log_prob, likeliest)| Scored { log_prob, likeliest }).collect())
    }
}
