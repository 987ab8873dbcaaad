//! Task arithmetic and its family: weighted, sparse differences to the base, added to it.
//!
//! Every step is rounded to the type of the tensors: the difference, the kept part rescaled, the product with the
//! weight (itself rounded), the sum over the models, the division, and the sum with the base. With `ties` a number only
//! counts where its sign is that of the sum; a sum of zero counts as positive, and a zero has no sign.

use super::super::OpError;
use super::super::combine::Combine;
use super::super::fused::round_short;
use super::super::part::Work;
use super::super::twister::Twister;
use super::sparsify::{Kept, sparsify, spread};
use crate::spec::params::MergeMethod as M;
use crate::tensor::{Dtype, round_f16};

/// Numbers computed at a time: all buffers together fit the nearest cache.
const BLOCK: usize = 1 << 10;

/// What is needed for every number.
pub(in super::super) struct Task {
    pub(super) kept: Vec<Kept>,
    /// Rounded to the type of the tensors.
    pub(super) weights: Vec<f32>,
    pub(super) consensus: bool,
    pub(super) normalize: bool,
    pub(super) lambda: f32,
    /// The sum of the weights, where it is the same for all numbers.
    pub(super) sum: f32,
}

pub(super) fn prepare(method: M, work: &Work<'_>, twister: &mut Twister) -> Result<Combine, OpError> {
    let others: Vec<usize> = work.others().map(|(i, _)| i).collect();
    if others.is_empty() {
        return Ok(Combine::Copy(work.base.unwrap_or(0)));
    }
    let kept = others.iter().map(|i| sparsify(method, work, *i, twister)).collect::<Result<Vec<_>, _>>()?;
    let weights: Vec<f32> = others.iter().map(|i| work.round(work.each[*i].number("weight"))).collect();
    let sum = match work.round(f64::from(weights.iter().fold(0.0_f32, |sum, weight| sum + weight))) {
        sum if sum.abs() < 1e-8 => 1.0,
        sum => sum,
    };
    Ok(Combine::Task(Task {
        kept,
        weights,
        consensus: consensus(method),
        normalize: work.shared.flag("normalize"),
        lambda: work.shared.number("lambda") as f32,
        sum,
    }))
}

/// Returns whether only differences of one sign count.
pub(in super::super) fn consensus(method: M) -> bool {
    matches!(method, M::Ties | M::DareTies | M::BreadcrumbsTies | M::Della)
}

/// How results are rounded, known when the loops are compiled.
trait Round {
    fn r(number: f32) -> f32;
}

struct ToF32;
struct ToF16;
struct ToBf16;

impl Round for ToF32 {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn r(number: f32) -> f32 {
        number
    }
}

impl Round for ToF16 {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn r(number: f32) -> f32 {
        round_f16(number)
    }
}

impl Round for ToBf16 {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn r(number: f32) -> f32 {
        round_short(number)
    }
}

