//! Text from a language model: what to say next, when to stop, many prompts at once.
//!
//! A module of its own because both sides need it: `ops`, where a node generates or scores what was generated, and
//! `cli`, which has a user in front of it. It knows models and tokenizers and neither nodes nor terminals; who wants to
//! see the words as they come hands in a [`Listener`].
//!
//! Given answers are scored too: how likely a model finds them ([`likelihood`]).
//!
//! What a prompt gets depends on the prompt, the options and its place in the list, never on what else is in the batch:
//! each has a stream of random numbers of its own.

mod defaults;
mod driver;
mod error;
mod likelihood;
mod sampler;
mod stem;
mod stop;

use std::collections::BTreeSet;
use std::path::Path;

pub use defaults::Defaults;
pub use driver::{Answer, Listener, Options, Silent, Stopped, Thread};
pub use error::GenerateError;
pub use likelihood::{Continuation, Likelihood, Scoring};
pub use sampler::{Sampler, Sampling};

pub use crate::data::{Chat, Message, TemplateSettings};

use crate::data::{Ending, Tokenizer};
use crate::model::{DeviceChoice, LanguageModel};

/// A model with its tokenizer, ready to write.
pub struct Generator {
    model: LanguageModel,
    tokenizer: Tokenizer,
    defaults: Defaults,
    stops: BTreeSet<u32>,
}

impl Generator {
    /// Loads a model folder, to be run on the CPU. The tokenizer must be the model's.
    pub fn load(dir: &Path, settings: &TemplateSettings) -> Result<Self, GenerateError> {
        Self::load_on(dir, settings, DeviceChoice::Cpu)
    }

    /// As [`Self::load`], to be run on a device.
    pub fn load_on(dir: &Path, settings: &TemplateSettings, device: DeviceChoice) -> Result<Self, GenerateError> {
        Self::load_at(dir, settings, device, None)
    }

    /// As [`Self::load_on`], for a model that stops after so many layers, at one of its exits.
    pub fn load_at(
        dir: &Path,
        settings: &TemplateSettings,
        device: DeviceChoice,
        exit: Option<usize>,
    ) -> Result<Self, GenerateError> {
        if !dir.join("config.json").is_file() {
            return Err(GenerateError::NoModel { dir: dir.to_owned() });
        }
        let tokenizer = Tokenizer::load_with(dir, settings)?;
        let model = LanguageModel::load_at(dir, device, exit)?;
        tokenizer.check_fits(model.config().vocab_size)?;
        let defaults = Defaults::load(dir)?;
        let ends = [tokenizer.sequence_end(), tokenizer.turn_end()].into_iter().flatten();
        let stops = defaults.end_tokens.iter().copied().chain(ends).collect();
        Ok(Self { model, tokenizer, defaults, stops })
    }

    /// Returns the tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns what `generation_config.json` asks for.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Returns how many tokens a prompt and its answer may have together.
    pub fn context(&self) -> usize {
        self.model.config().max_position_embeddings
    }

    /// Returns the tokens after which an answer ends.
    pub fn stop_tokens(&self) -> &BTreeSet<u32> {
        &self.stops
    }

    /// Returns the tokens of a text that is to go on.
    pub fn text_prompt(&self, text: &str) -> Result<Vec<u32>, GenerateError> {
        Ok(self.tokenizer.encode_prompt(text)?)
    }

    /// Returns the tokens of a chat up to the next answer.
    pub fn chat_prompt(&self, chat: &Chat) -> Result<Vec<u32>, GenerateError> {
        Ok(self.tokenizer.chat_ids(chat, Ending::Prompt)?)
    }
}
