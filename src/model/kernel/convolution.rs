//! The short convolution of LFM2: from rows `[B | C | x]` to `C · conv(B · x)`, channel by channel.
//!
//! With `u = B x`, output `t` of a channel is `Σ_k w[k] u[t - (width - 1) + k]`: the last weight belongs to the token
//! itself. Taps that would reach back over the first token of the document are zero. That is the point of doing it here:
//! where a packed batch goes through an ordinary convolution, the first tokens of each document see the document before
//! it, as they did in most training frameworks well into 2026.
//!
//! With `d = g C`, the gradients are `du[t] = Σ_k w[k] d[t + (width - 1) - k]` inside the document, `dB = du x`,
//! `dx = du B`, `dC = g v` with `v` what the convolution gave, `dw[k] = Σ_t d[t] u[t - (width - 1) + k]`, `dbias = Σ_t d[t]`.
#![expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised!`")]

use std::ops::Range;

use rayon::prelude::*;

use super::BLOCK_ROWS;
use super::lanes::{Unit, vectorised};
use super::norm::add_parts;

/// What the convolution needs to know beside the rows.
#[derive(Clone, Copy)]
pub(crate) struct Convolving<'a> {
    /// The weights, `width` of them for each channel.
    pub(crate) weight: &'a [f32],
    /// A number for each channel.
    pub(crate) bias: Option<&'a [f32]>,
    /// How many tokens a token sees, itself included.
    pub(crate) width: usize,
    /// The rows of each document.
    pub(crate) documents: &'a [Range<usize>],
}

/// The gradients of what the convolution learned.
pub(crate) struct ConvolutionGradients {
    /// In the order of the weights.
    pub(crate) weight: Vec<f32>,
    /// A number for each channel, whether there is a bias or not.
    pub(crate) bias: Vec<f32>,
}

/// A row `[B | C | x]`.
#[derive(Clone, Copy)]
struct Row<'a> {
    b: &'a [f32],
    c: &'a [f32],
    x: &'a [f32],
}

impl<'a> Convolving<'a> {
    fn channels(&self) -> usize {
        self.weight.len() / self.width
    }

    /// Returns the weights by distance: how many tokens back, then by channel, so that loops run over channels.
    fn taps(&self) -> Vec<Vec<f32>> {
        let tap = |back: usize| self.weight.chunks_exact(self.width).map(move |w| w[self.width - 1 - back]);
        (0..self.width).map(|back| tap(back).collect()).collect()
    }

    /// Returns the bounds of the document of each row.
    fn bounds(&self) -> Vec<(usize, usize)> {
        let bounds = |document: &'a Range<usize>| document.clone().map(|_| (document.start, document.end));
        self.documents.iter().flat_map(bounds).collect()
    }

    /// Returns the rows, ready to be convolved.
    fn laid(self, rows: &'a [f32]) -> Laid<'a> {
        Laid { with: self, rows, channels: self.channels(), taps: self.taps(), bounds: self.bounds() }
    }
}

/// Rows, and what is looked up for each of them.
struct Laid<'a> {
    with: Convolving<'a>,
    rows: &'a [f32],
    channels: usize,
    /// The weights by distance.
    taps: Vec<Vec<f32>>,
    /// The first row of the document of each row, and the row after its last.
    bounds: Vec<(usize, usize)>,
}

impl<'a> Laid<'a> {
    #[inline(always)]
    fn row(&self, row: usize) -> Row<'a> {
        let channels = self.channels;
        let (b, rest) = self.rows[row * 3 * channels..][..3 * channels].split_at(channels);
        let (c, x) = rest.split_at(channels);
        Row { b, c, x }
    }

    /// Writes what the convolution gives for a row, before it is multiplied by `C`.
    #[inline(always)]
    fn convolve(&self, row: usize, out: &mut [f32]) {
        match self.with.bias {
            Some(bias) => out.copy_from_slice(bias),
            None => out.fill(0.0),
        }
        for (back, tap) in self.taps.iter().enumerate().take(row - self.bounds[row].0 + 1).rev() {
            let Row { b, x, .. } = self.row(row - back);
            for (((out, w), b), x) in out.iter_mut().zip(tap).zip(b).zip(x) {
                *out += w * (b * x);
            }
        }
    }
}

/// Returns rows of as many numbers as there are channels.
pub(crate) fn convolution(rows: &[f32], with: Convolving<'_>) -> Vec<f32> {
    let laid = with.laid(rows);
    let mut out = vec![0.0; rows.len() / 3];
    let blocks = out.par_chunks_mut(laid.channels * BLOCK_ROWS).enumerate();
    blocks.for_each(|(block, out)| convolve_rows(Unit::best(), &laid, block * BLOCK_ROWS, out));
    out
}

vectorised! {
    fn convolve_rows(laid: &Laid<'_>, first: usize, out: &mut [f32]) {
        for (row, out) in (first..).zip(out.chunks_exact_mut(laid.channels)) {
            laid.convolve(row, out);
            for (out, c) in out.iter_mut().zip(laid.row(row).c) {
                *out *= c;
            }
        }
    }
}

