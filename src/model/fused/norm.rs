//! The norm of rows, and the preparation of query and key heads (norm and rotary embedding).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::storage::{floats, gradient_of, read2};
use crate::model::engine::Frame;
use crate::model::kernel::Heads;
use crate::model::kernel::norm::{rms_norm, rms_norm_backward};
use crate::model::kernel::rotary::{Preparation, prepare, prepare_backward};
use crate::model::parameter::Parameter;

pub(super) struct RmsNorm {
    pub(super) weight: Arc<Parameter>,
    pub(super) epsilon: f32,
}

impl CustomOp1 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = rms_norm(floats(x, layout)?, &self.weight.value(), self.epsilon);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let mut total = self.weight.gradient_buffer();
        let weight = self.weight.value();
        let numbers =
            read2(x, gradient, |x, gradient| rms_norm_backward(x, &weight, gradient, self.epsilon, &mut total))?;
        gradient_of(x, numbers).map(Some)
    }
}

pub(super) struct PrepareHeads {
    pub(super) heads: Heads,
    pub(super) query_norm: Arc<Parameter>,
    pub(super) key_norm: Arc<Parameter>,
    pub(super) epsilon: f32,
    pub(super) frame: Frame,
}

impl PrepareHeads {
    fn with<R>(&self, work: impl FnOnce(Preparation<'_>) -> R) -> R {
        work(Preparation {
            heads: self.heads,
            query_norm: &self.query_norm.value(),
            key_norm: &self.key_norm.value(),
            epsilon: self.epsilon,
            table: &self.frame.rotary,
            positions: &self.frame.places.positions,
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
        let (mut query, mut key) = (self.query_norm.gradient_buffer(), self.key_norm.gradient_buffer());
        let numbers = read2(rows, gradient, |rows, gradient| {
            self.with(|with| prepare_backward(rows, gradient, with, &mut query, &mut key))
        })?;
        gradient_of(rows, numbers).map(Some)
    }
}
