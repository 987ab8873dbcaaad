//! From gradients to changed weights: a rule for each tensor, masters, and what a checkpoint keeps of both.
//!
//! Weight decay leaves norms and biases alone, as transformers' trainer does. With `bf16` the model computes with rounded
//! weights and the rules change masters in f32: a step of 5e-5 on a weight of 0.02 is less than half the distance between
//! two neighbours in bfloat16, and would be lost without them.

mod adamw;
mod muon;
mod norm;
mod quantised;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::model::{Parameter, ParameterKind, Part};
use crate::spec::params::{OptimizerName, SftParams};
use crate::tensor::round_bf16;
pub(super) use norm::{clip_factor, gradient_norm};

/// Numbers that one task updates, and the size of the blocks in the sum of squares.
const BLOCK: usize = 1 << 14;

/// What a step is the same in for all numbers of a parameter.
#[derive(Debug, Clone, Copy)]
struct Beat {
    /// The number of the step, from 1.
    step: u64,
    learning_rate: f64,
    /// What gradients are multiplied by first.
    clip: f64,
    /// The weight decay, 0 for parameters that are left alone.
    decay: f64,
}

/// Numbers that a checkpoint keeps.
#[derive(Debug, Clone, Copy)]
pub(super) enum Array<'a> {
    F32(&'a [f32]),
    U8(&'a [u8]),
}

/// Numbers that a checkpoint kept.
#[derive(Debug)]
pub(super) enum Kept {
    F32(Vec<f32>),
    U8(Vec<u8>),
}

impl Kept {
    fn f32(self) -> Option<Vec<f32>> {
        if let Self::F32(numbers) = self { Some(numbers) } else { None }
    }

    fn u8(self) -> Option<Vec<u8>> {
        if let Self::U8(numbers) = self { Some(numbers) } else { None }
    }
}

/// The rule of one tensor, with what it remembers.
trait State: std::fmt::Debug + Send {
    /// Changes the numbers and sets the gradient to zero.
    fn update(&mut self, value: &mut [f32], gradient: &mut [f32], beat: &Beat);

    /// Returns what must be kept to go on later.
    fn arrays(&self) -> Vec<(&'static str, Array<'_>)>;

    /// Takes back what was kept; nothing if something is missing.
    fn restore(&mut self, take: &mut dyn FnMut(&str) -> Option<Kept>) -> Option<()>;
}

/// The rules of all parameters.
#[derive(Debug)]
pub(super) struct Optimizer {
    decay: f64,
    steps: u64,
    /// For each parameter the rules of its parts, which are tensors of their own in the file.
    states: Vec<Vec<Box<dyn State>>>,
    /// With `bf16`, the numbers that the rules change.
    masters: Option<Vec<Vec<f32>>>,
}

impl Optimizer {
    /// Returns an optimizer that has taken no step.
    pub(super) fn new(params: &SftParams, parameters: &[Arc<Parameter>]) -> Self {
        let states = |parameter: &Arc<Parameter>| {
            parameter.parts().iter().map(|part| state_of(params, parameter.kind(), part)).collect()
        };
        let mut optimizer = Self {
            decay: params.weight_decay,
            steps: 0,
            states: parameters.iter().map(states).collect(),
            masters: params.bf16.then(|| parameters.iter().map(|parameter| parameter.value().clone()).collect()),
        };
        optimizer.round(parameters);
        optimizer
    }

    /// Takes a step with gradients times `clip`, and sets the gradients to zero.
    pub(super) fn step(&mut self, parameters: &[Arc<Parameter>], learning_rate: f64, clip: f64) {
        self.steps += 1;
        for (index, (parameter, states)) in parameters.iter().zip(&mut self.states).enumerate() {
            let decay = if parameter.kind().decays() { self.decay } else { 0.0 };
            let beat = Beat { step: self.steps, learning_rate, clip, decay };
            let master = self.masters.as_mut().map(|masters| &mut masters[index]);
            parameter.update(|value, gradient| {
                let (mut value, mut gradient) = (master.map_or(value, Vec::as_mut_slice), gradient);
                for (part, state) in parameter.parts().iter().zip(states) {
                    let (mine, rest) = value.split_at_mut(part.count());
                    let (slope, slopes) = gradient.split_at_mut(part.count());
                    state.update(mine, slope, &beat);
                    (value, gradient) = (rest, slopes);
                }
            });
        }
        self.round(parameters);
    }

    /// Gives the parameters their masters, rounded.
    fn round(&mut self, parameters: &[Arc<Parameter>]) {
        use rayon::prelude::*;
        let Some(masters) = &self.masters else { return };
        for (parameter, master) in parameters.iter().zip(masters) {
            parameter.update(|value, _| {
                let pairs = value.par_chunks_mut(BLOCK).zip(master.par_chunks(BLOCK));
                pairs.for_each(|(value, master)| {
                    value.iter_mut().zip(master).for_each(|(value, master)| *value = round_bf16(*master));
                });
            });
        }
    }

    /// Lends out all that must be kept to go on later, by name; the weights of the model are among it.
    pub(super) fn keep<E>(
        &self,
        parameters: &[Arc<Parameter>],
        mut take: impl FnMut(&str, Array<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (index, (parameter, states)) in parameters.iter().zip(&self.states).enumerate() {
            let name = |what: &str| format!("{index:05}.{what}");
            match &self.masters {
                Some(masters) => take(&name("weight"), Array::F32(&masters[index]))?,
                None => take(&name("weight"), Array::F32(&parameter.value()))?,
            }
            for (part, state) in states.iter().enumerate() {
                for (what, array) in state.arrays() {
                    take(&name(&format!("{part}.{what}")), array)?;
                }
            }
        }
        Ok(())
    }

    /// Takes back what was kept after so many steps. Nothing if something is missing or of another size, which leaves
    /// weights and optimizer in between.
    pub(super) fn restore(
        &mut self,
        parameters: &[Arc<Parameter>],
        steps: u64,
        mut give: impl FnMut(&str) -> Option<Kept>,
    ) -> Option<()> {
        self.steps = steps;
        for (index, (parameter, states)) in parameters.iter().zip(&mut self.states).enumerate() {
            let weight = give(&format!("{index:05}.weight"))?.f32()?;
            if weight.len() != parameter.value().len() {
                return None;
            }
            match &mut self.masters {
                Some(masters) => masters[index] = weight,
                None => parameter.update(|value, _| value.copy_from_slice(&weight)),
            }
            for (part, state) in states.iter_mut().enumerate() {
                state.restore(&mut |what| give(&format!("{index:05}.{part}.{what}")))?;
            }
        }
        self.round(parameters);
        Some(())
    }
}

/// torch's own default.
const MUON_MOMENTUM: f64 = 0.95;
/// Below so many numbers moments stay in 32 bits, as in bitsandbytes.
const SMALL: usize = 4096;

fn embeds(table: &Part) -> bool {
    table.name.contains("embed")
}

/// Returns the rule of a tensor.
fn state_of(params: &SftParams, kind: ParameterKind, part: &Part) -> Box<dyn State> {
    let settings = adamw::Settings::of(params);
    match params.optimizer {
        OptimizerName::Muon if kind == ParameterKind::Matrix => Box::new(muon::Muon::new(
            params.muon_momentum.unwrap_or(MUON_MOMENTUM),
            part.shape.last().copied().unwrap_or(1),
            part.count(),
        )),
        // transformers keeps those of embeddings in 32 bits.
        OptimizerName::Adamw8bit if !(kind == ParameterKind::Table && embeds(part)) && part.count() >= SMALL => {
            Box::new(quantised::AdamW8bit::new(settings))
        }
        _ => Box::new(adamw::AdamW::new(settings, part.count())),
    }
}
