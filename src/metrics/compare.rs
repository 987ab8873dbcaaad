//! Two models on the rows of one task: how much better the second is, and how sure that is (Miller 2024, arXiv 2411.00640).
//! Questions that both were asked are paired, so that what is easy or hard about them cancels out.
//!
//! Several runs of one question count as one, their mean. A score that only a whole task has (BLEU, perplexity of words) has
//! no pairs and is not compared.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::samples::Sampled;
use super::statistics::{self, mcnemar, ratio};

/// How two models compare by one metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The metric.
    pub metric: String,
    /// Questions that both answered.
    pub questions: usize,
    /// Questions that only one of them was asked; they are left out.
    pub left_out: usize,
    /// The first model's score on these questions.
    pub first: f64,
    /// The second model's.
    pub second: f64,
    /// The second's less the first's.
    pub difference: f64,
    /// The standard error of the difference, as pairs have it; clustered where rows name a cluster.
    pub stderr: Option<f64>,
    /// What holds the true difference 95 times of 100.
    pub interval: Option<[f64; 2]>,
    /// The correlation of both models' values; none where one of them never varies.
    pub correlation: Option<f64>,
    /// Questions on which only the first, and only the second, scored higher.
    pub higher: [usize; 2],
    /// Where all values are 0 or 1: who was right, and McNemar's exact p.
    pub right: Option<Right>,
}

/// Right and wrong answers of two models.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Right {
    /// Questions that both got right.
    pub both: usize,
    /// Only the first.
    pub only_first: usize,
    /// Only the second.
    pub only_second: usize,
    /// Neither.
    pub neither: usize,
    /// The probability that models of equal skill differ as much as this or more.
    pub p: f64,
}

/// Why two lists cannot be compared.
#[derive(Debug, Error)]
pub enum CompareError {
    /// No row with a value in both.
    #[error("no row has a value of `{0}` in both evals")]
    Nothing(String),
    /// Other data under the same number.
    #[error("row {row} has another reference in the second eval: they were not asked the same questions")]
    Gold {
        /// The row, counted from 1.
        row: usize,
    },
}

/// What became of one question.
struct Question<'a> {
    gold: &'a Value,
    cluster: Option<&'a str>,
    weight: f64,
    sum: f64,
    runs: f64,
}

/// Compares two lists of rows of one task.
pub fn compare(first: &[Sampled], second: &[Sampled], metric: &str) -> Result<Compared, CompareError> {
    let (one, two) = (questions(first, metric), questions(second, metric));
    let pairs: Vec<(usize, &Question<'_>, &Question<'_>)> =
        one.iter().filter_map(|(row, a)| two.get(row).map(|b| (*row, a, b))).collect();
    if let Some((row, _, _)) = pairs.iter().find(|(_, a, b)| a.gold != b.gold) {
        return Err(CompareError::Gold { row: row + 1 });
    }
    if pairs.is_empty() {
        return Err(CompareError::Nothing(metric.to_owned()));
    }
    let value = |question: &Question<'_>| question.sum / question.runs;
    let left: Vec<f64> = pairs.iter().map(|(_, a, _)| value(a)).collect();
    let right: Vec<f64> = pairs.iter().map(|(_, _, b)| value(b)).collect();
    let weights: Vec<f64> = pairs.iter().map(|(_, a, _)| a.weight).collect();
    let clusters = clusters(&pairs);
    let paired = statistics::compare(&left, &right, clusters.as_deref());
    let weighted =
        |values: &[f64]| -> Vec<(f64, f64)> { values.iter().zip(&weights).map(|(v, w)| (v * w, *w)).collect() };
    let differences: Vec<f64> = left.iter().zip(&right).map(|(left, right)| right - left).collect();
    let difference = ratio(&weighted(&differences), clusters.as_deref());
    let (low, high) = difference.interval();
    let known = difference.error.is_finite();
    Ok(Compared {
        metric: metric.to_owned(),
        questions: pairs.len(),
        left_out: one.len() + two.len() - 2 * pairs.len(),
        first: ratio(&weighted(&left), None).mean,
        second: ratio(&weighted(&right), None).mean,
        difference: difference.mean,
        stderr: known.then_some(difference.error),
        interval: known.then_some([low, high]),
        correlation: paired.correlation.is_finite().then_some(paired.correlation),
        higher: [paired.higher.0, paired.higher.1],
        right: right_and_wrong(&left, &right),
    })
}

fn questions<'a>(rows: &'a [Sampled], metric: &str) -> BTreeMap<usize, Question<'a>> {
    let mut questions = BTreeMap::new();
    for row in rows {
        let Some(value) = row.values.get(metric).and_then(Value::as_f64) else { continue };
        let new = || Question {
            gold: &row.gold,
            cluster: row.cluster.as_deref(),
            weight: weight(row, metric),
            sum: 0.0,
            runs: 0.0,
        };
        let question = questions.entry(row.row).or_insert_with(new);
        question.sum += value;
        question.runs += 1.0;
    }
    questions
}

/// What a row weighs in a score over the whole task: its instructions, where they are counted one by one; the bytes of a
/// text that was scored whole; and 1 elsewhere.
pub fn weight(row: &Sampled, metric: &str) -> f64 {
    if metric.ends_with("inst_strict") || metric.ends_with("inst_loose") {
        match row.columns.get("instruction_id_list") {
            Some(Value::Array(ids)) => return ids.len() as f64,
            Some(Value::String(text)) => {
                return serde_json::from_str::<Vec<Value>>(text).map_or(1.0, |ids| ids.len() as f64);
            }
            _ => {}
        }
    }
    match &row.choices[..] {
        [text] if row.answers.is_empty() => text.text.len() as f64,
        _ => 1.0,
    }
}

