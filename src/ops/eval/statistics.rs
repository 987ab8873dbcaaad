//! A score and how far it may be from the one on all texts of the kind: its standard error.
//!
//! The rows are taken as drawn independently. `None` stands where a single row says nothing about the spread.

/// A figure and its standard error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) stderr: Option<f64>,
}

/// Returns the mean, and `s / sqrt(n)` with the sample deviation `s`. For zeros and ones of mean p that is
/// `sqrt(p (1 - p) / (n - 1))`, as in lm-eval. The sums are over sorted numbers, so the order has no influence.
pub(super) fn mean(numbers: &[f64]) -> Estimate {
    let count = numbers.len() as f64;
    let value = ordered_sum(numbers.to_vec()) / count;
    let squares = ordered_sum(numbers.iter().map(|number| (number - value).powi(2)).collect());
    Estimate { value, stderr: (numbers.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt()) }
}

/// Returns the sum of the first of each pair over the sum of the second, and the standard error of that ratio by
/// linearisation (Cochran, *Sampling Techniques*, 3rd ed., 6.4): with residuals `d = y - R x`,
/// `sqrt(n / (n - 1) * sum d²) / sum x`.
///
/// lm-eval gives no standard error for bits per byte. The mean of the rows' own ratios would have an easy one, but it is
/// another figure: short rows would weigh as much as long ones.
pub(super) fn ratio(pairs: &[(f64, f64)]) -> Estimate {
    let count = pairs.len() as f64;
    let bottom = ordered_sum(pairs.iter().map(|pair| pair.1).collect());
    let value = ordered_sum(pairs.iter().map(|pair| pair.0).collect()) / bottom;
    let squares = ordered_sum(pairs.iter().map(|(top, bottom)| (top - value * bottom).powi(2)).collect());
    Estimate { value, stderr: (pairs.len() > 1).then(|| (squares * count / (count - 1.0)).sqrt() / bottom) }
}

fn ordered_sum(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() <= 1e-12 * right.abs().max(1.0)
    }

    #[test]
    fn the_error_of_a_share_is_the_binomial_one() {
        let mut answers = vec![1.0; 30];
        answers.extend(vec![0.0; 10]);
        let Estimate { value, stderr } = mean(&answers);
        assert!(close(value, 0.75));
        assert!(close(stderr.unwrap(), (0.75_f64 * 0.25 / 39.0).sqrt()));
    }

    #[test]
    fn one_row_has_no_error() {
        assert_eq!(mean(&[2.0]).stderr, None);
        assert_eq!(ratio(&[(4.0, 2.0)]).stderr, None);
    }

    #[test]
    fn a_ratio_over_equal_rows_is_a_mean() {
        let tops = [3.0, 5.0, 4.5, 2.0];
        let as_ratio = ratio(&tops.map(|top| (top, 1.0)));
        let as_mean = mean(&tops);
        assert!(close(as_ratio.value, as_mean.value));
        assert!(close(as_ratio.stderr.unwrap(), as_mean.stderr.unwrap()));
    }

    #[test]
    fn the_linearised_error_agrees_with_the_jackknife() {
        // Both estimate the same variance and differ by terms of order 1/n.
        let pairs: Vec<(f64, f64)> = (0_u32..400)
            .map(|i| {
                let bytes = 50.0 + f64::from(i * 7919 % 100);
                (bytes * (2.0 + 0.3 * f64::from(i * 104_729 % 17) / 17.0), bytes)
            })
            .collect();
        let count = pairs.len() as f64;
        let (top, bottom) = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        let without: Vec<f64> = pairs.iter().map(|pair| (top - pair.0) / (bottom - pair.1)).collect();
        let mean = without.iter().sum::<f64>() / count;
        let jackknife = ((count - 1.0) / count * without.iter().map(|r| (r - mean).powi(2)).sum::<f64>()).sqrt();
        let linearised = ratio(&pairs).stderr.unwrap();
        assert!((linearised / jackknife - 1.0).abs() < 0.01, "{linearised} {jackknife}");
    }
}
