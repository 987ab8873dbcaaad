//! Causal attention inside each document of a packed batch, grouped queries and sliding windows included.
//!
//! A token sees the tokens before it in its own document, the last `window` of them at most, itself included, and nothing
//! else. Instead of computing all pairs and masking
//! the foreign ones, the work is cut into tasks of one document and one key head, so that the cost is the sum of the
//! squared document lengths, and two tasks never write to the same place: a task owns its key and value head and, backwards, goes
//! through the query heads that share them in order. Where a batch is one long document there are few tasks, three in SmolLM2: so
//! that two threads do not wait for the third one, query heads are tasks of their own forwards, and products within a block are shared
//! out backwards.
//!
//! Inside a task, queries come in blocks of [`QUERY_ROWS`]; only keys that some query of the block sees are computed. The
//! forward pass keeps, for each query, the logarithm of its softmax sum, from which the backward pass computes the
//! probabilities again (Dao et al. 2022, without the tiling over keys, which buys nothing on a CPU at these lengths).

use std::ops::Range;

use rayon::prelude::*;

use super::Heads;
use super::lanes::{Unit, dot, exp, exp_sum, max, vectorised};
use super::matrix::{Matrix, MatrixMut, Threads, Write, product};

/// Queries in a block.
const QUERY_ROWS: usize = 128;
/// Multiplications of a product that a thread without work may take over: some 10 µs.
const WORTH: usize = 1 << 20;

/// What attention needs to know beside the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attending<'a> {
    /// How the rows are divided.
    pub(crate) heads: Heads,
    /// The rows of each document.
    pub(crate) documents: &'a [Range<usize>],
    /// What scores are multiplied by.
    pub(crate) scale: f32,
    /// How many tokens a token sees, itself included.
    pub(crate) window: Option<usize>,
}

/// What the forward pass makes.
pub(crate) struct Attended {
    /// Rows of `query * width` numbers.
    pub(crate) out: Vec<f32>,
    /// For each task, and in it for each query head and each row: the logarithm of the softmax sum.
    pub(crate) log_sums: Vec<Vec<f32>>,
}

/// A document and a key head.
#[derive(Clone)]
struct Task {
    document: Range<usize>,
    key_head: usize,
}

/// Returns the tasks, longest document first so that no thread is left with it at the end.
fn tasks(heads: Heads, documents: &[Range<usize>]) -> Vec<Task> {
    let mut order: Vec<&Range<usize>> = documents.iter().collect();
    order.sort_by_key(|document| std::cmp::Reverse(document.len()));
    let with_heads = |document: &Range<usize>| {
        let document = document.clone();
        (0..heads.key_value).map(move |key_head| Task { document: document.clone(), key_head })
    };
    order.into_iter().flat_map(with_heads).collect()
}

/// The part of the fused rows that a task reads, as matrices of the rows of its document.
struct Views<'a> {
    rows: &'a [f32],
    heads: Heads,
    scale: f32,
    window: Option<usize>,
    task: &'a Task,
}

impl<'a> Views<'a> {
    /// Returns `count` rows of a head (counted over queries, keys and values) from row `first` of the document on.
    fn head(&self, head: usize, first: usize, count: usize) -> Matrix<'a> {
        let stride = self.heads.fused_width();
        let start = (self.task.document.start + first) * stride + head * self.heads.width;
        Matrix::strided(&self.rows[start..], count, self.heads.width, stride)
    }

    /// Returns queries of the `shared`-th query head of the group.
    fn queries(&self, shared: usize, first: usize, count: usize) -> Matrix<'a> {
        self.head(self.task.key_head * self.heads.sharing() + shared, first, count)
    }

    /// Returns the keys of some rows of the document.
    fn keys(&self, rows: &Range<usize>) -> Matrix<'a> {
        self.head(self.heads.query + self.task.key_head, rows.start, rows.len())
    }

    /// Returns the values of some rows of the document.
    fn values(&self, rows: &Range<usize>) -> Matrix<'a> {
        self.head(self.heads.query + self.heads.key_value + self.task.key_head, rows.start, rows.len())
    }

    /// Returns the first row of the document that this row sees.
    fn first_seen(&self, row: usize) -> usize {
        self.window.map_or(0, |window| (row + 1).saturating_sub(window))
    }

    /// Returns the most keys that the queries of a block see.
    fn most_seen(&self) -> usize {
        let count = self.task.document.len();
        self.window.map_or(count, |window| window.saturating_add(QUERY_ROWS).min(count))
    }

    /// Returns which of the keys from row `from` of the document on this row sees.
    fn visible(&self, row: usize, from: usize) -> Range<usize> {
        self.first_seen(row) - from..row + 1 - from
    }
}

