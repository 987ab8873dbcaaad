//! The same model on a device: passes run there, the optimizer stays here.
//!
//! The device holds the weights in the type of the model's file (bfloat16 mostly) and sums of gradients in f32; masters and
//! moments lie in the memory of the host, where the one optimizer changes them (Ren et al. 2021, "ZeRO-Offload"). A step
//! moves the gradients down once and the weights up once, whatever the number of batches in it. Blocks are composed of
//! candle's differentiable operations: its fused ones have no gradient. On the CPU the fused engine is faster by far, and
//! a twin there serves tests, which hold both against each other.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, bail};

use super::adapter::Active;
use super::composed::{AdapterTensors, Composed, ROWS_TOGETHER};
use super::engine::{Engine, Objective, ParameterId};
use super::parameter::Parameter;
use super::{CausalLm, ModelError};
use crate::tensor::Dtype;

/// The weights of a model on a device.
#[derive(Debug)]
pub(super) struct Twin {
    device: Device,
    dtype: DType,
    /// All weights, by id.
    weights: Vec<Tensor>,
    /// Those that are trained, or the adapters that are.
    trained: Vec<Var>,
    /// The sum of the gradients of each that was not yet moved down.
    sums: Vec<Option<Tensor>>,
}

impl CausalLm {
    /// Runs all passes on a device from now on. What is trained must have been decided before.
    pub fn move_to(&mut self, device: &Device) -> std::result::Result<(), ModelError> {
        self.twin = Some(Twin::new(self, device)?);
        Ok(())
    }

    /// Takes over what passes on a device found out, into the gradients of the parameters.
    pub fn gather_gradients(&mut self) -> std::result::Result<(), ModelError> {
        let Some(mut twin) = self.twin.take() else { return Ok(()) };
        let gathered = twin.gather(self.trained_parameters());
        self.twin = Some(twin);
        Ok(gathered?)
    }

    /// Gives the device the weights as they are now.
    pub fn spread_weights(&mut self) -> std::result::Result<(), ModelError> {
        let Some(mut twin) = self.twin.take() else { return Ok(()) };
        let spread = twin.spread(self.trained_parameters());
        self.twin = Some(twin);
        Ok(spread?)
    }
}

impl Twin {
    fn new(model: &CausalLm, device: &Device) -> Result<Self> {
        let half = model.config().dtype == Dtype::BF16 && !device.is_cpu();
        let dtype = if half { DType::BF16 } else { DType::F32 };
        let variable = |parameter: &Arc<Parameter>| Var::from_tensor(&upload(parameter, device, dtype)?);
        let trained = model.trained_parameters().iter().map(variable).collect::<Result<Vec<Var>>>()?;
        let weight = |parameter: &Arc<Parameter>| match model.place_among_trained(parameter) {
            Some(place) => Ok(trained[place].as_tensor().clone()),
            None => upload(parameter, device, dtype),
        };
        let weights = model.parameters().iter().map(weight).collect::<Result<_>>()?;
        let sums = vec![None; trained.len()];
        Ok(Self { device: device.clone(), dtype, weights, trained, sums })
    }

    /// Returns the blocks for a pass with adapters, if there are any; `tracked` if it is to be run backwards.
    pub(super) fn blocks(&self, active: Option<Active<'_>>, tracked: bool) -> Composed<'static> {
        let seen = |tensor: &Tensor| if tracked { tensor.clone() } else { tensor.detach() };
        let weights = self.weights.iter().map(seen).collect();
        let blocks = Composed::new(weights, &self.device, self.dtype);
        let Some(active) = active else { return blocks };
        let tensors: Vec<Tensor> = self.trained.iter().map(|one| seen(one.as_tensor())).collect();
        blocks.with(AdapterTensors::of(active, &tensors, self.weights.len()))
    }

    /// Adds the gradients of objectives over rows, each with an output layer, to the sums; returns the sums of the losses.
    pub(super) fn backward(
        &mut self,
        blocks: &Composed<'_>,
        ends: &[(Tensor, ParameterId, Objective<'_>)],
    ) -> Result<Vec<f64>> {
        let (mut sums, mut root) = (Vec::with_capacity(ends.len()), None::<Tensor>);
        for (x, head, objective) in ends {
            let (sum, gradient) = self.of_end(blocks, x, *head, *objective)?;
            sums.push(sum);
            let Some(gradient) = gradient else { continue };
            let own = (x * gradient)?.sum_all()?;
            root = Some(match root {
                Some(root) => (root + own)?,
                None => own,
            });
        }
        if let Some(root) = root {
            blocks.backward(&root, |store| self.take(store))?;
        }
        Ok(sums)
    }

    /// Returns the sum of losses over rows `x`, and its gradient along `x`; adds that of the output layer to the sums. The
    /// logits of some rows exist at a time: their part of the gradient of `x` is found out before the next come.
    fn of_end(
        &mut self,
        blocks: &Composed<'_>,
        x: &Tensor,
        head: ParameterId,
        objective: Objective<'_>,
    ) -> Result<(f64, Option<Tensor>)> {
        let rows = Var::from_tensor(&x.detach())?;
        let (mut sum, mut gradient) = (0.0, None::<Tensor>);
        for (chunk, labels) in objective.labels.chunks(ROWS_TOGETHER).enumerate() {
            let scale = objective.scale.from(chunk * ROWS_TOGETHER, labels.len());
            let loss = blocks.cross_entropy(rows.as_tensor(), head, Objective { labels, scale, ..objective })?;
            sum += loss.sum;
            let mut store = loss.root.backward()?;
            self.take(&mut store)?;
            let Some(part) = store.remove(rows.as_tensor()) else { bail!("the loss does not depend on the model") };
            gradient = Some(match gradient {
                Some(gradient) => (gradient + part.detach())?,
                None => part.detach(),
            });
        }
        Ok((sum, gradient))
    }

    /// Adds gradients to the sums. Detached at once: one with a history would keep the whole graph.
    fn take(&mut self, store: &mut GradStore) -> Result<()> {
        for (weight, sum) in self.trained.iter().zip(&mut self.sums) {
            let Some(gradient) = store.remove(weight.as_tensor()) else { continue };
            let gradient = gradient.detach().to_dtype(DType::F32)?;
            *sum = Some(match sum.take() {
                Some(sum) => (sum + gradient)?.detach(),
                None => gradient,
            });
        }
        Ok(())
    }

    /// Adds the sums to the gradients of the parameters.
    fn gather(&mut self, trained: &[Arc<Parameter>]) -> Result<()> {
        for (parameter, sum) in trained.iter().zip(&mut self.sums) {
            let Some(sum) = sum.take() else { continue };
            let numbers: Vec<f32> = sum.flatten_all()?.to_vec1()?;
            if let Some(mut total) = parameter.gradient_buffer() {
                total.iter_mut().zip(numbers).for_each(|(total, number)| *total += number);
            }
        }
        Ok(())
    }

    fn spread(&mut self, trained: &[Arc<Parameter>]) -> Result<()> {
        for (parameter, weight) in trained.iter().zip(&self.trained) {
            weight.set(&upload(parameter, &self.device, self.dtype)?)?;
        }
        Ok(())
    }
}

/// Copies a parameter to a device.
fn upload(parameter: &Parameter, device: &Device, dtype: DType) -> Result<Tensor> {
    let value = parameter.value();
    let columns = parameter.columns();
    let shape = if columns == value.len() { vec![columns] } else { vec![value.len() / columns, columns] };
    // Narrowed here: a 16-bit weight crosses to the device in two bytes.
    Tensor::from_slice(&value, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}
