//! Causal attention inside documents.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::storage::{floats, gradient_of, read, read2, rows};
use crate::model::engine;
use crate::model::kernel::attention::{Attending, attention, attention_backward};
use crate::model::packed::Places;

pub(super) struct Attention {
    layer: engine::Attention,
    places: Arc<Places>,
    /// Left behind by the forward pass.
    log_sums: OnceLock<Vec<Vec<f32>>>,
}

impl Attention {
    pub(super) fn new(layer: engine::Attention, places: Arc<Places>) -> Self {
        Self { layer, places, log_sums: OnceLock::new() }
    }

    fn attending(&self) -> Attending<'_> {
        let engine::Attention { heads, scale, window, .. } = self.layer;
        Attending { heads, documents: &self.places.documents, scale, window }
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let attended = attention(floats(x, layout)?, self.attending());
        self.log_sums.get_or_init(|| attended.log_sums);
        Ok(rows(attended.out, self.layer.heads.output_width()))
    }

    fn bwd(&self, x: &Tensor, out: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(log_sums) = self.log_sums.get() else {
            bail!("attention of layer {} was not run forward", self.layer.layer)
        };
        let numbers = read(out, |out| {
            read2(x, gradient, |x, gradient| attention_backward(x, self.attending(), out, log_sums, gradient))
        })??;
        gradient_of(x, numbers).map(Some)
    }
}
