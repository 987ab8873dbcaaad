//! The weighted mean of models (model soups, Wortsman et al. 2022, <https://arxiv.org/abs/2203.05482>).
//!
//! As MergeKit 0.1.5 computes it: from zero, one fused multiply-add in f32 for each model in order, then a division by
//! the f32 sum of the f32 weights, then one rounding to the type of the tensor. A fused operation rounds once where a
//! product and a sum round twice, so it is not a matter of speed here but of the same bits.

use super::OpError;
use super::combine::Rule;

/// Returns the rule for these weights, one a model, which need not add up to one.
pub(super) fn rule(weights: &[f64]) -> Result<Rule, OpError> {
    let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
    let sum: f32 = weights.iter().sum();
    if sum == 0.0 || !sum.is_finite() {
        return Err(OpError::new(format!("the weights {weights:?} add up to {sum}, which nothing can be divided by")));
    }
    Ok(Rule::Mean { weights, sum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_without_a_sum_are_refused() {
        assert!(rule(&[0.5, -0.5]).is_err());
        assert!(rule(&[f64::MAX, 1.0]).is_err());
        assert!(rule(&[1e-60, 0.0]).is_err());
        assert!(rule(&[3.0, -1.0]).is_ok());
    }
}
