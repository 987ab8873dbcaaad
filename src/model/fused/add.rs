//! The sum of two streams.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::storage::floats;
use crate::model::kernel::lanes::{Unit, vectorised};

/// Numbers that one task adds.
const BLOCK: usize = 1 << 14;

/// Returns `a + b`, number by number.
pub(super) fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    let mut sum = a.to_vec();
    let blocks = sum.par_chunks_mut(BLOCK).zip(b.par_chunks(BLOCK));
    blocks.for_each(|(sum, b)| add_to(Unit::best(), sum, b));
    sum
}

vectorised! {
    fn add_to(sum: &mut [f32], b: &[f32]) {
        for (sum, b) in sum.iter_mut().zip(b) {
            *sum += b;
        }
    }
}

pub(super) struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sum = sum(floats(x, x_layout)?, floats(y, y_layout)?);
        Ok((CpuStorage::F32(sum), x_layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(gradient.clone()), Some(gradient.clone())))
    }
}
