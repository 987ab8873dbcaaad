//! What was computed, in order, so that gradients can be computed in the opposite order.
//!
//! candle would record and walk its own graph, but its walk makes a table of zeros for every gradient and adds the
//! gradient to it through a pool of threads that wait for each other in busy loops: measured here at 40 % of a training
//! step, and more where other programs want the processor. Here a gradient is handed on as it is; only where a tensor
//! was used twice are two added. What the forward pass kept is let go of as soon as the backward pass is past it.
//!
//! What comes of a norm, of turning heads and of a gate is not kept: it is had back from what went into it by work on single
//! rows, which costs little beside products, and was two fifths of what a pass of SmolLM2 kept. Where memory is short the
//! product before a gate is not kept either, which is more than half of the rest.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, TensorId};

use super::storage::{gradient_of, read2};
use super::{Fused, add};

/// A part of a model that is computed a second time in the backward pass.
pub(super) type Segment<'a> = dyn Fn(&Fused<'a>, &Tensor) -> Result<Tensor>;

/// An op that was applied, to what, and what came of it.
enum Applied<'a> {
    One { op: Box<dyn CustomOp1>, x: Kept, out: Tensor },
    Two { op: Box<dyn CustomOp2>, x: Kept, y: Tensor, out: Tensor },
    Cheap(Rc<Cheap>),
    Segment { segment: Box<Segment<'a>>, x: Tensor, out: TensorId },
}

/// An op that is sooner run again than what came of it is kept. Its backward pass looks at what it got alone.
struct Cheap {
    op: Box<dyn CustomOp1>,
    x: Kept,
    out: TensorId,
    /// What came of it once more, from when it was asked for until the op itself is run backwards.
    again: OnceCell<Tensor>,
}

/// What an op got.
enum Kept {
    Whole(Tensor),
    Again(Rc<Cheap>),
}

impl Kept {
    fn id(&self) -> TensorId {
        match self {
            Self::Whole(x) => x.id(),
            Self::Again(cheap) => cheap.out,
        }
    }

    fn get(&self) -> Result<Tensor> {
        match self {
            Self::Whole(x) => Ok(x.clone()),
            Self::Again(cheap) => {
                if let Some(out) = cheap.again.get() {
                    return Ok(out.clone());
                }
                let out = cheap.x.get()?.apply_op1_no_bwd(&Lent(&*cheap.op))?;
                Ok(cheap.again.get_or_init(|| out).clone())
            }
        }
    }
}

/// An op that is applied without being given away.
struct Lent<'a>(&'a dyn CustomOp1);

impl CustomOp1 for Lent<'_> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.0.cpu_fwd(x, layout)
    }
}

/// Applies ops, and keeps record of them if gradients are wanted.
pub(super) struct Tape<'a>(Option<RefCell<Record<'a>>>);

/// What was applied, in order, and the cheap ops among it by what came of them.
#[derive(Default)]
struct Record<'a> {
    applied: Vec<Applied<'a>>,
    cheap: HashMap<TensorId, Rc<Cheap>>,
}

impl Record<'_> {
    fn kept(&self, x: &Tensor) -> Kept {
        self.cheap.get(&x.id()).map_or_else(|| Kept::Whole(x.clone()), |cheap| Kept::Again(Rc::clone(cheap)))
    }
}

impl<'a> Tape<'a> {
    /// Returns a tape that records nothing.
    pub(super) fn off() -> Self {
        Self(None)
    }

    /// Returns a tape that records.
    pub(super) fn on() -> Self {
        Self(Some(RefCell::default()))
    }

    /// Applies an op to a tensor.
    pub(super) fn apply1(&self, x: &Tensor, op: impl CustomOp1 + 'static) -> Result<Tensor> {
        let out = x.apply_op1_no_bwd(&op)?;
        if let Some(record) = &self.0 {
            let mut record = record.borrow_mut();
            let x = record.kept(x);
            record.applied.push(Applied::One { op: Box::new(op), x, out: out.clone() });
        }
        Ok(out)
    }

    /// Applies an op to a tensor whose result is not kept for what comes after it. Its backward pass must not look at it.
    pub(super) fn apply_cheap(&self, x: &Tensor, op: impl CustomOp1 + 'static) -> Result<Tensor> {
        let out = x.apply_op1_no_bwd(&op)?;
        if let Some(record) = &self.0 {
            let mut record = record.borrow_mut();
            let (x, out) = (record.kept(x), out.id());
            let cheap = Rc::new(Cheap { op: Box::new(op), x, out, again: OnceCell::new() });
            record.cheap.insert(out, Rc::clone(&cheap));
            record.applied.push(Applied::Cheap(cheap));
        }
        Ok(out)
    }

    /// Applies an op to two tensors.
    pub(super) fn apply2(&self, x: &Tensor, y: &Tensor, op: impl CustomOp2 + 'static) -> Result<Tensor> {
        let out = x.apply_op2_no_bwd(y, &op)?;
        if let Some(record) = &self.0 {
            let mut record = record.borrow_mut();
            let x = record.kept(x);
            record.applied.push(Applied::Two { op: Box::new(op), x, y: y.clone(), out: out.clone() });
        }
        Ok(out)
    }

    /// Keeps record of a segment that was computed without a record of its own.
    pub(super) fn record(&self, segment: Box<Segment<'a>>, x: &Tensor, out: &Tensor) {
        if let Some(record) = &self.0 {
            record.borrow_mut().applied.push(Applied::Segment { segment, x: x.clone(), out: out.id() });
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
        self.backward_from(engine, vec![(root.id(), gradient)], wanted)
    }

    /// As [`Self::backward`], from several tensors, none of which is made of another.
    pub(super) fn backward_from(
        &self,
        engine: &Fused<'a>,
        roots: Vec<(TensorId, Tensor)>,
        wanted: Option<&Tensor>,
    ) -> Result<Option<Tensor>> {
        let Some(record) = &self.0 else { return Ok(None) };
        let mut gradients = Gradients(roots.into_iter().collect());
        while let Some(step) = { record.borrow_mut().applied.pop() } {
            match step {
                Applied::One { op, x, out } => {
                    if let Some(gradient) = gradients.take(out.id()) {
                        gradients.add(x.id(), op.bwd(&x.get()?, &out, &gradient)?)?;
                    }
                }
                Applied::Two { op, x, y, out } => {
                    if let Some(gradient) = gradients.take(out.id()) {
                        let (to_x, to_y) = op.bwd(&x.get()?, &y, &out, &gradient)?;
                        gradients.add(x.id(), to_x)?;
                        gradients.add(y.id(), to_y)?;
                    }
                }
                Applied::Cheap(cheap) => {
                    record.borrow_mut().cheap.remove(&cheap.out);
                    if let Some(gradient) = gradients.take(cheap.out) {
                        let x = cheap.x.get()?;
                        gradients.add(cheap.x.id(), cheap.op.bwd(&x, &x, &gradient)?)?;
                    }
                }
                Applied::Segment { segment, x, out } => {
                    if let Some(gradient) = gradients.take(out) {
                        gradients.add(x.id(), engine.again(&*segment, &x, gradient)?)?;
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

    fn add(&mut self, tensor: TensorId, gradient: Option<Tensor>) -> Result<()> {
        let Some(gradient) = gradient else { return Ok(()) };
        let sum = match self.take(tensor) {
            Some(other) => sum(&other, &gradient)?,
            None => gradient,
        };
        self.0.insert(tensor, sum);
        Ok(())
    }
}

/// Returns the sum of two gradients of one tensor.
fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    gradient_of(a, read2(a, b, add::sum)?)
}
