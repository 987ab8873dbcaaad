//! The score of a task: from what rows are worth, with how sure it is.
//!
//! A mean has the error of a mean, clustered where rows are not independent; a share over instructions or bytes that of a ratio;
//! BLEU and chrF, which only a corpus has, that of the bootstrap. Where groups make the score, their errors add up.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde_json::Value;

use super::super::sampled::Sampled;
use super::super::scores::known;
use super::{How, Judge, Judged, Score, gold, instructions, several};
use crate::metrics::compare::{numbered, weight};
use crate::metrics::pattern::Pattern;
use crate::metrics::statistics::{
    Estimate, bootstrap, bootstrap_clustered, clustered, macro_mean, mean, proportion_interval, ratio,
};
use crate::metrics::text::bleu::{self, Bleu};
use crate::metrics::text::choice::Likelihood;
use crate::metrics::text::chrf::{self, Chrf};
use crate::spec::params::{Average, MetricName};

/// Rounds of the bootstrap.
const ROUNDS: usize = 1000;

/// The name of the group of rows whose `group` is null.
const NO_GROUP: &str = "none";

/// A figure over some rows.
struct Total {
    estimate: Estimate,
    interval: Option<(f64, f64)>,
    clusters: Option<usize>,
}

/// Returns the scores of all metrics.
pub(super) fn scores(judge: &Judge, runs: &[&[Sampled]]) -> Vec<Score> {
    let all: Vec<&Sampled> = runs.iter().flat_map(|rows| rows.iter()).collect();
    let mut groups: BTreeMap<&str, Vec<&Sampled>> = BTreeMap::new();
    for row in all.iter().filter(|_| judge.grouped) {
        groups.entry(row.group.as_deref().unwrap_or(NO_GROUP)).or_default().push(row);
    }
    let mut scores = Vec::new();
    for judged in &judge.metrics {
        for name in judged.scores() {
            let of = |rows: &[&Sampled]| total(judge, judged, &name, rows, runs.len() > 1);
            let parts: Vec<(&str, Option<Total>)> = groups.iter().map(|(group, rows)| (*group, of(rows))).collect();
            let whole = match judge.average {
                Average::Groups if judge.grouped => over_groups(parts.iter().filter_map(|(_, part)| part.as_ref())),
                _ => of(&all),
            };
            let score = |total: &Total, rows: usize| score(judge, judged, &name, total, rows / runs.len().max(1));
            if let Some(whole) = whole.filter(|whole| whole.estimate.mean.is_finite()) {
                let mut score = score(&whole, whole.estimate.count);
                if runs.len() > 1 {
                    score.runs = runs.iter().filter_map(|rows| one_run(judge, judged, &name, rows)).collect();
                    score.std = known(mean(&score.runs).error * (score.runs.len() as f64).sqrt());
                }
                scores.push(score);
            }
            for (group, part) in parts {
                if let Some(part) = part.filter(|part| part.estimate.mean.is_finite()) {
                    scores.push(Score { group: Some(group.to_owned()), ..score(&part, part.estimate.count) });
                }
            }
        }
    }
    scores
}

/// The value of one run by itself.
fn one_run(judge: &Judge, judged: &Judged, name: &str, rows: &[Sampled]) -> Option<f64> {
    let mut groups: BTreeMap<Option<&str>, Vec<&Sampled>> = BTreeMap::new();
    let apart = judge.grouped && judge.average == Average::Groups;
    for row in rows {
        groups.entry(row.group.as_deref().filter(|_| apart)).or_default().push(row);
    }
    let values = groups.values().filter_map(|rows| value_of(judge, judged, name, rows));
    known(mean(&values.collect::<Vec<_>>()).mean)
}

/// The figure without its error.
fn value_of(judge: &Judge, judged: &Judged, name: &str, rows: &[&Sampled]) -> Option<f64> {
    match &judged.how {
        How::Corpus(extract) => {
            let corpus = Corpus::of(judged.metric, extract.as_ref(), rows)?;
            Some(corpus.score(&(0..corpus.len()).collect::<Vec<_>>()))
        }
        _ => total(judge, judged, name, rows, false).map(|total| total.estimate.mean),
    }
}

