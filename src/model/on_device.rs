//! A model that runs on any device of candle's, in the type of its weights: what `--device cuda` scores and generates
//! with.
//!
//! On a CPU [`super::LanguageModel`] is faster by far; there this model serves tests, which hold it against the others.
//! Weights are copied to the device once. On the CPU everything is computed in f32, since candle has no fast products of
//! 16-bit numbers there.

use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::ModelError;
use super::angles::Angles;
use super::arch::Decoder;
use super::composed::{Composed, Kept, Memory};
use super::config::Config;
use super::engine::Frame;
use super::folder::load_tensors;
use super::infer::rows_at_a_time;
use super::packed::{Packed, Places};
use crate::tensor::Dtype;

/// The logarithm of a token's probability, and whether no other is likelier.
type Score = (f32, bool);

/// A model on a device.
#[derive(Debug)]
pub struct OnDevice {
    config: Config,
    arch: Decoder,
    weights: Vec<Tensor>,
    device: Device,
    dtype: DType,
    angles: Angles,
}

impl OnDevice {
    /// Loads a Hugging Face model folder onto a device.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::load_at(dir, device, None)
    }

    /// As [`Self::load`], for a model that stops after so many layers, at one of its exits.
    pub fn load_at(dir: &Path, device: &Device, exit: Option<usize>) -> Result<Self, ModelError> {
        let config = Config::load(dir)?.at_exit(exit)?;
        let (arch, outlines) = Decoder::new(&config);
        let dtype = if device.is_cpu() { DType::F32 } else { type_of(config.dtype) };
        let weights = load_tensors(dir, &config, &outlines, device, dtype)?;
        let angles = Angles::new(&config);
        Ok(Self { config, arch, weights, device: device.clone(), dtype, angles })
    }

    /// Returns the sizes and constants of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns for each token the natural logarithm of the probability that the tokens before it in its document give
    /// it, as [`super::CausalLm::log_probs`] does.
    pub fn log_probs(&self, packed: &Packed) -> Result<Vec<f32>, ModelError> {
        packed.places(self.config.vocab_size)?;
        let blocks = self.blocks();
        let mut out = Vec::with_capacity(packed.ids.len());
        for group in packed.groups() {
            let places = group.places(self.config.vocab_size)?;
            let labels = places.labels(&group.ids, |_| true);
            let x = self.arch.forward(&blocks, &group.ids, &self.frame(places))?;
            let mut scores = vec![0.0; group.ids.len()];
            let found = blocks.scores(&x, self.arch.head, &labels)?;
            labels.iter().zip(found).for_each(|((row, _), score)| scores[row + 1] = score);
            out.append(&mut scores);
        }
        Ok(out)
    }

    /// Returns the mean of the last states of each document, as [`super::CausalLm::mean_states`] does.
    pub fn mean_states(&self, packed: &Packed) -> Result<Vec<Vec<f32>>, ModelError> {
        packed.places(self.config.vocab_size)?;
        let blocks = self.blocks();
        let mut means = Vec::with_capacity(packed.lengths.len());
        for group in packed.groups() {
            let places = group.places(self.config.vocab_size)?;
            let rows = self.arch.forward(&blocks, &group.ids, &self.frame(places))?;
            means.extend(group.means(&rows.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?));
        }
        Ok(means)
    }

    /// Continues texts by the documents of a batch, each from the position in `starts` with what was kept of it; returns
    /// the logits of the last token of each, `[texts, vocab_size]` row by row, and what is kept now.
    pub(super) fn feed(
        &self,
        packed: &Packed,
        starts: &[usize],
        kept: Vec<Kept>,
    ) -> Result<(Vec<f32>, Vec<Kept>), ModelError> {
        let mut end = 0;
        let ends = packed.lengths.iter().map(|length| {
            end += length;
            end as u32 - 1
        });
        let last = Tensor::from_iter(ends, &self.device)?;
        let (x, kept) = self.go_on(packed, starts, kept)?;
        let logits = self.blocks().project(&x.index_select(&last, 0)?, self.arch.head)?;
        Ok((logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?, kept))
    }

    /// As [`Self::feed`], and returns instead of logits the logarithm of the probability of each token that is asked for
    /// after a row of the batch, and whether none is likelier. The rows ascend.
    pub(super) fn score(
        &self,
        packed: &Packed,
        starts: &[usize],
        kept: Vec<Kept>,
        asked: &[(usize, u32)],
    ) -> Result<(Vec<Score>, Vec<Kept>), ModelError> {
        let (x, kept) = self.go_on(packed, starts, kept)?;
        let rows: Vec<&[(usize, u32)]> = asked.chunk_by(|(first, _), (second, _)| first == second).collect();
        let mut scores = Vec::with_capacity(asked.len());
        for rows in rows.chunks(rows_at_a_time(self.config.vocab_size)) {
            scores.append(&mut self.blocks().scores_by_row(&x, self.arch.head, rows)?);
        }
        Ok((scores, kept))
    }

    /// Returns the rows that the output layer takes, and what is kept now.
    fn go_on(&self, packed: &Packed, starts: &[usize], kept: Vec<Kept>) -> Result<(Tensor, Vec<Kept>), ModelError> {
        let places = packed.places(self.config.vocab_size)?.after(starts);
        let memory = Memory::of(kept);
        let x = self.arch.forward(&self.blocks().continuing(&memory), &packed.ids, &self.frame(places))?;
        Ok((x, memory.into_texts()))
    }

    fn blocks(&self) -> Composed<'static> {
        Composed::new(self.weights.clone(), &self.device, self.dtype)
    }

    fn frame(&self, places: Places) -> Frame {
        let rotary = self.angles.up_to(places.longest);
        Frame { places: places.into(), rotary, noise: None }
    }
}

fn type_of(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        _ => DType::F32,
    }
}
