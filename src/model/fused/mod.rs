//! The engine for the CPU: each block one custom op of candle, with a backward pass of its own.
//!
//! A custom op gets one or two tensors and has no place for what its backward pass needs beside them, so an op here is
//! a value that also holds its parameters and what the forward pass found out. The backward pass adds the gradients of
//! the parameters to their buffers and returns only that of the input. A [`tape`] records the ops of a training pass;
//! in scoring nothing is kept beyond the block that needs it.

mod add;
mod attention;
mod blocks;
mod convolution;
mod embedding;
mod gated;
mod linear;
mod lora;
mod loss;
mod norm;
#[cfg(test)]
mod slopes;
pub(super) mod storage;
mod tape;

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::adapter::Active;
use super::engine::{
    Attention, Convolution, Engine, Frame, Linear, Loss, Norm, Objective, ParameterId, Part, Pooling, Recompute,
};
use super::kernel;
use super::kernel::blocks::Blocks;
use super::kernel::gated::Activation;
use super::parameter::Parameter;
use tape::{Segment, Tape};

/// The blocks on the CPU.
pub(crate) struct Fused<'a> {
    /// The weights, by id.
    parameters: &'a [Arc<Parameter>],
    /// What stands beside linear layers.
    adapters: Option<Active<'a>>,
    tape: Tape<'a>,
    /// What is computed again in the backward pass.
    recompute: Recompute,
}

impl<'a> Fused<'a> {
    /// Returns an engine that keeps nothing for a backward pass.
    pub(crate) fn to_score(parameters: &'a [Arc<Parameter>], adapters: Option<Active<'a>>) -> Self {
        Self { parameters, adapters, tape: Tape::off(), recompute: Recompute::Nothing }
    }

    /// Returns an engine whose blocks can be run backwards, once.
    pub(crate) fn to_train(
        parameters: &'a [Arc<Parameter>],
        adapters: Option<Active<'a>>,
        recompute: Recompute,
    ) -> Self {
        Self { parameters, adapters, tape: Tape::on(), recompute }
    }

    /// Adds the gradients of the sum of losses to the buffers of the parameters.
    pub(crate) fn backward(&self, losses: &[Loss]) -> Result<()> {
        let root = |loss: &Loss| Ok((loss.root.id(), loss.root.ones_like()?));
        self.tape.backward_from(self, losses.iter().map(root).collect::<Result<_>>()?, None).map(drop)
    }

    /// Runs a segment once more, and backwards; returns the gradient of what it got.
    fn again(&self, segment: &Segment<'a>, x: &Tensor, gradient: Tensor) -> Result<Option<Tensor>> {
        let engine = Self::to_train(self.parameters, self.adapters, Recompute::Nothing);
        let out = segment(&engine, x)?;
        engine.tape.backward(&engine, &out, gradient, Some(x))
    }

    fn parameter(&self, id: ParameterId) -> Arc<Parameter> {
        Arc::clone(&self.parameters[id.0])
    }

    fn norm(&self, norm: Norm) -> norm::RmsNorm {
        norm::RmsNorm { weight: self.parameter(norm.weight), epsilon: norm.epsilon, offset: norm.offset }
    }

    fn layer(&self, layer: Linear) -> linear::Linear {
        linear::Linear { weight: self.parameter(layer.weight), bias: layer.bias.map(|bias| self.parameter(bias)) }
    }

    /// Returns a linear layer with what stands beside it, if anything does.
    fn adapted(&self, layer: Linear) -> Option<lora::Adapted> {
        let active = self.adapters?;
        let adapters = active.adapters.of(layer.weight.0);
        (!adapters.is_empty()).then(|| lora::Adapted::new(self.layer(layer), active, Arc::clone(adapters)))
    }

    /// Returns the logarithm of the probability that each labelled row gives to its token.
    pub(crate) fn log_probs(&self, x: &Tensor, weight: ParameterId, labels: &[(usize, u32)]) -> Result<Vec<f32>> {
        let weight = &self.parameters[weight.0];
        storage::read(x, |x| kernel::loss::log_probs(x, &weight.value(), weight.columns(), labels))
    }
}

