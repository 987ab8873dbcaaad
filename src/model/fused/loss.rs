//! The output layer with its loss, at the end of the graph.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::storage::{floats, gradient_of};
use crate::model::engine::{Objective, Scale};
use crate::model::kernel::loss;
use crate::model::parameter::Parameter;

/// What the forward pass found out.
#[derive(Default)]
pub(super) struct Found {
    sum: f64,
    x_gradient: Vec<f32>,
}

/// Returns the sum of the losses of all labelled rows, once the forward pass has run.
pub(super) fn sum_of(found: &Mutex<Found>) -> f64 {
    found.lock().unwrap_or_else(PoisonError::into_inner).sum
}

/// The scaled loss of the labelled rows. Its gradients are computed in the forward pass, while the logits are there; that
/// of the weight is in its buffer then.
pub(super) struct CrossEntropy {
    weight: Arc<Parameter>,
    labels: Vec<(usize, u32)>,
    scales: Vec<f32>,
    smoothing: f32,
    found: Arc<Mutex<Found>>,
}

impl CrossEntropy {
    /// Returns the op, and where its forward pass leaves what it finds out.
    pub(super) fn new(weight: Arc<Parameter>, objective: Objective<'_>) -> (Self, Arc<Mutex<Found>>) {
        let found = Arc::<Mutex<Found>>::default();
        let Objective { labels, scale, smoothing } = objective;
        let scales = (0..labels.len()).map(|label| scale.of(label)).collect();
        (Self { weight, labels: labels.to_vec(), scales, smoothing, found: Arc::clone(&found) }, found)
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout)?;
        let mut total = self.weight.gradient_buffer();
        let weight = self.weight.value();
        let head = loss::Head { weight: &weight, width: self.weight.columns() };
        let objective = Objective { labels: &self.labels, scale: Scale::Each(&self.scales), smoothing: self.smoothing };
        let total = total.as_mut().map(|total| total.as_mut_slice());
        let (sum, x_gradient) = loss::cross_entropy(x, head, objective, total);
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Found { sum, x_gradient };
        // Nobody looks at the number: the backward pass only needs a place to begin.
        Ok((CpuStorage::F32(vec![sum as f32]), Shape::from(())))
    }

    /// The incoming gradient is not looked at: this is where the backward pass begins, with 1.
    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let numbers = std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner).x_gradient);
        if numbers.is_empty() {
            bail!("the loss was differentiated twice");
        }
        gradient_of(x, numbers).map(Some)
    }
}
