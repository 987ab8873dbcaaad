//! The preparation of queries and keys: a root-mean-square norm of each head, if the model has them, then rotary position
//! embedding.
//!
//! Rotary embedding (Su et al. 2021) in the "rotate half" pairing of the Hugging Face models: number `j` of a head turns
//! together with number `j + width/2`, by the angle `position * frequency[j]`. Turning back is turning by the negative
//! angle, so the backward pass needs no second formula. Both steps run in one pass over the fused rows.
#![expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised!`")]

use rayon::prelude::*;

use super::lanes::{Unit, vectorised};
use super::norm::{add_parts, norm_row, norm_row_backward, scale_of};
use super::{BLOCK_ROWS, Heads};

/// Cosines and sines of the angles of each position.
#[derive(Debug)]
pub(crate) struct RotaryTable {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl RotaryTable {
    /// Returns the table for the positions below `positions`; a frequency for each pair of a head's numbers. Cosines and
    /// sines are multiplied by `factor`.
    ///
    /// As in transformers, frequencies and angles are rounded to f32; everything between is exact to f64.
    pub(crate) fn new(positions: usize, frequencies: &[f32], factor: f32) -> Self {
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| f64::from(p as f32 * f)));
        let (cosines, sines) = angles.map(|a| (a.cos() as f32 * factor, a.sin() as f32 * factor)).unzip();
        Self { half: frequencies.len(), cosines, sines }
    }

    /// Returns how many positions the table knows.
    pub(crate) fn positions(&self) -> usize {
        self.cosines.len() / self.half.max(1)
    }

    /// Returns the cosines and sines of a position, `width / 2` of each.
    pub(crate) fn row(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}

/// What the preparation needs to know beside the rows.
#[derive(Clone, Copy)]
pub(crate) struct Preparation<'a> {
    /// How the rows are divided.
    pub(crate) heads: Heads,
    /// Weights of the norms of query and of key heads, `width` numbers each.
    pub(crate) norms: Option<[&'a [f32]; 2]>,
    /// Guards the norms against division by zero.
    pub(crate) epsilon: f32,
    /// Angles of all positions.
    pub(crate) table: &'a RotaryTable,
    /// The position of each row in its document.
    pub(crate) positions: &'a [u32],
}

impl<'a> Preparation<'a> {
    /// Returns the norm weight of a head: queries come first, then keys.
    #[inline(always)]
    fn weight(&self, head: usize) -> Option<&'a [f32]> {
        self.norms.map(|[query, key]| if head < self.heads.query { query } else { key })
    }

    /// Returns the same for rows from `first` on.
    fn rows_from(self, first: usize) -> Self {
        Self { positions: &self.positions[first..], ..self }
    }
}

/// Normalises and turns the query and key heads of fused rows; value heads stay as they are.
pub(crate) fn prepare(rows: &[f32], with: Preparation<'_>) -> Vec<f32> {
    let mut out = vec![0.0; rows.len()];
    let block = with.heads.fused_width() * BLOCK_ROWS;
    let blocks = out.par_chunks_mut(block).zip(rows.par_chunks(block)).enumerate();
    blocks.for_each(|(index, (out, rows))| prepare_rows(Unit::best(), out, rows, with.rows_from(index * BLOCK_ROWS)));
    out
}

vectorised! {
    fn prepare_rows(out: &mut [f32], rows: &[f32], with: Preparation<'_>) {
        let (fused, width) = (with.heads.fused_width(), with.heads.width);
        let prepared = (with.heads.query + with.heads.key_value) * width;
        let rows = rows.chunks_exact(fused).zip(with.positions);
        for (out, (row, position)) in out.chunks_exact_mut(fused).zip(rows) {
            let (cosines, sines) = with.table.row(*position as usize);
            let heads = row[..prepared].chunks_exact(width);
            for (h, (out, head)) in out.chunks_exact_mut(width).zip(heads).enumerate() {
                match with.weight(h) {
                    Some(weight) => norm_row(head, weight, scale_of(head, with.epsilon), out),
                    None => out.copy_from_slice(head),
                }
                turn(out, cosines, sines, 1.0);
            }
            out[prepared..].copy_from_slice(&row[prepared..]);
        }
    }
}

/// Returns the gradient of the rows, given that of the result, and adds those of the weights of the norms of query and of
/// key heads to `totals`.
pub(crate) fn prepare_backward(
    rows: &[f32],
    gradient: &[f32],
    with: Preparation<'_>,
    totals: Option<[&mut [f32]; 2]>,
) -> Vec<f32> {
    let (fused, width) = (with.heads.fused_width(), with.heads.width);
    let mut out = vec![0.0; rows.len()];
    let block = fused * BLOCK_ROWS;
    let parts: Vec<[Vec<f32>; 2]> = out
        .par_chunks_mut(block)
        .zip(rows.par_chunks(block).zip(gradient.par_chunks(block)))
        .enumerate()
        .map(|(index, (out, (rows, gradient)))| {
            let mut part = [vec![0.0; width], vec![0.0; width]];
            prepare_rows_backward(Unit::best(), out, [rows, gradient], with.rows_from(index * BLOCK_ROWS), &mut part);
            part
        })
        .collect();
    if let Some([query_total, key_total]) = totals {
        for [query, key] in parts {
            add_parts(query_total, &[query]);
            add_parts(key_total, &[key]);
        }
    }
    out
}