/// Returns the gradient of the rows, given that of the result, and those of the weights and the bias.
pub(crate) fn convolution_backward(
    rows: &[f32],
    gradient: &[f32],
    with: Convolving<'_>,
) -> (Vec<f32>, ConvolutionGradients) {
    let laid = with.laid(rows);
    let channels = laid.channels;
    let mut out = vec![0.0; rows.len()];
    let block_back = |(block, out): (usize, &mut [f32])| {
        let mut parts = vec![0.0; (with.width + 1) * channels];
        convolve_rows_backward(Unit::best(), &laid, block * BLOCK_ROWS, gradient, out, &mut parts);
        parts
    };
    let parts: Vec<Vec<f32>> = out.par_chunks_mut(3 * channels * BLOCK_ROWS).enumerate().map(block_back).collect();
    let mut total = vec![0.0; (with.width + 1) * channels];
    add_parts(&mut total, &parts);
    let bias = total.split_off(with.width * channels);
    let of_channel = |channel: usize| (0..with.width).rev().map(move |back| (back, channel));
    let weight = (0..channels).flat_map(of_channel).map(|(back, channel)| total[back * channels + channel]).collect();
    (out, ConvolutionGradients { weight, bias })
}

vectorised! {
    fn convolve_rows_backward(laid: &Laid<'_>, first: usize, gradient: &[f32], out: &mut [f32], parts: &mut [f32]) {
        let channels = laid.channels;
        let mut given = vec![0.0; channels];
        for (row, out) in (first..).zip(out.chunks_exact_mut(3 * channels)) {
            let (b_out, rest) = out.split_at_mut(channels);
            let (c_out, x_out) = rest.split_at_mut(channels);
            let above = &gradient[row * channels..][..channels];
            laid.convolve(row, &mut given);
            multiply(c_out, above, &given);
            // `du` goes where `dx` will be.
            x_out.fill(0.0);
            for (ahead, tap) in laid.taps.iter().enumerate().take(laid.bounds[row].1 - row) {
                let (above, c) = (&gradient[(row + ahead) * channels..][..channels], laid.row(row + ahead).c);
                for (((out, w), above), c) in x_out.iter_mut().zip(tap).zip(above).zip(c) {
                    *out += w * (above * c);
                }
            }
            let Row { b, c, x } = laid.row(row);
            multiply(b_out, x_out, x);
            for (out, b) in x_out.iter_mut().zip(b) {
                *out *= b;
            }
            multiply(&mut given, above, c);
            add_parameters(parts, &given, laid, row);
        }
    }
}

#[inline(always)]
fn multiply(out: &mut [f32], a: &[f32], b: &[f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a * b;
    }
}

/// Adds a row's part of the gradients: of the weights by distance, then of the bias. `d` is `g C`.
#[inline(always)]
fn add_parameters(parts: &mut [f32], d: &[f32], laid: &Laid<'_>, row: usize) {
    let channels = d.len();
    let (weights, bias) = parts.split_at_mut(laid.with.width * channels);
    for (back, total) in weights.chunks_exact_mut(channels).enumerate().take(row - laid.bounds[row].0 + 1) {
        let Row { b, x, .. } = laid.row(row - back);
        for (((total, d), b), x) in total.iter_mut().zip(d).zip(b).zip(x) {
            *total += d * (b * x);
        }
    }
    for (total, d) in bias.iter_mut().zip(d) {
        *total += d;
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::testing::{assert_close, numbers, on_all_units};
    use super::*;

    #[test]
    fn all_units_convolve() {
        for (channels, width) in [(1, 1), (7, 3), (16, 3), (37, 4)] {
            let documents = [0..2, 2..9];
            let (weight, bias) = (numbers(channels * width, 1), numbers(channels, 2));
            let with = Convolving { weight: &weight, bias: Some(&bias), width, documents: &documents };
            let (rows, gradient) = (numbers(9 * 3 * channels, 3), numbers(9 * channels, 4));
            let found = on_all_units(|unit| {
                let mut out = vec![0.0; 9 * channels];
                convolve_rows(unit, &with.laid(&rows), 0, &mut out);
                out
            });
            let number =
                |row: usize, part: usize, channel: usize| f64::from(rows[(row * 3 + part) * channels + channel]);
            let exact = (0..9 * channels).map(|i| {
                let (row, channel) = (i / channels, i % channels);
                let first = if row < 2 { 0 } else { 2 };
                let taps = (0..width).filter(|back| first + back <= row).map(|back| {
                    let w = f64::from(weight[channel * width + width - 1 - back]);
                    w * number(row - back, 0, channel) * number(row - back, 2, channel)
                });
                (f64::from(bias[channel]) + taps.sum::<f64>()) * number(row, 1, channel)
            });
            assert_close(&found, &exact.collect::<Vec<_>>());
            on_all_units(|unit| {
                let (mut out, mut parts) = (vec![0.0; rows.len()], vec![0.0; (width + 1) * channels]);
                convolve_rows_backward(unit, &with.laid(&rows), 0, &gradient, &mut out, &mut parts);
                [out, parts].concat()
            });
        }
    }
}
