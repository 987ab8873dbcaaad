//! What a training pass costs in floating-point operations.
//!
//! Counted are the products of matrices, two operations a weight and token forward and twice that backward, and attention
//! over the pairs of tokens that see each other (Chowdhery et al. 2022, appendix B). Rows that predict nothing do not go
//! through the output layer. What is computed a second time to save memory is not counted.

use super::config::{Config, LayerKind};
use super::early_exit;
use super::parameter::{ParameterKind, Part};
use super::{Adapter, CausalLm, parameters_of};

/// What a pass through a model of some shape costs.
#[derive(Debug, Clone, PartialEq)]
pub struct PassCosts {
    /// Weights of the matrices inside layers.
    pub inner: f64,
    /// Weights of the output layer.
    pub head: f64,
    /// Numbers in all query heads of a layer.
    pub width: f64,
    /// The window of each layer with attention, if it has one.
    pub windows: Vec<Option<usize>>,
    /// Branches with attention, and how many tokens make a block of theirs.
    pub branches: (usize, usize),
}

impl PassCosts {
    /// Returns the costs of a model of this shape.
    pub fn of(config: &Config) -> Self {
        let heads = config.heads();
        let windows = config.layers.iter().filter_map(|layer| match layer {
            LayerKind::Attention { window, .. } => Some(*window),
            LayerKind::Convolution => None,
        });
        Self {
            inner: config.inner_weights(),
            head: (config.vocab_size * config.hidden_size) as f64,
            width: (heads.query * heads.width) as f64,
            windows: windows.collect(),
            branches: (
                config.branches().filter(|beside| config.layers[*beside] != LayerKind::Convolution).count(),
                config.block_size(),
            ),
        }
    }

    /// Returns how many pairs of tokens see each other, over all layers, in documents of these lengths.
    pub fn pairs(&self, lengths: &[usize]) -> f64 {
        let of_layer = |window: &Option<usize>| lengths.iter().map(|length| pairs(*length, *window)).sum::<f64>();
        let (branches, factor) = self.branches;
        let of_branches = lengths.iter().map(|length| pairs(length / factor, None)).sum::<f64>() * branches as f64;
        self.windows.iter().map(of_layer).sum::<f64>() + of_branches
    }

    /// Returns the operations of a forward pass over so many tokens, of which `rows` go through the output layer.
    pub fn forward(&self, tokens: f64, rows: f64, pairs: f64) -> f64 {
        2.0 * (self.inner * tokens + self.head * rows) + 4.0 * self.width * pairs
    }

    /// Returns the operations of a forward and a backward pass; with adapters of `beside` weights, whose model is frozen.
    pub fn training(&self, tokens: f64, labels: f64, pairs: f64, beside: Option<f64>) -> f64 {
        let weights = self.inner * tokens + self.head * labels;
        // Frozen weights only hand gradients on: that half of their backward pass is not computed.
        let of_weights = if beside.is_some() { 4.0 } else { 6.0 };
        of_weights * weights + 6.0 * (beside.unwrap_or(0.0) * tokens) + 12.0 * self.width * pairs
    }
}

impl CausalLm {
    /// Returns the operations of a forward and a backward pass over documents of these lengths, of which `labels` tokens
    /// predict something that counts.
    pub fn training_flops(&self, lengths: &[usize], labels: usize) -> f64 {
        let costs = PassCosts::of(self.config());
        let tokens: usize = lengths.iter().sum();
        let beside = self.adapters().flat_map(Adapter::parameters).map(|one| one.value().len());
        let beside = self.adapters().next().is_some().then(|| beside.sum::<usize>() as f64);
        // Each exit has an output layer too.
        let labels = (labels * (1 + self.exits().len())) as f64;
        costs.training(tokens as f64, labels, costs.pairs(lengths), beside)
    }
}

impl Config {
    /// Returns the operations of products of matrices for one more token: what the layers and one output layer take. Those of
    /// attention are not counted, which grow with the text.
    pub fn flops_per_token(&self) -> f64 {
        2.0 * (self.inner_weights() + (self.vocab_size * self.hidden_size) as f64)
    }

    /// Returns how many weights of layers a token is multiplied with; those of branches are only asked once a block.
    fn inner_weights(&self) -> f64 {
        let outlines = parameters_of(self);
        let matrices = outlines.iter().filter(|outline| outline.kind == ParameterKind::Matrix);
        let (mut own, mut branches) = (0, 0);
        for part in matrices.flat_map(|outline| &outline.parts) {
            let of = if part.name.starts_with(early_exit::PREFIX) { &mut branches } else { &mut own };
            *of += Part::count(part);
        }
        own as f64 + branches as f64 / self.block_size() as f64
    }
}

/// Returns how many pairs of tokens of a document see each other.
fn pairs(length: usize, window: Option<usize>) -> f64 {
    let window = window.unwrap_or(length).min(length) as f64;
    window * (window + 1.0) / 2.0 + (length as f64 - window) * window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_inside_the_window() {
        let counted =
            |length: usize, window: usize| (0..length).map(|token| (token + 1).min(window)).sum::<usize>() as f64;
        for (length, window) in [(1, 1), (5, 2), (5, 5), (5, 9), (100, 7)] {
            assert!((pairs(length, Some(window)) - counted(length, window)).abs() < 1e-9);
        }
        assert!((pairs(10, None) - 55.0).abs() < 1e-9);
    }
}
