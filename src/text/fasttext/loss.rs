//! From the average of a line to scores of labels.
//!
//! Scores are logarithms of probabilities and a little more, as in C++, so that 1.00001 can come out for what is certain. Sigmoids
//! come from a table of 512 where C++ takes them from it: that is coarse, and part of the answer.

use super::best::{Best, Scored};
use super::header::LossKind;
use super::matrix::Matrix;

/// Sigmoids are tabled from minus this to this, in so many steps.
const WIDEST: f32 = 8.0;
const STEPS: usize = 512;
/// Counts of labels add up to less than this.
const MOST_SEEN: i64 = 1_000_000_000_000_000;

pub(super) enum Loss {
    Softmax,
    Binary { sigmoids: Vec<f32> },
    Tree(Tree),
}

impl Loss {
    pub(super) fn new(kind: LossKind, counts: &[i64]) -> Result<Self, String> {
        Ok(match kind {
            LossKind::Softmax => Self::Softmax,
            LossKind::Binary => Self::Binary { sigmoids: (0..=STEPS).map(sigmoid_of_step).collect() },
            LossKind::Tree => Self::Tree(Tree::new(counts)?),
        })
    }

    /// Returns the best `k` labels with the logarithms of their probabilities; none where something is not a number.
    pub(super) fn best(&self, output: &Matrix, labels: usize, hidden: &[f32], k: usize) -> Vec<Scored> {
        let mut best = Best::new(k);
        if let Self::Tree(tree) = self {
            return tree.walk(output, hidden, &mut best).map_or_else(Vec::new, |()| best.sorted());
        }
        let mut scores = output.dots(labels, hidden);
        match self {
            Self::Binary { sigmoids } => scores.iter_mut().for_each(|score| *score = sigmoid(sigmoids, *score)),
            _ => softmax(&mut scores),
        }
        if scores.iter().any(|score| score.is_nan()) {
            return Vec::new();
        }
        for (label, score) in scores.into_iter().enumerate() {
            best.push((log(score), label));
        }
        best.sorted()
    }
}

fn log(probability: f32) -> f32 {
    (f64::from(probability) + 1e-5).ln() as f32
}

fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}

fn sigmoid_of_step(step: usize) -> f32 {
    let x = (step * 2) as f32 * WIDEST / STEPS as f32 - WIDEST;
    (1.0 / (1.0 + f64::from((-x).exp()))) as f32
}

fn sigmoid(table: &[f32], x: f32) -> f32 {
    if x.is_nan() {
        x
    } else if x < -WIDEST {
        0.0
    } else if x > WIDEST {
        1.0
    } else {
        table[((x + WIDEST) * STEPS as f32 / WIDEST / 2.0) as usize]
    }
}

/// Labels as leaves of a tree by how often each was seen, after Huffman.
pub(super) struct Tree {
    labels: usize,
    /// The two children of what is no leaf. Leaves come first in counting, and the root last.
    children: Vec<[usize; 2]>,
}

impl Tree {
    /// The counts fall from label to label; where they do not, it is a tree all the same.
    fn new(counts: &[i64]) -> Result<Self, String> {
        let sum = counts.iter().try_fold(0_i64, |sum, count| (*count >= 0).then(|| sum.checked_add(*count)).flatten());
        if sum.is_none_or(|sum| sum >= MOST_SEEN) {
            return Err(
                "not a whole model of fastText: labels cannot have been seen so often; fetch the file again".to_owned()
            );
        }
        let labels = counts.len();
        let mut weights = counts.to_vec();
        let (mut leaves, mut node) = (labels, labels);
        let mut children = Vec::new();
        for _ in 1..labels {
            let mut take = || {
                // A node that is still to be made weighs more than all.
                if leaves > 0 && weights[leaves - 1] < *weights.get(node).unwrap_or(&MOST_SEEN) {
                    leaves -= 1;
                    leaves
                } else {
                    node += 1;
                    node - 1
                }
            };
            let pair = [take(), take()];
            weights.push(weights[pair[0]] + weights[pair[1]]);
            children.push(pair);
        }
        Ok(Self { labels, children })
    }

    /// Goes down wherever it is likely enough, left first; nothing if something is not a number.
    fn walk(&self, output: &Matrix, hidden: &[f32], best: &mut Best) -> Option<()> {
        let least = log(0.0);
        let mut open = vec![(0.0_f32, self.labels + self.children.len() - 1)];
        while let Some((score, node)) = open.pop() {
            if score < least || best.is_beaten(score) {
                continue;
            }
            let Some(inner) = node.checked_sub(self.labels) else {
                best.push((score, node));
                continue;
            };
            let right = 1.0 / (1.0 + (-output.dot(inner, hidden)).exp());
            if right.is_nan() {
                return None;
            }
            let [left_child, right_child] = self.children[inner];
            open.push((score + log(right), right_child));
            open.push((score + log(1.0 - right), left_child));
        }
        Some(())
    }
}