impl Engine for Fused<'_> {
    fn embedding(&self, table: ParameterId, ids: &[u32], scale: Option<f32>) -> Result<Tensor> {
        let nothing = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        self.tape.apply1(&nothing, embedding::Embedding { table: self.parameter(table), ids: ids.to_vec(), scale })
    }

    fn noisy(&self, x: &Tensor, frame: &Frame) -> Result<Tensor> {
        let Some(noise) = frame.noise else { return Ok(x.clone()) };
        let numbers = kernel::noise::noise(noise, &frame.places.documents, x.dim(1)?);
        self.tape.apply2(x, &Tensor::from_vec(numbers, x.shape(), &Device::Cpu)?, add::Add)
    }

    /// Of a feed-forward layer only what is wide is computed again: see [`Engine::linear_gated`].
    fn segment<F>(&self, x: &Tensor, part: Part, run: F) -> Result<Tensor>
    where
        F: Fn(&Self, &Tensor) -> Result<Tensor> + 'static,
    {
        if part == Part::Frozen {
            return run(&Self::to_score(self.parameters, self.adapters), x);
        }
        if part != Part::Layer || self.recompute != Recompute::Layers {
            return run(self, x);
        }
        let out = run(&Self::to_score(self.parameters, self.adapters), x)?;
        self.tape.record(Box::new(run), x, &out);
        Ok(out)
    }

    fn rms_norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor> {
        self.tape.apply_cheap(x, self.norm(norm))
    }

    fn linear(&self, x: &Tensor, layer: Linear) -> Result<Tensor> {
        match self.adapted(layer) {
            Some(adapted) => self.tape.apply1(x, adapted),
            None => self.tape.apply1(x, self.layer(layer)),
        }
    }

    fn linear_add(&self, x: &Tensor, layer: Linear, residual: &Tensor) -> Result<Tensor> {
        match self.adapted(layer) {
            Some(adapted) => self.tape.apply2(x, residual, adapted),
            None => self.tape.apply2(x, residual, self.layer(layer)),
        }
    }

    fn prepare_heads(&self, rows: &Tensor, attention: &Attention, frame: &Frame) -> Result<Tensor> {
        let norms = attention.norms.map(|norms| [self.norm(norms.query), self.norm(norms.key)]);
        let (heads, rotary) = (attention.heads, attention.rotary);
        self.tape.apply_cheap(rows, norm::PrepareHeads { heads, norms, rotary, frame: frame.clone() })
    }

    fn attention(&self, rows: &Tensor, attention: &Attention, frame: &Frame) -> Result<Tensor> {
        self.tape.apply1(rows, attention::Attention::new(*attention, Arc::clone(&frame.places)))
    }

    fn short_convolution(&self, rows: &Tensor, convolution: &Convolution, frame: &Frame) -> Result<Tensor> {
        let op = convolution::ShortConvolution {
            weight: self.parameter(convolution.weight),
            bias: convolution.bias.map(|bias| self.parameter(bias)),
            layer: *convolution,
            places: Arc::clone(&frame.places),
        };
        self.tape.apply1(rows, op)
    }

    fn gated(&self, rows: &Tensor, activation: Activation) -> Result<Tensor> {
        self.tape.apply_cheap(rows, gated::Gated(activation))
    }

    fn linear_gated(&self, x: &Tensor, layer: Linear, activation: Activation) -> Result<Tensor> {
        let rows = match (self.recompute, self.adapted(layer)) {
            (Recompute::FeedForward, None) => self.tape.apply_cheap(x, self.layer(layer))?,
            (Recompute::FeedForward, Some(adapted)) if !adapted.keeps_rows() => self.tape.apply_cheap(x, adapted)?,
            _ => self.linear(x, layer)?,
        };
        self.gated(&rows, activation)
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.tape.apply2(x, y, add::Add)
    }

    fn pool(&self, x: &Tensor, pooling: Pooling, frame: &Frame) -> Result<Option<(Tensor, Frame)>> {
        let (blocks, places) = Blocks::of(&frame.places, pooling.factor);
        if blocks.count() == 0 {
            return Ok(None);
        }
        let means = self.tape.apply1(x, blocks::Pool(Arc::new(blocks)))?;
        Ok(Some((means, Frame { places: Arc::new(places), rotary: Arc::clone(&frame.rotary), noise: None })))
    }

    fn spread(&self, made: Option<&Tensor>, x: &Tensor, pooling: Pooling, frame: &Frame) -> Result<Tensor> {
        let Some(made) = made else { return Ok(x.clone()) };
        let (blocks, _) = Blocks::of(&frame.places, pooling.factor);
        self.tape.apply2(made, x, blocks::Spread(Arc::new(blocks)))
    }

    fn cross_entropy(&self, x: &Tensor, weight: ParameterId, objective: Objective<'_>) -> Result<Loss> {
        let (op, found) = loss::CrossEntropy::new(self.parameter(weight), objective);
        let root = self.tape.apply1(x, op)?;
        Ok(Loss { root, sum: loss::sum_of(&found) })
    }
}
