//! Task arithmetic and its family, and SCE.

use super::super::OpError;
use super::super::methods::{select, sparsify};
use super::super::part::Work;
use super::super::torch;
use super::super::twister::{Twister, uniform};
use super::{Parts, dot, sum, times, with};
use crate::spec::params::MergeMethod as M;

pub(super) fn merge(method: M, work: &Work<'_>, all: &Parts, twister: &mut Twister) -> Result<Vec<f64>, OpError> {
    let others: Vec<usize> = all.others().map(|(i, _)| i).collect();
    let Some(base) = all.base() else { return Ok(all.parts[0].clone()) };
    if others.is_empty() {
        return Ok(base.to_vec());
    }
    let weights: Vec<f64> = others.iter().map(|i| work.each[*i].number("weight")).collect();
    let mut weighted = Vec::new();
    for ((i, difference), weight) in others.iter().zip(all.differences()).zip(&weights) {
        weighted.push(times(&sparse(method, work, *i, difference, twister)?, *weight));
    }
    let consensus = matches!(method, M::Ties | M::DareTies | M::BreadcrumbsTies | M::Della);
    let total = match weights.iter().sum::<f64>() {
        sum if sum.abs() < 1e-8 => 1.0,
        sum => sum,
    };
    let (normalize, lambda) = (work.shared.flag("normalize"), work.shared.number("lambda"));
    let each = base.iter().enumerate().map(|(i, base)| {
        let numbers = || weighted.iter().map(|numbers| numbers[i]);
        let (mut mixed, mut divisor) = (numbers().sum::<f64>(), total);
        if consensus {
            let sign = if mixed >= 0.0 { 1.0 } else { -1.0 };
            let agreeing = || numbers().zip(&weights).filter(|(number, _)| number * sign > 0.0);
            mixed = agreeing().map(|(number, _)| number).sum();
            divisor = agreeing().map(|(_, weight)| weight).sum();
            divisor = if divisor == 0.0 { 1.0 } else { divisor };
        }
        let mixed = if normalize { mixed / divisor } else { mixed };
        base + mixed * lambda
    });
    Ok(each.collect())
}

/// Returns the kept differences of part `i`, rescaled if that is asked for.
fn sparse(
    method: M,
    work: &Work<'_>,
    i: usize,
    difference: Vec<f64>,
    twister: &mut Twister,
) -> Result<Vec<f64>, OpError> {
    let values = &work.each[i];
    let density = values.number("density");
    let random = matches!(method, M::DareLinear | M::DareTies | M::Della | M::DellaLinear);
    if density >= 1.0 || method == M::TaskArithmetic {
        return Ok(difference);
    }
    let count = difference.len();
    if density <= 0.0 && !matches!(method, M::DareLinear | M::DareTies) {
        return Ok(vec![0.0; count]);
    }
    let share = |part: f64| (part * count as f64) as usize;
    let read = |from: usize, out: &mut [f32]| {
        out.iter_mut().zip(&difference[from..]).for_each(|(out, number)| *out = *number as f32);
    };
    let mask = match method {
        M::Ties => select::largest(count, share(density).max(1), false, &read),
        M::Breadcrumbs | M::BreadcrumbsTies => {
            let kept = share(density);
            let low = count.saturating_sub(kept).saturating_sub(share(values.number("gamma")));
            select::ranks(count, low, low + kept, false, &read)
        }
        M::Della | M::DellaLinear => della(work, &difference, density, values.number("epsilon"), twister)?,
        _ => {
            let mut mask = vec![0; count.div_ceil(64)];
            twister.below(density as f32, count, &mut mask);
            mask
        }
    };
    let rescale = work.shared.flag("rescale");
    let keep = |i: usize| sparsify::kept(&mask, i);
    if random {
        // On a CPU MergeKit drops in f32.
        let short: Vec<f32> = difference.iter().map(|number| *number as f32).collect();
        let some: Vec<f32> = short.iter().enumerate().map(|(i, x)| if keep(i) { *x } else { 0.0 }).collect();
        let size =
            |numbers: &[f32]| torch::sum_of(&numbers.iter().map(|number| number.abs()).collect::<Vec<_>>(), false);
        let (before, after) = (size(&short), size(&some));
        let factor = if rescale && before >= 1e-7 && after >= 1e-7 { before / after } else { 1.0 };
        return Ok(some.iter().map(|number| f64::from(number * factor)).collect());
    }
    let some: Vec<f64> = difference.iter().enumerate().map(|(i, x)| if keep(i) { *x } else { 0.0 }).collect();
    let size = |numbers: &[f64]| sum(&numbers.iter().map(|number| number.abs()).collect::<Vec<_>>());
    let (before, after) = (size(&difference), size(&some));
    Ok(if rescale && before >= 1e-7 && after >= 1e-7 { times(&some, before / after) } else { some })
}

