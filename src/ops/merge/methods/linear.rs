//! The weighted mean of models (model soups, Wortsman et al. 2022, <https://arxiv.org/abs/2203.05482>).
//!
//! As MergeKit 0.1.5 computes it: from zero, one fused multiply-add in f32 for each model in order, then a division by
//! the f32 sum of the f32 weights, then one rounding to the type of the tensor. A fused operation rounds once where a
//! product and a sum round twice, so it is not a matter of speed here but of the same bits.

use super::super::OpError;
use super::super::combine::Combine;
use super::super::part::Work;
use super::super::torch;
use crate::spec::params::Compat;

/// Returns the mean, weighted, and divided by the sum of the weights if that is asked for.
pub(super) fn prepare(work: &Work<'_>) -> Result<Combine, OpError> {
    if work.compat == Compat::Older {
        return older(work);
    }
    let weights: Vec<f32> = work.each.iter().map(|values| values.number("weight") as f32).collect();
    if !work.shared.flag("normalize") {
        return Ok(Combine::Mean { weights, sum: None });
    }
    let sum = torch::sum_of(&weights, false);
    check(&weights, sum)?;
    Ok(Combine::Mean { weights, sum: Some(sum) })
}

/// As in MergeKit 0.1.4: the weights have the type of the tensor, and every product is rounded to it, the sum of the
/// products, the sum of the weights and the quotient too.
fn older(work: &Work<'_>) -> Result<Combine, OpError> {
    let weights: Vec<f32> = work.each.iter().map(|values| work.round(values.number("weight"))).collect();
    if !work.shared.flag("normalize") {
        return Ok(Combine::Products { weights, sum: None });
    }
    let sum = work.round(f64::from(weights.iter().fold(0.0_f32, |sum, weight| sum + weight)));
    check(&weights, sum)?;
    Ok(Combine::Products { weights, sum: Some(sum) })
}

fn check(weights: &[f32], sum: f32) -> Result<(), OpError> {
    if sum == 0.0 || !sum.is_finite() {
        let message = format!("the weights {weights:?} add up to {sum}, which nothing can be divided by");
        return Err(OpError::new(message));
    }
    Ok(())
}
