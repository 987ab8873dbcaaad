//! The blocks of a transformer composed of candle's own differentiable operations, on any device that candle knows.
//!
//! Two models use them: [`super::Reference`], the oracle of the fused engine, which computes gradients in f32, and
//! [`super::OnDevice`], which runs a model on a GPU in the type of its weights. Written to be read: weights are tensors,
//! and each document attends by itself.
//!
//! In 16 bits the places of rounding are those of transformers: norms and softmax are computed in f32 and rounded, what
//! norms multiply is rounded before (after it for norms whose weight is an offset), sums of products are the device's.

mod adapter;
mod attention;
mod blocks;
mod memory;
mod segments;

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};

use super::engine::{Attention, Convolution, Engine, Frame, Linear, Loss, Norm, Objective, ParameterId, Part, Pooling};
use super::kernel::gated::Activation;
use super::kernel::noise;
use super::kernel::rotary::RotaryTable;
pub(super) use adapter::AdapterTensors;
use attention::{join, split};
pub(super) use memory::{Kept, Memory};
use segments::Segments;

/// Rows whose logits are in memory together.
pub(super) const ROWS_TOGETHER: usize = 1024;

/// The blocks on a device.
pub(super) struct Composed<'a> {
    weights: Vec<Tensor>,
    device: Device,
    /// The type of everything between the blocks, and of the weights.
    dtype: DType,
    /// What is kept of the tokens before, if documents are continued.
    memory: Option<&'a Memory>,
    /// What stands beside each weight; empty if nothing does anywhere.
    adapters: Vec<Vec<AdapterTensors>>,
    /// What is needed to compute parts again, if they are.
    segments: Option<Segments<'a>>,
}

