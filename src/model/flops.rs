//! What a training pass costs in floating-point operations.
//!
//! Counted are the products of matrices, two operations a weight and token forward and twice that backward, and attention
//! over the pairs of tokens that see each other (Chowdhery et al. 2022, appendix B). Rows that predict nothing do not go
//! through the output layer. What is computed a second time to save memory is not counted.

use super::arch::Decoder;
use super::config::{Config, LayerKind};
use super::early_exit;
use super::parameter::{ParameterKind, Part};
use super::{Adapter, CausalLm};

impl CausalLm {
    /// Returns the operations of a forward and a backward pass over documents of these lengths, of which `labels` tokens
    /// predict something that counts.
    pub fn training_flops(&self, lengths: &[usize], labels: usize) -> f64 {
        let config = self.config();
        let inner = config.inner_weights();
        let head = config.vocab_size * config.hidden_size * (1 + self.exits().len());
        let tokens: usize = lengths.iter().sum();
        let heads = config.heads();
        let width = (heads.query * heads.width) as f64;
        let attention = config.layers.iter().filter_map(|layer| match layer {
            LayerKind::Attention { window, .. } => {
                Some(lengths.iter().map(|length| pairs(*length, *window)).sum::<f64>())
            }
            LayerKind::Convolution => None,
        });
        let factor = config.block_size();
        let branches = config.branches().filter(|beside| config.layers[*beside] != LayerKind::Convolution);
        let of_branch = |_| lengths.iter().map(|length| pairs(length / factor, None)).sum::<f64>();
        let attention = attention.chain(branches.map(of_branch));
        let weights = inner * tokens as f64 + head as f64 * labels as f64;
        let beside = self.adapters().flat_map(Adapter::parameters).map(|one| one.value().len());
        let beside = (beside.sum::<usize>() * tokens) as f64;
        // Frozen weights only hand gradients on: that half of their backward pass is not computed.
        let of_weights = if self.adapters().next().is_some() { 4.0 } else { 6.0 };
        of_weights * weights + 6.0 * beside + 12.0 * width * attention.sum::<f64>()
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
        let (_, outlines) = Decoder::new(self);
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
