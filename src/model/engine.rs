//! The seam between an architecture and the arithmetic: the blocks of a transformer, on tensors.
//!
//! A batch has no batch axis: its documents lie one after the other, so a tensor is `[tokens, width]` throughout, in
//! f32. Weights are named by [`ParameterId`]; where they are and what becomes of their gradients is the engine's affair.
//! What remembers tokens from one call to the next (keys and values, the last inputs of a convolution) finds its place by
//! the number of the layer.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::kernel::Heads;
use super::kernel::gated::Activation;
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
    /// Angles for at least as many positions as the longest document has: a table for each rotary embedding of the model.
    pub(crate) rotary: Arc<[RotaryTable]>,
    /// What is added to the embeddings while a model is trained.
    pub(crate) noise: Option<Noise>,
}

/// Noise that is even between `±alpha / √(tokens of the document · width)` (NEFTune, Jain et al. 2023).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// How strong it is.
    pub alpha: f32,
    /// What decides it, together with the place of the number in the batch.
    pub seed: u64,
}

/// What a training pass makes smaller: the losses of some rows, each times a factor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Objective<'a> {
    /// The rows that predict something, and what: `(row, token)`, rows ascending.
    pub(crate) labels: &'a [(usize, u32)],
    /// What the gradient of each loss is multiplied by.
    pub(crate) scale: Scale<'a>,
    /// The share of a loss that asks for all tokens alike.
    pub(crate) smoothing: f32,
}

/// Factors of losses.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scale<'a> {
    /// The same for all.
    One(f32),
    /// One for each label.
    Each(&'a [f32]),
}

impl<'a> Objective<'a> {
    /// Returns the plain sum of losses, times a factor.
    pub(crate) fn sum(labels: &'a [(usize, u32)], scale: f32) -> Self {
        Self { labels, scale: Scale::One(scale), smoothing: 0.0 }
    }
}

impl<'a> Scale<'a> {
    /// Returns the factors of some labels.
    pub(crate) fn from(self, first: usize, count: usize) -> Scale<'a> {
        match self {
            Scale::One(scale) => Scale::One(scale),
            Scale::Each(scales) => Scale::Each(&scales[first..first + count]),
        }
    }

    /// Returns the factor of a label by its place in the list.
    pub(crate) fn of(self, label: usize) -> f32 {
        match self {
            Scale::One(scale) => scale,
            Scale::Each(scales) => scales[label],
        }
    }
}

/// A norm by the root mean square.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Norm {
    /// What normalised rows are multiplied by.
    pub(crate) weight: ParameterId,
    /// Guards against division by zero.
    pub(crate) epsilon: f32,
    /// Whether the weight is stored as its distance from 1.
    pub(crate) offset: bool,
}

/// A linear layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear {
    /// A row of the weight for each output.
    pub(crate) weight: ParameterId,
    /// A number for each output.
    pub(crate) bias: Option<ParameterId>,
}

/// The norms of query and key heads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadNorms {
    /// Of the query heads.
    pub(crate) query: Norm,
    /// Of the key heads.
    pub(crate) key: Norm,
}

/// An attention layer, projections apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention {
    /// The number of the layer in the model.
    pub(crate) layer: usize,
    /// How fused rows are divided.
    pub(crate) heads: Heads,
    /// What query and key heads go through before they are turned.
    pub(crate) norms: Option<HeadNorms>,
    /// What scores are multiplied by.
    pub(crate) scale: f32,
    /// How many tokens a token sees, itself included; all of its document if there is none.
    pub(crate) window: Option<usize>,
    /// Which of the model's rotary embeddings turns the heads.
    pub(crate) rotary: usize,
}

/// A short convolution, projections apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Convolution {
    /// The number of the layer in the model.
    pub(crate) layer: usize,
    /// `width` weights for each channel.
    pub(crate) weight: ParameterId,
    /// A number for each channel.
    pub(crate) bias: Option<ParameterId>,
    /// How many tokens a token sees, itself included.
    pub(crate) width: usize,
}