fn score(judge: &Judge, judged: &Judged, name: &str, total: &Total, n: usize) -> Score {
    let interval = total.interval.filter(|(low, high)| low.is_finite() && high.is_finite());
    Score {
        name: judge.name.clone(),
        kind: judge.task.clone(),
        metric: name.to_owned(),
        value: total.estimate.mean,
        stderr: known(total.estimate.error),
        interval: interval.map(|(low, high)| [low, high]),
        n,
        clusters: total.clusters,
        unit: unit(judged, name).to_owned(),
        higher_is_better: judged.metric.higher_is_better(),
        ..Score::default()
    }
}

fn unit(judged: &Judged, name: &str) -> &'static str {
    match judged.metric {
        _ if matches!(judged.how, How::Pair(_)) => "share of pairs",
        MetricName::Share => "probability",
        MetricName::Brier => "Brier score",
        MetricName::BitsPerByte => "bits per byte",
        MetricName::BytePerplexity => "perplexity of bytes",
        MetricName::WordPerplexity => "perplexity of words",
        MetricName::F1 => "F1 of words",
        MetricName::Bleu => "BLEU",
        MetricName::Chrf => "chrF",
        MetricName::Ifeval if instructions::one_by_one(name) => "share of instructions",
        MetricName::Ifeval => "share of prompts",
        _ => "share of questions",
    }
}

/// A number for the cluster of each row; none where rows are independent.
fn clusters(judge: &Judge, rows: &[&Sampled], again: bool) -> Option<Vec<usize>> {
    (judge.clustered || again).then(|| {
        let names: Vec<_> =
            rows.iter().map(|row| (row.cluster.as_deref().filter(|_| judge.clustered), row.row)).collect();
        numbered(&names)
    })
}

/// The figure over rows; none without any.
fn total(judge: &Judge, judged: &Judged, name: &str, rows: &[&Sampled], again: bool) -> Option<Total> {
    let value = |row: &&Sampled| row.values.get(name).and_then(Value::as_f64);
    let rows: Vec<&Sampled> = match judged.how {
        How::Text | How::Corpus(_) => rows.to_vec(),
        _ => rows.iter().copied().filter(|row| value(row).is_some()).collect(),
    };
    if rows.is_empty() {
        return None;
    }
    let clusters = clusters(judge, &rows, again);
    let number = clusters.as_ref().filter(|_| judge.clustered).map(|all| all.iter().max().map_or(0, |most| most + 1));
    let clusters = clusters.as_deref();
    let (estimate, interval) = match &judged.how {
        How::Text => likelihood(judged.metric, &rows, clusters),
        How::Corpus(extract) => Corpus::of(judged.metric, extract.as_ref(), &rows)?.estimate(judge.seed, clusters),
        How::Instructions(_) if instructions::one_by_one(name) => {
            let weighed = |row: &&Sampled| value(row).map(|value| (value * weight(row, name), weight(row, name)));
            let estimate = ratio(&rows.iter().filter_map(weighed).collect::<Vec<_>>(), clusters);
            (estimate, estimate.interval())
        }
        _ => of_values(&rows.iter().filter_map(value).collect::<Vec<_>>(), clusters),
    };
    Some(Total { estimate, interval: Some(interval), clusters: number })
}

/// A mean. The interval of independent zeros and ones is Wilson's.
fn of_values(values: &[f64], clusters: Option<&[usize]>) -> (Estimate, (f64, f64)) {
    if let Some(clusters) = clusters {
        let estimate = clustered(values, clusters);
        return (estimate, estimate.interval());
    }
    let estimate = mean(values);
    let right = values.iter().filter(|value| **value >= 1.0).count();
    if values.iter().all(|value| [0.0, 1.0].contains(value)) {
        return (estimate, proportion_interval(right, values.len()));
    }
    (estimate, estimate.interval())
}