/// Cuts the rows of a document into blocks: first row, number of rows.
fn blocks(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).step_by(QUERY_ROWS).map(move |first| (first, QUERY_ROWS.min(rows - first)))
}

/// Attends: `softmax(scale · Q Kᵀ) V` in each document and head, over fused rows whose heads are prepared.
pub(crate) fn attention(rows: &[f32], with: Attending<'_>) -> Attended {
    let Attending { heads, documents, scale, window } = with;
    let tasks = tasks(heads, documents);
    let attend = |task: &Task| attend(&Views { rows, heads, scale, window, task });
    let parts: Vec<Vec<(Vec<f32>, Vec<f32>)>> = tasks.par_iter().with_max_len(1).map(attend).collect();
    let mut out = vec![0.0; rows.len() / heads.fused_width() * heads.output_width()];
    let mut log_sums = Vec::with_capacity(tasks.len());
    for (task, parts) in tasks.iter().zip(parts) {
        let mut sums = Vec::with_capacity(heads.sharing() * task.document.len());
        for (shared, (part, mut of_head)) in parts.into_iter().enumerate() {
            let column = (task.key_head * heads.sharing() + shared) * heads.width;
            place(&mut out, heads.output_width(), task.document.start, column, &part, heads.width);
            sums.append(&mut of_head);
        }
        log_sums.push(sums);
    }
    Attended { out, log_sums }
}

/// Writes the rows of `part`, `width` wide, into columns of a wider matrix.
fn place(out: &mut [f32], stride: usize, first_row: usize, first_column: usize, part: &[f32], width: usize) {
    for (row, part) in part.chunks_exact(width).enumerate() {
        out[(first_row + row) * stride + first_column..][..width].copy_from_slice(part);
    }
}

/// Computes one task: the outputs and the log sums of each query head of its group.
fn attend(views: &Views<'_>) -> Vec<(Vec<f32>, Vec<f32>)> {
    (0..views.heads.sharing()).into_par_iter().with_max_len(1).map(|shared| attend_head(views, shared)).collect()
}

fn attend_head(views: &Views<'_>, shared: usize) -> (Vec<f32>, Vec<f32>) {
    let (count, width) = (views.task.document.len(), views.heads.width);
    let mut out = vec![0.0; count * width];
    let mut log_sums = vec![0.0; count];
    let mut scores = vec![0.0; QUERY_ROWS.min(count) * views.most_seen()];
    for (first, size) in blocks(count) {
        let keys = views.first_seen(first)..first + size;
        let seen = keys.len();
        let scores = &mut scores[..size * seen];
        let queries = views.queries(shared, first, size);
        product(MatrixMut::new(scores, seen), Write::Replace, queries, views.keys(&keys).t(), Threads::One);
        softmax_rows(Unit::best(), scores, &mut log_sums[first..][..size], views, first, keys.start);
        let target = MatrixMut::new(&mut out[first * width..][..size * width], width);
        product(target, Write::Replace, Matrix::new(scores, seen), views.values(&keys), Threads::One);
    }
    (out, log_sums)
}

vectorised! {
    /// Turns the scores of queries from row `first` of the document on, over keys from row `from` on, into probabilities.
    fn softmax_rows(scores: &mut [f32], log_sums: &mut [f32], views: &Views<'_>, first: usize, from: usize) {
        let seen = scores.len() / log_sums.len();
        for (r, (row, log_sum)) in scores.chunks_exact_mut(seen).zip(log_sums).enumerate() {
            *log_sum = softmax(row, views.visible(first + r, from), views.scale);
        }
    }
}

/// Turns the visible scores of a row into probabilities, the rest into zeros; returns the log of the sum.
#[expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised!`")]
#[inline(always)]
fn softmax(row: &mut [f32], visible: Range<usize>, scale: f32) -> f32 {
    let (row, future) = row.split_at_mut(visible.end);
    let (past, row) = row.split_at_mut(visible.start);
    past.fill(0.0);
    let top = scale * max(row);
    let sum = exp_sum(row, scale, top);
    let inverse = 1.0 / sum;
    for value in row {
        *value *= inverse;
    }
    future.fill(0.0);
    top + sum.ln()
}

