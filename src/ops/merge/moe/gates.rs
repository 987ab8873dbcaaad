//! The routers: for each layer and expert a vector that tokens are compared with.

use super::super::normal::Random;
use super::super::{OpCx, OpError, Parent};
use super::family::Family;
use super::prompts::{Prompts, cheap, hidden};
use crate::ops::lora::singular_values;
use crate::spec::params::{GateMode, MoeExpert, MoeParams};
use crate::tensor::Dtype;

/// From here on MergeKit calls the routers of a layer degenerate: one expert is hardly ever chosen.
const DEGENERATE: f64 = 5.0;

/// Routers, by layer, expert, and place in the hidden state.
pub(super) struct Gates {
    experts: usize,
    width: usize,
    numbers: Vec<f32>,
}

impl Gates {
    /// Makes the routers.
    pub(super) fn make(
        params: &MoeParams,
        family: Family,
        base: &Parent<'_>,
        (layers, width): (usize, usize),
        random: &mut Random,
        cx: &OpCx<'_>,
    ) -> Result<Self, OpError> {
        let experts = family.routers(params);
        let count = layers * experts * width;
        let numbers = match params.gate_mode {
            GateMode::Random => random.normal(Dtype::F32, count),
            GateMode::UniformRandom => {
                let scale = (1.0 / width as f64).sqrt() as f32;
                random.uniform(count).into_iter().map(|number| number * 2.0 * scale - scale).collect()
            }
            mode => {
                let all: Vec<&MoeExpert> = params.all_experts().map(|(_, expert)| expert).take(experts).collect();
                from_prompts(mode, &all, base, (layers, width), cx)?
            }
        };
        Ok(Self { experts, width, numbers })
    }

    /// Returns the routers of a layer: those of some experts, one after the other.
    pub(super) fn of(&self, layer: usize, experts: std::ops::Range<usize>) -> &[f32] {
        let start = layer * self.experts * self.width;
        &self.numbers[start + experts.start * self.width..start + experts.end * self.width]
    }

    /// Returns in how many layers the routers hardly tell the experts apart.
    pub(super) fn degenerate(&self) -> usize {
        let layers = self.numbers.chunks_exact((self.experts * self.width).max(1));
        let condition = |layer: &[f32]| match singular_values(layer, self.experts) {
            Ok(values) => f64::from(values[0]) / f64::from(values[values.len() - 1]),
            Err(_) => f64::INFINITY,
        };
        layers.filter(|layer| condition(layer) > DEGENERATE).count()
    }
}

/// The routers of each expert are what the base makes of its prompts, less what it makes of those it should not answer.
fn from_prompts(
    mode: GateMode,
    experts: &[&MoeExpert],
    base: &Parent<'_>,
    (layers, width): (usize, usize),
    cx: &OpCx<'_>,
) -> Result<Vec<f32>, OpError> {
    let mut numbers = vec![0.0; layers * experts.len() * width];
    let prompts = Prompts::new(base)?;
    cx.progress.phase("reading prompts", Some(experts.len() as u64), "experts");
    let mut model = None;
    for (i, expert) in experts.iter().enumerate() {
        cx.check_cancelled()?;
        let mut state = |texts: &[String]| match mode {
            GateMode::CheapEmbed => Ok(cheap(base, &prompts.tokens(texts)?)?.repeat(layers)),
            _ => hidden(base, &mut model, &prompts.tokens(texts)?, mode == GateMode::HiddenAvg, (layers, width)),
        };
        let mut states = state(&expert.positive_prompts)?;
        if !expert.negative_prompts.is_empty() {
            let against = state(&expert.negative_prompts)?;
            states.iter_mut().zip(against).for_each(|(number, other)| *number -= other);
        }
        for (layer, state) in states.chunks_exact_mut(width).enumerate() {
            unit(state);
            let place = (layer * experts.len() + i) * width;
            numbers[place..place + width].copy_from_slice(state);
        }
        cx.progress.position(i as u64 + 1);
    }
    Ok(numbers)
}

/// Divides a vector by its length.
pub(super) fn unit(vector: &mut [f32]) {
    let squares: f64 = vector.iter().map(|number| f64::from(*number) * f64::from(*number)).sum();
    let length = (squares.sqrt() as f32).max(1e-8);
    vector.iter_mut().for_each(|number| *number /= length);
}
