//! What was computed, in order, so that gradients can be computed in the opposite order.
//!
//! candle would record and walk its own graph, but its walk makes a table of zeros for every gradient and adds the
//! gradient to it through a pool of threads that wait for each other in busy loops: measured here at 40 % of a training
//! step, and more where other programs want the processor. Here a gradient is handed on as it is; only where a tensor
//! was used twice are two added. What the forward pass kept is let go of as soon as the backward pass is past it.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{CustomOp1, CustomOp2, Result, Tensor, TensorId};

use super::storage::{gradient_of, read2};
use super::{Fused, add};

/// A part of a model that is computed a second time in the backward pass.
pub(super) type Segment<'a> = dyn Fn(&Fused<'a>, &Tensor) -> Result<Tensor>;

/// An op that was applied, to what, and what came of it.
enum Applied<'a> {
    One { op: Box<dyn CustomOp1>, x: Tensor, out: Tensor },
    Two { op: Box<dyn CustomOp2>, x: Tensor, y: Tensor, out: Tensor },
    Segment { segment: Box<Segment<'a>>, x: Tensor, out: TensorId },
}

/// Applies ops, and keeps record of them if gradients are wanted.
pub(super) struct Tape<'a> {
    applied: Option<RefCell<Vec<Applied<'a>>>>,
}

impl<'a> Tape<'a> {
    /// Returns a tape that records nothing.
    pub(super) fn off() -> Self {
        Self { applied: None }
    }

    /// Returns a tape that records.
    pub(super) fn on() -> Self {
        Self { applied: Some(RefCell::default()) }
    }

    /// Applies an op to a tensor.
    pub(super) fn apply1(&self, x: &Tensor, op: impl CustomOp1 + 'static) -> Result<Tensor> {
        let out = x.apply_op1_no_bwd(&op)?;
        if let Some(applied) = &self.applied {
            applied.borrow_mut().push(Applied::One { op: Box::new(op), x: x.clone(), out: out.clone() });
        }
        Ok(out)
    }

    /// Applies an op to two tensors.
    pub(super) fn apply2(&self, x: &Tensor, y: &Tensor, op: impl CustomOp2 + 'static) -> Result<Tensor> {
        let out = x.apply_op2_no_bwd(y, &op)?;
        if let Some(applied) = &self.applied {
            let (x, y, out) = (x.clone(), y.clone(), out.clone());
            applied.borrow_mut().push(Applied::Two { op: Box::new(op), x, y, out });
        }
        Ok(out)
    }

    /// Keeps record of a segment that was computed without a record of its own.
    pub(super) fn record(&self, segment: Box<Segment<'a>>, x: &Tensor, out: &Tensor) {
        if let Some(applied) = &self.applied {
            applied.borrow_mut().push(Applied::Segment { segment, x: x.clone(), out: out.id() });
        }
    }

    /// Runs all recorded ops backwards, beginning at `root` with its gradient, and forgets them. Returns the gradient of
    /// `wanted`.
    pub(super) fn backward(
        &self,
        engine: &Fused<'a>,
        root: &Tensor,
        gradient: Tensor,
        wanted: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let Some(applied) = &self.applied else { return Ok(None) };
        let mut gradients = Gradients(HashMap::from([(root.id(), gradient)]));
        while let Some(step) = { applied.borrow_mut().pop() } {
            match step {
                Applied::One { op, x, out } => {
                    if let Some(gradient) = gradients.take(out.id()) {
                        gradients.add(&x, op.bwd(&x, &out, &gradient)?)?;
                    }
                }
                Applied::Two { op, x, y, out } => {
                    if let Some(gradient) = gradients.take(out.id()) {
                        let (to_x, to_y) = op.bwd(&x, &y, &out, &gradient)?;
                        gradients.add(&x, to_x)?;
                        gradients.add(&y, to_y)?;
                    }
                }
                Applied::Segment { segment, x, out } => {
                    if let Some(gradient) = gradients.take(out) {
                        gradients.add(&x, engine.again(&*segment, &x, gradient)?)?;
                    }
                }
            }
        }
        Ok(wanted.and_then(|wanted| gradients.take(wanted.id())))
    }
}

/// The gradients of tensors whose ops are still to come. Looked up by tensor, never gone through in order.
struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    fn take(&mut self, tensor: TensorId) -> Option<Tensor> {
        self.0.remove(&tensor)
    }

    fn add(&mut self, tensor: &Tensor, gradient: Option<Tensor>) -> Result<()> {
        let Some(gradient) = gradient else { return Ok(()) };
        let sum = match self.take(tensor.id()) {
            Some(other) => sum(&other, &gradient)?,
            None => gradient,
        };
        self.0.insert(tensor.id(), sum);
        Ok(())
    }
}

/// Returns the sum of two gradients of one tensor.
fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    gradient_of(a, read2(a, b, add::sum)?)
}
