//! The Riemannian (Karcher) mean of directions on the sphere, times the mean length.
//!
//! Lengths are f32, the rest is of the tensors' type. A tensor divided by a length takes it as it is; a length times a
//! tensor is first rounded to the type of the tensor. PyTorch's product of two vectors is a library's, whose order of
//! additions is not known; here it is summed in f64 over fixed blocks. Only the mean is kept between two rounds, in the
//! type of the tensors, which loses nothing.

use rayon::prelude::*;

use super::super::combine::{Combine, Each};
use super::super::part::{Work, rounded};
use super::super::{torch, trig};
use super::array::{self, map, split, with};

/// Numbers of a product added at a time.
const BLOCK: usize = 1 << 14;

/// A mean that gets better.
struct Mean<'a, 'b> {
    work: &'a Work<'b>,
    /// The parts that have a direction, and their lengths.
    parts: Vec<(usize, f32)>,
    alpha: f32,
    tolerance: f32,
    bytes: Vec<u8>,
}

/// Finished: the mean, and what it is multiplied by.
struct Done {
    bytes: Vec<u8>,
    scale: f32,
}

/// How a direction differs from the mean.
#[derive(Clone, Copy)]
struct Away {
    part: usize,
    length: f32,
    dot: f32,
    factor: f32,
}

pub(super) fn prepare(work: &Work<'_>) -> Combine {
    if work.parts.len() == 1 {
        return Combine::Copy(0);
    }
    let (rounds, tolerance) = (work.shared.number("max_iter").max(0.0) as usize, work.shared.number("tol") as f32);
    let share = (1.0 / work.parts.len() as f64) as f32;
    let mut scale = 0.0_f32;
    let mut parts = Vec::new();
    for (i, part) in work.parts.iter().enumerate() {
        let [norm] = torch::norms(work.count(), false, |from, [out]: &mut [Vec<f32>; 1]| {
            part.read(from, out);
            part.passed(from, from + out.len());
        });
        scale += share * norm;
        // A length that is no number is kept, so that the numbers behind it are noticed.
        let none = norm <= tolerance;
        if !none {
            parts.push((i, norm));
        }
    }
    if parts.is_empty() {
        let zeros = vec![0; work.count() * work.dtype.size()];
        return Combine::Each(Box::new(Done { bytes: zeros, scale: 1.0 }));
    }
    // The shares of the models that have a direction; equal, so that each is one over their number.
    let total: f64 = parts.iter().map(|_| 1.0 / work.parts.len() as f64).sum();
    let alpha = (1.0 / work.parts.len() as f64 / total) as f32;
    let bytes = vec![0; work.count() * work.dtype.size()];
    let mut mean = Mean { work, parts, alpha, tolerance, bytes };
    mean.begin();
    for _ in 0..rounds {
        if !mean.round() {
            break;
        }
    }
    Combine::Each(Box::new(Done { bytes: mean.bytes, scale: work.round(f64::from(scale)) }))
}

impl Mean<'_, '_> {
    /// Replaces the mean, piece by piece, by what `make` makes of it.
    fn replace(&mut self, make: impl Fn(usize, &mut [f32], &mut Vec<f32>) + Sync) {
        let dtype = self.work.dtype;
        self.bytes.par_chunks_mut(array::PIECE * dtype.size()).enumerate().for_each_init(
            || (Vec::new(), Vec::new()),
            |(numbers, scratch), (i, bytes)| {
                numbers.resize(bytes.len() / dtype.size(), 0.0);
                dtype.read_f32(bytes, numbers);
                make(i * array::PIECE, numbers, scratch);
                dtype.write_f32(numbers, bytes);
            },
        );
    }

    fn read(&self, from: usize, out: &mut [f32]) {
        let size = self.work.dtype.size();
        self.work.dtype.read_f32(&self.bytes[from * size..(from + out.len()) * size], out);
    }

    fn norm(&self) -> f32 {
        let [norm] = torch::norms(self.work.count(), false, |from, [out]: &mut [Vec<f32>; 1]| self.read(from, out));
        norm
    }

    /// Reads the direction of a part.
    fn unit(&self, part: usize, length: f32, from: usize, out: &mut [f32]) {
        self.work.parts[part].read(from, out);
        map(self.work.dtype, out, |number| number / length);
        self.work.parts[part].passed(from, from + out.len());
    }

