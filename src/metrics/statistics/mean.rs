//! Means with standard errors, of samples that stand alone and of samples that share a passage or subject.

/// 97.5 % of a normal distribution lie below.
pub(super) const Z95: f64 = 1.959_963_984_540_054;

/// A mean and how far it may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean; no number where there are no samples.
    pub mean: f64,
    /// Its standard error; no number where one sample, or one cluster, cannot tell.
    pub error: f64,
    /// Samples.
    pub count: usize,
}

impl Estimate {
    /// The interval that holds the true mean 95 times of 100, if samples are many.
    pub fn interval(&self) -> (f64, f64) {
        (self.mean - Z95 * self.error, self.mean + Z95 * self.error)
    }
}

/// The mean with its standard error, s/√n with n - 1 degrees of freedom: what lm-evaluation-harness and lighteval report.
pub fn mean(samples: &[f64]) -> Estimate {
    let count = samples.len();
    let mean = average(samples);
    let squares = ordered_sum(samples.iter().map(|sample| (sample - mean).powi(2)).collect());
    let error = if count < 2 { f64::NAN } else { (squares / (count - 1) as f64 / count as f64).sqrt() };
    Estimate { mean, error, count }
}

/// The mean with a standard error that allows for samples of one cluster being alike: `clusters` names each sample's. With
/// the correction for few clusters, G / (G - 1), so that clusters of one give [`mean`]'s.
///
/// # Panics
///
/// If there is not one cluster for each sample.
pub fn clustered(samples: &[f64], clusters: &[usize]) -> Estimate {
    assert_eq!(samples.len(), clusters.len(), "each sample has a cluster");
    let mean = average(samples);
    let error = spread(samples.iter().map(|sample| sample - mean), clusters) / samples.len() as f64;
    Estimate { mean, error, count: samples.len() }
}

/// The sum of the first of each pair over the sum of the second, and the standard error of that ratio by linearisation
/// (Cochran, *Sampling Techniques*, 3rd ed., 6.4): with residuals `d = y - R x`, `sqrt(n / (n - 1) * sum d²) / sum x`.
///
/// lm-eval gives no standard error for bits per byte. The mean of the rows' own ratios would have an easy one, but it is
/// another figure: short rows would weigh as much as long ones.
pub fn ratio(pairs: &[(f64, f64)], clusters: Option<&[usize]>) -> Estimate {
    let count = pairs.len();
    let bottom = ordered_sum(pairs.iter().map(|pair| pair.1).collect());
    let mean = ordered_sum(pairs.iter().map(|pair| pair.0).collect()) / bottom;
    let residuals = pairs.iter().map(|(top, bottom)| top - mean * bottom);
    let error = if let Some(clusters) = clusters {
        spread(residuals, clusters) / bottom
    } else if count < 2 {
        f64::NAN
    } else {
        let squares = ordered_sum(residuals.map(|residual| residual.powi(2)).collect());
        (squares * count as f64 / (count as f64 - 1.0)).sqrt() / bottom
    };
    Estimate { mean, error, count }
}

/// The standard error of a sum whose residuals are these, as far as clusters differ; no number for a single one.
fn spread(residuals: impl Iterator<Item = f64>, clusters: &[usize]) -> f64 {
    let sums = sums(residuals, clusters);
    let groups = sums.len() as f64;
    let squares = ordered_sum(sums.iter().map(|sum| sum * sum).collect());
    if groups < 2.0 { f64::NAN } else { (squares * groups / (groups - 1.0)).sqrt() }
}

/// The mean of the means of groups, each of which counts the same, and its standard error.
pub fn macro_mean(groups: &[Estimate]) -> Estimate {
    let number = groups.len() as f64;
    let mean = ordered_sum(groups.iter().map(|group| group.mean).collect()) / number;
    let error = ordered_sum(groups.iter().map(|group| group.error.powi(2)).collect()).sqrt() / number;
    Estimate { mean, error, count: groups.iter().map(|group| group.count).sum() }
}

/// The sum over each cluster, in the order of their names.
fn sums(values: impl Iterator<Item = f64>, clusters: &[usize]) -> Vec<f64> {
    let mut named: Vec<(usize, f64)> = clusters.iter().copied().zip(values).collect();
    // A stable sort: sums do not depend on anything but the order of samples.
    named.sort_by_key(|(cluster, _)| *cluster);
    named.chunk_by(|a, b| a.0 == b.0).map(|group| group.iter().map(|(_, value)| value).sum()).collect()
}

pub(super) fn average(samples: &[f64]) -> f64 {
    ordered_sum(samples.to_vec()) / samples.len() as f64
}

/// The sum of sorted numbers, so that the order of samples has no influence, not even on the last bit.
fn ordered_sum(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.iter().sum()
}

/// The standard error of groups taken together, from theirs and their sizes: lm-evaluation-harness's
/// `pooled_sample_stderr`.
pub fn pooled_error(groups: &[(f64, usize)]) -> f64 {
    let count: usize = groups.iter().map(|(_, count)| count).sum();
    let squares = groups.iter().map(|(error, count)| count.saturating_sub(1) as f64 * error * error * *count as f64);
    (squares.sum::<f64>() / (count as f64 - groups.len() as f64) / count as f64).sqrt()
}

/// Wilson's interval (1927) of a proportion, which holds for few samples and near 0 and 1 too.
pub fn proportion_interval(right: usize, count: usize) -> (f64, f64) {
    let (n, z) = (count as f64, Z95);
    let part = right as f64 / n;
    let middle = (part + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z * (part * (1.0 - part) / n + z * z / (4.0 * n * n)).sqrt() / (1.0 + z * z / n);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}
