//! How likely a model finds texts, for nodes that are no evaluation: filters of data.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::{Bench, Scorer, load, passes};
use crate::data::Tokenizer;
use crate::ops::fit::check_positions;
use crate::ops::{OpCx, OpError, Progress};

/// A model and its tokenizer, loaded once.
pub(in crate::ops) struct TextScorer<'a> {
    model: Box<dyn Scorer>,
    tokenizer: Tokenizer,
    max_length: usize,
    cx: &'a OpCx<'a>,
}

/// The node that asks has a progress of its own to show.
struct Silent;

impl Progress for Silent {
    fn phase(&self, _: &str, _: Option<u64>, _: &'static str) {}

    fn position(&self, _: u64) {}

    fn note(&self, _: &str) {}
}

impl<'a> TextScorer<'a> {
    /// Loads a model that is to score at most `max_length` tokens at once.
    pub(in crate::ops) fn load(dir: &Path, max_length: usize, cx: &'a OpCx<'a>) -> Result<Self, OpError> {
        let unusable = |error| OpError::caused("cannot use the model", error);
        let tokenizer = Tokenizer::load(dir)?;
        let (model, config) = load(dir, &cx.open_device()?, None).map_err(unusable)?;
        check_positions(&config, "max_length", max_length)?;
        Ok(Self { model, tokenizer, max_length, cx })
    }

    /// Returns how many bits each text takes for a byte; nothing for one without a token.
    pub(in crate::ops) fn bits_per_byte(&self, texts: &[String]) -> Result<Vec<Option<f64>>, OpError> {
        let mut scored = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            if !text.is_empty() && !self.tokenizer.encode(text)?.is_empty() {
                scored.push(place);
            }
        }
        let mut bits = vec![None; texts.len()];
        if scored.is_empty() {
            return Ok(bits);
        }
        let cancelled: &AtomicBool = self.cx.cancelled;
        let cx = OpCx { progress: &Silent, cancelled, ..*self.cx };
        let bench = Bench { scorer: &*self.model, encoder: &self.tokenizer, max_length: self.max_length, cx: &cx };
        let contents: Vec<&str> = scored.iter().map(|place| texts[*place].as_str()).collect();
        let log_probs = passes::score(&bench, "rows", &contents, |text| scored[text])?.log_probs;
        for (place, log_prob) in scored.into_iter().zip(log_probs) {
            bits[place] = Some(-log_prob / std::f64::consts::LN_2 / texts[place].len() as f64);
        }
        Ok(bits)
    }
}
