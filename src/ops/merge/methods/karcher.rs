//! The Riemannian (Karcher) mean of directions on the sphere, times the mean length.
//!
//! Lengths are f32, the rest is of the tensors' type. A tensor divided by a length takes it as it is; a length times a
//! tensor is first rounded to the type of the tensor. PyTorch's product of two vectors is a library's, whose order of
//! additions is not known; here it is summed in f64 over fixed blocks.

use rayon::prelude::*;

use super::super::combine::Combine;
use super::super::part::{Work, rounded};
use super::super::{torch, trig};
use super::array::Array;

pub(super) fn prepare(work: &Work<'_>) -> Combine {
    if work.parts.len() == 1 {
        return Combine::Copy(0);
    }
    let round = |number: f32| rounded(work.dtype, number);
    let (rounds, tolerance) = (work.shared.number("max_iter").max(0.0) as usize, work.shared.number("tol") as f32);
    let share = (1.0 / work.parts.len() as f64) as f32;
    let mut scale = 0.0_f32;
    let mut units = Vec::new();
    for part in &work.parts {
        let vector = Array::new(part.all(), work.dtype);
        let norm = torch::norm(&vector.numbers, false);
        scale += share * norm;
        if norm > tolerance {
            units.push(vector.map(|number| number / norm));
        }
    }
    if units.is_empty() {
        return Combine::Whole(vec![0.0; work.count()]);
    }
    // The shares of the models that have a direction; equal, so that each is one over their number.
    let total: f64 = units.iter().map(|_| 1.0 / work.parts.len() as f64).sum();
    let alpha = (1.0 / work.parts.len() as f64 / total) as f32;
    let mut mean = Array::zeros(&units[0]);
    for unit in &units {
        mean = mean.plus(&unit.clone().times(alpha));
    }
    let length = torch::norm(&mean.numbers, false);
    mean = if length < tolerance { units[0].clone() } else { mean.map(|number| number / length) };
    for _ in 0..rounds {
        let tangent = tangent(&mean, &units, alpha, tolerance);
        let length = torch::norm(&tangent.numbers, false);
        if length < tolerance {
            break;
        }
        let (cosine, sine) = (round(trig::cos(length)), round(trig::sin(length)));
        mean = mean.times(cosine).plus(&tangent.map(|number| number / length).times(sine));
        let length = torch::norm(&mean.numbers, false);
        if length > tolerance {
            mean = mean.map(|number| number / length);
        }
    }
    Combine::Whole(mean.times(round(scale)).numbers)
}

/// Returns the mean of the directions from `mean` to each of the units.
fn tangent(mean: &Array, units: &[Array], alpha: f32, tolerance: f32) -> Array {
    let round = |number: f32| rounded(mean.dtype, number);
    let mut tangent = Array::zeros(mean);
    for unit in units {
        let dot = round(dot(&mean.numbers, &unit.numbers)).clamp(-1.0, 1.0);
        let angle = round(trig::acos(dot));
        if angle < tolerance {
            continue;
        }
        let factor = round(alpha * round(angle / round(trig::sin(angle))));
        let along = mean.clone().times(dot);
        let away = unit.clone().with(&along, |unit, along| unit - along).times(factor);
        tangent = tangent.plus(&away);
    }
    tangent
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    const BLOCK: usize = 1 << 14;
    let product =
        |(a, b): (&[f32], &[f32])| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let blocks: Vec<f64> = a.par_chunks(BLOCK).zip(b.par_chunks(BLOCK)).map(product).collect();
    blocks.iter().sum::<f64>() as f32
}
