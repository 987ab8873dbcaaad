//! Two models on the same questions: what they share of luck with a question cancels out in the difference.

use super::mean::{Estimate, average, clustered, mean};

/// How two models compare on the same samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The second model's mean less the first's, with the standard error of paired samples.
    pub difference: Estimate,
    /// The correlation of both models' samples; no number where one of them never varies.
    pub correlation: f64,
    /// Samples on which only the first, and only the second, scored higher.
    pub higher: (usize, usize),
}

/// Compares two models' scores on the same samples in the same order; `clusters`, where given, names each sample's.
///
/// # Panics
///
/// If there is not one score of each model, and one cluster, for each sample.
pub fn compare(first: &[f64], second: &[f64], clusters: Option<&[usize]>) -> Comparison {
    assert_eq!(first.len(), second.len(), "both models answered the same questions");
    let differences: Vec<f64> = first.iter().zip(second).map(|(first, second)| second - first).collect();
    let difference = clusters.map_or_else(|| mean(&differences), |clusters| clustered(&differences, clusters));
    let count = |test: fn(&f64) -> bool| differences.iter().filter(|difference| test(difference)).count();
    Comparison {
        difference,
        correlation: correlation(first, second),
        higher: (count(|difference| *difference < 0.0), count(|difference| *difference > 0.0)),
    }
}

/// Pearson's correlation.
fn correlation(first: &[f64], second: &[f64]) -> f64 {
    let (middle, other) = (average(first), average(second));
    let (mut both, mut left, mut right) = (0.0, 0.0, 0.0);
    for (first, second) in first.iter().zip(second) {
        both += (first - middle) * (second - other);
        left += (first - middle).powi(2);
        right += (second - other).powi(2);
    }
    both / (left * right).sqrt()
}

/// McNemar's exact test (1947) of right and wrong answers: the probability that models of equal skill differ as much as
/// this or more, where `first` questions only one got right and `second` only the other.
pub fn mcnemar(first: usize, second: usize) -> f64 {
    let (fewer, count) = (first.min(second), first + second);
    if first == second {
        return 1.0;
    }
    // ln of the probability of `fewer` heads in `count` throws, and then of ever fewer, each as a part of the one before.
    let chosen: f64 = (0..fewer).map(|index| ((count - index) as f64 / (index + 1) as f64).ln()).sum();
    let most = chosen - count as f64 * std::f64::consts::LN_2;
    let (mut sum, mut part) = (1.0, 1.0);
    for heads in (1..=fewer).rev() {
        part *= heads as f64 / (count - heads + 1) as f64;
        sum += part;
        if part < 1e-20 {
            break;
        }
    }
    (2.0 * most.exp() * sum).min(1.0)
}