/// Draws with a chance that grows with the rank of a difference in its row.
fn della(
    work: &Work<'_>,
    difference: &[f64],
    density: f64,
    epsilon: f64,
    twister: &mut Twister,
) -> Result<select::Mask, OpError> {
    sparsify::check_chances(density, epsilon)?;
    let (length, inner) = sparsify::rows(work.shape);
    let mut chances = vec![0.0_f32; difference.len()];
    for start in (0..difference.len()).step_by(length * inner) {
        for offset in start..start + inner {
            let mut order: Vec<usize> = (0..length).map(|place| offset + place * inner).collect();
            order.sort_by(|a, b| difference[*a].abs().total_cmp(&difference[*b].abs()));
            for (place, at) in order.into_iter().enumerate() {
                let share = if length == 1 { 0.5 } else { place as f32 / (length - 1) as f32 };
                chances[at] = share * 2.0 * epsilon as f32 + (density - epsilon) as f32;
            }
        }
    }
    let mut mask = vec![0_u64; difference.len().div_ceil(64)];
    for (i, chance) in chances.iter().enumerate() {
        mask[i / 64] |= u64::from(uniform(twister.draw()) < *chance) << (i % 64);
    }
    Ok(mask)
}

pub(super) fn sce(work: &Work<'_>, all: &Parts) -> Vec<f64> {
    let Some(base) = all.base() else { return all.parts[0].clone() };
    let mut differences = all.differences();
    if differences.is_empty() {
        return base.to_vec();
    }
    let models = differences.len() as f64;
    let topk = work.shared.number("select_topk");
    if topk < 1.0 {
        let variance = |i: usize| {
            let mean = differences.iter().map(|numbers| numbers[i]).sum::<f64>() / models;
            differences.iter().map(|numbers| (numbers[i] - mean).powi(2)).sum::<f64>() / models
        };
        let variances: Vec<f64> = (0..base.len()).map(variance).collect();
        let some = variances.iter().filter(|variance| **variance != 0.0).count();
        let keep = if topk <= 0.0 { 0 } else { (some as f64 * topk) as usize };
        let mut order: Vec<usize> = (0..base.len()).collect();
        order.sort_by(|a, b| variances[*b].total_cmp(&variances[*a]));
        for numbers in &mut differences {
            order[keep..].iter().for_each(|i| numbers[*i] = 0.0);
        }
    }
    let energies: Vec<f64> = differences.iter().map(|numbers| dot(numbers, numbers) / base.len() as f64).collect();
    let total: f64 = energies.iter().sum();
    let weights: Vec<f64> =
        energies.iter().map(|energy| if total.abs() < 1e-6 { 1.0 / models } else { energy / total }).collect();
    let each = (0..base.len()).map(|i| {
        let sign = if differences.iter().map(|numbers| numbers[i]).sum::<f64>() >= 0.0 { 1.0 } else { -1.0 };
        let agreeing = || differences.iter().map(|numbers| numbers[i]).zip(&weights).filter(|(x, _)| x * sign > 0.0);
        let merged: f64 = agreeing().map(|(number, weight)| number * weight).sum();
        merged / agreeing().map(|(_, weight)| weight).sum::<f64>().max(1e-6)
    });
    with(&each.collect::<Vec<f64>>(), base, |number, base| base + number)
}
