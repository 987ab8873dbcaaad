//! The short convolution inside documents.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::storage::{floats, gradient_of, read2, rows};
use crate::model::engine;
use crate::model::kernel::convolution::{Convolving, convolution, convolution_backward};
use crate::model::kernel::norm::add_parts;
use crate::model::packed::Places;
use crate::model::parameter::Parameter;

pub(super) struct ShortConvolution {
    pub(super) weight: Arc<Parameter>,
    pub(super) bias: Option<Arc<Parameter>>,
    pub(super) layer: engine::Convolution,
    pub(super) places: Arc<Places>,
}

impl ShortConvolution {
    fn with<R>(&self, work: impl FnOnce(Convolving<'_>) -> R) -> R {
        let (weight, bias) = (self.weight.value(), self.bias.as_ref().map(|bias| bias.value()));
        work(Convolving {
            weight: &weight,
            bias: bias.as_ref().map(|bias| bias.as_slice()),
            width: self.layer.width,
            documents: &self.places.documents,
        })
    }
}

impl CustomOp1 for ShortConvolution {
    fn name(&self) -> &'static str {
        "short_convolution"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, (found, width)) = (floats(x, layout)?, layout.shape().dims2()?);
        let expected = self.places.positions.len();
        if found != expected {
            bail!("the convolution of layer {} got {found} rows for {expected} tokens", self.layer.layer);
        }
        Ok(rows(self.with(|with| convolution(x, with)), width / 3))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (numbers, gradients) =
            read2(x, gradient, |x, gradient| self.with(|with| convolution_backward(x, gradient, with)))?;
        if let Some(mut total) = self.weight.gradient_buffer() {
            add_parts(&mut total, &[gradients.weight]);
        }
        if let Some(mut total) = self.bias.as_ref().and_then(|bias| bias.gradient_buffer()) {
            add_parts(&mut total, &[gradients.bias]);
        }
        gradient_of(x, numbers).map(Some)
    }
}
