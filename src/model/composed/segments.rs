//! Parts of a model that are computed a second time in the backward pass, on candle's own graph.
//!
//! In the forward pass a part gets numbers without a history and gives a variable, so what lies between is let go of at
//! once. Backwards the parts are run again, the last one first, each from what it got, with the gradient of what it gave; that
//! of what it got goes on through whatever lies before it, to the variables of earlier parts.

use std::cell::RefCell;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var, bail};

use super::Composed;
use crate::model::engine::{Part, Recompute};

/// What one part does.
type Run<'a> = dyn Fn(&Composed<'a>, &Tensor) -> Result<Tensor>;

/// A part, what it got and what it gave.
struct Segment<'a> {
    run: Box<Run<'a>>,
    x: Tensor,
    out: Var,
}

/// The parts of a forward pass, in order.
pub(in crate::model) struct Segments<'a> {
    /// Which parts these are.
    pub(super) of: Part,
    run: RefCell<Vec<Segment<'a>>>,
}

impl<'a> Composed<'a> {
    /// Returns the same blocks, which keep only what each part gets that is to be computed again.
    pub(in crate::model) fn recording(self, recompute: Recompute) -> Self {
        let of = match recompute {
            Recompute::Nothing => return self,
            Recompute::FeedForward => Part::FeedForward,
            Recompute::Layers => Part::Layer,
        };
        Self { segments: Some(Segments { of, run: RefCell::default() }), ..self }
    }

    /// Runs a part without a history, and keeps what is needed to run it again.
    pub(super) fn record(&self, segments: &Segments<'a>, x: &Tensor, run: Box<Run<'a>>) -> Result<Tensor> {
        let out = Var::from_tensor(&run(self, &x.detach())?.detach())?;
        let given = out.as_tensor().clone();
        segments.run.borrow_mut().push(Segment { run, x: x.clone(), out });
        Ok(given)
    }

    /// Runs a pass backwards from its loss, and shows the gradients of each stretch.
    pub(in crate::model) fn backward(
        &self,
        root: &Tensor,
        mut found: impl FnMut(&mut GradStore) -> Result<()>,
    ) -> Result<()> {
        let mut segments = self.segments.as_ref().map(|segments| segments.run.take()).unwrap_or_default();
        // What was found out so far of the gradient of what each part gave.
        let mut gradients = vec![None; segments.len()];
        let mut stretch = |from: Tensor, segments: &[Segment<'_>], gradients: &mut [Option<Tensor>]| {
            let mut store = from.backward()?;
            found(&mut store)?;
            for (segment, sum) in segments.iter().zip(gradients) {
                let Some(gradient) = store.remove(segment.out.as_tensor()) else { continue };
                let gradient = gradient.detach();
                *sum = Some(match sum.take() {
                    Some(sum) => (sum + gradient)?,
                    None => gradient,
                });
            }
            Ok::<_, candle_core::Error>(store)
        };
        stretch(root.clone(), &segments, &mut gradients)?;
        let plain = self.with(self.adapters.clone());
        while let (Some(Segment { run, x, .. }), Some(gradient)) = (segments.pop(), gradients.pop()) {
            let Some(gradient) = gradient else { bail!("the loss does not depend on a part of the model") };
            let again = Var::from_tensor(&x.detach())?;
            let given = (run(&plain, again.as_tensor())? * gradient)?.sum_all()?;
            let mut store = stretch(given, &[], &mut [])?;
            let Some(before) = store.remove(again.as_tensor()) else {
                bail!("a part of the model does not depend on what comes before it")
            };
            drop(store);
            stretch((x * before.detach())?.sum_all()?, &segments, &mut gradients)?;
        }
        Ok(())
    }
}
