//! What is done to the numbers of one tensor, once all that concerns the whole tensor is known.

use super::fused;
use super::methods::{nearswap, ram, task};
use super::part::Work;

/// What is done to every number of a tensor.
pub(super) enum Combine {
    /// Takes the number of one of the parts.
    Copy(usize),
    /// Multiplies the number of the only part.
    Scale(f32),
    /// Adds up weighted numbers, and divides by the sum of the weights if it is given.
    Mean { weights: Vec<f32>, sum: Option<f32> },
    /// As [`Combine::Mean`], with every product rounded.
    Products { weights: Vec<f32>, sum: Option<f32> },
    /// Adds up the weighted numbers of two parts. `straight` where slerp fell back to the chord.
    Pair { parts: [usize; 2], weights: [f32; 2], straight: bool },
    /// Moves the base towards the other part.
    Near(nearswap::Near),
    /// Adds sparse weighted differences to the base.
    Task(task::Task),
    /// Adds differences by how many parts have them.
    Ram(ram::Ram),
    /// Takes numbers that were computed in float64.
    Wide(Vec<f64>),
    /// What a method does that looks at tensors as vectors.
    Each(Box<dyn Each>),
}

/// What is done to every number of a tensor, in steps that pass over a piece one after the other.
pub(super) trait Each: Send + Sync {
    /// Writes the merged numbers that begin at `from` to `out`.
    fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>);
}

impl Combine {
    /// Writes the merged numbers that begin at `from` to `out`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    pub(super) fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        let size = out.len();
        match self {
            Combine::Copy(part) => work.parts[*part].read(from, out),
            Combine::Scale(factor) => {
                work.parts[0].read(from, out);
                for number in out.iter_mut() {
                    *number *= factor;
                }
                work.dtype.round(out);
            }
            Combine::Mean { weights, sum } => {
                scratch.resize(size, 0.0);
                out.fill(0.0);
                for (part, weight) in work.parts.iter().zip(weights) {
                    part.read(from, scratch);
                    fused::multiply_add(out, scratch, *weight);
                }
                if let Some(sum) = sum {
                    for number in out.iter_mut() {
                        *number /= sum;
                    }
                }
                work.dtype.round(out);
            }
            Combine::Products { weights, sum } => {
                scratch.resize(size, 0.0);
                out.fill(0.0);
                for (part, weight) in work.parts.iter().zip(weights) {
                    part.read(from, scratch);
                    for number in scratch.iter_mut() {
                        *number *= weight;
                    }
                    work.dtype.round(scratch);
                    out.iter_mut().zip(&*scratch).for_each(|(sum, product)| *sum += product);
                }
                work.dtype.round(out);
                if let Some(sum) = sum {
                    for number in out.iter_mut() {
                        *number /= sum;
                    }
                    work.dtype.round(out);
                }
            }
            Combine::Pair { parts, weights, .. } => {
                scratch.resize(size, 0.0);
                work.parts[parts[0]].read(from, out);
                work.parts[parts[1]].read(from, scratch);
                for (number, other) in out.iter_mut().zip(scratch) {
                    *number = weights[0] * *number + weights[1] * *other;
                }
                work.dtype.round(out);
            }
            Combine::Near(near) => near.numbers(work, from, out, scratch),
            Combine::Task(task) => task.numbers(work, from, out, scratch),
            Combine::Ram(ram) => ram.numbers(work, from, out, scratch),
            Combine::Wide(all) => {
                out.iter_mut().zip(&all[from..]).for_each(|(out, number)| *out = *number as f32);
            }
            Combine::Each(each) => each.numbers(work, from, out, scratch),
        }
    }
}
