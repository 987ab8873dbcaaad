//! Adapters beside linear layers, composed of candle's operations in the order of PEFT's own lines.

use std::ops::Range;

use candle_core::{Result, Tensor};

use crate::model::adapter::Active;
use crate::model::kernel::adapter::Dropout;

/// An adapter whose matrices are tensors.
#[derive(Debug, Clone)]
pub(in crate::model) struct AdapterTensors {
    /// The rows of the weight that it belongs to.
    pub(in crate::model) rows: Range<usize>,
    pub(in crate::model) down: Tensor,
    pub(in crate::model) up: Tensor,
    pub(in crate::model) magnitude: Option<Tensor>,
    pub(in crate::model) scale: f64,
    /// What it leaves out of its input.
    pub(in crate::model) dropout: Option<Dropout>,
}

impl AdapterTensors {
    /// Returns the adapters of a pass, for each weight, given the tensor of each of their parameters.
    pub(in crate::model) fn of(active: Active<'_>, tensors: &[Tensor], weights: usize) -> Vec<Vec<Self>> {
        let mut tensors = tensors.iter().cloned();
        let mut one = |adapter: &crate::model::Adapter| {
            let (down, up) = (tensors.next()?, tensors.next()?);
            let magnitude = match adapter.magnitude {
                Some(_) => Some(tensors.next()?),
                None => None,
            };
            let scale = f64::from(active.adapters.settings.scale);
            Some(Self { rows: adapter.rows.clone(), down, up, magnitude, scale, dropout: active.dropout(adapter) })
        };
        (0..weights).map(|id| active.adapters.of(id).iter().filter_map(&mut one).collect()).collect()
    }

    /// Returns what is added to all outputs of a layer that gives `base` of `x`, its bias apart.
    pub(super) fn added(&self, x: &Tensor, base: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let left = match self.dropout {
            None => x.clone(),
            Some(dropout) => (x * Tensor::from_vec(dropout.factors(x.elem_count()), x.shape(), x.device())?)?,
        };
        let product = (left.matmul(&self.down.t()?)?.matmul(&self.up.t()?)? * self.scale)?;
        let weight = weight.narrow(0, self.rows.start, self.rows.len())?;
        let product = match &self.magnitude {
            None => product,
            Some(magnitude) => {
                let sum = (&weight + (self.up.matmul(&self.down)? * self.scale)?)?;
                let lengths = sum.sqr()?.sum(1)?.sqrt()?.detach();
                let factors = magnitude.div(&lengths)?;
                let base = match self.dropout {
                    None => base.narrow(1, self.rows.start, self.rows.len())?,
                    Some(_) => left.matmul(&weight.t()?)?,
                };
                (base.broadcast_mul(&(&factors - 1.0)?)? + product.broadcast_mul(&factors)?)?
            }
        };
        product.pad_with_zeros(1, self.rows.start, base.dim(1)? - self.rows.end)
    }
}
