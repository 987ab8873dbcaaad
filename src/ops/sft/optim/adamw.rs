//! AdamW in f32, step by step as `torch.optim.AdamW` computes it. Decay is decoupled from the gradient (Loshchilov and
//! Hutter 2019). Each weight's update depends on nothing but itself.

use rayon::prelude::*;

use super::{Array, BLOCK, Beat, Kept, State};
use crate::model::{Unit, vectorised};
use crate::spec::params::SftParams;

/// The moments of a tensor. Empty before the first step.
#[derive(Debug)]
pub(super) struct AdamW {
    settings: Settings,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// What is the same for all parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

impl Settings {
    pub(super) fn of(params: &SftParams) -> Self {
        Self { beta1: params.adam_beta1, beta2: params.adam_beta2, epsilon: params.adam_epsilon }
    }
}

/// The factors of one step that are the same for all numbers of a tensor.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    pub(super) keep: f32,
    pub(super) clip: f32,
    pub(super) beta1: f32,
    /// `1 - beta1` and `1 - beta2`, rounded once as torch does.
    pub(super) first: f32,
    pub(super) fresh: f32,
    /// `beta2`.
    pub(super) second: f32,
    pub(super) step: f32,
    pub(super) correction: f32,
    pub(super) epsilon: f32,
}

impl Settings {
    pub(super) fn factors(self, beat: &Beat) -> Factors {
        let correction = |beta: f64| 1.0 - beta.powi(i32::try_from(beat.step).unwrap_or(i32::MAX));
        Factors {
            keep: (1.0 - beat.learning_rate * beat.decay) as f32,
            clip: beat.clip as f32,
            beta1: self.beta1 as f32,
            first: (1.0 - self.beta1) as f32,
            second: self.beta2 as f32,
            fresh: (1.0 - self.beta2) as f32,
            step: (beat.learning_rate / correction(self.beta1)) as f32,
            correction: correction(self.beta2).sqrt() as f32,
            epsilon: self.epsilon as f32,
        }
    }
}

impl AdamW {
    /// Returns the rule of a tensor of so many numbers, with room for their moments.
    pub(super) fn new(settings: Settings, count: usize) -> Self {
        Self { settings, first: Vec::with_capacity(count), second: Vec::with_capacity(count) }
    }
}

impl State for AdamW {
    fn update(&mut self, value: &mut [f32], gradient: &mut [f32], beat: &Beat) {
        let factors = self.settings.factors(beat);
        self.first.resize(value.len(), 0.0);
        self.second.resize(value.len(), 0.0);
        let moments = self.first.par_chunks_mut(BLOCK).zip(self.second.par_chunks_mut(BLOCK));
        let weights = value.par_chunks_mut(BLOCK).zip(gradient.par_chunks_mut(BLOCK));
        weights.zip(moments).for_each(|((value, gradient), (first, second))| {
            update(Unit::best(), [value, gradient, first, second], factors);
        });
    }

    fn arrays(&self) -> Vec<(&'static str, Array<'_>)> {
        vec![("first", Array::F32(&self.first)), ("second", Array::F32(&self.second))]
    }

    fn restore(&mut self, take: &mut dyn FnMut(&str) -> Option<Kept>) -> Option<()> {
        self.first = take("first")?.f32()?;
        self.second = take("second")?.f32()?;
        Some(())
    }
}

vectorised! {
    /// Updates a block: weights, gradients (which become zero), first and second moments.
    fn update(block: [&mut [f32]; 4], factors: Factors) {
        let [value, gradient, first, second] = block;
        let states = first.iter_mut().zip(second);
        for ((value, gradient), (first, second)) in value.iter_mut().zip(gradient).zip(states) {
            let slope = *gradient * factors.clip;
            *gradient = 0.0;
            *first += (slope - *first) * factors.first;
            *second = *second * factors.second + factors.fresh * slope * slope;
            let divisor = second.sqrt() / factors.correction + factors.epsilon;
            *value = *value * factors.keep - factors.step * (*first / divisor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_units_take_the_same_step() {
        let numbers =
            |seed: usize| (0..37).map(|i| ((i * 7919 + seed) % 100) as f32 / 50.0 - 1.0).collect::<Vec<f32>>();
        let factors = Factors {
            keep: 0.99,
            clip: 0.5,
            beta1: 0.9,
            first: 0.1,
            fresh: 0.001,
            second: 0.999,
            step: 0.01,
            correction: 0.3,
            epsilon: 1e-8,
        };
        let run = |unit: Unit| {
            let [mut value, mut gradient, mut first, mut second] = [1, 2, 3, 4].map(numbers);
            for x in &mut second {
                *x *= *x;
            }
            update(unit, [&mut value, &mut gradient, &mut first, &mut second], factors);
            [value, gradient, first, second]
        };
        let all: Vec<_> = Unit::all().into_iter().map(run).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        // By hand, for the first weight: -0.98, with gradient -0.96, moments -0.94 and 0.92².
        let [value, gradient, first, second] = &all[0];
        let (m, v) = (-0.94 + (-0.96 * 0.5 + 0.94) * 0.1, 0.92_f32.powi(2) * 0.999 + 0.001 * 0.48_f32.powi(2));
        assert!((first[0] - m).abs() < 1e-6 && (second[0] - v).abs() < 1e-6 && gradient[0] == 0.0);
        assert!((value[0] - (-0.98 * 0.99 - 0.01 * m / (v.sqrt() / 0.3))).abs() < 1e-6);
    }
}