vectorised! {
    fn prepare_rows_backward(out: &mut [f32], given: [&[f32]; 2], with: Preparation<'_>, part: &mut [Vec<f32>; 2]) {
        let [rows, gradient] = given;
        let (fused, width) = (with.heads.fused_width(), with.heads.width);
        let prepared = (with.heads.query + with.heads.key_value) * width;
        let mut turned = vec![0.0; width];
        let rows = rows.chunks_exact(fused).zip(gradient.chunks_exact(fused)).zip(with.positions);
        for (out, ((row, gradient), position)) in out.chunks_exact_mut(fused).zip(rows) {
            let (cosines, sines) = with.table.row(*position as usize);
            let heads = row[..prepared].chunks_exact(width).zip(gradient.chunks_exact(width));
            for (h, (out, (head, gradient))) in out.chunks_exact_mut(width).zip(heads).enumerate() {
                turned.copy_from_slice(gradient);
                turn(&mut turned, cosines, sines, -1.0);
                let total = &mut part[usize::from(h >= with.heads.query)];
                match with.weight(h) {
                    Some(weight) => {
                        norm_row_backward(head, weight, &turned, scale_of(head, with.epsilon), out, total);
                    }
                    None => out.copy_from_slice(&turned),
                }
            }
            out[prepared..].copy_from_slice(&gradient[prepared..]);
        }
    }
}

/// Turns the pairs of one head by their angles, times `sign`.
#[inline(always)]
fn turn(head: &mut [f32], cosines: &[f32], sines: &[f32], sign: f32) {
    let (low, high) = head.split_at_mut(cosines.len());
    for (((a, b), cosine), sine) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
        let (x, y, sine) = (*a, *b, sign * sine);
        *a = x * cosine - y * sine;
        *b = y * cosine + x * sine;
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::testing::{assert_close, numbers, on_all_units};
    use super::*;

    #[test]
    fn all_units_prepare_heads() {
        for (width, normed) in [(2, true), (6, false), (32, true), (34, true), (64, false)] {
            let heads = Heads { query: 3, key_value: 1, width };
            let frequencies: Vec<f32> = (0..width / 2).map(|i| 0.5 / (i + 1) as f32).collect();
            let table = RotaryTable::new(9, &frequencies, 1.0);
            let (rows, positions) = (numbers(5 * heads.fused_width(), 1), [0, 1, 2, 8, 3]);
            let weights = [numbers(width, 2), numbers(width, 3)];
            let norms = normed.then(|| [&weights[0][..], &weights[1][..]]);
            let with = Preparation { heads, norms, epsilon: 1e-5, table: &table, positions: &positions };
            let prepared = on_all_units(|unit| {
                let mut out = vec![0.0; rows.len()];
                prepare_rows(unit, &mut out, &rows, with);
                out
            });
            let gradient = numbers(rows.len(), 4);
            let back = on_all_units(|unit| {
                let (mut out, mut part) = (vec![0.0; rows.len()], [vec![0.0; width], vec![0.0; width]]);
                prepare_rows_backward(unit, &mut out, [&rows, &gradient], with, &mut part);
                out.into_iter().chain(part.concat()).collect()
            });
            assert_eq!(prepare(&rows, with), prepared);
            assert_eq!(prepare_backward(&rows, &gradient, with, None), back[..rows.len()]);
            if !normed {
                assert_close(&prepared, &turned(&rows, with, &frequencies));
            }
        }
    }

    /// Returns rows whose query and key heads are turned, by the definition.
    fn turned(rows: &[f32], with: Preparation<'_>, frequencies: &[f32]) -> Vec<f64> {
        let (fused, width) = (with.heads.fused_width(), with.heads.width);
        let number = |i: usize| {
            let (row, column) = (i / fused, i % fused);
            if column >= (with.heads.query + with.heads.key_value) * width {
                return f64::from(rows[i]);
            }
            let (j, half) = (column % width, width / 2);
            let angle = f64::from(with.positions[row]) * f64::from(frequencies[j % half]);
            let (pair, sign) = if j < half { (i + half, -1.0) } else { (i - half, 1.0) };
            f64::from(rows[i]) * angle.cos() + sign * f64::from(rows[pair]) * angle.sin()
        };
        (0..rows.len()).map(number).collect()
    }
}
