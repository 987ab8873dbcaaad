//! What stands before and behind a branch: means of blocks of tokens, and what was made of them added to tokens.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::storage::{floats, gradient_of, read, rows};
use crate::model::kernel::blocks::{Blocks, means, means_backward, spread, spread_backward};

/// Means of blocks of rows.
pub(super) struct Pool(pub(super) Arc<Blocks>);

impl CustomOp1 for Pool {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        Ok(rows(means(floats(x, layout)?, width, &self.0), width))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dim(1)?;
        gradient_of(x, read(gradient, |gradient| means_backward(gradient, width, &self.0))?).map(Some)
    }
}

/// Rows with those of their blocks added: of blocks and rows.
pub(super) struct Spread(pub(super) Arc<Blocks>);

impl CustomOp2 for Spread {
    fn name(&self) -> &'static str {
        "spread"
    }

    fn cpu_fwd(
        &self,
        made: &CpuStorage,
        made_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = x_layout.shape().dims2()?;
        Ok(rows(spread(floats(made, made_layout)?, floats(x, x_layout)?, width, &self.0), width))
    }

    fn bwd(
        &self,
        made: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = made.dim(1)?;
        let to_made = read(gradient, |gradient| spread_backward(gradient, width, &self.0))?;
        Ok((Some(gradient_of(made, to_made)?), Some(gradient.clone())))
    }
}
