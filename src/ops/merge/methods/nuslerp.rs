//! NuSLERP: spherical interpolation by weights, of two tensors or of their differences to a base, as one vector or
//! along the last or the first axis.
//!
//! Unlike `slerp` it computes in the type of the tensors. Numbers along the first axis lie apart, and PyTorch adds those
//! in another order.

use rayon::prelude::*;

use super::super::combine::Combine;
use super::super::part::{Work, rounded};
use super::super::{torch, trig};
use super::array;
use crate::tensor::Dtype;

/// Vectors shorter than this are divided by it.
const LEAST_LENGTH: f64 = 1e-7;

pub(super) fn prepare(work: &Work<'_>) -> Combine {
    let weights: Vec<f64> = work.others().map(|(i, _)| work.each[i].number("weight")).collect();
    let total: f64 = weights.iter().sum();
    let t = if total.abs() < 1e-6 { 0.5 } else { weights[1] / total };
    let vectors = array::others(work);
    let (v0, v1) = (&vectors[0].numbers, &vectors[1].numbers);
    let lines = Lines::of(work);
    let merged: Vec<Vec<f32>> = (0..lines.count)
        .into_par_iter()
        .map(|line| {
            let (mut a, b) = (lines.take(v0, line), lines.take(v1, line));
            interpolate(&mut a, &b, t, work.dtype, lines.apart());
            a
        })
        .collect();
    let mut out = array::Array::new(vec![0.0; v0.len()], work.dtype);
    for (line, numbers) in merged.iter().enumerate() {
        lines.put(&mut out.numbers, line, numbers);
    }
    match array::base(work) {
        Some(base) => Combine::Whole(base.plus(&out).numbers),
        None => Combine::Whole(out.numbers),
    }
}

/// How a tensor falls into vectors.
pub(in super::super) struct Lines {
    pub(in super::super) count: usize,
    length: usize,
    stride: usize,
}

impl Lines {
    pub(in super::super) fn of(work: &Work<'_>) -> Self {
        let count = work.count();
        match work.shape {
            [first, .., last] if !work.shared.flag("nuslerp_flatten") => {
                if work.shared.flag("nuslerp_row_wise") {
                    Self { count: count / first, length: *first, stride: count / first }
                } else {
                    Self { count: count / last, length: *last, stride: 1 }
                }
            }
            _ => Self { count: 1, length: count, stride: 1 },
        }
    }

    fn apart(&self) -> bool {
        self.stride > 1
    }

    fn start(&self, line: usize) -> usize {
        if self.stride == 1 { line * self.length } else { line }
    }

    pub(in super::super) fn take<T: Copy>(&self, numbers: &[T], line: usize) -> Vec<T> {
        numbers[self.start(line)..].iter().step_by(self.stride).take(self.length).copied().collect()
    }

    pub(in super::super) fn put<T: Copy>(&self, numbers: &mut [T], line: usize, values: &[T]) {
        let places = numbers[self.start(line)..].iter_mut().step_by(self.stride);
        places.zip(values).for_each(|(number, value)| *number = *value);
    }
}

fn interpolate(a: &mut [f32], b: &[f32], t: f64, dtype: Dtype, apart: bool) {
    let round = |number: f32| rounded(dtype, number);
    let paired = dtype != Dtype::F32;
    let length = |v: &[f32]| {
        let length = round(if apart { torch::norm_apart(v) } else { torch::norm(v, paired) });
        length.max(round(LEAST_LENGTH as f32))
    };
    let (length_a, length_b) = (length(a), length(b));
    let products: Vec<f32> = a.iter().zip(b).map(|(a, b)| round(round(a / length_a) * round(b / length_b))).collect();
    let sum = if apart { torch::sum_apart(&products) } else { torch::sum_of(&products, paired) };
    let cosine = round(sum).clamp(-1.0, 1.0);
    let straight = f64::from(round(1.0 - round(cosine * cosine))) <= 1e-16;
    let (rest, t) = ((1.0 - t) as f32, t as f32);
    if straight {
        for (a, b) in a.iter_mut().zip(b) {
            *a = round(round(rest * *a) + round(t * b));
        }
        return;
    }
    let angle = round(trig::acos(cosine));
    let sine = round(trig::sin(angle));
    let (first, second) = (round(trig::sin(round(rest * angle))), round(trig::sin(round(t * angle))));
    for (a, b) in a.iter_mut().zip(b) {
        *a = round(round(round(first * *a) + round(second * b)) / sine);
    }
}
