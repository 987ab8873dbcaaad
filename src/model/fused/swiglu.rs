//! The gated activation.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::storage::{floats, gradient_of, read2, rows};
use crate::model::kernel::swiglu::{swiglu, swiglu_backward};

pub(super) struct Swiglu;

impl CustomOp1 for Swiglu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = layout.shape().dims2()?.1 / 2;
        Ok(rows(swiglu(floats(x, layout)?, width), width))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dim(1)? / 2;
        let numbers = read2(x, gradient, |x, gradient| swiglu_backward(x, gradient, width))?;
        gradient_of(x, numbers).map(Some)
    }
}
