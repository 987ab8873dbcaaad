//! Language models that only run: texts go on token by token, and what was computed for the tokens before is kept.
//!
//! A third engine behind the seam of the blocks ([`engine`]), for the CPU ([`cpu`]). Weights are used as they lie in the file
//! ([`weights`], [`product`]): opening a model costs nothing, many processes share one copy, and a step reads each weight
//! once for all texts that it continues. Everything is computed in f32.
//!
//! A token's logits are the same, bit for bit, whether the tokens before it were fed at once or one by one, whatever
//! other texts the step continued, and whatever the number of threads. Tests hold that, and the arithmetic against
//! [`CausalLm`](super::CausalLm).
//!
//! What is asked may be the next token ([`Session::feed`] gives the logits after the last one) or how likely given tokens
//! are ([`Session::score`]): then logits exist for some rows at a time and never leave the session. Texts that begin alike
//! are forks of one text, which is read once.
//!
//! What does not fit the model's context is refused: beyond it the answer would be noise, without a word.
//!
//! Other devices run the composed blocks ([`device`]), in the type of the weights.

mod cache;
mod cpu;
mod device;
mod engine;
mod product;
mod score;
mod weights;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;

use candle_core::Device;

pub(super) use score::rows_at_a_time;
pub use score::{Asking, Scored};

use super::{Config, ModelError, OnDevice};
use crate::tensor::DeviceChoice;

/// A model to generate with. It never changes, so threads may share it.
#[derive(Debug)]
pub struct LanguageModel {
    config: Config,
    runs: Box<dyn Runs>,
}

/// What runs a model.
trait Runs: Debug + Send + Sync {
    /// Returns a place for texts to be continued in.
    fn texts(&self) -> Box<dyn Texts + '_>;
}

/// Texts that are being continued, wherever that is done.
trait Texts: Debug {
    fn start(&mut self, id: SequenceId);
    /// Whether a fork shares what was kept.
    fn shares(&self) -> bool;
    /// Makes `fork` a text that goes on where another one is.
    fn fork(&mut self, id: SequenceId, fork: SequenceId) -> Result<(), ModelError>;
    fn end(&mut self, id: SequenceId);
    /// Returns how many tokens a text has.
    fn length(&self, id: SequenceId) -> Option<usize>;
    /// Adds tokens to texts, after everything was checked; an error leaves all texts as they were.
    fn feed(&mut self, entries: &[(SequenceId, &[u32])]) -> Result<Vec<f32>, ModelError>;
    /// As [`Self::feed`], and says how likely what is asked for is.
    fn score(&mut self, entries: &[Asking<'_>]) -> Result<Vec<Scored>, ModelError>;
}

/// A text that is being continued, in one [`Session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// Texts that are being continued together.
#[derive(Debug)]
pub struct Session<'a> {
    config: &'a Config,
    texts: Box<dyn Texts + 'a>,
    next: u64,
}

impl LanguageModel {
    /// Opens a Hugging Face model folder, to be run on the CPU: `config.json` and safetensors, in one file or in shards.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        Self::load_on(dir, DeviceChoice::Cpu)
    }

    /// Opens a model folder, to be run on a device.
    pub fn load_on(dir: &Path, device: DeviceChoice) -> Result<Self, ModelError> {
        Self::load_at(dir, device, None)
    }

    /// As [`Self::load_on`], for a model that stops after so many layers, at one of its exits.
    pub fn load_at(dir: &Path, device: DeviceChoice, exit: Option<usize>) -> Result<Self, ModelError> {
        let (config, device) = (Config::load(dir)?.at_exit(exit)?, &device.open()?);
        let runs: Box<dyn Runs> = if device.is_cpu() {
            Box::new(cpu::Cpu::open(dir, &config)?)
        } else {
            Box::new(OnDevice::load_at(dir, device, exit)?)
        };
        Ok(Self { config, runs })
    }

    /// Opens a model folder, to be run by the blocks that other devices have, for tests on the one device that every
    /// machine has.
    pub fn load_composed(dir: &Path) -> Result<Self, ModelError> {
        Self::load_composed_at(dir, None)
    }

