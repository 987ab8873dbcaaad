//! Linear layers with adapters beside them: `y = x · Wᵀ + bias + s · (d · Aᵀ) · Bᵀ`, with `d` what dropout leaves of `x`.
//!
//! With magnitudes `m` the rows of the layer get factors `f = m / |W + s B A|`, and as in PEFT all but the bias grows by them
//! while dropout touches only what is added: `y = x · Wᵀ + bias + (f - 1) (d · Wᵀ) + f s (d · Aᵀ) · Bᵀ`. The lengths below the line
//! count as constants.
//!
//! The weight is frozen: its gradient, half of the work of an ordinary backward pass, is never computed. With
//! `z = d · Wᵀ + s (d · Aᵀ) · Bᵀ` and `g` the gradient of `y`, that of `m` is `Σ g z / |W + s B A|`, and the rest follows from
//! `g' = f g`: `s g' · B` for `d · Aᵀ`, and so on. What is thin, and `z`, is kept from the forward pass.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::linear::Linear;
use super::storage::{floats, gradient_of, read2, rows};
use crate::model::adapter::{Active, Adapter};
use crate::model::kernel::adapter::{Dropout, Rows, row_lengths};
use crate::model::kernel::bias::{add_bias, add_rows};
use crate::model::kernel::matrix::{Matrix, MatrixMut, Threads, Write, product};
use crate::model::parameter::Parameter;

/// As a unary op the layer, as a binary op the layer with a residual that is added.
pub(super) struct Adapted {
    layer: Linear,
    adapters: Arc<[Adapter]>,
    /// What each adapter leaves out.
    dropout: Vec<Option<Dropout>>,
    scale: f32,
    /// For each adapter, once the forward pass has run.
    found: Mutex<Vec<Found>>,
}

/// What the backward pass of an adapter needs of the forward pass.
struct Found {
    /// `s d · Aᵀ`.
    thin: Vec<f32>,
    lengthened: Option<Lengthened>,
}

/// What magnitudes need.
struct Lengthened {
    /// `d · Wᵀ + s (d · Aᵀ) · Bᵀ`.
    z: Vec<f32>,
    /// `|W + s B A|`, for each row.
    lengths: Vec<f32>,
    /// `m` divided by it.
    factors: Vec<f32>,
}

impl Adapted {
    /// Returns a layer with its adapters.
    pub(super) fn new(layer: Linear, active: Active<'_>, adapters: Arc<[Adapter]>) -> Self {
        let dropout = adapters.iter().map(|adapter| active.dropout(adapter)).collect();
        Self { layer, adapters, dropout, scale: active.adapters.settings.scale, found: Mutex::default() }
    }

    /// Says whether the backward pass needs what is as wide as what comes of the layer, beside it.
    pub(super) fn keeps_rows(&self) -> bool {
        self.adapters.iter().any(|adapter| adapter.magnitude.is_some())
    }

    fn inputs(&self) -> usize {
        self.layer.weight.columns()
    }

    fn each(&self) -> impl Iterator<Item = Beside<'_>> {
        self.adapters.iter().zip(&self.dropout).map(|(adapter, dropout)| Beside {
            adapter,
            dropout: *dropout,
            scale: self.scale,
            weight: &self.layer.weight,
            inputs: self.inputs(),
            outputs: self.layer.outputs(),
        })
    }

    /// Returns the rows of the weight that go through the layer as they are. With magnitudes and all of the input the
    /// adapters compute their rows whole, so that no product is computed twice.
    fn plain(&self) -> Vec<Range<usize>> {
        let outputs = self.layer.outputs();
        if self.each().any(|beside| !beside.is_whole()) {
            return std::iter::once(0..outputs).collect();
        }
        let starts = std::iter::once(0).chain(self.adapters.iter().map(|adapter| adapter.rows.end));
        let ends = self.adapters.iter().map(|adapter| adapter.rows.start).chain([outputs]);
        starts.zip(ends).map(|(start, end)| start..end).filter(|rows| !rows.is_empty()).collect()
    }

    fn forward(&self, x: &[f32], out: &mut [f32], write: Write) {
        let (inputs, outputs) = (self.inputs(), self.layer.outputs());
        let weight = self.layer.weight.value();
        for rows in self.plain() {
            let w = Matrix::new(&weight[rows.start * inputs..rows.end * inputs], inputs);
            let columns = MatrixMut::strided(&mut out[rows.start..], x.len() / inputs, rows.len(), outputs);
            product(columns, write, Matrix::new(x, inputs), w.t(), Threads::Pool);
        }
        drop(weight);
        if let Some(bias) = &self.layer.bias {
            add_bias(out, &bias.value());
        }
        let found = self.each().map(|beside| beside.forward(x, out)).collect();
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    fn backward(&self, x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let (inputs, outputs) = (self.inputs(), self.layer.outputs());
        let found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        let numbers = read2(x, gradient, |x, gradient| {
            let mut x_gradient = vec![0.0; x.len()];
            let weight = self.layer.weight.value();
            for rows in self.plain() {
                let g = Matrix::strided(&gradient[rows.start..], x.len() / inputs, rows.len(), outputs);
                let w = Matrix::new(&weight[rows.start * inputs..rows.end * inputs], inputs);
                product(MatrixMut::new(&mut x_gradient, inputs), Write::Add, g, w, Threads::Pool);
            }
            drop(weight);
            for (beside, found) in self.each().zip(&found) {
                beside.backward(x, gradient, found, &mut x_gradient);
            }
            x_gradient
        })?;
        gradient_of(x, numbers)
    }
}

