//! Multi-SLERP: the weighted mean of several directions, taken in the plane that touches the sphere at their mean.
//!
//! Four passes find the lengths, that of the mean, the parts of each direction along the mean, and the length of the
//! tangent; a fifth writes the result.

use rayon::prelude::*;

use super::super::OpError;
use super::super::combine::{Combine, Each};
use super::super::part::{Work, rounded};
use super::super::{torch, trig};
use super::array::{self, map, split, weighted_sum, with};

/// What is needed for every number.
struct Sphere {
    parts: Vec<usize>,
    weights: Vec<f32>,
    /// What each vector is divided by.
    lengths: Vec<f32>,
    mean_length: f32,
    /// The part of each direction that lies along the mean.
    dots: Vec<f32>,
    cosine: f32,
    /// What the tangent is multiplied by.
    tangent: f32,
    /// The length of the result.
    scale: f32,
}

/// Two opposite vectors, added up as they are.
struct Opposite {
    parts: Vec<usize>,
    weights: Vec<f32>,
}

pub(super) fn prepare(work: &Work<'_>) -> Result<Combine, OpError> {
    let parts = array::others(work);
    if let [only] = parts[..] {
        return Ok(Combine::Copy(only));
    }
    if let (Some(base), true) = (work.base, all_zero(work, &parts)) {
        // Differences that all round to zero have no direction, and none is needed.
        return Ok(Combine::Copy(base));
    }
    let weights = weights(work, &parts)?;
    let round = |number: f32| rounded(work.dtype, number);
    let eps = work.shared.number("eps");
    let norms: Vec<f32> = parts.iter().map(|part| norm_of_part(work, *part)).collect();
    let lengths = norms.iter().map(|norm| round(norm + eps as f32)).collect();
    let lengths_sum: Vec<f32> = norms.iter().zip(&weights).map(|(norm, weight)| round(norm * weight)).collect();
    let scale = round(torch::sum_of(&lengths_sum, work.paired()));
    let dots = vec![0.0; parts.len()];
    let mut sphere = Sphere { parts, weights, lengths, mean_length: 1.0, dots, cosine: 1.0, tangent: 0.0, scale };
    let mean_length = sphere.norm(work, |sphere, pieces| sphere.mean(work, pieces));
    if f64::from(mean_length) < eps {
        if sphere.parts.len() > 2 {
            return Err(no_mean());
        }
        return Ok(Combine::Each(Box::new(Opposite { parts: sphere.parts, weights: sphere.weights })));
    }
    sphere.mean_length = mean_length;
    sphere.dots = (0..sphere.parts.len()).map(|which| sphere.dot(work, which)).collect();
    let length = round(sphere.norm(work, |sphere, pieces| sphere.tangent(work, pieces)) + eps as f32);
    sphere.cosine = round(trig::cos(length));
    sphere.tangent = round(round(trig::sin(length)) / length);
    Ok(Combine::Each(Box::new(sphere)))
}

/// What is said of more than two models that cancel each other.
pub(in super::super) fn no_mean() -> OpError {
    OpError::new("the weighted sum of the models' directions is zero, so there is no mean direction")
        .help("choose other weights: opposite models cancel each other")
}

fn all_zero(work: &Work<'_>, parts: &[usize]) -> bool {
    work.base().is_some()
        && (0..work.count().div_ceil(array::PIECE)).into_par_iter().all(|piece| {
            let from = piece * array::PIECE;
            let size = array::PIECE.min(work.count() - from);
            let (mut numbers, mut spare) = (vec![0.0; size * parts.len()], vec![0.0; size]);
            array::differences(work, parts, from, &mut numbers, &mut spare);
            numbers.iter().all(|number| *number == 0.0)
        })
}

/// Returns the weights of the parts, divided by their sum if that is asked for.
pub(in super::super) fn weights(work: &Work<'_>, parts: &[usize]) -> Result<Vec<f32>, OpError> {
    let mut weights: Vec<f32> = parts.iter().map(|i| work.round(work.each[*i].number("weight"))).collect();
    if work.shared.flag("normalize_weights") {
        let sum = rounded(work.dtype, torch::sum_of(&weights, work.paired()));
        if sum == 0.0 {
            return Err(OpError::new("the weights add up to zero, which nothing can be divided by"));
        }
        for weight in &mut weights {
            *weight = rounded(work.dtype, *weight / sum);
        }
    }
    Ok(weights)
}

fn norm_of_part(work: &Work<'_>, part: usize) -> f32 {
    let read = |from: usize, [out]: &mut [Vec<f32>; 1]| {
        let size = out.len();
        work.passing(&work.parts[part], from, out, &mut vec![0.0; size]);
    };
    let [norm] = torch::norms(work.count(), work.paired(), read);
    rounded(work.dtype, norm)
}

