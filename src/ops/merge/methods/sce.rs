//! SCE (<https://arxiv.org/abs/2408.07990>): select the positions where the models differ most, calculate a weight for
//! each model from the energy of its differences, erase what goes against the majority.

use rayon::prelude::*;

use super::super::combine::Combine;
use super::super::part::{Work, rounded};
use super::super::torch;
use super::array::{self, Array};
use super::select;
use super::sparsify::kept;

/// Below this sum of energies all models count the same.
const TOO_SMALL: f64 = 1e-6;

pub(super) fn prepare(work: &Work<'_>) -> Combine {
    let Some(base) = array::base(work) else { return Combine::Copy(0) };
    let mut differences = array::others(work);
    if differences.is_empty() {
        return Combine::Copy(work.base.unwrap_or(0));
    }
    let topk = work.shared.number("select_topk");
    if topk < 1.0 {
        keep(&mut differences, topk, work);
    }
    let weights = weights(&differences, work);
    let least = work.round(1e-6);
    let dtype = work.dtype;
    let round = |number: f32| rounded(dtype, number);
    let mut out = base.numbers;
    out.par_iter_mut().enumerate().for_each(|(i, out)| {
        let sum = differences.iter().fold(0.0_f32, |sum, array| sum + array.numbers[i]);
        let sign = if round(sum) >= 0.0 { 1.0 } else { -1.0 };
        let (mut merged, mut total) = (0.0_f32, 0.0_f32);
        for (array, weight) in differences.iter().zip(&weights) {
            let number = array.numbers[i];
            let weight = if number * sign > 0.0 { *weight } else { 0.0 };
            merged += round(number * weight);
            total += weight;
        }
        *out = round(*out + round(round(merged) / round(total).max(least)));
    });
    Combine::Whole(out)
}

/// Sets the differences to zero except where their variance over the models is largest.
fn keep(differences: &mut [Array], share: f64, work: &Work<'_>) {
    let count = work.count();
    let models = differences.len() as f64;
    let variances: Vec<f32> = (0..count)
        .into_par_iter()
        .map(|i| {
            let mean = differences.iter().map(|array| f64::from(array.numbers[i])).sum::<f64>() / models;
            let square = |array: &Array| (f64::from(array.numbers[i]) - mean).powi(2);
            work.round(differences.iter().map(square).sum::<f64>() / models)
        })
        .collect();
    let some = variances.par_iter().filter(|variance| **variance != 0.0).count();
    let keep = if share <= 0.0 { 0 } else { (some as f64 * share) as usize };
    let read = |from: usize, out: &mut [f32]| out.copy_from_slice(&variances[from..from + out.len()]);
    let mask = select::largest(count, keep, false, &read);
    for array in differences {
        array.numbers.par_iter_mut().enumerate().for_each(|(i, number)| {
            if !kept(&mask, i) {
                *number = 0.0;
            }
        });
    }
}

/// Returns each model's share of the mean square of the differences.
fn weights(differences: &[Array], work: &Work<'_>) -> Vec<f32> {
    let count = work.count() as f32;
    // A mean of 16-bit numbers is taken in f32.
    let energy = |array: &Array| {
        let squares = array.clone().map(|number| number * number);
        rounded(work.dtype, torch::sum_of(&squares.numbers, false) / count)
    };
    let energies: Vec<f32> = differences.iter().map(energy).collect();
    let sum = rounded(work.dtype, energies.iter().fold(0.0_f32, |sum, energy| sum + energy));
    if f64::from(sum.abs()) < TOO_SMALL {
        return vec![work.round(1.0 / differences.len() as f64); differences.len()];
    }
    energies.into_iter().map(|energy| rounded(work.dtype, energy / sum)).collect()
}
