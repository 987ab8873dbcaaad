//! Model Stock (Jang et al. 2024, <https://arxiv.org/abs/2403.19522>): the mean of the models, moved towards the base by
//! the angle between their differences. Opposite differences have no such point, and the base stays.

use rayon::prelude::*;

use super::super::combine::Combine;
use super::super::part::{Work, rounded};
use super::super::torch;
use super::array::{self, Array};

pub(super) fn prepare(work: &Work<'_>) -> Combine {
    let round = |number: f32| rounded(work.dtype, number);
    let Some(base) = array::base(work) else { return Combine::Copy(0) };
    let offsets = array::others(work);
    let count = offsets.len() as f32;
    let length = match work.shape {
        [_, .., last] if work.shared.flag("filter_wise") => *last,
        _ => work.count(),
    };
    let rows = work.count() / length;
    let ratios: Vec<f32> = (0..rows)
        .into_par_iter()
        .map(|row| {
            let row = row * length..(row + 1) * length;
            let cosine = cosine(work, &offsets, row);
            let denominator = round(1.0 + round((count - 1.0) * cosine));
            if denominator.abs() < 1e-6 { 0.0 } else { round(round(count * cosine) / denominator) }
        })
        .collect();
    let models: Vec<Array> = work.others().map(|(_, part)| Array::new(part.all(), work.dtype)).collect();
    let sum = models[1..].iter().fold(models[0].clone(), super::array::Array::plus);
    let mut out = sum.map(|number| number / count).numbers;
    out.par_chunks_mut(length).zip(base.numbers.par_chunks(length)).zip(&ratios).for_each(|((out, base), t)| {
        let rest = round(1.0 - t);
        for (out, base) in out.iter_mut().zip(base) {
            *out = round(round(t * *out) + round(rest * base));
        }
    });
    Combine::Whole(out)
}

/// Returns the mean cosine of the angles between all pairs of differences.
fn cosine(work: &Work<'_>, offsets: &[Array], row: std::ops::Range<usize>) -> f32 {
    let round = |number: f32| rounded(work.dtype, number);
    let paired = work.paired();
    let mut cosines = Vec::new();
    for (i, a) in offsets.iter().enumerate() {
        for b in &offsets[i + 1..] {
            let (a, b) = (&a.numbers[row.clone()], &b.numbers[row.clone()]);
            let lengths = round(round(torch::norm(a, paired)) * round(torch::norm(b, paired))).max(work.round(1e-6));
            let products = |from: usize, out: &mut [f32]| {
                let size = out.len();
                for ((out, a), b) in out.iter_mut().zip(&a[from..from + size]).zip(&b[from..from + size]) {
                    *out = a * b;
                }
                work.dtype.round(out);
            };
            let dot = round(torch::sum(a.len(), paired, &products));
            cosines.push(round(dot / lengths).clamp(-1.0, 1.0));
        }
    }
    let sum = cosines.iter().fold(0.0_f32, |sum, cosine| sum + cosine);
    // A mean of 16-bit numbers is taken in f32.
    round(sum / cosines.len() as f32)
}
