//! Multi-SLERP: the weighted mean of several directions, taken in the plane that touches the sphere at their mean.

use super::super::OpError;
use super::super::combine::Combine;
use super::super::part::{Work, rounded};
use super::super::{torch, trig};
use super::array::{self, Array, weighted_sum};
use crate::tensor::Dtype;

pub(super) fn prepare(work: &Work<'_>) -> Result<Combine, OpError> {
    let round = |number: f32| rounded(work.dtype, number);
    let paired = work.paired();
    let others: Vec<usize> = work.others().map(|(i, _)| i).collect();
    if let [only] = others[..] {
        return Ok(Combine::Copy(only));
    }
    let vectors = array::others(work);
    let base = array::base(work);
    let with_base = |result: Array| match &base {
        Some(base) => Combine::Whole(result.plus(base).numbers),
        None => Combine::Whole(result.numbers),
    };
    if let (Some(base), true) = (work.base, vectors.iter().all(|v| v.numbers.iter().all(|number| *number == 0.0))) {
        // Differences that all round to zero have no direction, and none is needed.
        return Ok(Combine::Copy(base));
    }
    let mut weights: Vec<f32> = others.iter().map(|i| work.round(work.each[*i].number("weight"))).collect();
    if work.shared.flag("normalize_weights") {
        let sum = round(torch::sum_of(&weights, paired));
        if sum == 0.0 {
            return Err(OpError::new("the weights add up to zero, which nothing can be divided by"));
        }
        for weight in &mut weights {
            *weight = round(*weight / sum);
        }
    }
    let eps = work.shared.number("eps");
    let norms: Vec<f32> = vectors.iter().map(Array::norm).collect();
    let unit = |(vector, norm): (&Array, &f32)| {
        let length = round(norm + eps as f32);
        vector.clone().map(|number| number / length)
    };
    let units: Vec<Array> = vectors.iter().zip(&norms).map(unit).collect();
    let mean = weighted_sum(&units, &weights);
    let mean_norm = mean.norm();
    if f64::from(mean_norm) < eps {
        if vectors.len() > 2 {
            let message = "the weighted sum of the models' directions is zero, so there is no mean direction";
            return Err(OpError::new(message).help("choose other weights: opposite models cancel each other"));
        }
        let [first, second] = [0, 1].map(|i| vectors[i].clone().times(weights[i]));
        return Ok(with_base(first.plus(&second)));
    }
    let mean = mean.map(|number| number / mean_norm);
    let tangents: Vec<Array> = units
        .into_iter()
        .map(|unit| {
            let dot = unit.clone().by(&mean).sum();
            let along = mean.clone().times(dot);
            unit.with(&along, |unit, along| unit - along)
        })
        .collect();
    let tangent = weighted_sum(&tangents, &weights);
    let length = round(tangent.norm() + eps as f32);
    let (cosine, sine) = (round(trig::cos(length)), round(trig::sin(length)));
    let result = mean.times(cosine).plus(&tangent.times(round(sine / length)));
    let lengths: Vec<f32> = norms.iter().zip(&weights).map(|(norm, weight)| round(norm * weight)).collect();
    let length = round(torch::sum_of(&lengths, work.dtype != Dtype::F32));
    Ok(with_base(result.times(length)))
}