    /// As [`Self::load_composed`], at an exit.
    pub fn load_composed_at(dir: &Path, exit: Option<usize>) -> Result<Self, ModelError> {
        let runs = Box::new(OnDevice::load_at(dir, &Device::Cpu, exit)?);
        Ok(Self { config: Config::load(dir)?.at_exit(exit)?, runs })
    }

    /// Returns the sizes and constants of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns a place for texts to be continued in.
    pub fn session(&self) -> Session<'_> {
        Session { config: &self.config, texts: self.runs.texts(), next: 0 }
    }
}

impl Session<'_> {
    /// Begins a text, without a token so far.
    pub fn start(&mut self) -> SequenceId {
        let id = self.name();
        self.texts.start(id);
        id
    }

    fn name(&mut self) -> SequenceId {
        self.next += 1;
        SequenceId(self.next - 1)
    }

    /// Begins a text with the tokens of another one, as many as it has now, without reading them again. From here on each
    /// goes on by itself.
    pub fn fork(&mut self, id: SequenceId) -> Result<SequenceId, ModelError> {
        self.length(id).map_err(|reason| ModelError::Input { reason })?;
        let fork = self.name();
        self.texts.fork(id, fork)?;
        Ok(fork)
    }

    /// Whether a fork takes no memory of its own for the tokens it begins with.
    pub fn shares(&self) -> bool {
        self.texts.shares()
    }

    /// Forgets a text and what was kept for it. One that is not there is nobody's loss.
    pub fn end(&mut self, id: SequenceId) {
        self.texts.end(id);
    }

    /// Adds tokens to texts; returns the logits after the last token of each entry, `[entries, vocab_size]` row by row.
    ///
    /// A text that is not there or named twice, an entry without tokens, a token that the model doesn't have and a text
    /// longer than the model is meant for are errors, after which all texts are as they were.
    pub fn feed(&mut self, entries: &[(SequenceId, &[u32])]) -> Result<Vec<f32>, ModelError> {
        self.check(entries).map_err(|reason| ModelError::Input { reason })?;
        if entries.is_empty() { Ok(Vec::new()) } else { self.texts.feed(entries) }
    }

    /// Adds tokens to texts; says for each entry how likely the tokens are that it asks for, one number for each, entry by
    /// entry.
    ///
    /// What [`Self::feed`] refuses is refused here too, and so are rows that an entry doesn't have or that don't ascend.
    pub fn score(&mut self, entries: &[Asking<'_>]) -> Result<Vec<Scored>, ModelError> {
        let fed: Vec<(SequenceId, &[u32])> = entries.iter().map(|entry| (entry.text, entry.tokens)).collect();
        let asked = || entries.iter().try_for_each(|entry| entry.check(self.config.vocab_size));
        self.check(&fed).and_then(|()| asked()).map_err(|reason| ModelError::Input { reason })?;
        if entries.is_empty() { Ok(Vec::new()) } else { self.texts.score(entries) }
    }

    fn length(&self, id: SequenceId) -> Result<usize, String> {
        let missing = "a text was to be continued that is not there: never begun, or ended";
        self.texts.length(id).ok_or_else(|| missing.into())
    }

    fn check(&self, entries: &[(SequenceId, &[u32])]) -> Result<(), String> {
        let config = self.config;
        let mut named = BTreeSet::new();
        for (id, tokens) in entries {
            let before = self.length(*id)?;
            if !named.insert(id) {
                return Err("a text was to be continued twice at once".into());
            }
            if tokens.is_empty() {
                return Err("a text was to be continued with no tokens".into());
            }
            among(config.vocab_size, tokens.iter().copied())?;
            let (length, most) = (before.saturating_add(tokens.len()), config.max_position_embeddings);
            if length > most {
                return Err(format!("a text of {length} tokens is longer than the {most} that the model is meant for"));
            }
        }
        Ok(())
    }
}

/// Fails for a token that a model doesn't have.
fn among(vocabulary: usize, mut tokens: impl Iterator<Item = u32>) -> Result<(), String> {
    let Some(token) = tokens.find(|token| *token as usize >= vocabulary) else { return Ok(()) };
    let help = "the tokenizer does not belong to this model";
    Err(format!("token {token} is not among the model's {vocabulary} tokens; {help}"))
}
