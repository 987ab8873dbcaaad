//! Language models that only run: texts go on token by token, and what was computed for the tokens before is kept.
//!
//! This first form computes everything again each time, through [`CausalLm`]; its face is the one that stays.

use std::collections::BTreeMap;
use std::path::Path;

use super::{CausalLm, Config, ModelError, Packed};

/// A model to generate with. It never changes, so threads may share it.
#[derive(Debug)]
pub struct LanguageModel {
    model: CausalLm,
}

/// A text that is being continued, in one [`Session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// Texts that are being continued together.
#[derive(Debug)]
pub struct Session<'a> {
    model: &'a LanguageModel,
    sequences: BTreeMap<SequenceId, Vec<u32>>,
    next: u64,
}

impl LanguageModel {
    /// Opens a Hugging Face model folder: `config.json` and safetensors, in one file or in shards.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        Ok(Self { model: CausalLm::load(dir)? })
    }

    /// Returns the sizes and constants of the model.
    pub fn config(&self) -> &Config {
        self.model.config()
    }

    /// Returns a place for texts to be continued in.
    pub fn session(&self) -> Session<'_> {
        Session { model: self, sequences: BTreeMap::new(), next: 0 }
    }
}

impl Session<'_> {
    /// Begins a text, without a token so far.
    pub fn start(&mut self) -> SequenceId {
        let id = SequenceId(self.next);
        self.next += 1;
        self.sequences.insert(id, Vec::new());
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
        let bad = |reason: &str| Err(ModelError::Input { reason: reason.to_owned() });
        let mut grown: BTreeMap<SequenceId, Vec<u32>> = BTreeMap::new();
        let mut packed = Packed::default();
        for (id, tokens) in entries {
            let Some(text) = self.sequences.get(id) else { return bad("a text is continued that was never started") };
            let text = [text, *tokens].concat();
            if text.len() > self.model.config().max_position_embeddings {
                return bad("a text is longer than the model is meant for");
            }
            packed.push(&text);
            if tokens.is_empty() || grown.insert(*id, text).is_some() {
                return bad("a text is continued twice at once, or with nothing");
            }
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.model.model.logits(&packed)?;
        let mut end = 0;
        let mut logits = Vec::new();
        for length in &packed.lengths {
            end += length;
            let width = self.model.config().vocab_size;
            logits.extend_from_slice(&all[(end - 1) * width..end * width]);
        }
        self.sequences.append(&mut grown);
        Ok(logits)
    }
}