/// Returns the gradient of the fused rows, given the forward pass's result and the gradient of its rows.
pub(crate) fn attention_backward(
    rows: &[f32],
    with: Attending<'_>,
    out: &[f32],
    log_sums: &[Vec<f32>],
    gradient: &[f32],
) -> Vec<f32> {
    let Attending { heads, documents, scale, window } = with;
    let tasks = tasks(heads, documents);
    let attend_backward = |(task, log_sums): (&Task, &Vec<f32>)| {
        let views = Views { rows, heads, scale, window, task };
        attend_backward(&views, &Upstream { out, gradient, log_sums })
    };
    let parts: Vec<TaskGradients> = tasks.par_iter().zip(log_sums).with_max_len(1).map(attend_backward).collect();
    let mut rows_gradient = vec![0.0; rows.len()];
    let (width, group) = (heads.width, heads.sharing() * heads.width);
    let (first_key, first_value) = (heads.output_width(), heads.output_width() + heads.key_value * width);
    for (task, part) in tasks.iter().zip(&parts) {
        let mut place = |column: usize, part: &[f32], width: usize| {
            place(&mut rows_gradient, heads.fused_width(), task.document.start, column, part, width);
        };
        place(task.key_head * group, &part.queries, group);
        place(first_key + task.key_head * width, &part.keys, width);
        place(first_value + task.key_head * width, &part.values, width);
    }
    rows_gradient
}

/// What the backward pass of a task gets from the forward pass and from above; the first two cover all documents.
struct Upstream<'a> {
    out: &'a [f32],
    gradient: &'a [f32],
    log_sums: &'a [f32],
}