impl Task {
    /// Returns whether nothing is multiplied by lambda.
    pub(super) fn plain(&self) -> bool {
        (self.lambda - 1.0).abs() < f32::EPSILON / 4.0
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    pub(in super::super) fn numbers(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut Vec<f32>) {
        scratch.resize((self.weights.len() + 4) * BLOCK, 0.0);
        for (i, out) in out.chunks_mut(BLOCK).enumerate() {
            let from = from + i * BLOCK;
            match work.dtype {
                Dtype::F16 => self.block::<ToF16>(work, from, out, scratch),
                Dtype::BF16 => self.block::<ToBf16>(work, from, out, scratch),
                _ => self.block::<ToF32>(work, from, out, scratch),
            }
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn block<R: Round>(&self, work: &Work<'_>, from: usize, out: &mut [f32], scratch: &mut [f32]) {
        let size = out.len();
        let (weighted, spare) = scratch.split_at_mut(self.weights.len() * BLOCK);
        let (base, spare) = spare.split_at_mut(BLOCK);
        let (signs, spare) = spare.split_at_mut(BLOCK);
        let (divisor, flags) = spare.split_at_mut(BLOCK);
        let (base, signs, divisor, flags) = (&mut base[..size], &mut signs[..size], &mut divisor[..size], flags);
        if let Some(part) = work.base() {
            part.read(from, base);
        }
        signs.fill(0.0);
        for (((_, part), weighted), (kept, weight)) in
            work.others().zip(weighted.chunks_mut(BLOCK)).zip(self.kept.iter().zip(&self.weights))
        {
            let weighted = &mut weighted[..size];
            part.read(from, weighted);
            let factor = match kept {
                Kept::All | Kept::Nothing => None,
                Kept::Some { factor, .. } | Kept::Between { factor, .. } => *factor,
            };
            let scale = Scale { factor, weight: *weight };
            match kept {
                Kept::All => scale.by::<R>(weighted, base, signs, |_, _| 1.0),
                Kept::Nothing => scale.by::<R>(weighted, base, signs, |_, _| 0.0),
                Kept::Some { mask, .. } => {
                    spread(mask, from, &mut flags[..size]);
                    let flags = &flags[..size];
                    scale.by::<R>(weighted, base, signs, |i, _| flags[i]);
                }
                Kept::Between { between, .. } => {
                    let mut place = 0;
                    while place < size {
                        let span = between.span(from + place);
                        let here = place..size.min(span.until - from);
                        place = here.end;
                        let (base, signs) = (&base[here.clone()], &mut signs[here.clone()]);
                        scale.by::<R>(&mut weighted[here], base, signs, |_, number| span.flag(number));
                    }
                }
            }
        }
        if self.consensus {
            self.agree::<R>(weighted, signs, divisor, out);
        } else {
            out.iter_mut().zip(&*signs).for_each(|(out, sum)| *out = R::r(*sum));
            divisor.fill(self.sum);
        }
        for ((out, divisor), base) in out.iter_mut().zip(&*divisor).zip(&*base) {
            let mixed = if self.normalize { R::r(*out / divisor) } else { *out };
            let mixed = if self.plain() { mixed } else { R::r(mixed * self.lambda) };
            *out = R::r(base + mixed);
        }
    }

    /// Adds up what has the sign of the sum, and the weights of it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn agree<R: Round>(&self, weighted: &[f32], signs: &mut [f32], divisor: &mut [f32], out: &mut [f32]) {
        for sum in &mut *signs {
            *sum = if R::r(*sum) >= 0.0 { 1.0 } else { -1.0 };
        }
        out.fill(0.0);
        divisor.fill(0.0);
        for (weighted, weight) in weighted.chunks(BLOCK).zip(&self.weights) {
            for (((out, divisor), number), sign) in out.iter_mut().zip(&mut *divisor).zip(weighted).zip(&*signs) {
                let agrees = if number * sign > 0.0 { 1.0 } else { 0.0 };
                *out += number * agrees;
                *divisor += weight * agrees;
            }
        }
        for (out, divisor) in out.iter_mut().zip(divisor) {
            *out = R::r(*out);
            *divisor = R::r(*divisor);
            *divisor = if *divisor == 0.0 { 1.0 } else { *divisor };
        }
    }
}

/// What the differences of a model are multiplied by.
#[derive(Clone, Copy)]
struct Scale {
    factor: Option<f32>,
    weight: f32,
}

impl Scale {
    /// Makes weighted differences of numbers, and adds them to the sums. `flag` says by 1 or 0 what is kept.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn by<R: Round>(self, numbers: &mut [f32], base: &[f32], sums: &mut [f32], flag: impl Fn(usize, f32) -> f32) {
        let count = numbers.len();
        let (base, sums) = (&base[..count], &mut sums[..count]);
        let factor = self.factor.filter(|factor| (factor - 1.0).abs() >= f32::EPSILON / 4.0);
        // Two loops rather than a choice in one.
        if let Some(factor) = factor {
            for i in 0..count {
                let difference = R::r(numbers[i] - base[i]);
                let scaled = R::r(difference * flag(i, difference) * factor);
                numbers[i] = R::r(scaled * self.weight);
                sums[i] += numbers[i];
            }
        } else {
            for i in 0..count {
                let difference = R::r(numbers[i] - base[i]);
                numbers[i] = R::r(difference * flag(i, difference) * self.weight);
                sums[i] += numbers[i];
            }
        }
    }
}