/// Bits per byte, or a perplexity with the error that its logarithm's brings (the delta method).
fn likelihood(metric: MetricName, rows: &[&Sampled], clusters: Option<&[usize]>) -> (Estimate, (f64, f64)) {
    let sizes = rows.iter().map(|row| {
        let (text, sum) = row.choices.first().map_or(("", 0.0), |text| (text.text.as_str(), text.sum));
        let likelihood = Likelihood::of(text, sum);
        match metric {
            MetricName::BitsPerByte => (-sum / std::f64::consts::LN_2, likelihood.bytes as f64),
            MetricName::BytePerplexity => (-sum, likelihood.bytes as f64),
            _ => (-sum, likelihood.words as f64),
        }
    });
    let estimate = ratio(&sizes.collect::<Vec<_>>(), clusters);
    let (low, high) = estimate.interval();
    if metric == MetricName::BitsPerByte {
        return (estimate, (low, high));
    }
    let mean = estimate.mean.exp().min(f64::MAX);
    (Estimate { mean, error: mean * estimate.error, ..estimate }, (low.exp(), high.exp()))
}

/// Every group counts the same.
fn over_groups<'a>(parts: impl Iterator<Item = &'a Total>) -> Option<Total> {
    let parts: Vec<&Total> = parts.collect();
    let estimate = macro_mean(&parts.iter().map(|part| part.estimate).collect::<Vec<_>>());
    let clusters = parts.iter().map(|part| part.clusters).sum();
    (!parts.is_empty()).then(|| Total { estimate, interval: Some(estimate.interval()), clusters })
}

/// The judged parts of the answers of a row, and its references.
fn sides<'a>(row: &'a Sampled, extract: Option<&(Pattern, bool)>) -> Option<(Vec<&'a str>, Vec<String>)> {
    let answers = several::any(row).ok()?.map(|answer| several::part(answer, extract));
    Some((answers.collect(), gold::texts(&row.gold).ok()?))
}

/// What a score over a corpus is made of, row by row.
enum Corpus {
    Bleu(Vec<bleu::Counts>),
    Chrf(Vec<chrf::Counts>),
}

impl Corpus {
    fn of(metric: MetricName, extract: Option<&(Pattern, bool)>, rows: &[&Sampled]) -> Option<Self> {
        if metric == MetricName::Bleu {
            let counts = |row: &&Sampled| {
                let (answers, golds) = sides(row, extract)?;
                let golds: Vec<&str> = golds.iter().map(String::as_str).collect();
                let mut sum = bleu::Counts::default();
                for answer in answers {
                    sum += Bleu::default().count(answer, &golds);
                }
                Some(sum)
            };
            return rows.par_iter().map(counts).collect::<Option<Vec<_>>>().map(Self::Bleu);
        }
        let counts = |row: &&Sampled| {
            let (answers, golds) = sides(row, extract)?;
            let golds: Vec<&str> = golds.iter().map(String::as_str).collect();
            let mut sum = chrf::Counts::default();
            for answer in answers {
                sum += &Chrf::default().count(answer, &golds);
            }
            Some(sum)
        };
        rows.par_iter().map(counts).collect::<Option<Vec<_>>>().map(Self::Chrf)
    }

    fn len(&self) -> usize {
        match self {
            Self::Bleu(rows) => rows.len(),
            Self::Chrf(rows) => rows.len(),
        }
    }

    /// The score of some rows, of which some may be there more than once.
    fn score(&self, rows: &[usize]) -> f64 {
        match self {
            Self::Bleu(counts) => {
                let mut sum = bleu::Counts::default();
                for row in rows {
                    sum += counts[*row];
                }
                Bleu::default().score(&sum)
            }
            Self::Chrf(counts) => {
                let mut sum = chrf::Counts::default();
                for row in rows {
                    sum += &counts[*row];
                }
                Chrf::default().score(&sum)
            }
        }
    }

    fn estimate(&self, seed: u64, clusters: Option<&[usize]>) -> (Estimate, (f64, f64)) {
        let score = |rows: &[usize]| self.score(rows);
        let whole = score(&(0..self.len()).collect::<Vec<_>>());
        let drawn = match clusters {
            Some(clusters) => bootstrap_clustered(clusters, ROUNDS, seed, score),
            None => bootstrap(self.len(), ROUNDS, seed, score),
        };
        let error = if self.len() < 2 { f64::NAN } else { drawn.error };
        (Estimate { mean: whole, error, count: self.len() }, drawn.interval(0.95))
    }
}