/// A number for the cluster of each pair; `None` where no row names one. Rows without one stand alone.
fn clusters(pairs: &[(usize, &Question<'_>, &Question<'_>)]) -> Option<Vec<usize>> {
    pairs.iter().any(|(_, question, _)| question.cluster.is_some()).then(|| {
        let names: Vec<_> = pairs.iter().map(|(row, question, _)| (question.cluster, *row)).collect();
        numbered(&names)
    })
}

/// Numbers the clusters of rows, the same for rows of one name in whatever order; a row without a name is alone with those of its
/// own number.
pub fn numbered(rows: &[(Option<&str>, usize)]) -> Vec<usize> {
    let key = |(name, row): &(Option<&str>, usize)| (name.map(str::to_owned), if name.is_some() { 0 } else { *row });
    let mut known: BTreeMap<(Option<String>, usize), usize> = rows.iter().map(|row| (key(row), 0)).collect();
    for (number, place) in known.values_mut().enumerate() {
        *place = number;
    }
    rows.iter().map(|row| known[&key(row)]).collect()
}

#[expect(clippy::float_cmp, reason = "values that are 0 or 1")]
fn right_and_wrong(first: &[f64], second: &[f64]) -> Option<Right> {
    let plain = |values: &[f64]| values.iter().all(|value| [0.0, 1.0].contains(value));
    (plain(first) && plain(second)).then(|| {
        let count = |a: f64, b: f64| first.iter().zip(second).filter(|pair| *pair.0 == a && *pair.1 == b).count();
        let (only_first, only_second) = (count(1.0, 0.0), count(0.0, 1.0));
        let p = mcnemar(only_first, only_second);
        Right { both: count(1.0, 1.0), only_first, only_second, neither: count(0.0, 0.0), p }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(values: &[f64]) -> Vec<Sampled> {
        let row = |(row, value): (usize, &f64)| Sampled {
            row,
            gold: json!(row),
            values: json!({"acc": value}).as_object().unwrap().clone(),
            ..Sampled::default()
        };
        values.iter().enumerate().map(row).collect()
    }

    #[test]
    fn pairs_are_counted() {
        let first = rows(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let second = rows(&[1.0, 1.0, 1.0, 0.0, 1.0, 0.0]);
        let compared = compare(&first, &second, "acc").unwrap();
        let right = Right { both: 1, only_first: 1, only_second: 3, neither: 1, p: 0.625 };
        assert_eq!(compared.right, Some(right));
        assert_eq!((compared.questions, compared.left_out, compared.higher), (6, 0, [1, 3]));
        // The t test's denominator for these differences: 0, 1, 1, -1, 1, 0.
        assert!((compared.difference - 1.0 / 3.0).abs() < 1e-12);
        assert!((compared.stderr.unwrap() - (10.0_f64 / 3.0 / 5.0 / 6.0).sqrt()).abs() < 1e-12);
        let back = compare(&second, &first, "acc").unwrap();
        assert!((back.difference + compared.difference).abs() < 1e-12);
    }

    #[test]
    fn rows_in_any_order_and_runs_of_one_question() {
        let first = rows(&[1.0, 0.0, 0.5]);
        let mut twice = [rows(&[0.0, 1.0, 0.5]), rows(&[1.0, 1.0, 0.5]), rows(&[0.0; 4])[3..].to_vec()].concat();
        twice.reverse();
        let compared = compare(&first, &twice, "acc").unwrap();
        assert_eq!((compared.questions, compared.left_out, compared.right), (3, 1, None));
        assert!((compared.second - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn clusters_and_weights_count() {
        let clustered = |values: &[f64]| {
            let mut rows = rows(values);
            for row in &mut rows {
                row.cluster = Some((row.row / 2).to_string());
            }
            rows
        };
        let (first, second) = (clustered(&[0.0, 0.0, 1.0, 1.0]), clustered(&[1.0, 1.0, 1.0, 1.0]));
        let compared = compare(&first, &second, "acc").unwrap();
        assert!((compared.stderr.unwrap() - 0.5).abs() < 1e-12, "{compared:?}");

        let instructions = |values: &[f64]| {
            let mut rows = rows(values);
            for row in &mut rows {
                row.values.insert("inst_strict".into(), row.values["acc"].clone());
                let ids = json!({"instruction_id_list": vec!["x"; row.row + 1]});
                row.columns = ids.as_object().unwrap().clone();
            }
            rows
        };
        let compared = compare(&instructions(&[1.0, 0.5]), &instructions(&[0.0, 1.0]), "inst_strict").unwrap();
        assert!((compared.first - 2.0 / 3.0).abs() < 1e-12 && (compared.second - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn other_questions_are_an_error() {
        let mut other = rows(&[1.0]);
        other[0].gold = json!("x");
        let says = |error: CompareError| error.to_string();
        assert!(says(compare(&rows(&[1.0]), &other, "acc").unwrap_err()).starts_with("row 1 has another reference"));
        assert!(says(compare(&rows(&[1.0]), &rows(&[1.0]), "f1").unwrap_err()).contains("`f1`"));
    }
}