/// An adapter at work.
struct Beside<'a> {
    adapter: &'a Adapter,
    dropout: Option<Dropout>,
    scale: f32,
    weight: &'a Parameter,
    inputs: usize,
    /// Of the whole parameter.
    outputs: usize,
}

impl Beside<'_> {
    fn rank(&self) -> usize {
        self.adapter.down.value().len() / self.inputs
    }

    /// Says whether the adapter computes all of its columns, the product with the weight included.
    fn is_whole(&self) -> bool {
        self.adapter.magnitude.is_some() && self.dropout.is_none()
    }

    /// Returns how many outputs the adapter adds to.
    fn width(&self) -> usize {
        self.adapter.rows.len()
    }

    /// Lends out what dropout leaves of the input.
    fn with_input<R>(&self, x: &[f32], work: impl FnOnce(&[f32]) -> R) -> R {
        let Some(dropout) = self.dropout else { return work(x) };
        let mut left = x.to_vec();
        dropout.apply(&mut left);
        work(&left)
    }

    /// Lends out the rows of the weight that belong to the adapter.
    fn with_weight<R>(&self, work: impl FnOnce(&[f32]) -> R) -> R {
        let rows = &self.adapter.rows;
        work(&self.weight.value()[rows.start * self.inputs..rows.end * self.inputs])
    }

    /// Adds what the adapter gives to its columns of `out`.
    fn forward(&self, x: &[f32], out: &mut [f32]) -> Found {
        self.with_input(x, |left| {
            let (down, up) = (self.adapter.down.value(), self.adapter.up.value());
            let (rank, tokens) = (self.rank(), x.len() / self.inputs);
            let mut thin = vec![0.0; tokens * rank];
            let (d, a) = (Matrix::new(left, self.inputs), Matrix::new(&down, self.inputs));
            product(MatrixMut::new(&mut thin, rank), Write::Replace, d, a.t(), Threads::Pool);
            scale_by(&mut thin, self.scale);
            let (h, b) = (Matrix::new(&thin, rank), Matrix::new(&up, rank));
            let Some(magnitude) = &self.adapter.magnitude else {
                let columns =
                    MatrixMut::strided(&mut out[self.adapter.rows.start..], tokens, self.width(), self.outputs);
                product(columns, Write::Add, h, b.t(), Threads::Pool);
                return Found { thin, lengthened: None };
            };
            let mut z = vec![0.0; tokens * self.width()];
            let lengths = self.with_weight(|weight| {
                let w = Matrix::new(weight, self.inputs);
                product(MatrixMut::new(&mut z, self.width()), Write::Replace, d, w.t(), Threads::Pool);
                row_lengths(Rows { weight, inputs: self.inputs, up: &up, down: &down, scale: self.scale })
            });
            if !self.is_whole() {
                self.columns(out, &z, |_, out, z| *out -= z);
            }
            product(MatrixMut::new(&mut z, self.width()), Write::Add, h, b.t(), Threads::Pool);
            let factors: Vec<f32> = magnitude.value().iter().zip(&lengths).map(|(m, length)| m / length).collect();
            self.columns(out, &z, |column, out, z| *out += factors[column] * z);
            Found { thin, lengthened: Some(Lengthened { z, lengths, factors }) }
        })
    }

    /// Changes the adapter's columns of `out`, number by number beside those of `other`.
    fn columns(&self, out: &mut [f32], other: &[f32], change: impl Fn(usize, &mut f32, &f32) + Sync) {
        let rows = out.par_chunks_mut(self.outputs).zip(other.par_chunks(self.width()));
        rows.for_each(|(out, other)| {
            let out = &mut out[self.adapter.rows.clone()];
            out.iter_mut().zip(other).enumerate().for_each(|(column, (out, other))| change(column, out, other));
        });
    }

    /// Adds the gradients of the adapter to their buffers, and what comes through it to that of the input.
    fn backward(&self, x: &[f32], gradient: &[f32], found: &Found, x_gradient: &mut [f32]) {
        let (width, tokens) = (self.width(), x.len() / self.inputs);
        let lengthened = found.lengthened.as_ref();
        let scaled = lengthened.map(|found| {
            self.magnitude_gradient(gradient, found);
            self.scaled(gradient, |column, number| found.factors[column] * number)
        });
        let g = match &scaled {
            None => Matrix::strided(&gradient[self.adapter.rows.start..], tokens, width, self.outputs),
            Some(scaled) => Matrix::new(scaled, width),
        };
        let (down, up, rank) = (self.adapter.down.value(), self.adapter.up.value(), self.rank());
        let mut thin = vec![0.0; tokens * rank];
        product(MatrixMut::new(&mut thin, rank), Write::Replace, g, Matrix::new(&up, rank), Threads::Pool);
        scale_by(&mut thin, self.scale);
        let (h, dh) = (Matrix::new(&found.thin, rank), Matrix::new(&thin, rank));
        add_product(&self.adapter.up, rank, g.t(), h);
        self.with_input(x, |left| add_product(&self.adapter.down, self.inputs, dh.t(), Matrix::new(left, self.inputs)));
        let a = Matrix::new(&down, self.inputs);
        let through = |target: &mut [f32], more: Option<&[f32]>| {
            product(MatrixMut::new(target, self.inputs), Write::Add, dh, a, Threads::Pool);
            let Some(more) = more else { return };
            self.with_weight(|weight| {
                let (more, w) = (Matrix::new(more, width), Matrix::new(weight, self.inputs));
                product(MatrixMut::new(target, self.inputs), Write::Add, more, w, Threads::Pool);
            });
        };
        match self.dropout {
            None => through(x_gradient, scaled.as_deref()),
            Some(dropout) => {
                // What dropout leaves goes through the weight once more, with the factors beyond 1.
                let beyond = |found: &Lengthened| self.scaled(gradient, |i, number| (found.factors[i] - 1.0) * number);
                let beyond = lengthened.map(beyond);
                let mut part = vec![0.0; x.len()];
                through(&mut part, beyond.as_deref());
                dropout.apply(&mut part);
                x_gradient.par_iter_mut().zip(&part).for_each(|(total, part)| *total += part);
            }
        }
    }

    /// Returns the adapter's columns of a gradient, changed number by number.
    fn scaled(&self, gradient: &[f32], change: impl Fn(usize, f32) -> f32 + Sync) -> Vec<f32> {
        let width = self.width();
        let mut out = vec![0.0; gradient.len() / self.outputs * width];
        out.par_chunks_mut(width).zip(gradient.par_chunks(self.outputs)).for_each(|(out, gradient)| {
            let gradient = &gradient[self.adapter.rows.clone()];
            out.iter_mut().zip(gradient).enumerate().for_each(|(i, (out, gradient))| *out = change(i, *gradient));
        });
        out
    }

    fn magnitude_gradient(&self, gradient: &[f32], found: &Lengthened) {
        let Some(mut total) = self.adapter.magnitude.as_ref().and_then(|magnitude| magnitude.gradient_buffer()) else {
            return;
        };
        let mut products = self.scaled(gradient, |_, number| number);
        products.par_iter_mut().zip(&found.z).for_each(|(product, z)| *product *= z);
        let mut sums = vec![0.0; self.width()];
        add_rows(&mut sums, &products);
        let sums = sums.iter().zip(&found.lengths);
        total.iter_mut().zip(sums).for_each(|(total, (sum, length))| *total += sum / length);
    }
}

fn scale_by(numbers: &mut [f32], scale: f32) {
    for number in numbers {
        *number *= scale;
    }
}

/// Adds a product to the gradient of a parameter with rows of `columns` numbers.
fn add_product(parameter: &Parameter, columns: usize, a: Matrix<'_>, b: Matrix<'_>) {
    if let Some(mut total) = parameter.gradient_buffer() {
        product(MatrixMut::new(&mut total, columns), Write::Add, a, b, Threads::Pool);
    }
}

impl CustomOp1 for Adapted {
    fn name(&self) -> &'static str {
        "linear_with_adapters"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(x, layout)?;
        let mut out = vec![0.0; x.len() / self.inputs() * self.layer.outputs()];
        self.forward(x, &mut out, Write::Replace);
        Ok(rows(out, self.layer.outputs()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.backward(x, gradient)?))
    }
}

impl CustomOp2 for Adapted {
    fn name(&self) -> &'static str {
        "linear_add_with_adapters"
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
        Ok(rows(out, self.layer.outputs()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.backward(x, gradient)?), Some(gradient.clone())))
    }
}
