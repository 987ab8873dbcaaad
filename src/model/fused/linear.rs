//! Linear layers: `y = x · weightᵀ + bias`, with or without a residual that is added in the same product.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::storage::{floats, gradient_of, read2, rows};
use crate::model::kernel::bias::{add_bias, add_rows};
use crate::model::kernel::matrix::{Matrix, MatrixMut, Threads, Write, product};
use crate::model::parameter::Parameter;

/// As a unary op `x · weightᵀ`, as a binary op `x · weightᵀ + residual`.
pub(super) struct Linear {
    pub(super) weight: Arc<Parameter>,
    pub(super) bias: Option<Arc<Parameter>>,
}

impl Linear {
    /// Returns how many outputs there are.
    pub(super) fn outputs(&self) -> usize {
        self.weight.value().len() / self.weight.columns()
    }

    fn forward(&self, x: &[f32], out: &mut [f32], write: Write) {
        let (weight, inputs, outputs) = (self.weight.value(), self.weight.columns(), self.outputs());
        let (x, weight) = (Matrix::new(x, inputs), Matrix::new(&weight, inputs));
        product(MatrixMut::new(out, outputs), write, x, weight.t(), Threads::Pool);
        if let Some(bias) = &self.bias {
            add_bias(out, &bias.value());
        }
    }

    /// Returns the gradient of `x` and adds those of the weight and the bias to their buffers.
    fn backward(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let (inputs, outputs) = (self.weight.columns(), self.outputs());
        let numbers = read2(x, gradient, |x, gradient| {
            let mut x_gradient = vec![0.0; x.len()];
            if let Some(mut total) = self.bias.as_ref().and_then(|bias| bias.gradient_buffer()) {
                add_rows(&mut total, gradient);
            }
            let (x, gradient) = (Matrix::new(x, inputs), Matrix::new(gradient, outputs));
            let target = MatrixMut::new(&mut x_gradient, inputs);
            let weight = self.weight.value();
            product(target, Write::Replace, gradient, Matrix::new(&weight, inputs), Threads::Pool);
            drop(weight);
            if let Some(mut total) = self.weight.gradient_buffer() {
                product(MatrixMut::new(&mut total, inputs), Write::Add, gradient.t(), x, Threads::Pool);
            }
            x_gradient
        })?;
        gradient_of(x, numbers)
    }
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout)?;
        let mut out = vec![0.0; x.len() / self.weight.columns() * self.outputs()];
        self.forward(x, &mut out, Write::Replace);
        Ok(rows(out, self.outputs()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.backward(x, gradient)?))
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear_add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut out = floats(residual, residual_layout)?.to_vec();
        self.forward(floats(x, x_layout)?, &mut out, Write::Add);
        Ok(rows(out, self.outputs()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.backward(x, gradient)?), Some(gradient.clone())))
    }
}