/// A piece of each direction, and of what is made of them.
struct Pieces<'a> {
    units: &'a mut [f32],
    mean: &'a mut [f32],
    out: &'a mut [f32],
    spare: &'a mut [f32],
}

impl Sphere {
    /// Reads the directions of a piece.
    fn units(&self, work: &Work<'_>, from: usize, pieces: &mut Pieces<'_>) {
        array::differences(work, &self.parts, from, pieces.units, pieces.spare);
        for (unit, length) in pieces.units.chunks_exact_mut(pieces.spare.len()).zip(&self.lengths) {
            map(work.dtype, unit, |number| number / length);
        }
    }

    /// Makes `out` the mean as it is.
    fn mean(&self, work: &Work<'_>, pieces: &mut Pieces<'_>) {
        weighted_sum(work.dtype, pieces.units, &self.weights, pieces.out, pieces.spare);
    }

    /// Makes `mean` the direction of the mean.
    fn direction(&self, work: &Work<'_>, pieces: &mut Pieces<'_>) {
        weighted_sum(work.dtype, pieces.units, &self.weights, pieces.mean, pieces.spare);
        map(work.dtype, pieces.mean, |number| number / self.mean_length);
    }

    /// Makes `out` the mean of what is left of the directions across the mean.
    fn tangent(&self, work: &Work<'_>, pieces: &mut Pieces<'_>) {
        self.direction(work, pieces);
        for (unit, dot) in pieces.units.chunks_exact_mut(pieces.spare.len()).zip(&self.dots) {
            pieces.spare.copy_from_slice(pieces.mean);
            map(work.dtype, pieces.spare, |number| number * dot);
            with(work.dtype, unit, pieces.spare, |unit, along| unit - along);
        }
        weighted_sum(work.dtype, pieces.units, &self.weights, pieces.out, pieces.spare);
    }

    /// Calls `make` on the directions of a piece, with its result in `out`.
    fn piece(
        &self,
        work: &Work<'_>,
        from: usize,
        out: &mut [f32],
        scratch: &mut Vec<f32>,
        make: impl Fn(&Self, &mut Pieces<'_>),
    ) {
        let size = out.len();
        let [units, mean, spare] = split(scratch, [size * self.parts.len(), size, size]);
        let mut pieces = Pieces { units, mean, out, spare };
        self.units(work, from, &mut pieces);
        make(self, &mut pieces);
    }

    /// Returns the rounded length of what `make` makes.
    fn norm(&self, work: &Work<'_>, make: impl Fn(&Self, &mut Pieces<'_>) + Sync) -> f32 {
        let read = |from: usize, [out]: &mut [Vec<f32>; 1]| {
            self.pieces(work, from, out, &make);
        };
        let [norm] = torch::norms(work.count(), work.paired(), read);
        rounded(work.dtype, norm)
    }

    fn pieces(&self, work: &Work<'_>, from: usize, out: &mut [f32], make: &impl Fn(&Self, &mut Pieces<'_>)) {
        let mut scratch = Vec::new();
        for (i, out) in out.chunks_mut(array::PIECE).enumerate() {
            self.piece(work, from + i * array::PIECE, out, &mut scratch, make);
        }
        array::passed(work, from, out.len());
    }

    /// Returns the part of a direction along the mean.
    fn dot(&self, work: &Work<'_>, which: usize) -> f32 {
        let sum = torch::sum(work.count(), work.paired(), &|from, out: &mut [f32]| {
            self.pieces(work, from, out, &|sphere: &Self, pieces: &mut Pieces<'_>| {
                sphere.direction(work, pieces);
                let size = pieces.out.len();
                pieces.out.copy_from_slice(&pieces.units[which * size..(which + 1) * size]);
                with(work.dtype, pieces.out, pieces.mean, |unit, mean| unit * mean);
            });
        });
        rounded(work.dtype, sum)
    }
}

impl Each for Sphere {
    fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        self.piece(work, from, out, scratch, |sphere, pieces| {
            sphere.tangent(work, pieces);
            map(work.dtype, pieces.mean, |number| number * sphere.cosine);
            map(work.dtype, pieces.out, |number| number * sphere.tangent);
            with(work.dtype, pieces.out, pieces.mean, |tangent, mean| mean + tangent);
            map(work.dtype, pieces.out, |number| number * sphere.scale);
            array::plus_base(work, from, pieces.out, pieces.spare);
        });
    }
}

impl Each for Opposite {
    fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        let size = out.len();
        let [both, spare] = split(scratch, [2 * size, size]);
        array::differences(work, &self.parts, from, both, spare);
        let (first, second) = both.split_at_mut(size);
        map(work.dtype, first, |number| number * self.weights[0]);
        map(work.dtype, second, |number| number * self.weights[1]);
        out.copy_from_slice(first);
        with(work.dtype, out, second, |first, second| first + second);
        array::plus_base(work, from, out, spare);
    }
}
