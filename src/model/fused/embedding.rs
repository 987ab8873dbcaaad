//! Embedding: rows of a table by id.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::storage::{read, rows};
use crate::model::kernel::embedding::{gather, scatter_add};
use crate::model::parameter::Parameter;

/// Its argument is not used: the ids are, and a graph needs something to grow from.
pub(super) struct Embedding {
    pub(super) table: Arc<Parameter>,
    pub(super) ids: Vec<u32>,
    pub(super) scale: Option<f32>,
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = self.table.columns();
        let mut out = gather(&self.table.value(), width, &self.ids);
        if let Some(scale) = self.scale {
            for x in &mut out {
                *x *= scale;
            }
        }
        Ok(rows(out, width))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(mut total) = self.table.gradient_buffer() else { return Ok(None) };
        let width = self.table.columns();
        read(gradient, |gradient| match self.scale {
            None => scatter_add(&mut total, width, &self.ids, gradient),
            Some(scale) => {
                let gradient: Vec<f32> = gradient.iter().map(|x| x * scale).collect();
                scatter_add(&mut total, width, &self.ids, &gradient);
            }
        })?;
        Ok(None)
    }
}
