//! AdamW with clipping, in f32, step by step as `torch.optim.AdamW` and `clip_grad_norm_` compute it.
//!
//! Decay is decoupled from the gradient (Loshchilov and Hutter 2019) and leaves norms and biases alone, as transformers' trainer
//! does. The norm of all gradients is summed in f64 over blocks of a fixed size, in order, so it does not depend on the
//! number of threads; each weight's update depends on nothing but itself.

use std::sync::Arc;

use rayon::prelude::*;

use crate::model::{Parameter, Unit, vectorised};
use crate::spec::params::SftParams;

/// Numbers that one task updates, and the size of the blocks in the sum of squares.
const BLOCK: usize = 1 << 14;
/// Partial sums of a block.
const LANES: usize = 8;
/// What torch adds to a norm before dividing by it.
const NORM_GUARD: f64 = 1e-6;

/// The moments of all weights, and how many steps were taken.
pub(super) struct AdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    decay: f64,
    steps: i32,
    moments: Vec<Moments>,
}

#[derive(Default)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

/// The factors of one step that are the same for all numbers of a parameter.
#[derive(Clone, Copy)]
struct Factors {
    keep: f32,
    clip: f32,
    first: f32,
    second: f32,
    step: f32,
    correction: f32,
    epsilon: f32,
}

impl AdamW {
    /// Returns an optimizer that has taken no step.
    pub(super) fn new(params: &SftParams) -> Self {
        Self {
            beta1: params.adam_beta1,
            beta2: params.adam_beta2,
            epsilon: params.adam_epsilon,
            decay: params.weight_decay,
            steps: 0,
            moments: Vec::new(),
        }
    }

    /// Takes a step with gradients times `clip`, and sets the gradients to zero.
    pub(super) fn step(&mut self, parameters: &[Arc<Parameter>], learning_rate: f64, clip: f64) {
        self.steps += 1;
        self.moments.resize_with(parameters.len(), Moments::default);
        let correction = |beta: f64| 1.0 - beta.powi(self.steps);
        for (parameter, moments) in parameters.iter().zip(&mut self.moments) {
            let decay = if parameter.kind().decays() { self.decay } else { 0.0 };
            let factors = Factors {
                keep: (1.0 - learning_rate * decay) as f32,
                clip: clip as f32,
                first: (1.0 - self.beta1) as f32,
                second: self.beta2 as f32,
                step: (learning_rate / correction(self.beta1)) as f32,
                correction: correction(self.beta2).sqrt() as f32,
                epsilon: self.epsilon as f32,
            };
            let fresh = (1.0 - self.beta2) as f32;
            parameter.update(|value, gradient| {
                moments.first.resize(value.len(), 0.0);
                moments.second.resize(value.len(), 0.0);
                let states = moments.first.par_chunks_mut(BLOCK).zip(moments.second.par_chunks_mut(BLOCK));
                let weights = value.par_chunks_mut(BLOCK).zip(gradient.par_chunks_mut(BLOCK));
                weights.zip(states).for_each(|((value, gradient), (first, second))| {
                    update(Unit::best(), [value, gradient, first, second], factors, fresh);
                });
            });
        }
    }
}

vectorised! {
    /// Updates a block: weights, gradients, first and second moments. `fresh` is `1 - beta2`, rounded once as torch does.
    fn update(block: [&mut [f32]; 4], factors: Factors, fresh: f32) {
        let [value, gradient, first, second] = block;
        let states = first.iter_mut().zip(second);
        for ((value, gradient), (first, second)) in value.iter_mut().zip(gradient).zip(states) {
            let slope = *gradient * factors.clip;
            *gradient = 0.0;
            *first += (slope - *first) * factors.first;
            *second = *second * factors.second + fresh * slope * slope;
            let divisor = second.sqrt() / factors.correction + factors.epsilon;
            *value = *value * factors.keep - factors.step * (*first / divisor);
        }
    }
}

/// Returns the L2 norm of all gradients together.
pub(super) fn gradient_norm(parameters: &[Arc<Parameter>]) -> f64 {
    let squares = |parameter: &Arc<Parameter>| {
        parameter.update(|_, gradient| {
            let blocks: Vec<f64> =
                gradient.par_chunks(BLOCK).map(|block| sum_of_squares(Unit::best(), block)).collect();
            blocks.iter().sum::<f64>()
        })
    };
    parameters.iter().map(squares).sum::<f64>().sqrt()
}

vectorised! {
    fn sum_of_squares(numbers: &[f32]) -> f64 {
        let mut lanes = [0.0f64; LANES];
        let chunks = numbers.chunks_exact(LANES);
        let mut rest = 0.0;
        for x in chunks.remainder() {
            rest += f64::from(*x) * f64::from(*x);
        }
        for chunk in chunks {
            for i in 0..LANES {
                lanes[i] += f64::from(chunk[i]) * f64::from(chunk[i]);
            }
        }
        lanes.iter().sum::<f64>() + rest
    }
}

/// Returns what gradients of this norm are multiplied with; a limit of zero means no clipping.
pub(super) fn clip_factor(norm: f64, limit: f64) -> f64 {
    if limit > 0.0 { (limit / (norm + NORM_GUARD)).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_units_take_the_same_step() {
        let numbers =
            |seed: usize| (0..37).map(|i| ((i * 7919 + seed) % 100) as f32 / 50.0 - 1.0).collect::<Vec<f32>>();
        let factors =
            Factors { keep: 0.99, clip: 0.5, first: 0.1, second: 0.999, step: 0.01, correction: 0.3, epsilon: 1e-8 };
        let run = |unit: Unit| {
            let [mut value, mut gradient, mut first, mut second] = [1, 2, 3, 4].map(numbers);
            for x in &mut second {
                *x *= *x;
            }
            let norm = sum_of_squares(unit, &gradient);
            update(unit, [&mut value, &mut gradient, &mut first, &mut second], factors, 0.001);
            ([value, gradient, first, second], norm.to_bits())
        };
        let all: Vec<_> = Unit::all().into_iter().map(run).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        // By hand, for the first weight: -0.98, with gradient -0.96, moments -0.94 and 0.92².
        let [value, gradient, first, second] = &all[0].0;
        let (m, v) = (-0.94 + (-0.96 * 0.5 + 0.94) * 0.1, 0.92_f32.powi(2) * 0.999 + 0.001 * 0.48_f32.powi(2));
        assert!((first[0] - m).abs() < 1e-6 && (second[0] - v).abs() < 1e-6 && gradient[0] == 0.0);
        assert!((value[0] - (-0.98 * 0.99 - 0.01 * m / (v.sqrt() / 0.3))).abs() < 1e-6);
    }
}