/// What stands before and behind a branch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pooling {
    /// The number of the branch in the model.
    pub(crate) number: usize,
    /// The number of its layer, after those of the model.
    pub(crate) layer: usize,
    /// How many tokens make a block.
    pub(crate) factor: usize,
}

/// The end of a training pass.
pub(crate) struct Loss {
    /// The scaled loss in the graph, where the backward pass begins.
    pub(crate) root: Tensor,
    /// The sum of the losses of all labelled rows, in nats, neither scaled nor smoothed.
    pub(crate) sum: f64,
}

/// What a training pass computes again in its backward pass instead of keeping it. Changes no bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recompute {
    /// Nothing but what costs next to nothing.
    #[default]
    Nothing,
    /// What is widest: the inside of feed-forward layers.
    FeedForward,
    /// Whole layers: of each only what it got is kept.
    Layers,
}

/// A part of a model that can be computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A layer.
    Layer,
    /// A layer in which nothing is trained, nor in those before it.
    Frozen,
    /// The second half of a layer: the norm, the feed-forward layer and the residual.
    FeedForward,
}

/// The blocks of a transformer.
pub(crate) trait Engine {
    /// Returns a row of the table for each id, times `scale`.
    fn embedding(&self, table: ParameterId, ids: &[u32], scale: Option<f32>) -> Result<Tensor>;

    /// Returns embeddings with the noise of the frame, if the engine trains and the frame has any.
    fn noisy(&self, x: &Tensor, _frame: &Frame) -> Result<Tensor> {
        Ok(x.clone())
    }

    /// Computes a part of the model. An engine that is short of memory may compute it again in its backward pass.
    fn segment<F>(&self, x: &Tensor, _part: Part, run: F) -> Result<Tensor>
    where
        F: Fn(&Self, &Tensor) -> Result<Tensor> + 'static,
    {
        run(self, x)
    }

    /// Normalises rows by their root mean square and multiplies them by the weight.
    fn rms_norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor>;

    /// Returns `x · weightᵀ + bias`.
    fn linear(&self, x: &Tensor, layer: Linear) -> Result<Tensor>;

    /// Returns `residual + x · weightᵀ + bias`.
    fn linear_add(&self, x: &Tensor, layer: Linear, residual: &Tensor) -> Result<Tensor>;

    /// Normalises the query and key heads of fused rows, if the model has such norms, and turns them by their positions.
    fn prepare_heads(&self, rows: &Tensor, attention: &Attention, frame: &Frame) -> Result<Tensor>;

    /// Attends causally inside each document; from fused rows to `[tokens, query heads · width]`.
    fn attention(&self, rows: &Tensor, attention: &Attention, frame: &Frame) -> Result<Tensor>;

    /// Returns `C · conv(B · x)` of rows `[B | C | x]`, causally inside each document.
    fn short_convolution(&self, rows: &Tensor, convolution: &Convolution, frame: &Frame) -> Result<Tensor>;

    /// Returns `activation(gate) · up` of rows `[gate | up]`.
    fn gated(&self, rows: &Tensor, activation: Activation) -> Result<Tensor>;

    /// Returns `activation(gate) · up`, where `[gate | up]` is what the layer makes of the rows.
    fn linear_gated(&self, x: &Tensor, layer: Linear, activation: Activation) -> Result<Tensor> {
        self.gated(&self.linear(x, layer)?, activation)
    }

    /// Returns the rows that the result is wanted of. Nothing after it looks at other rows: it stands in the last layer.
    fn wanted(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.clone())
    }

    /// Returns `x + y`.
    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor>;

    /// Returns the means of the blocks of tokens that end in this batch, and where they stand; nothing if none does. A
    /// block is of one document, whose first one begins with its first token.
    fn pool(&self, x: &Tensor, pooling: Pooling, frame: &Frame) -> Result<Option<(Tensor, Frame)>>;

    /// Adds to each row of `x` that of the last block that ended at or before its token, if one did.
    fn spread(&self, blocks: Option<&Tensor>, x: &Tensor, pooling: Pooling, frame: &Frame) -> Result<Tensor>;

    /// Returns the loss of an objective.
    fn cross_entropy(&self, x: &Tensor, weight: ParameterId, objective: Objective<'_>) -> Result<Loss>;
}
