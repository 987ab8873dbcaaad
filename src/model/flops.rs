//! What a training pass costs in floating-point operations.
//!
//! Counted are the products of matrices, two operations a weight and token forward and twice that backward, and attention
//! over the pairs of tokens that see each other (Chowdhery et al. 2022, appendix B). Rows that predict nothing do not go
//! through the output layer. What is computed a second time to save memory is counted apart.

use super::config::{Config, LayerKind};
use super::early_exit;
use super::engine::Recompute;
use super::parameter::{ParameterKind, Part};
use super::{Adapter, CausalLm, Through, parameters_of};

/// What a pass through a model of some shape costs.
#[derive(Debug, Clone, PartialEq)]
pub struct PassCosts {
    /// Weights of the matrices inside layers.
    pub inner: f64,
    /// Of these the ones of branches.
    pub beside: f64,
    /// Weights of the output layer.
    pub head: f64,
    /// Numbers in all query heads of a layer.
    pub width: f64,
    /// The window of each layer with attention, if it has one.
    pub windows: Vec<Option<usize>>,
    /// Branches with attention, and how many tokens make a block of theirs.
    pub branches: (usize, usize),
    /// Weights that [`Recompute::FeedForward`] multiplies a token with again: on the processor gate and up, of branches too, and
    /// on a device the whole of a feed-forward layer, of layers alone.
    pub feed_forward: [f64; 2],
}

impl PassCosts {
    /// Returns the costs of a model of this shape.
    pub fn of(config: &Config) -> Self {
        let heads = config.heads();
        let windows = config.layers.iter().filter_map(|layer| match layer {
            LayerKind::Attention { window, .. } => Some(*window),
            LayerKind::Convolution => None,
        });
        let (layers, branches) = (config.layers.len() as f64, config.branches().count() as f64);
        let one = (config.hidden_size * config.intermediate_size) as f64;
        let (own, beside) = config.inner_weights();
        Self {
            feed_forward: [2.0 * (layers + branches / config.block_size() as f64) * one, 3.0 * layers * one],
            inner: own + beside,
            beside,
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

    /// Returns the operations that a training pass does a second time, on a device or on the processor.
    pub fn recomputed(&self, recompute: Recompute, on_device: bool, tokens: f64, pairs: f64) -> f64 {
        match recompute {
            Recompute::Nothing => 0.0,
            Recompute::FeedForward => 2.0 * self.feed_forward[usize::from(on_device)] * tokens,
            Recompute::Layers => self.forward(tokens, 0.0, pairs),
        }
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
        let (tokens, exits, pairs) = (tokens as f64, self.exits().len(), costs.pairs(lengths));
        let all_labels = (labels * (1 + exits)) as f64;
        let Some(below) = self.costs_below() else { return costs.training(tokens, all_labels, pairs, beside) };
        let own_heads = self.config().early_exit.as_ref().is_some_and(|exits| exits.own_heads);
        let own_labels = if own_heads { (labels * exits) as f64 } else { 0.0 };
        let pairs_below = below.pairs(lengths);
        costs.training_beside(&below, Through { tokens, labels: all_labels, own_labels, pairs, pairs_below })
    }

    /// Returns the operations that passes over documents of these lengths do a second time, beside [`Self::training_flops`].
    pub fn recomputed_flops(&self, lengths: &[usize], recompute: Recompute) -> f64 {
        let keeps = self.adapters.as_ref().is_some_and(|adapters| adapters.settings.dora) && self.twin.is_none();
        // With DoRA the processor keeps what others compute again.
        let recompute = if keeps && recompute == Recompute::FeedForward { Recompute::Nothing } else { recompute };
        let tokens = lengths.iter().sum::<usize>() as f64;
        let of = |costs: &PassCosts| costs.recomputed(recompute, self.twin.is_some(), tokens, costs.pairs(lengths));
        of(&PassCosts::of(self.config())) - self.costs_below().as_ref().map_or(0.0, of)
    }
}

impl Config {
    /// Returns the operations of products of matrices for one more token: what the layers and one output layer take. Those of
    /// attention are not counted, which grow with the text.
    pub fn flops_per_token(&self) -> f64 {
        let (own, beside) = self.inner_weights();
        2.0 * (own + beside + (self.vocab_size * self.hidden_size) as f64)
    }

    /// Returns how many weights of layers and of branches a token is multiplied with; branches are only asked once a block.
    fn inner_weights(&self) -> (f64, f64) {
        let outlines = parameters_of(self);
        let matrices = outlines.iter().filter(|outline| outline.kind == ParameterKind::Matrix);
        let (mut own, mut branches) = (0, 0);
        for part in matrices.flat_map(|outline| &outline.parts) {
            let of = if part.name.starts_with(early_exit::PREFIX) { &mut branches } else { &mut own };
            *of += Part::count(part);
        }
        (own as f64, branches as f64 / self.block_size() as f64)
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
