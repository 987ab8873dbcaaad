//! The gated activation.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::storage::{floats, gradient_of, read2, rows};
use crate::model::kernel::gated::{Activation, gated, gated_backward};

pub(super) struct Gated(pub(super) Activation);

impl CustomOp1 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.shape().dims2()?.1 / 2;
        Ok(rows(gated(floats(x, layout)?, width, self.0), width))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dim(1)? / 2;
        let numbers = read2(x, gradient, |x, gradient| gated_backward(x, gradient, width, self.0))?;
        gradient_of(x, numbers).map(Some)
    }
}
