//! Parts of a model that are computed a second time in the backward pass, on candle's own graph.
//!
//! In the forward pass a part gets numbers without a history and gives a variable, so what lies between is let go of at
//! once. Backwards the parts are run again, the last one first, each from what it got, with the gradient of what it gave.

use std::cell::RefCell;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, bail};

use super::Composed;

/// What one part does.
type Run<'a> = dyn Fn(&Composed<'a>, &Tensor) -> Result<Tensor>;

/// A part, what it got and what it gave.
struct Segment<'a> {
    run: Box<Run<'a>>,
    x: Tensor,
    out: Var,
}

/// The parts of a forward pass, in order.
#[derive(Default)]
pub(in crate::model) struct Segments<'a>(RefCell<Vec<Segment<'a>>>);

impl<'a> Composed<'a> {
    /// Returns the same blocks, which keep only what each part gets.
    pub(in crate::model) fn recording(self) -> Self {
        Self { segments: Some(Segments::default()), ..self }
    }

    /// Runs a part without a history, and keeps what is needed to run it again.
    pub(super) fn record(&self, segments: &Segments<'a>, x: &Tensor, run: Box<Run<'a>>) -> Result<Tensor> {
        let out = Var::from_tensor(&run(self, &x.detach())?.detach())?;
        let given = out.as_tensor().clone();
        segments.0.borrow_mut().push(Segment { run, x: x.clone(), out });
        Ok(given)
    }

    /// Runs a pass backwards from its loss, and shows the gradients of each stretch.
    pub(in crate::model) fn backward(
        &self,
        root: &Tensor,
        mut found: impl FnMut(&mut GradStore) -> Result<()>,
    ) -> Result<()> {
        let mut own = root.backward()?;
        found(&mut own)?;
        let Some(segments) = &self.segments else { return Ok(()) };
        let mut segments = segments.0.take();
        let Some(last) = segments.last() else { return Ok(()) };
        let plain = self.with(self.adapters.clone());
        let Some(mut gradient) = own.remove(last.out.as_tensor()) else { bail!("the loss depends on no layer") };
        while let Some(Segment { run, x, .. }) = segments.pop() {
            let again = Var::from_tensor(&x.detach())?;
            let out = run(&plain, again.as_tensor())?;
            let mut store = (out * gradient.detach())?.sum_all()?.backward()?;
            found(&mut store)?;
            let Some(before) = store.remove(again.as_tensor()) else {
                bail!("a layer does not depend on the one before")
            };
            gradient = before;
            // An exit behind the part before asks for something of its own.
            let own = segments.last().and_then(|segment| own.remove(segment.out.as_tensor()));
            if let Some(own) = own {
                gradient = (gradient.detach() + own.detach())?;
            }
            if segments.is_empty() {
                // What the first part got has a history of its own.
                found(&mut (x * gradient.detach())?.sum_all()?.backward()?)?;
                break;
            }
        }
        Ok(())
    }
}