impl Composed<'_> {
    /// Returns the blocks with these weights, by id.
    pub(super) fn new(weights: Vec<Tensor>, device: &Device, dtype: DType) -> Self {
        Self { weights, device: device.clone(), dtype, memory: None, adapters: Vec::new(), segments: None }
    }

    /// Returns the same blocks with adapters beside the weights.
    pub(super) fn with(&self, adapters: Vec<Vec<AdapterTensors>>) -> Self {
        let (weights, device) = (self.weights.clone(), self.device.clone());
        Self { weights, device, dtype: self.dtype, memory: self.memory, adapters, segments: None }
    }

    /// Returns the same blocks, for documents that go on where `memory` says they are.
    pub(super) fn continuing<'b>(&self, memory: &'b Memory) -> Composed<'b> {
        let (weights, adapters) = (self.weights.clone(), self.adapters.clone());
        Composed {
            weights,
            device: self.device.clone(),
            dtype: self.dtype,
            memory: Some(memory),
            adapters,
            segments: None,
        }
    }

    fn weight(&self, id: ParameterId) -> &Tensor {
        &self.weights[id.0]
    }

    fn norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor> {
        let wide = x.to_dtype(DType::F32)?;
        let mean = wide.sqr()?.mean_keepdim(D::Minus1)?;
        let normed = wide.broadcast_div(&(mean + f64::from(norm.epsilon))?.sqrt()?)?;
        let weight = self.weight(norm.weight);
        if norm.offset {
            normed.broadcast_mul(&(weight.to_dtype(DType::F32)? + 1.0)?)?.to_dtype(self.dtype)
        } else {
            normed.to_dtype(self.dtype)?.broadcast_mul(weight)
        }
    }

    /// Returns `x · weightᵀ`.
    pub(super) fn project(&self, x: &Tensor, weight: ParameterId) -> Result<Tensor> {
        x.matmul(&self.weight(weight).t()?)
    }

    /// Returns the logarithm of the probability that each labelled row gives to its token, in f32, with a gradient.
    pub(super) fn log_probs(&self, x: &Tensor, weight: ParameterId, labels: &[(usize, u32)]) -> Result<Tensor> {
        self.chosen(&self.all_log_probs(x, weight, labels)?, labels)
    }

    /// As [`Self::log_probs`], in the host's memory; the logits of some rows exist at a time.
    pub(super) fn scores(&self, x: &Tensor, weight: ParameterId, labels: &[(usize, u32)]) -> Result<Vec<f32>> {
        let mut scores = Vec::with_capacity(labels.len());
        for labels in labels.chunks(ROWS_TOGETHER) {
            scores.append(&mut self.log_probs(x, weight, labels)?.to_vec1()?);
        }
        Ok(scores)
    }

    /// Returns for each token that is asked for after a row, row by row, the logarithm of its probability and whether none
    /// is likelier.
    pub(super) fn scores_by_row(
        &self,
        x: &Tensor,
        weight: ParameterId,
        rows: &[&[(usize, u32)]],
    ) -> Result<Vec<(f32, bool)>> {
        let firsts: Vec<(usize, u32)> = rows.iter().map(|row| row[0]).collect();
        let all = self.all_log_probs(x, weight, &firsts)?;
        let vocabulary = all.dim(1)?;
        let places = rows.iter().enumerate();
        let places = places.flat_map(|(place, row)| row.iter().map(move |(_, token)| (place, *token)));
        let wanted = self.index(places.clone().map(|(place, token)| (place * vocabulary) as u32 + token))?;
        let scores: Vec<f32> = all.flatten_all()?.index_select(&wanted, 0)?.to_vec1()?;
        let best: Vec<u32> = all.argmax(D::Minus1)?.to_vec1()?;
        Ok(scores.into_iter().zip(places).map(|(score, (place, token))| (score, best[place] == token)).collect())
    }

    /// Returns the logarithms of the probabilities that each labelled row gives to all tokens, in f32.
    fn all_log_probs(&self, x: &Tensor, weight: ParameterId, labels: &[(usize, u32)]) -> Result<Tensor> {
        let rows = x.index_select(&self.index(labels.iter().map(|(row, _)| *row as u32))?, 0)?;
        let logits = self.project(&rows, weight)?.to_dtype(DType::F32)?;
        candle_nn::ops::log_softmax(&logits, D::Minus1)
    }

    /// Returns of each row the number of its token.
    fn chosen(&self, rows: &Tensor, labels: &[(usize, u32)]) -> Result<Tensor> {
        let targets = self.index(labels.iter().map(|(_, token)| *token))?;
        rows.gather(&targets.unsqueeze(1)?, 1)?.i((.., 0))
    }

    /// Returns the cosines and sines of all rows, each `[tokens, width / 2]`.
    fn angles(&self, frame: &Frame, table: &RotaryTable, half: usize) -> Result<(Tensor, Tensor)> {
        let rows = frame.places.positions.iter().map(|position| table.row(*position as usize));
        let (cosines, sines): (Vec<&[f32]>, Vec<&[f32]>) = rows.unzip();
        let table =
            |rows: Vec<&[f32]>| Tensor::from_vec(rows.concat(), (rows.len(), half), &self.device)?.to_dtype(self.dtype);
        Ok((table(cosines)?, table(sines)?))
    }

    fn index(&self, values: impl Iterator<Item = u32>) -> Result<Tensor> {
        let values: Vec<u32> = values.collect();
        let count = values.len();
        Tensor::from_vec(values, count, &self.device)
    }

    /// Returns the convolution of a document's rows, `[tokens, channels]`, and what its end leaves for later.
    fn convolve(&self, number: usize, rows: &Tensor, convolution: &Convolution) -> Result<Tensor> {
        let (tokens, channels) = rows.dims2()?;
        let before = self.memory.and_then(|memory| memory.last_rows(number, convolution.layer));
        let before = match before {
            Some(rows) => rows,
            None => Tensor::zeros((convolution.width - 1, channels), self.dtype, &self.device)?,
        };
        let seen = Tensor::cat(&[&before, rows], 0)?;
        if let Some(memory) = self.memory {
            memory.keep_last_rows(number, convolution.layer, seen.narrow(0, tokens, convolution.width - 1)?);
        }
        let weight = self.weight(convolution.weight);
        let mut out = rows.zeros_like()?;
        for tap in 0..convolution.width {
            let weight = weight.narrow(1, tap, 1)?.flatten_all()?;
            out = (out + seen.narrow(0, tap, tokens)?.broadcast_mul(&weight)?)?;
        }
        convolution.bias.map_or(Ok(out.clone()), |bias| out.broadcast_add(self.weight(bias)))
    }
}