    fn begin(&mut self) {
        let (dtype, alpha, parts) = (self.work.dtype, self.alpha, self.parts.clone());
        let work = self.work;
        self.replace(|from, mean, scratch| {
            let [unit] = split(scratch, [mean.len()]);
            for (part, length) in &parts {
                work.parts[*part].read(from, unit);
                map(dtype, unit, |number| number / length);
                map(dtype, unit, |number| number * alpha);
                with(dtype, mean, unit, |mean, unit| mean + unit);
            }
        });
        let length = self.norm();
        if length < self.tolerance {
            let (part, length) = parts[0];
            self.replace(|from, mean, _| {
                work.parts[part].read(from, mean);
                map(dtype, mean, |number| number / length);
            });
        } else {
            self.replace(|_, mean, _| map(dtype, mean, |number| number / length));
        }
    }

    /// Moves the mean, and returns whether it had to move.
    fn round(&mut self) -> bool {
        let work = self.work;
        let round = |number: f32| rounded(work.dtype, number);
        let away: Vec<Away> = self.parts.iter().filter_map(|(part, length)| self.away(*part, *length)).collect();
        let [length] = torch::norms(work.count(), false, |from, [out]: &mut [Vec<f32>; 1]| {
            let mut mean = vec![0.0; out.len()];
            self.read(from, &mut mean);
            tangent(work, &away, from, &mean, out, &mut Vec::new());
        });
        if length < self.tolerance {
            return false;
        }
        let (cosine, sine) = (round(trig::cos(length)), round(trig::sin(length)));
        self.replace(|from, mean, scratch| {
            let mut out = vec![0.0; mean.len()];
            tangent(work, &away, from, mean, &mut out, scratch);
            map(work.dtype, &mut out, |number| number / length);
            map(work.dtype, &mut out, |number| number * sine);
            map(work.dtype, mean, |number| number * cosine);
            with(work.dtype, mean, &out, |mean, tangent| mean + tangent);
        });
        let length = self.norm();
        if length > self.tolerance {
            self.replace(|_, mean, _| map(work.dtype, mean, |number| number / length));
        }
        true
    }

    /// Returns how a direction differs from the mean; nothing if it hardly does.
    fn away(&self, part: usize, length: f32) -> Option<Away> {
        let round = |number: f32| rounded(self.work.dtype, number);
        let dot = round(self.dot(part, length)).clamp(-1.0, 1.0);
        let angle = round(trig::acos(dot));
        let factor = round(self.alpha * round(angle / round(trig::sin(angle))));
        // An angle that is no number is not small either.
        let small = angle < self.tolerance;
        (!small).then_some(Away { part, length, dot, factor })
    }

    fn dot(&self, part: usize, length: f32) -> f32 {
        let count = self.work.count();
        let block = |(mean, unit): &mut (Vec<f32>, Vec<f32>), block: usize| -> f64 {
            let from = block * BLOCK;
            mean.resize(BLOCK.min(count - from), 0.0);
            unit.resize(mean.len(), 0.0);
            self.read(from, mean);
            self.unit(part, length, from, unit);
            mean.iter().zip(unit).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let blocks: Vec<f64> = (0..count.div_ceil(BLOCK)).into_par_iter().map_init(Default::default, block).collect();
        blocks.iter().sum::<f64>() as f32
    }
}

/// Makes `out` the mean of the directions from `mean` to each of the others.
fn tangent(work: &Work<'_>, away: &[Away], from: usize, mean: &[f32], out: &mut [f32], scratch: &mut Vec<f32>) {
    let [unit, along] = split(scratch, [mean.len(); 2]);
    out.fill(0.0);
    for Away { part, length, dot, factor } in away {
        work.parts[*part].read(from, unit);
        work.parts[*part].passed(from, from + unit.len());
        map(work.dtype, unit, |number| number / length);
        along.copy_from_slice(mean);
        map(work.dtype, along, |number| number * dot);
        with(work.dtype, unit, along, |unit, along| unit - along);
        map(work.dtype, unit, |number| number * factor);
        with(work.dtype, out, unit, |tangent, away| tangent + away);
    }
}

impl Each for Done {
    fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], _scratch: &mut Vec<f32>) {
        let size = work.dtype.size();
        work.dtype.read_f32(&self.bytes[from * size..(from + out.len()) * size], out);
        map(work.dtype, out, |number| number * self.scale);
    }
}
