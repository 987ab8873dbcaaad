//! The seam between an architecture and the arithmetic: the blocks of a transformer, on tensors.
//!
//! A batch has no batch axis: its documents lie one after the other, so a tensor is `[tokens, width]` throughout, in
//! f32. Weights are named by [`ParameterId`]; where they are and what becomes of their gradients is the engine's affair.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::kernel::Heads;
use super::kernel::rotary::RotaryTable;
use super::packed::Places;

/// The number of a parameter in the list that the architecture gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ParameterId(pub(crate) usize);

/// Where the rows of a batch stand.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The documents.
    pub(crate) places: Arc<Places>,
    /// Angles for at least as many positions as the longest document has.
    pub(crate) rotary: Arc<RotaryTable>,
}

/// The weights of the norms of query and key heads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadNorms {
    /// Of the query heads.
    pub(crate) query: ParameterId,
    /// Of the key heads.
    pub(crate) key: ParameterId,
    /// Guards against division by zero.
    pub(crate) epsilon: f32,
}

/// The end of a training pass.
pub(crate) struct Loss {
    /// The scaled loss in the graph, where the backward pass begins.
    pub(crate) root: Tensor,
    /// The sum of the losses of all labelled rows, in nats, not scaled.
    pub(crate) sum: f64,
}

/// The blocks of a transformer.
pub(crate) trait Engine {
    /// Returns a row of the table for each id.
    fn embedding(&self, table: ParameterId, ids: &[u32]) -> Result<Tensor>;

    /// Normalises rows by their root mean square and multiplies them by the weight.
    fn rms_norm(&self, x: &Tensor, weight: ParameterId, epsilon: f32) -> Result<Tensor>;

    /// Returns `x · weightᵀ`, with a row of the weight for each output.
    fn linear(&self, x: &Tensor, weight: ParameterId) -> Result<Tensor>;

    /// Returns `residual + x · weightᵀ`.
    fn linear_add(&self, x: &Tensor, weight: ParameterId, residual: &Tensor) -> Result<Tensor>;

    /// Normalises the query and key heads of fused rows and turns them by their positions.
    fn prepare_heads(&self, rows: &Tensor, heads: Heads, norms: HeadNorms, frame: &Frame) -> Result<Tensor>;

    /// Attends causally inside each document; from fused rows to `[tokens, query heads · width]`.
    fn attention(&self, rows: &Tensor, heads: Heads, frame: &Frame) -> Result<Tensor>;

    /// Returns `silu(gate) · up` of rows `[gate | up]`.
    fn swiglu(&self, rows: &Tensor) -> Result<Tensor>;

    /// Returns the loss of the labelled rows `(row, token)`; the backward pass sees it times `scale`.
    fn cross_entropy(&self, x: &Tensor, weight: ParameterId, labels: &[(usize, u32)], scale: f32) -> Result<Loss>;
}