impl Engine for Composed<'_> {
    fn embedding(&self, table: ParameterId, ids: &[u32], scale: Option<f32>) -> Result<Tensor> {
        let rows = self.weight(table).index_select(&self.index(ids.iter().copied())?, 0)?;
        scale.map_or(Ok(rows.clone()), |scale| rows * f64::from(scale))
    }

    fn rms_norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor> {
        self.norm(x, norm)
    }

    fn linear(&self, x: &Tensor, layer: Linear) -> Result<Tensor> {
        let base = self.project(x, layer.weight)?;
        let mut product = base.clone();
        for adapter in self.adapters.get(layer.weight.0).into_iter().flatten() {
            product = (product + adapter.added(x, &base, self.weight(layer.weight))?)?;
        }
        layer.bias.map_or(Ok(product.clone()), |bias| product.broadcast_add(self.weight(bias)))
    }

    fn linear_add(&self, x: &Tensor, layer: Linear, residual: &Tensor) -> Result<Tensor> {
        residual + self.linear(x, layer)?
    }

    fn prepare_heads(&self, rows: &Tensor, attention: &Attention, frame: &Frame) -> Result<Tensor> {
        let heads = attention.heads;
        let half = heads.width / 2;
        let (cosines, sines) = self.angles(frame, &frame.rotary[attention.rotary], half)?;
        let prepare = |first: usize, count: usize, norm: Option<Norm>| {
            let x = split(rows, heads, first, count)?;
            let x = norm.map_or(Ok(x.clone()), |norm| self.norm(&x, norm))?;
            let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
            let low = (a.broadcast_mul(&cosines)? - b.broadcast_mul(&sines)?)?;
            let high = (b.broadcast_mul(&cosines)? + a.broadcast_mul(&sines)?)?;
            join(&Tensor::cat(&[low, high], 2)?)
        };
        let prepared = heads.query + heads.key_value;
        let values = rows.narrow(1, prepared * heads.width, heads.key_value * heads.width)?;
        let queries = prepare(0, heads.query, attention.norms.map(|norms| norms.query))?;
        let keys = prepare(heads.query, heads.key_value, attention.norms.map(|norms| norms.key))?;
        Tensor::cat(&[queries, keys, values], 1)
    }

    fn attention(&self, rows: &Tensor, attention: &Attention, frame: &Frame) -> Result<Tensor> {
        let heads = attention.heads;
        // In a branch there may be texts from which no block came.
        let documents = frame.places.documents.iter().enumerate().filter(|(_, document)| !document.is_empty());
        let attended = documents.map(|(number, document)| {
            let rows = rows.narrow(0, document.start, document.len())?;
            let keys = split(&rows, heads, heads.query, heads.key_value)?;
            let values = split(&rows, heads, heads.query + heads.key_value, heads.key_value)?;
            let (keys, values) = match self.memory {
                Some(memory) => memory.append(number, attention.layer, &keys, &values)?,
                None => (keys, values),
            };
            attention::attention(&split(&rows, heads, 0, heads.query)?, &keys, &values, attention)
        });
        Tensor::cat(&attended.collect::<Result<Vec<Tensor>>>()?, 0)
    }

    fn short_convolution(&self, rows: &Tensor, convolution: &Convolution, frame: &Frame) -> Result<Tensor> {
        let channels = rows.dim(1)? / 3;
        let part = |number: usize| rows.narrow(1, number * channels, channels);
        let inner = (part(0)? * part(2)?)?;
        let documents = frame.places.documents.iter().enumerate().filter(|(_, document)| !document.is_empty());
        let convolved = documents.map(|(number, document)| {
            self.convolve(number, &inner.narrow(0, document.start, document.len())?, convolution)
        });
        part(1)? * Tensor::cat(&convolved.collect::<Result<Vec<Tensor>>>()?, 0)?
    }

    fn gated(&self, rows: &Tensor, activation: Activation) -> Result<Tensor> {
        let half = rows.dim(1)? / 2;
        let (gate, up) = (rows.narrow(1, 0, half)?, rows.narrow(1, half, half)?);
        let gate = match activation {
            Activation::Silu => gate.silu()?,
            Activation::GeluTanh => gate.gelu()?,
        };
        gate * up
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x + y
    }

    fn segment<F>(&self, x: &Tensor, part: Part, run: F) -> Result<Tensor>
    where
        F: Fn(&Self, &Tensor) -> Result<Tensor> + 'static,
    {
        if part == Part::Frozen {
            return Ok(run(&self.with(self.adapters.clone()), x)?.detach());
        }
        match self.segments.as_ref().filter(|segments| segments.of == part) {
            Some(segments) => self.record(segments, x, Box::new(run)),
            None => run(self, x),
        }
    }

    fn noisy(&self, x: &Tensor, frame: &Frame) -> Result<Tensor> {
        let Some(noise) = frame.noise else { return Ok(x.clone()) };
        let numbers = noise::noise(noise, &frame.places.documents, x.dim(1)?);
        x + Tensor::from_vec(numbers, x.shape(), &self.device)?.to_dtype(x.dtype())?
    }

    fn pool(&self, x: &Tensor, pooling: Pooling, frame: &Frame) -> Result<Option<(Tensor, Frame)>> {
        self.means(x, pooling, frame)
    }

    fn spread(&self, made: Option<&Tensor>, x: &Tensor, pooling: Pooling, frame: &Frame) -> Result<Tensor> {
        self.with_blocks(made, x, pooling, frame)
    }

    fn cross_entropy(&self, x: &Tensor, weight: ParameterId, objective: Objective<'_>) -> Result<Loss> {
        let Objective { labels, scale, smoothing } = objective;
        let all = self.all_log_probs(x, weight, labels)?;
        let losses = self.chosen(&all, labels)?.neg()?;
        let sum = losses.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        let even = all.mean(D::Minus1)?.neg()?;
        let smoothing = f64::from(smoothing);
        let smoothed = ((losses * (1.0 - smoothing))? + (even * smoothing)?)?;
        let scales: Vec<f32> = (0..labels.len()).map(|label| scale.of(label)).collect();
        let scales = Tensor::from_vec(scales, labels.len(), &self.device)?;
        Ok(Loss { root: (smoothed * scales)?.sum_all()?, sum })
    }
}
