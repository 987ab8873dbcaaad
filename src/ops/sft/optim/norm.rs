//! The norm of all gradients, as `clip_grad_norm_` takes it.
//!
//! It is summed in f64 over blocks of a fixed size, in order, so it does not depend on the number of threads.

use std::sync::Arc;

use rayon::prelude::*;

use super::BLOCK;
use crate::model::{Parameter, Unit, vectorised};

/// Partial sums of a block.
const LANES: usize = 8;
/// What torch adds to a norm before dividing by it.
const NORM_GUARD: f64 = 1e-6;

/// Returns the L2 norm of all gradients together.
pub(in crate::ops::sft) fn gradient_norm(parameters: &[Arc<Parameter>]) -> f64 {
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
pub(in crate::ops::sft) fn clip_factor(norm: f64, limit: f64) -> f64 {
    if limit > 0.0 { (limit / (norm + NORM_GUARD)).min(1.0) } else { 1.0 }
}
