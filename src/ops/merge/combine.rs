//! What is done to the tensors of a merge, and to the numbers of one tensor.

use crate::tensor::View;

use super::{fused, slerp};

/// What a merge does to all tensors.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rule {
    /// Gives back one of the models.
    Copy(usize),
    /// See [`super::linear`].
    Mean { weights: Vec<f32>, sum: f32 },
    /// See [`super::slerp`].
    Slerp { t: f64 },
}

/// What is done to every number of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Combine {
    /// Takes the number of one of the models.
    Copy(usize),
    /// Adds up weighted numbers and divides by the sum of the weights.
    Mean { weights: Vec<f32>, sum: f32 },
    /// Adds up the weighted numbers of two models. `straight` where slerp fell back to the chord.
    Pair { weights: [f32; 2], straight: bool },
}

impl Rule {
    /// Returns what the rule means for one tensor, given by each model.
    pub(super) fn of(&self, views: &[View<'_>]) -> Combine {
        match self {
            Rule::Copy(model) => Combine::Copy(*model),
            Rule::Mean { weights, sum } => Combine::Mean { weights: weights.clone(), sum: *sum },
            Rule::Slerp { t } => slerp::combine(&views[0], &views[1], *t),
        }
    }
}

impl Combine {
    /// Writes the merged numbers that begin at `from` to `out`. `scratch` is as long as `out`.
    pub(super) fn numbers(&self, views: &[View<'_>], from: usize, out: &mut [f32], scratch: &mut [f32]) {
        match self {
            Combine::Copy(model) => views[*model].read_f32(from, out),
            Combine::Mean { weights, sum } => {
                out.fill(0.0);
                for (view, weight) in views.iter().zip(weights) {
                    view.read_f32(from, scratch);
                    fused::multiply_add(out, scratch, *weight);
                }
                for number in out {
                    *number /= sum;
                }
            }
            Combine::Pair { weights, .. } => {
                views[0].read_f32(from, out);
                views[1].read_f32(from, scratch);
                for (number, other) in out.iter_mut().zip(scratch) {
                    *number = weights[0] * *number + weights[1] * *other;
                }
            }
        }
    }
}
