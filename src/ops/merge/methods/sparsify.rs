//! Which of a model's differences are kept, and what the kept ones are multiplied by.
//!
//! `ties` keeps the largest, `breadcrumbs` neither the smallest nor the very largest, `dare` any with equal chance, and
//! `della` the larger of each row with a better chance. Rescaling gives the kept ones the sum of magnitudes of all: not
//! the `1/density` of the DARE paper, but what MergeKit does.

use rayon::prelude::*;

use super::super::OpError;
use super::super::part::{Part, Work, rounded};
use super::super::torch;
use super::super::twister::{Twister, uniform};
use super::select::{self, Mask};
use crate::spec::params::MergeMethod as M;
use crate::tensor::Dtype;

/// What is kept of a model's differences.
pub(super) enum Kept {
    /// All, as they are.
    All,
    /// Nothing.
    Nothing,
    /// Those of the mask, multiplied by the factor.
    Some { mask: Mask, factor: Option<f32> },
}

/// Sums below this are not rescaled.
const TOO_SMALL: f32 = 1e-7;

/// Returns what is kept of the differences of part `i`.
pub(super) fn sparsify(method: M, work: &Work<'_>, i: usize, twister: &mut Twister) -> Result<Kept, OpError> {
    let (values, part) = (&work.each[i], &work.parts[i]);
    let density = values.number("density");
    let random = matches!(method, M::DareLinear | M::DareTies);
    if density >= 1.0 || method == M::TaskArithmetic {
        return Ok(Kept::All);
    }
    if density <= 0.0 && !random {
        return Ok(Kept::Nothing);
    }
    let count = work.count();
    let read = |from: usize, out: &mut [f32]| {
        let mut scratch = vec![0.0; out.len()];
        work.passing(part, from, out, &mut scratch);
    };
    let share = |part: f64| (part * count as f64) as usize;
    let short = work.dtype == Dtype::BF16;
    let mask = match method {
        M::Ties => select::largest(count, share(density).max(1), short, &read),
        M::Breadcrumbs | M::BreadcrumbsTies => {
            let kept = share(density);
            let low = count.saturating_sub(kept).saturating_sub(share(values.number("gamma")));
            select::ranks(count, low, low + kept, short, &read)
        }
        M::Della | M::DellaLinear => della(work, part, density, values.number("epsilon"), twister)?,
        _ => {
            let mut mask = vec![0; count.div_ceil(64)];
            twister.below(rounded(wide(work.dtype), density as f32), count, &mut mask);
            mask
        }
    };
    let factor = work.shared.flag("rescale").then(|| factor(work, part, &mask, method)).flatten();
    Ok(Kept::Some { mask, factor })
}

/// The random methods compute f16 in f32, because PyTorch has no draws for f16 on the CPU.
fn wide(dtype: Dtype) -> Dtype {
    if dtype == Dtype::F16 { Dtype::F32 } else { dtype }
}

/// Returns what gives the kept differences the sum of magnitudes of all.
fn factor(work: &Work<'_>, part: &Part<'_>, mask: &Mask, method: M) -> Option<f32> {
    let random = matches!(method, M::DareLinear | M::DareTies | M::Della | M::DellaLinear);
    let dtype = if random { wide(work.dtype) } else { work.dtype };
    let read = |from: usize, [all, some]: &mut [Vec<f32>; 2]| {
        // The second one holds the base until it gets its own numbers.
        work.passing(part, from, all, some);
        for (i, (number, masked)) in all.iter_mut().zip(some).enumerate() {
            *number = number.abs();
            let at = from + i;
            *masked = *number * (mask[at / 64] >> (at % 64) & 1) as u32 as f32;
        }
    };
    let [before, after] = torch::sums(work.count(), dtype != Dtype::F32, read).map(|sum| rounded(dtype, sum));
    (before >= TOO_SMALL && after >= TOO_SMALL).then(|| rounded(dtype, before / after))
}

/// Returns whether the bit of a number is set.
pub(in super::super) fn kept(mask: &Mask, i: usize) -> bool {
    mask[i / 64] >> (i % 64) & 1 == 1
}

/// Draws with a chance that grows with the rank of a difference in its row.
fn della(work: &Work<'_>, part: &Part<'_>, density: f64, epsilon: f64, twister: &mut Twister) -> Result<Mask, OpError> {
    check_chances(density, epsilon)?;
    let dtype = wide(work.dtype);
    let (length, inner) = rows(work.shape);
    let block = length * inner;
    let count = work.count();
    let mut mask = vec![0_u64; count.div_ceil(64)];
    let at_once = ((1 << 20) / block).max(1) * block;
    for from in (0..count).step_by(at_once) {
        let mut numbers = vec![0.0; at_once.min(count - from)];
        let mut scratch = numbers.clone();
        work.difference(part, from, &mut numbers, &mut scratch);
        numbers.par_chunks_mut(block).for_each(|block| chances(block, length, inner, dtype, density, epsilon));
        for (i, chance) in numbers.iter().enumerate() {
            let hit = u64::from(uniform(twister.draw()) < *chance);
            mask[(from + i) / 64] |= hit << ((from + i) % 64);
        }
    }
    Ok(mask)
}

/// Says so if a density is nearer to 0 or 1 than chances may be.
pub(in super::super) fn check_chances(density: f64, epsilon: f64) -> Result<(), OpError> {
    if density + epsilon >= 1.0 || density - epsilon <= 0.0 {
        let message = format!("density {density} with epsilon {epsilon} gives chances outside of 0 to 1");
        return Err(OpError::new(message).help("choose them so that density - epsilon > 0 and density + epsilon < 1"));
    }
    Ok(())
}

/// Returns the length of a row and how far apart its numbers are. Rows run along the second axis; a vector is one row.
pub(in super::super) fn rows(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [length] => (*length, 1),
        [_, length, inner @ ..] => (*length, inner.iter().product()),
    }
}

/// Replaces the differences of rows by their chances. Ranks are rounded too: in bfloat16 those above 256 are shared.
fn chances(block: &mut [f32], length: usize, inner: usize, dtype: Dtype, density: f64, epsilon: f64) {
    let round = |number: f32| rounded(dtype, number);
    let rank = |place: usize| round(round(place as f32) + 1.0);
    let (least, most) = (rank(0), rank(length - 1));
    let mut order: Vec<usize> = Vec::with_capacity(length);
    for offset in 0..inner {
        order.clear();
        order.extend(0..length);
        let magnitude = |i: usize| block[i * inner + offset].abs();
        order.sort_by(|a, b| magnitude(*a).total_cmp(&magnitude(*b)));
        let mut places = vec![0; length];
        for (place, i) in order.iter().enumerate() {
            places[*i] = place;
        }
        for (i, place) in places.into_iter().enumerate() {
            // A row of one number has no order; MergeKit divides zero by zero there and stops.
            let share =
                if length == 1 { 0.5 } else { round(round(rank(place) - least) / round(most - least)).clamp(0.0, 1.0) };
            let spread = round(round(share * 2.0) * epsilon as f32);
            // PyTorch multiplies by the scalar as it is, and rounds one that it adds.
            block[i * inner + offset] = round(spread + round((density - epsilon) as f32));
        }
    }
}
