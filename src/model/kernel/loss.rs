//! The output layer and the cross-entropy in one: the table of all logits never exists.
//!
//! With a vocabulary of 150 000 the logits of a batch are by far its largest table, and most rows of it are useless:
//! only rows that predict a trained token count. So those rows are gathered and go through the output layer some at a
//! time; their gradient is computed at once, while the logits are there (Hsu et al. 2024, Liger Kernel), which works
//! because the loss is the end of the graph: its own gradient is 1.

use rayon::prelude::*;

use super::lanes::{Unit, exp_sum, max, vectorised};
use super::matrix::{Matrix, MatrixMut, Threads, Write, product};
use crate::model::engine::Objective;

/// Logits that exist at a time: 64 MiB of them.
const LOGITS: usize = 1 << 24;
/// About how many rows of the weight get their gradient together. A product with all of them would copy all logits of a chunk
/// beside themselves, at the very moment when a training pass has kept the most.
const TABLE_ROWS: usize = 4096;
/// Numbers whose f32 sum is then added in f64.
const SUM_BLOCK: usize = 1024;

/// A row of the batch and the token it should predict. The rows of a list ascend.
pub(crate) type Label = (usize, u32);

/// Returns how many rows go through the output layer together.
///
/// It decides the order in which the weight's gradient is summed, so it depends on the vocabulary alone.
fn rows_at_a_time(vocabulary: usize) -> usize {
    (LOGITS / vocabulary.max(1)).clamp(16, 256)
}

/// Copies the rows that labels name.
fn gather(x: &[f32], width: usize, labels: &[Label]) -> Vec<f32> {
    let mut out = Vec::with_capacity(labels.len() * width);
    for (row, _) in labels {
        out.extend_from_slice(&x[row * width..][..width]);
    }
    out
}

/// The output layer.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    /// A row for each token.
    pub(crate) weight: &'a [f32],
    /// Numbers in a row.
    pub(crate) width: usize,
}

/// Returns the sum of the plain losses (nats) of the labelled rows, and the gradient of the objective.
///
/// `x` has rows of the head's width. The gradient of the head's weight is added to `weight_gradient`, if it is wanted.
pub(crate) fn cross_entropy(
    x: &[f32],
    head: Head<'_>,
    objective: Objective<'_>,
    mut weight_gradient: Option<&mut [f32]>,
) -> (f64, Vec<f32>) {
    let (Head { weight, width }, Objective { labels, scale, smoothing }) = (head, objective);
    let vocabulary = weight.len() / width;
    let mut x_gradient = vec![0.0; x.len()];
    let mut total = 0.0;
    let at_a_time = rows_at_a_time(vocabulary);
    let mut logits = vec![0.0; at_a_time.min(labels.len()) * vocabulary];
    for (chunk, labels) in labels.chunks(at_a_time).enumerate() {
        let rows = gather(x, width, labels);
        let logits = &mut logits[..labels.len() * vocabulary];
        let (inputs, table) = (Matrix::new(&rows, width), Matrix::new(weight, width));
        product(MatrixMut::new(logits, vocabulary), Write::Replace, inputs, table.t(), Threads::Pool);
        let row_losses = |(i, (row, label)): (usize, (&mut [f32], &Label))| {
            let scale = scale.of(chunk * at_a_time + i);
            row_gradient(Unit::best(), row, label.1, scale, smoothing)
        };
        let losses: Vec<f64> = logits.par_chunks_mut(vocabulary).zip(labels).enumerate().map(row_losses).collect();
        total += losses.iter().sum::<f64>();
        let chances = Matrix::new(logits, vocabulary);
        let mut back = vec![0.0; rows.len()];
        product(MatrixMut::new(&mut back, width), Write::Replace, chances, table, Threads::Pool);
        if let Some(total) = &mut weight_gradient {
            add_to_table(total, logits, inputs, vocabulary);
        }
        for ((row, _), back) in labels.iter().zip(back.chunks_exact(width)) {
            x_gradient[row * width..][..width].copy_from_slice(back);
        }
    }
    (total, x_gradient)
}

/// Adds `slopesᵀ · inputs` to the gradient of the table, some rows of it after the other. Each number is the same sum as in
/// one product.
fn add_to_table(total: &mut [f32], slopes: &[f32], inputs: Matrix<'_>, vocabulary: usize) {
    let (width, count) = (total.len() / vocabulary, slopes.len() / vocabulary);
    // Even parts: a last one of a row or two would go another way through the product, and be rounded otherwise.
    let together = vocabulary.div_ceil(vocabulary.div_ceil(TABLE_ROWS));
    for (part, total) in total.chunks_mut(together * width).enumerate() {
        let rows = total.len() / width;
        let slopes = Matrix::strided(&slopes[part * together..], count, rows, vocabulary);
        product(MatrixMut::new(total, width), Write::Add, slopes.t(), inputs, Threads::Pool);
    }
}

