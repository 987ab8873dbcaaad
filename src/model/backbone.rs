//! Training exits and branches alone, beside a model that stays as it is: its backbone (Pan et al. 2024, "EE-Tuning").
//!
//! Layers below the first branch only run forward, and nothing of them is kept for a backward pass: exits give gradients to what is
//! theirs, and hand none on to where nobody waits for them. From the first branch on layers hand gradients on and get none.

use std::sync::Arc;

use super::causal_lm::CausalLm;
use super::config::Config;
use super::early_exit;
use super::flops::PassCosts;
use super::parameter::Parameter;

impl CausalLm {
    /// Leaves all weights as they are but those of exits and branches: nothing else is trained, or gets gradients.
    pub fn freeze_backbone(&mut self) {
        let (beside, own): (Vec<_>, Vec<_>) =
            self.parameters().iter().cloned().partition(|parameter| early_exit::is_beside(parameter));
        for parameter in own {
            parameter.freeze();
        }
        self.arch.frozen = self.config().layers_below_branches();
        self.beside = Some(beside);
    }

    /// Returns the place of a parameter among those that are trained, if it is one.
    pub(super) fn place_among_trained(&self, parameter: &Arc<Parameter>) -> Option<usize> {
        self.trained_parameters().iter().position(|trained| Arc::ptr_eq(trained, parameter))
    }

    /// Returns what the layers cost that only run forward, if the backbone is frozen.
    pub(super) fn costs_below(&self) -> Option<PassCosts> {
        self.beside.as_ref().map(|_| PassCosts::of(&self.config().below_branches()))
    }
}

impl Config {
    /// Returns how many layers lie below the first branch.
    fn layers_below_branches(&self) -> usize {
        self.branches().next().unwrap_or(self.layers.len())
    }

    /// Returns the model of these layers alone.
    #[must_use]
    pub fn below_branches(&self) -> Self {
        let mut below = Self { early_exit: None, num_hidden_layers: self.layers_below_branches(), ..self.clone() };
        below.layers.truncate(below.num_hidden_layers);
        below
    }
}

/// What a pass goes through.
#[derive(Debug, Clone, Copy)]
pub struct Through {
    /// Tokens.
    pub tokens: f64,
    /// Tokens that predict something that counts, once for each output layer.
    pub labels: f64,
    /// Of these the ones of output layers that are trained.
    pub own_labels: f64,
    /// Pairs of tokens that see each other, over all layers.
    pub pairs: f64,
    /// Of these the ones of layers that only run forward.
    pub pairs_below: f64,
}

impl PassCosts {
    /// Returns the operations of a forward and a backward pass in which exits and branches alone are trained. `below` are the
    /// layers that only run forward.
    pub fn training_beside(&self, below: &Self, through: Through) -> f64 {
        let Through { tokens, labels, own_labels, pairs, pairs_below } = through;
        let handed_on = self.inner - below.inner;
        let of_layers = 2.0 * tokens * (self.inner + handed_on + self.beside);
        let of_heads = self.head * (4.0 * labels + 2.0 * own_labels);
        of_layers + of_heads + 4.0 * self.width * (pairs + 2.0 * (pairs - pairs_below))
    }
}
