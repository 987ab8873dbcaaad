//! Numbers against scipy's and statsmodels'; `text.json` is made by `tests/fixtures/metrics/text.py`.

#![expect(clippy::float_cmp, reason = "scores of 0 and 1, and the same computation twice")]

use proptest::prelude::*;
use serde_json::Value;

use super::{
    bootstrap, bootstrap_clustered, clustered, compare, macro_mean, mcnemar, mean, pooled_error, proportion_interval,
    ratio,
};

const GOLDEN: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/text.json"));

fn golden() -> Value {
    serde_json::from_str::<Value>(GOLDEN).unwrap()["statistics"].clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn close(ours: f64, golden: &Value) {
    let golden = golden.as_f64().unwrap();
    assert!((ours - golden).abs() <= 1e-9 * golden.abs().max(1e-12), "{ours}, reference {golden}");
}

#[test]
fn errors_are_scipys_and_statsmodels() {
    let golden = golden();
    let (first, second) = (numbers(&golden["first"]), numbers(&golden["second"]));
    let clusters: Vec<usize> = numbers(&golden["clusters"]).into_iter().map(|cluster| cluster as usize).collect();
    close(mean(&first).error, &golden["error"]);
    close(clustered(&first, &clusters).error, &golden["clustered"]);
    let alone = compare(&first, &second, None);
    close(alone.difference.mean, &golden["difference"]);
    close(alone.difference.error, &golden["difference_error"]);
    close(alone.correlation, &golden["correlation"]);
    close(compare(&first, &second, Some(&clusters)).difference.error, &golden["difference_clustered"]);
    let (low, high) = alone.difference.interval();
    assert!(low < alone.difference.mean && alone.difference.mean < high);
    let changed = |from: f64| first.iter().zip(&second).filter(|(a, b)| **a == from && a != b).count();
    assert_eq!(alone.higher, (changed(1.0), changed(0.0)));
}

#[test]
fn mcnemar_and_wilson_are_statsmodels() {
    let golden = golden();
    for row in golden["mcnemar"].as_array().unwrap() {
        let (first, second) = (row[0].as_u64().unwrap() as usize, row[1].as_u64().unwrap() as usize);
        let (ours, theirs) = (mcnemar(first, second), row[2].as_f64().unwrap());
        assert!((ours - theirs).abs() <= 1e-9 * theirs + 1e-300, "{first} {second}: {ours}, statsmodels {theirs}");
    }
    for row in golden["wilson"].as_array().unwrap() {
        let (low, high) = proportion_interval(row[0].as_u64().unwrap() as usize, row[1].as_u64().unwrap() as usize);
        assert!((low - row[2].as_f64().unwrap()).abs() < 1e-12 && (high - row[3].as_f64().unwrap()).abs() < 1e-12);
    }
}

/// Another generator than scipy's: what must agree is what both estimate.
#[test]
fn bootstraps_estimate_the_same() {
    let golden = golden();
    let first = numbers(&golden["first"]);
    let clusters: Vec<usize> = numbers(&golden["clusters"]).into_iter().map(|cluster| cluster as usize).collect();
    let score = |drawn: &[usize]| drawn.iter().map(|index| first[*index]).sum::<f64>() / drawn.len() as f64;
    let ours = bootstrap(first.len(), 20_000, 1, score);
    let theirs = golden["bootstrap_error"].as_f64().unwrap();
    assert!((ours.error / theirs - 1.0).abs() < 0.03, "{} {theirs}", ours.error);
    let (low, high) = ours.interval(0.95);
    let interval = numbers(&golden["bootstrap_interval"]);
    assert!((low - interval[0]).abs() < 0.01 && (high - interval[1]).abs() < 0.01, "{low} {high} {interval:?}");
    let grouped = bootstrap_clustered(&clusters, 20_000, 1, score);
    let analytic = clustered(&first, &clusters).error;
    assert!((grouped.error / analytic - 1.0).abs() < 0.1, "{} {analytic}", grouped.error);
    assert_eq!(bootstrap(first.len(), 10, 7, score), bootstrap(first.len(), 10, 7, score));
    assert_ne!(bootstrap(first.len(), 10, 7, score), bootstrap(first.len(), 10, 8, score));
}

#[test]
fn few_samples_give_no_number() {
    assert!(mean(&[]).mean.is_nan());
    assert!(mean(&[1.0]).error.is_nan());
    assert!(clustered(&[1.0, 0.0], &[3, 3]).error.is_nan());
    assert!(bootstrap(1, 0, 0, |_| 0.0).interval(0.9).0.is_nan());
    assert!((pooled_error(&[(0.1, 10), (0.1, 10)]) - (0.1_f64 * 0.1 * 180.0 / 18.0 / 20.0).sqrt()).abs() < 1e-12);
}

#[test]
fn the_error_of_a_share_is_the_binomial_one() {
    let mut answers = vec![1.0; 30];
    answers.extend(vec![0.0; 10]);
    let estimate = mean(&answers);
    assert_eq!(estimate.mean, 0.75);
    assert!((estimate.error - (0.75_f64 * 0.25 / 39.0).sqrt()).abs() < 1e-12);
}

#[test]
fn a_ratio_over_equal_rows_is_a_mean() {
    let tops = [3.0, 5.0, 4.5, 2.0];
    let pairs = tops.map(|top| (top, 1.0));
    let (alone, clusters) = (ratio(&pairs, None), ratio(&pairs, Some(&[0, 1, 0, 2])));
    assert!((alone.mean - mean(&tops).mean).abs() < 1e-12 && (alone.error - mean(&tops).error).abs() < 1e-12);
    assert!((clusters.error - clustered(&tops, &[0, 1, 0, 2]).error).abs() < 1e-12);
    assert!(ratio(&[(4.0, 2.0)], None).error.is_nan());
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
    let linearised = ratio(&pairs, None).error;
    assert!((linearised / jackknife - 1.0).abs() < 0.01, "{linearised} {jackknife}");
}

#[test]
fn groups_count_the_same() {
    let groups = [mean(&[1.0, 1.0, 0.0, 1.0]), mean(&[0.0, 1.0])];
    let both = macro_mean(&groups);
    assert_eq!((both.mean, both.count), (0.625, 6));
    assert!((both.error - (groups[0].error.powi(2) + groups[1].error.powi(2)).sqrt() / 2.0).abs() < 1e-12);
}

proptest! {
    #[test]
    fn clusters_of_one_change_nothing(samples in prop::collection::vec(-5.0..5.0_f64, 2..40)) {
        let clusters: Vec<usize> = (0..samples.len()).collect();
        prop_assert!((clustered(&samples, &clusters).error - mean(&samples).error).abs() < 1e-9);
    }

    #[test]
    fn mcnemar_is_a_probability(first in 0..3000_usize, second in 0..3000_usize) {
        let p = mcnemar(first, second);
        prop_assert!((0.0..=1.0).contains(&p) && p == mcnemar(second, first));
    }
}
