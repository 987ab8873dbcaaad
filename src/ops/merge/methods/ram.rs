//! Reinforced Agent Merging (<https://arxiv.org/abs/2601.13572>): a difference that one model alone has is taken whole,
//! one that several have is averaged. `ramplus_tl` amplifies the former by the share of the latter in the tensor.

use rayon::prelude::*;

use super::super::combine::Combine;
use super::super::part::Work;
use crate::tensor::Dtype;

/// Numbers a thread counts at a time.
const PIECE: usize = 1 << 14;

/// What is needed for every number.
pub(in super::super) struct Ram {
    epsilon: f32,
    /// For `ramplus_tl`: what each part's own differences are multiplied by.
    factors: Option<Vec<f32>>,
}

pub(super) fn prepare(work: &Work<'_>, amplify: bool) -> Combine {
    let Some(base) = work.base.filter(|_| work.parts.len() == 1) else {
        let mut ram = Ram { epsilon: work.round(work.shared.number("epsilon")), factors: None };
        if amplify {
            ram.factors = Some(factors(work, &ram));
        }
        return Combine::Ram(ram);
    };
    Combine::Copy(base)
}

/// Returns `1 + r * clamp(shared / own, 0, alpha)` for each part.
fn factors(work: &Work<'_>, ram: &Ram) -> Vec<f32> {
    let (count, models) = (work.count(), work.others().count());
    let counts = (0..count.div_ceil(PIECE)).into_par_iter().map(|piece| {
        let from = piece * PIECE;
        let size = PIECE.min(count - from);
        let mut scratch = Vec::new();
        let differences = ram.differences(work, from, size, &mut scratch);
        let mut counts = vec![[0_u64; 2]; models];
        for i in 0..size {
            let there = (0..models).filter(|model| differences[model * size + i] != 0.0).count();
            for (model, counts) in counts.iter_mut().enumerate() {
                if differences[model * size + i] != 0.0 {
                    counts[usize::from(there > 1)] += 1;
                }
            }
        }
        counts
    });
    let none = || vec![[0_u64; 2]; models];
    let totals = counts.reduce(none, |a, b| a.iter().zip(b).map(|(a, b)| [a[0] + b[0], a[1] + b[1]]).collect());
    totals.into_iter().map(|counts| factor(work, counts)).collect()
}

/// Returns what a part's own differences are multiplied by, given how many are its own and how many it shares.
pub(in super::super) fn factor(work: &Work<'_>, [own, shared]: [u64; 2]) -> f32 {
    let number = |name: &str| work.shared.number(name) as f32;
    let ratio = shared as f32 / (own as f32).max(number("epsilon"));
    1.0 + number("r") * ratio.clamp(0.0, number("alpha").max(0.0))
}

impl Ram {
    /// Returns the differences of all parts, one after the other, with zero for those that are too small.
    fn differences<'s>(&self, work: &Work<'_>, from: usize, size: usize, scratch: &'s mut Vec<f32>) -> &'s mut [f32] {
        let models = work.others().count();
        scratch.resize((models + 1) * size, 0.0);
        let (differences, spare) = scratch.split_at_mut(models * size);
        for ((_, part), out) in work.others().zip(differences.chunks_exact_mut(size)) {
            work.difference(part, from, out, spare);
            for number in out {
                *number *= f32::from(u8::from(number.abs() > self.epsilon));
            }
        }
        differences
    }

    pub(in super::super) fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        let size = out.len();
        let differences = self.differences(work, from, size, scratch);
        let models = differences.len() / size;
        // Factors are f32, and with them PyTorch computes the rest in f32.
        let dtype = if self.factors.is_some() { Dtype::F32 } else { work.dtype };
        let mut shared = vec![0.0_f32; size];
        for model in 0..models {
            for (i, count) in shared.iter_mut().enumerate() {
                *count += f32::from(u8::from(differences[model * size + i] != 0.0));
            }
        }
        out.fill(0.0);
        let mut averaged = vec![0.0; size];
        for (model, own) in differences.chunks_exact_mut(size).enumerate() {
            for ((own, averaged), count) in own.iter_mut().zip(&mut averaged).zip(&shared) {
                *averaged = if *count > 1.0 { *own / *count } else { 0.0 };
                *own = if *count > 1.0 { 0.0 } else { *own };
            }
            work.dtype.round(&mut averaged);
            if let Some(factors) = &self.factors {
                for own in own.iter_mut() {
                    *own *= factors[model];
                }
            }
            own.iter_mut().zip(&averaged).for_each(|(own, averaged)| *own += averaged);
            dtype.round(own);
            out.iter_mut().zip(&*own).for_each(|(sum, number)| *sum += number);
        }
        dtype.round(out);
        if let Some(base) = work.base() {
            base.read(from, &mut averaged);
            out.iter_mut().zip(&averaged).for_each(|(number, base)| *number += base);
            dtype.round(out);
        }
    }
}
