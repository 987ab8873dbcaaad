//! Continuing texts on another device than the CPU.
//!
//! Each text's keys and values lie on the device. Clones of them are cheap (a tensor is a handle), so a step works on
//! clones, and a step that fails leaves every text as it was.

use std::collections::BTreeMap;

use super::{Runs, SequenceId, Texts};
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

    fn end(&mut self, id: SequenceId) {
        self.texts.remove(&id);
    }

    fn length(&self, id: SequenceId) -> Option<usize> {
        self.texts.get(&id).map(|(length, _)| *length)
    }

    fn feed(&mut self, entries: &[(SequenceId, &[u32])]) -> Result<Vec<f32>, ModelError> {
        let mut packed = Packed::default();
        let (mut starts, mut kept) = (Vec::new(), Vec::new());
        for (id, tokens) in entries {
            let (mut length, mut text) = self.texts.get(id).cloned().unwrap_or_default();
            let last = tokens.len().saturating_sub(1) / STEP * STEP;
            for chunk in tokens[..last].chunks(STEP) {
                let only = Packed { ids: chunk.to_vec(), lengths: vec![chunk.len()] };
                let (_, mut kept) = self.model.feed(&only, &[length], vec![text])?;
                text = kept.pop().unwrap_or_default();
                length += chunk.len();
            }
            packed.push(&tokens[last..]);
            starts.push(length);
            kept.push(text);
        }
        let (logits, kept) = self.model.feed(&packed, &starts, kept)?;
        for (((id, _), length), (start, kept)) in entries.iter().zip(&packed.lengths).zip(starts.into_iter().zip(kept))
        {
            self.texts.insert(*id, (start + length, kept));
        }
        Ok(logits)
    }
}
