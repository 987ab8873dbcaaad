//! The blocks of a transformer composed of candle's own differentiable operations, on any device that candle knows.
//!
//! Written to be read, not to be fast: attention computes all pairs of tokens and masks the foreign ones, the table of
//! all logits exists, weights are variables of the graph. It shares with the fused engine the wiring and the place of
//! documents, and no arithmetic.

use candle_core::{DType, Device, IndexOp, Result, Tensor, Var};

use super::causal_lm::CausalLm;
use super::engine::{Attention, Convolution, Engine, Frame, Linear, Loss, Norm, ParameterId};
use super::kernel::Heads;
use super::kernel::gated::Activation;
use super::kernel::rotary::RotaryTable;
use super::packed::Packed;
use super::{ModelError, Parameter};

/// A model whose every operation is candle's.
pub struct Reference<'a> {
    model: &'a CausalLm,
    blocks: Composed,
}

struct Composed {
    weights: Vec<Var>,
    device: Device,
}

impl CausalLm {
    /// Returns the model with its present weights on a device, composed of candle's operations.
    pub fn reference(&self, device: &Device) -> std::result::Result<Reference<'_>, ModelError> {
        let weights = self.parameters().iter().map(|parameter| variable(parameter, device)).collect::<Result<_>>()?;
        Ok(Reference { model: self, blocks: Composed { weights, device: device.clone() } })
    }
}

fn variable(parameter: &Parameter, device: &Device) -> Result<Var> {
    let value = parameter.value();
    let columns = parameter.columns();
    let shape = if columns == value.len() { vec![columns] } else { vec![value.len() / columns, columns] };
    Var::from_slice(&value, shape, device)
}

impl Reference<'_> {
    /// Returns the logits of all tokens, `[tokens, vocab_size]` row by row.
    pub fn logits(&self, packed: &Packed) -> std::result::Result<Vec<f32>, ModelError> {
        let arch = self.model.arch();
        let frame = self.model.frame(packed.places(self.model.config().vocab_size)?);
        let x = arch.forward(&self.blocks, &packed.ids, &frame)?;
        Ok(self.blocks.project(&x, arch.head)?.flatten_all()?.to_vec1()?)
    }

    /// Returns the summed loss and the gradient of `scale` times it, parameter by parameter; the marks are those of
    /// [`CausalLm::add_gradients`]. A weight without a gradient is an error.
    pub fn gradients(
        &self,
        packed: &Packed,
        trained: &[bool],
        scale: f32,
    ) -> std::result::Result<(f64, Vec<Vec<f32>>), ModelError> {
        let arch = self.model.arch();
        let (places, labels) = self.model.labelled(packed, trained)?;
        let x = arch.forward(&self.blocks, &packed.ids, &self.model.frame(places))?;
        let loss = self.blocks.cross_entropy(&x, arch.head, &labels, scale)?;
        let mut store = loss.root.backward()?;
        let mut gradients = Vec::new();
        for (weight, parameter) in self.blocks.weights.iter().zip(self.model.parameters()) {
            let name = || parameter.parts()[0].name.clone();
            let gradient = store.remove(weight).ok_or_else(|| ModelError::NoGradient { name: name() })?;
            gradients.push(gradient.flatten_all()?.to_vec1()?);
        }
        Ok((loss.sum, gradients))
    }
}

impl Composed {
    fn weight(&self, id: ParameterId) -> &Tensor {
        self.weights[id.0].as_tensor()
    }

    /// Returns heads `first .. first + count` of rows as `[count, tokens, width]`.
    fn split(rows: &Tensor, heads: Heads, first: usize, count: usize) -> Result<Tensor> {
        let tokens = rows.dim(0)?;
        let rows = rows.narrow(1, first * heads.width, count * heads.width)?;
        rows.reshape((tokens, count, heads.width))?.transpose(0, 1)?.contiguous()
    }

    /// Puts heads side by side again.
    fn join(heads: &Tensor) -> Result<Tensor> {
        heads.transpose(0, 1)?.contiguous()?.flatten_from(1)
    }

    fn norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor> {
        let mean = x.sqr()?.mean_keepdim(candle_core::D::Minus1)?;
        let normed = x.broadcast_div(&(mean + f64::from(norm.epsilon))?.sqrt()?)?;
        let weight = self.weight(norm.weight);
        if norm.offset { normed.broadcast_mul(&(weight + 1.0)?) } else { normed.broadcast_mul(weight) }
    }

    fn project(&self, x: &Tensor, weight: ParameterId) -> Result<Tensor> {
        x.matmul(&self.weight(weight).t()?)
    }

    /// Returns the cosines and sines of all rows, each `[tokens, width / 2]`.
    fn angles(&self, frame: &Frame, table: &RotaryTable, half: usize) -> Result<(Tensor, Tensor)> {
        let rows = frame.places.positions.iter().map(|position| table.row(*position as usize));
        let (cosines, sines): (Vec<&[f32]>, Vec<&[f32]>) = rows.unzip();
        let table = |rows: Vec<&[f32]>| Tensor::from_vec(rows.concat(), (rows.len(), half), &self.device);
        Ok((table(cosines)?, table(sines)?))
    }

