//! Model Stock (Jang et al. 2024, <https://arxiv.org/abs/2403.19522>): the mean of the models, moved towards the base by
//! the angle between their differences. Opposite differences have no such point, and the base stays.

use rayon::prelude::*;

use super::super::combine::{Combine, Each};
use super::super::part::{Work, rounded};
use super::super::torch;
use super::array::{self, map, split, with};

/// What is needed for every number.
struct Stock {
    /// How far the mean is kept, by row.
    ratios: Vec<f32>,
    /// Numbers in a row.
    length: usize,
}

pub(super) fn prepare(work: &Work<'_>) -> Combine {
    if work.base().is_none() {
        return Combine::Copy(0);
    }
    let round = |number: f32| rounded(work.dtype, number);
    let parts = array::others(work);
    let count = parts.len() as f32;
    let length = match work.shape {
        [_, .., last] if work.shared.flag("filter_wise") => *last,
        _ => work.count(),
    };
    let ratio = |cosine: f32| {
        let denominator = round(1.0 + round((count - 1.0) * cosine));
        if denominator.abs() < 1e-6 { 0.0 } else { round(round(count * cosine) / denominator) }
    };
    let rows = 0..work.count() / length;
    // Long rows are read in pieces, by all threads; of short ones each thread takes its own.
    let ratios = if length > array::PIECE {
        rows.map(|row| ratio(cosine(work, &parts, row * length, length))).collect()
    } else {
        let row = |scratch: &mut Vec<f32>, row: usize| ratio(short_cosine(work, &parts, row * length, length, scratch));
        rows.into_par_iter().map_init(Vec::new, row).collect()
    };
    Combine::Each(Box::new(Stock { ratios, length }))
}

/// Returns the mean cosine of the angles between all pairs of differences, `dot` being the sum of their products.
fn mean_cosine(work: &Work<'_>, norms: &[f32], dot: impl Fn(usize, usize) -> f32) -> f32 {
    let round = |number: f32| rounded(work.dtype, number);
    let mut cosines = Vec::new();
    for i in 0..norms.len() {
        for j in i + 1..norms.len() {
            let lengths = round(round(norms[i]) * round(norms[j])).max(work.round(1e-6));
            cosines.push(round(round(dot(i, j)) / lengths).clamp(-1.0, 1.0));
        }
    }
    let sum = cosines.iter().fold(0.0_f32, |sum, cosine| sum + cosine);
    // A mean of 16-bit numbers is taken in f32.
    round(sum / cosines.len() as f32)
}

fn cosine(work: &Work<'_>, parts: &[usize], start: usize, length: usize) -> f32 {
    let read = |part: usize, from: usize, out: &mut [f32]| {
        let mut spare = vec![0.0; out.len()];
        work.passing(&work.parts[parts[part]], start + from, out, &mut spare);
    };
    let norm = |part: usize| {
        let [norm] = torch::norms(length, work.paired(), |from, [out]: &mut [Vec<f32>; 1]| read(part, from, out));
        norm
    };
    let norms: Vec<f32> = (0..parts.len()).map(norm).collect();
    mean_cosine(work, &norms, |i, j| {
        torch::sum(length, work.paired(), &|from, out: &mut [f32]| {
            let mut other = vec![0.0; out.len()];
            read(i, from, out);
            read(j, from, &mut other);
            with(work.dtype, out, &other, |a, b| a * b);
        })
    })
}

fn short_cosine(work: &Work<'_>, parts: &[usize], start: usize, length: usize, scratch: &mut Vec<f32>) -> f32 {
    let [rows, spare] = split(scratch, [parts.len() * length, length]);
    array::differences(work, parts, start, rows, spare);
    array::passed(work, start, length);
    let row = |part: usize| &rows[part * length..(part + 1) * length];
    let norms: Vec<f32> = (0..parts.len()).map(|part| torch::norm(row(part), work.paired())).collect();
    mean_cosine(work, &norms, |i, j| {
        let mut products = row(i).to_vec();
        with(work.dtype, &mut products, row(j), |a, b| a * b);
        torch::sum_of(&products, work.paired())
    })
}

impl Each for Stock {
    fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        let size = out.len();
        let [other, base] = split(scratch, [size; 2]);
        let mut parts = work.others().map(|(_, part)| part);
        if let Some(first) = parts.next() {
            first.read(from, out);
        }
        let mut count = 1.0_f32;
        for part in parts {
            part.read(from, other);
            with(work.dtype, out, other, |sum, number| sum + number);
            count += 1.0;
        }
        map(work.dtype, out, |sum| sum / count);
        if let Some(part) = work.base() {
            part.read(from, base);
        }
        let mut at = 0;
        while at < size {
            let row = (from + at) / self.length;
            let end = size.min((row + 1) * self.length - from);
            let (t, rest) = (self.ratios[row], rounded(work.dtype, 1.0 - self.ratios[row]));
            map(work.dtype, &mut out[at..end], |number| t * number);
            map(work.dtype, &mut base[at..end], |number| rest * number);
            with(work.dtype, &mut out[at..end], &base[at..end], |mean, base| mean + base);
            at = end;
        }
    }
}
