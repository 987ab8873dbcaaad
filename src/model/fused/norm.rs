//! The norm of rows, and the preparation of query and key heads (norm and rotary embedding).

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::storage::{floats, gradient_of, read2};
use crate::model::engine::Frame;
use crate::model::kernel::Heads;
use crate::model::kernel::norm::{rms_norm, rms_norm_backward};
use crate::model::kernel::rotary::{Preparation, prepare, prepare_backward};
use crate::model::parameter::Parameter;

/// A norm with its weight.
pub(super) struct RmsNorm {
    pub(super) weight: Arc<Parameter>,
    pub(super) epsilon: f32,
    /// Whether the weight is stored as its distance from 1.
    pub(super) offset: bool,
}

impl RmsNorm {
    /// Lends out what rows are multiplied by. The gradient of the stored weight is that of this one.
    fn with<R>(&self, work: impl FnOnce(&[f32]) -> R) -> R {
        let stored = self.weight.value();
        let weight = if self.offset {
            Cow::Owned(stored.iter().map(|weight| 1.0 + weight).collect())
        } else {
            Cow::Borrowed(stored.as_slice())
        };
        work(&weight)
    }
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout)?;
        let out = self.with(|weight| rms_norm(x, weight, self.epsilon));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut total = self.weight.gradient_buffer();
        let numbers = read2(x, gradient, |x, gradient| {
            let total = total.as_mut().map(|total| total.as_mut_slice());
            self.with(|weight| rms_norm_backward(x, weight, gradient, self.epsilon, total))
        })?;
        gradient_of(x, numbers).map(Some)
    }
}

pub(super) struct PrepareHeads {
    pub(super) heads: Heads,
    /// Of query and of key heads; both guard against division by zero alike.
    pub(super) norms: Option<[RmsNorm; 2]>,
    /// Which of the frame's tables has the angles.
    pub(super) rotary: usize,
    pub(super) frame: Frame,
}

impl PrepareHeads {
    fn with<R>(&self, work: impl FnOnce(Preparation<'_>) -> R) -> R {
        let without = Preparation {
            heads: self.heads,
            norms: None,
            epsilon: 0.0,
            table: &self.frame.rotary[self.rotary],
            positions: &self.frame.places.positions,
        };
        let Some([query, key]) = &self.norms else { return work(without) };
        query.with(|query_weight| {
            key.with(|key_weight| {
                work(Preparation { norms: Some([query_weight, key_weight]), epsilon: query.epsilon, ..without })
            })
        })
    }
}

impl CustomOp1 for PrepareHeads {
    fn name(&self) -> &'static str {
        "prepare_heads"
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let rows = floats(rows, layout)?;
        Ok((CpuStorage::F32(self.with(|with| prepare(rows, with))), layout.shape().clone()))
    }

    fn bwd(&self, rows: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut totals = self.norms.as_ref().map(|norms| norms.each_ref().map(|norm| norm.weight.gradient_buffer()));
        let numbers = read2(rows, gradient, |rows, gradient| {
            let totals = match &mut totals {
                Some([Some(query), Some(key)]) => Some([query.as_mut_slice(), key.as_mut_slice()]),
                _ => None,
            };
            self.with(|with| prepare_backward(rows, gradient, with, totals))
        })?;
        gradient_of(rows, numbers).map(Some)
    }
}