    /// Returns what is added to the scores: minus infinity wherever a token must not look, `[tokens, tokens]`.
    fn mask(&self, frame: &Frame, window: Option<usize>) -> Result<Tensor> {
        let tokens = frame.places.positions.len();
        let mut mask = vec![f32::NEG_INFINITY; tokens * tokens];
        for document in &frame.places.documents {
            for row in document.clone() {
                let first = window.map_or(0, |window| (row + 1).saturating_sub(window)).max(document.start);
                mask[row * tokens + first..=row * tokens + row].fill(0.0);
            }
        }
        Tensor::from_vec(mask, (tokens, tokens), &self.device)
    }

    /// Returns the matrix that takes rows to the rows `back` before them in the same document, `[tokens, tokens]`.
    fn shift(&self, frame: &Frame, back: usize) -> Result<Tensor> {
        let tokens = frame.places.positions.len();
        let mut shift = vec![0.0f32; tokens * tokens];
        for document in &frame.places.documents {
            for row in document.clone().skip(back) {
                shift[row * tokens + row - back] = 1.0;
            }
        }
        Tensor::from_vec(shift, (tokens, tokens), &self.device)
    }

    fn index(&self, values: impl Iterator<Item = u32>) -> Result<Tensor> {
        let values: Vec<u32> = values.collect();
        let count = values.len();
        Tensor::from_vec(values, count, &self.device)
    }
}

impl Engine for Composed {
    fn embedding(&self, table: ParameterId, ids: &[u32], scale: Option<f32>) -> Result<Tensor> {
        let rows = self.weight(table).index_select(&self.index(ids.iter().copied())?, 0)?;
        scale.map_or(Ok(rows.clone()), |scale| rows * f64::from(scale))
    }

    fn rms_norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor> {
        self.norm(x, norm)
    }

    fn linear(&self, x: &Tensor, layer: Linear) -> Result<Tensor> {
        let product = self.project(x, layer.weight)?;
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
            let x = Self::split(rows, heads, first, count)?;
            let x = norm.map_or(Ok(x.clone()), |norm| self.norm(&x, norm))?;
            let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
            let low = (a.broadcast_mul(&cosines)? - b.broadcast_mul(&sines)?)?;
            let high = (b.broadcast_mul(&cosines)? + a.broadcast_mul(&sines)?)?;
            Self::join(&Tensor::cat(&[low, high], 2)?)
        };
        let prepared = heads.query + heads.key_value;
        let values = rows.narrow(1, prepared * heads.width, heads.key_value * heads.width)?;
        let queries = prepare(0, heads.query, attention.norms.map(|norms| norms.query))?;
        let keys = prepare(heads.query, heads.key_value, attention.norms.map(|norms| norms.key))?;
        Tensor::cat(&[queries, keys, values], 1)
    }

    fn attention(&self, rows: &Tensor, attention: &Attention, frame: &Frame) -> Result<Tensor> {
        let (tokens, heads) = (rows.dim(0)?, attention.heads);
        let repeat = |x: Tensor| {
            let wide = (heads.key_value, heads.sharing(), tokens, heads.width);
            x.unsqueeze(1)?.expand(wide)?.reshape((heads.query, tokens, heads.width))
        };
        let queries = Self::split(rows, heads, 0, heads.query)?;
        let keys = repeat(Self::split(rows, heads, heads.query, heads.key_value)?)?;
        let values = repeat(Self::split(rows, heads, heads.query + heads.key_value, heads.key_value)?)?;
        let scores = (queries.matmul(&keys.t()?)? * f64::from(attention.scale))?;
        let scores = scores.broadcast_add(&self.mask(frame, attention.window)?)?;
        // `candle_nn::ops::softmax` is composed and has a gradient; `softmax_last_dim` has none.
        Self::join(&candle_nn::ops::softmax(&scores, candle_core::D::Minus1)?.matmul(&values)?)
    }

    fn short_convolution(&self, rows: &Tensor, convolution: &Convolution, frame: &Frame) -> Result<Tensor> {
        let channels = rows.dim(1)? / 3;
        let part = |number: usize| rows.narrow(1, number * channels, channels);
        let inner = (part(0)? * part(2)?)?;
        let weight = self.weight(convolution.weight);
        let mut out = inner.zeros_like()?;
        for back in 0..convolution.width {
            let tap = weight.narrow(1, convolution.width - 1 - back, 1)?.flatten_all()?;
            out = (out + self.shift(frame, back)?.matmul(&inner)?.broadcast_mul(&tap)?)?;
        }
        if let Some(bias) = convolution.bias {
            out = out.broadcast_add(self.weight(bias))?;
        }
        part(1)? * out
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

    fn cross_entropy(&self, x: &Tensor, weight: ParameterId, labels: &[(usize, u32)], scale: f32) -> Result<Loss> {
        let rows = x.index_select(&self.index(labels.iter().map(|(row, _)| *row as u32))?, 0)?;
        let log_probs = candle_nn::ops::log_softmax(&self.project(&rows, weight)?, candle_core::D::Minus1)?;
        let targets = self.index(labels.iter().map(|(_, token)| *token))?;
        let losses = log_probs.gather(&targets.unsqueeze(1)?, 1)?.i((.., 0))?.neg()?;
        let sum = losses.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        Ok(Loss { root: (losses.sum_all()? * f64::from(scale))?, sum })
    }
}
