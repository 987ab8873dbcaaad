//! What a text is to a model: the mean of its last hidden states.
//!
//! In front of every text stands the token that begins a document, as in training, and its state is left out of the mean:
//! models keep in the first state what they have no other place for, and it would be the greater part of every mean.

use std::path::Path;

use crate::data::Tokenizer;
use crate::model::{CausalLm, ModelError, OnDevice, Packed};
use crate::ops::fit::check_positions;
use crate::ops::{OpCx, OpError};

enum Model {
    Cpu(Box<CausalLm>),
    Device(Box<OnDevice>),
}

/// A model and its tokenizer, loaded once.
pub(super) struct Embedder<'a> {
    model: Model,
    tokenizer: Tokenizer,
    max_length: usize,
    cx: &'a OpCx<'a>,
}

impl<'a> Embedder<'a> {
    /// Loads a model that is to see at most `max_length` tokens of a text.
    pub(super) fn load(dir: &Path, max_length: usize, cx: &'a OpCx<'a>) -> Result<Self, OpError> {
        let unusable = |error: ModelError| OpError::caused("cannot use the model", error);
        let device = cx.open_device()?;
        let model = if device.is_cpu() {
            Model::Cpu(Box::new(CausalLm::load(dir).map_err(unusable)?))
        } else {
            Model::Device(Box::new(OnDevice::load(dir, &device).map_err(unusable)?))
        };
        let config = match &model {
            Model::Cpu(model) => model.config(),
            Model::Device(model) => model.config(),
        };
        check_positions(config, "max_length", max_length)?;
        Ok(Self { model, tokenizer: Tokenizer::load(dir)?, max_length, cx })
    }

    /// How many numbers a vector has.
    pub(super) fn width(&self) -> usize {
        match &self.model {
            Model::Cpu(model) => model.config().hidden_size,
            Model::Device(model) => model.config().hidden_size,
        }
    }

    /// Returns the vector of each text; nothing for one without a token.
    pub(super) fn means(&self, texts: &[String]) -> Result<Vec<Option<Vec<f32>>>, OpError> {
        /// Texts that go to the model in one call, between two looks whether the user wants it to stop.
        const TOGETHER: usize = 64;
        let mut tokens = Vec::with_capacity(texts.len());
        for (place, text) in texts.iter().enumerate() {
            let ids = self.tokenizer.encode(text)?;
            if !ids.is_empty() {
                let start = std::iter::once(self.tokenizer.document_start());
                tokens.push((place, start.chain(ids).take(self.max_length).collect::<Vec<u32>>()));
            }
        }
        let mut vectors = vec![None; texts.len()];
        for texts in tokens.chunks(TOGETHER) {
            self.cx.check_cancelled()?;
            let mut packed = Packed::default();
            for (_, ids) in texts {
                packed.push(ids);
            }
            let means = match &self.model {
                Model::Cpu(model) => model.mean_states(&packed),
                Model::Device(model) => model.mean_states(&packed),
            };
            let means = means.map_err(|error| OpError::caused("the model cannot be run", error))?;
            for ((place, _), mean) in texts.iter().zip(means) {
                vectors[*place] = Some(mean);
            }
        }
        Ok(vectors)
    }
}