/// The gradients that a task computes.
struct TaskGradients {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// With `P` the probabilities and `G` the gradient of the output: `dV = Pᵀ G`, `dP = G Vᵀ`,
/// `dS = P (dP - rowsum(G · out)) · scale`, `dQ = dS K`, `dK = dSᵀ Q`.
fn attend_backward(views: &Views<'_>, upstream: &Upstream<'_>) -> TaskGradients {
    let (count, width, sharing) = (views.task.document.len(), views.heads.width, views.heads.sharing());
    let (group, stride) = (sharing * width, views.heads.output_width());
    let mut gradients = TaskGradients {
        queries: vec![0.0; count * group],
        keys: vec![0.0; count * width],
        values: vec![0.0; count * width],
    };
    let mut scores = vec![0.0; QUERY_ROWS.min(count) * views.most_seen()];
    let mut slopes = scores.clone();
    for shared in 0..sharing {
        let column = views.task.key_head * group + shared * width;
        for (first, size) in blocks(count) {
            let seen_keys = views.first_seen(first)..first + size;
            let seen = seen_keys.len();
            let (scores, slopes) = (&mut scores[..size * seen], &mut slopes[..size * seen]);
            let start = (views.task.document.start + first) * stride + column;
            let gradient = &upstream.gradient[start..];
            let above = Matrix::strided(gradient, size, width, stride);
            let queries = views.queries(shared, first, size);
            let product =
                |out: MatrixMut<'_>, write, a: Matrix<'_>, b: Matrix<'_>| product(out, write, a, b, Threads::One);
            let worth = size * seen * width >= WORTH;
            both(
                worth,
                || product(MatrixMut::new(scores, seen), Write::Replace, queries, views.keys(&seen_keys).t()),
                || product(MatrixMut::new(slopes, seen), Write::Replace, above, views.values(&seen_keys).t()),
            );
            let log_sums = &upstream.log_sums[shared * count + first..][..size];
            let made = [&upstream.out[start..], gradient];
            softmax_rows_backward(Unit::best(), [scores, slopes], log_sums, made, views, (first, seen_keys.start));
            let (scores, slopes) = (Matrix::new(scores, seen), Matrix::new(slopes, seen));
            let from = seen_keys.start * width;
            let TaskGradients { queries: to_queries, keys: to_keys, values: to_values } = &mut gradients;
            let to_values = MatrixMut::strided(&mut to_values[from..], seen, width, width);
            let to_queries = &mut to_queries[first * group + shared * width..];
            let to_queries = MatrixMut::strided(to_queries, size, width, group);
            let to_keys = MatrixMut::strided(&mut to_keys[from..], seen, width, width);
            both(
                worth,
                || product(to_values, Write::Add, scores.t(), above),
                || {
                    product(to_queries, Write::Replace, slopes, views.keys(&seen_keys));
                    product(to_keys, Write::Add, slopes.t(), queries);
                },
            );
        }
    }
    gradients
}

/// Does both, the second by a thread that has nothing to do, if there is one and if it is worth it.
fn both(worth: bool, first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
    if worth {
        rayon::join(first, second);
    } else {
        first();
        second();
    }
}

vectorised! {
    /// As [`softmax_rows`], for `[scores, slopes]`; `made` is what attention made of the queries, and its gradient.
    fn softmax_rows_backward(
        tables: [&mut [f32]; 2],
        log_sums: &[f32],
        made: [&[f32]; 2],
        views: &Views<'_>,
        at: (usize, usize),
    ) {
        let [scores, slopes] = tables;
        let (stride, width, (first, from)) = (views.heads.output_width(), views.heads.width, at);
        let seen = scores.len() / log_sums.len();
        let rows = scores.chunks_exact_mut(seen).zip(slopes.chunks_exact_mut(seen));
        for (r, ((row, slope), log_sum)) in rows.zip(log_sums).enumerate() {
            let [out, gradient] = made;
            let mean = dot(&gradient[r * stride..][..width], &out[r * stride..][..width]);
            softmax_backward(row, slope, views.visible(first + r, from), *log_sum, mean, views.scale);
        }
    }
}

/// Turns a row of scores into probabilities and the gradient of the probabilities into that of the scores.
#[expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised!`")]
#[inline(always)]
fn softmax_backward(row: &mut [f32], slope: &mut [f32], visible: Range<usize>, log_sum: f32, mean: f32, scale: f32) {
    for hidden in [&mut row[..visible.start], &mut slope[..visible.start]] {
        hidden.fill(0.0);
    }
    let (row, future) = row[visible.start..].split_at_mut(visible.len());
    let (slope, future_slope) = slope[visible.start..].split_at_mut(visible.len());
    for (value, slope) in row.iter_mut().zip(slope) {
        *value = exp(*value * scale - log_sum);
        *slope = *value * (*slope - mean) * scale;
    }
    future.fill(0.0);
    future_slope.fill(0.0);
}

#[cfg(test)]
mod tests {
    use super::super::lanes::testing::{numbers, on_all_units};
    use super::*;

    #[test]
    fn all_units_attend_alike() {
        let heads = Heads { query: 1, key_value: 1, width: 24 };
        let task = Task { document: 0..50, key_head: 0 };
        for (window, first, size) in [(None, 0, 50), (Some(5), 20, 17), (Some(40), 33, 1)] {
            let views = Views { rows: &[], heads, scale: 0.3, window, task: &task };
            let from = views.first_seen(first);
            let seen = first + size - from;
            let (scores, slopes) = (numbers(size * seen, 1), numbers(size * seen, 2));
            let (out, gradient) = (numbers(size * heads.width, 3), numbers(size * heads.width, 4));
            on_all_units(|unit| {
                let (mut chances, mut log_sums) = (scores.clone(), vec![0.0; size]);
                softmax_rows(unit, &mut chances, &mut log_sums, &views, first, from);
                for (r, row) in chances.chunks_exact(seen).enumerate() {
                    let visible = views.visible(first + r, from);
                    assert!((row[visible.clone()].iter().sum::<f32>() - 1.0).abs() < 1e-5, "{unit:?}");
                    assert!(row.iter().enumerate().all(|(i, x)| visible.contains(&i) || x.to_bits() == 0), "{unit:?}");
                }
                let (mut again, mut slopes) = (scores.clone(), slopes.clone());
                let made = [&out[..], &gradient[..]];
                softmax_rows_backward(unit, [&mut again, &mut slopes], &log_sums, made, &views, (first, from));
                assert!(again.iter().zip(&chances).all(|(a, b)| (a - b).abs() < 1e-5), "{unit:?}");
                [chances, log_sums, again, slopes].concat()
            });
        }
    }
}