/// Returns the logarithm of the probability (nats) that each labelled row gives to its token.
pub(crate) fn log_probs(x: &[f32], weight: &[f32], width: usize, labels: &[Label]) -> Vec<f32> {
    let vocabulary = weight.len() / width;
    let at_a_time = rows_at_a_time(vocabulary);
    let mut logits = vec![0.0; at_a_time.min(labels.len()) * vocabulary];
    let mut out = Vec::with_capacity(labels.len());
    for labels in labels.chunks(at_a_time) {
        let rows = gather(x, width, labels);
        let logits = &mut logits[..labels.len() * vocabulary];
        let (inputs, table) = (Matrix::new(&rows, width), Matrix::new(weight, width));
        product(MatrixMut::new(logits, vocabulary), Write::Replace, inputs, table.t(), Threads::Pool);
        let log_prob = |(row, label): (&mut [f32], &Label)| row_log_prob(Unit::best(), row, label.1);
        out.par_extend(logits.par_chunks_mut(vocabulary).zip(labels).map(log_prob));
    }
    out
}

/// Returns the loss of a row of logits and the sum of the exponentials that it leaves in the row.
#[expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised!`")]
#[inline(always)]
fn row_loss(row: &mut [f32], target: u32) -> (f64, f64) {
    let (top, logit) = (max(row), row[target as usize]);
    let mut sum = 0.0;
    for chunk in row.chunks_mut(SUM_BLOCK) {
        sum += f64::from(exp_sum(chunk, 1.0, top));
    }
    (sum.ln() + f64::from(top) - f64::from(logit), sum)
}

vectorised! {
    /// Returns the logarithm of the probability of the target; spoils the row.
    fn row_log_prob(row: &mut [f32], target: u32) -> f32 {
        -row_loss(row, target).0 as f32
    }
}

vectorised! {
    /// Turns a row of logits into `scale * (softmax - wanted)` and returns its loss. What is wanted is the target, or a share
    /// of it and the rest even over all tokens (Szegedy et al. 2016).
    fn row_gradient(row: &mut [f32], target: u32, scale: f32, smoothing: f32) -> f64 {
        let (loss, sum) = row_loss(row, target);
        let factor = (f64::from(scale) / sum) as f32;
        for value in row.iter_mut() {
            *value *= factor;
        }
        if smoothing > 0.0 {
            let even = scale * smoothing / row.len() as f32;
            for value in row.iter_mut() {
                *value -= even;
            }
        }
        row[target as usize] -= scale * (1.0 - smoothing);
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::testing::{assert_close, numbers, on_all_units};
    use super::*;

    #[test]
    fn the_table_gets_the_gradient_of_one_product() {
        for (vocabulary, width, count) in [(300, 24, 9), (4097, 33, 70), (9001, 24, 256), (12289, 16, 1)] {
            let (slopes, inputs) = (numbers(count * vocabulary, 1), numbers(count * width, 2));
            let mut whole = numbers(vocabulary * width, 3);
            let mut parts = whole.clone();
            let inputs = Matrix::new(&inputs, width);
            add_to_table(&mut parts, &slopes, inputs, vocabulary);
            let slopes = Matrix::new(&slopes, vocabulary).t();
            product(MatrixMut::new(&mut whole, width), Write::Add, slopes, inputs, Threads::Pool);
            assert!(whole == parts, "{vocabulary} {width} {count}");
        }
    }

    #[test]
    fn all_units_find_the_loss_of_a_row() {
        for count in [1, 15, 16, 1000, 2500] {
            let (row, target) = (numbers(count, 1), count / 2);
            let found = on_all_units(|unit| {
                let (mut first, mut second) = (row.clone(), row.clone());
                let log_prob = row_log_prob(unit, &mut first, target as u32);
                let loss = row_gradient(unit, &mut second, target as u32, 0.5, 0.0);
                second.extend([log_prob, loss as f32]);
                second
            });
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            let loss = sum.ln() - f64::from(row[target]);
            let gradient = |i: usize| 0.5 * (f64::from(row[i]).exp() / sum - f64::from(u8::from(i == target)));
            assert_close(&found, &(0..count).map(gradient).chain([-loss, loss]).collect::<Vec<_>>());
        }
    }
}
