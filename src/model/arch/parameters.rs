//! The list of a model's parameters, while it is made.

use crate::model::engine::{Linear, Norm, ParameterId};
use crate::model::parameter::{Outline, ParameterKind, Part};

/// Collects parameters and gives out their ids.
pub(super) struct Parameters {
    list: Vec<Outline>,
    epsilon: f32,
    offset: bool,
}

impl Parameters {
    /// Returns an empty list for a model with norms of this kind.
    pub(super) fn new(epsilon: f32, offset: bool) -> Self {
        Self { list: Vec::new(), epsilon, offset }
    }

    pub(super) fn into_list(self) -> Vec<Outline> {
        self.list
    }

    /// Adds tensors of these names and shapes, one below the other, as one parameter.
    fn add(&mut self, kind: ParameterKind, parts: impl IntoIterator<Item = (String, Vec<usize>)>) -> ParameterId {
        let parts = parts.into_iter().map(|(name, shape)| Part { name, shape }).collect();
        self.list.push(Outline { kind, parts });
        ParameterId(self.list.len() - 1)
    }

    pub(super) fn norm(&mut self, name: &str, width: usize) -> Norm {
        let weight = self.add(ParameterKind::Norm, [(format!("{name}.weight"), vec![width])]);
        Norm { weight, epsilon: self.epsilon, offset: self.offset }
    }

    /// Adds matrices of one width as one parameter: names and numbers of rows.
    fn matrix(&mut self, prefix: &str, parts: &[(&str, usize)], columns: usize) -> ParameterId {
        let part = |(name, rows): &(&str, usize)| (format!("{prefix}{name}.weight"), vec![*rows, columns]);
        self.add(ParameterKind::Matrix, parts.iter().map(part))
    }

    /// Adds a matrix with a row for each token.
    pub(super) fn table(&mut self, name: &str, rows: usize, columns: usize) -> ParameterId {
        self.add(ParameterKind::Table, [(format!("{name}.weight"), vec![rows, columns])])
    }

    /// Adds linear layers with the same input as one.
    pub(super) fn linear(&mut self, prefix: &str, parts: &[(&str, usize)], columns: usize, bias: bool) -> Linear {
        let weight = self.matrix(prefix, parts, columns);
        let part = |(name, rows): &(&str, usize)| (format!("{prefix}{name}.bias"), vec![*rows]);
        Linear { weight, bias: bias.then(|| self.add(ParameterKind::Bias, parts.iter().map(part))) }
    }

    /// Adds the weights of a convolution of each channel by itself, and its bias.
    pub(super) fn convolution(
        &mut self,
        name: &str,
        channels: usize,
        width: usize,
        bias: bool,
    ) -> (ParameterId, Option<ParameterId>) {
        let weight = self.add(ParameterKind::Convolution, [(format!("{name}.weight"), vec![channels, 1, width])]);
        let bias = bias.then(|| self.add(ParameterKind::Bias, [(format!("{name}.bias"), vec![channels])]));
        (weight, bias)
    }
}
