//! The engine for the CPU: each block one node of candle's graph, with a backward pass of its own.
//!
//! A custom op gets one or two tensors and has no place for what its backward pass needs beside them, so an op here is
//! a value that also holds its parameters and what the forward pass found out. The backward pass adds the gradients of
//! the parameters to their buffers and returns only that of the input. In scoring no node is recorded at all: a node
//! exists only if the batch grew from a variable, which [`Fused::embedding`] decides.

mod attention;
mod embedding;
mod linear;
mod loss;
mod norm;
mod storage;
mod swiglu;

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::engine::{Engine, Frame, HeadNorms, Loss, ParameterId};
use super::kernel::{self, Heads};
use super::parameter::Parameter;

/// What the batch is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing is kept beyond the block that needs it.
    Score,
    /// All that the backward pass needs is kept.
    Train,
}

/// The blocks on the CPU.
pub(crate) struct Fused<'a> {
    /// The weights, by id.
    pub(crate) parameters: &'a [Arc<Parameter>],
    /// What the batch is run for.
    pub(crate) purpose: Purpose,
}

impl Fused<'_> {
    fn parameter(&self, id: ParameterId) -> Arc<Parameter> {
        Arc::clone(&self.parameters[id.0])
    }

    /// Returns the logarithm of the probability that each labelled row gives to its token.
    pub(crate) fn log_probs(&self, x: &Tensor, weight: ParameterId, labels: &[(usize, u32)]) -> Result<Vec<f32>> {
        let weight = &self.parameters[weight.0];
        storage::read(x, |x| kernel::loss::log_probs(x, &weight.value(), weight.columns(), labels))
    }
}

impl Engine for Fused<'_> {
    fn embedding(&self, table: ParameterId, ids: &[u32]) -> Result<Tensor> {
        let op = embedding::Embedding { table: self.parameter(table), ids: ids.to_vec() };
        // A variable without meaning: what grows from one is recorded.
        match self.purpose {
            Purpose::Train => Var::zeros(1, DType::F32, &Device::Cpu)?.apply_op1(op),
            Purpose::Score => Tensor::zeros(1, DType::F32, &Device::Cpu)?.apply_op1(op),
        }
    }

    fn rms_norm(&self, x: &Tensor, weight: ParameterId, epsilon: f32) -> Result<Tensor> {
        x.apply_op1(norm::RmsNorm { weight: self.parameter(weight), epsilon })
    }

    fn linear(&self, x: &Tensor, weight: ParameterId) -> Result<Tensor> {
        x.apply_op1(linear::Linear { weight: self.parameter(weight) })
    }

    fn linear_add(&self, x: &Tensor, weight: ParameterId, residual: &Tensor) -> Result<Tensor> {
        x.apply_op2(residual, linear::Linear { weight: self.parameter(weight) })
    }

    fn prepare_heads(&self, rows: &Tensor, heads: Heads, norms: HeadNorms, frame: &Frame) -> Result<Tensor> {
        rows.apply_op1(norm::PrepareHeads {
            heads,
            query_norm: self.parameter(norms.query),
            key_norm: self.parameter(norms.key),
            epsilon: norms.epsilon,
            frame: frame.clone(),
        })
    }

    fn attention(&self, rows: &Tensor, heads: Heads, frame: &Frame) -> Result<Tensor> {
        rows.apply_op1(attention::Attention::new(heads, Arc::clone(&frame.places)))
    }

    fn swiglu(&self, rows: &Tensor) -> Result<Tensor> {
        rows.apply_op1(swiglu::Swiglu)
    }

    fn cross_entropy(&self, x: &Tensor, weight: ParameterId, labels: &[(usize, u32)], scale: f32) -> Result<Loss> {
        loss::cross_entropy(x, self.parameter(weight), labels.to_vec(), scale)
    }
}
