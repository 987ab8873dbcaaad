//! The short convolution of LFM2: from rows `[B | C | x]` to `C · conv(B · x)`, channel by channel.
//!
//! With `u = B x`, output `t` of a channel is `Σ_k w[k] u[t - (width - 1) + k]`: the last weight belongs to the token
//! itself. Taps that would reach back over the first token of the document are zero. That is the point of doing it here:
//! where a packed batch goes through an ordinary convolution, the first tokens of each document see the document before
//! it, as they did in most training frameworks well into 2026.
//!
//! With `d = g C`, the gradients are `du[t] = Σ_k w[k] d[t + (width - 1) - k]` inside the document, `dB = du x`,
//! `dx = du B`, `dC = g v` with `v` what the convolution gave, `dw[k] = Σ_t d[t] u[t - (width - 1) + k]`, `dbias = Σ_t d[t]`.
#![expect(clippy::inline_always, reason = "a call would leave the wide instruction set of `vectorised`")]

use std::ops::Range;

use rayon::prelude::*;

use super::BLOCK_ROWS;
use super::lanes::vectorised;
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

    #[inline(always)]
    fn row(&self, rows: &'a [f32], row: usize) -> Row<'a> {
        let channels = self.channels();
        let (b, rest) = rows[row * 3 * channels..][..3 * channels].split_at(channels);
        let (c, x) = rest.split_at(channels);
        Row { b, c, x }
    }

    /// Writes what the convolution gives for a row, before it is multiplied by `C`.
    #[inline(always)]
    fn convolve(&self, rows: &'a [f32], taps: &[Vec<f32>], row: usize, start: usize, out: &mut [f32]) {
        match self.bias {
            Some(bias) => out.copy_from_slice(bias),
            None => out.fill(0.0),
        }
        for (back, tap) in taps.iter().enumerate().take(row - start + 1).rev() {
            let Row { b, x, .. } = self.row(rows, row - back);
            for (((out, w), b), x) in out.iter_mut().zip(tap).zip(b).zip(x) {
                *out += w * (b * x);
            }
        }
    }
}

/// Returns rows of as many numbers as there are channels.
pub(crate) fn convolution(rows: &[f32], with: Convolving<'_>) -> Vec<f32> {
    let (channels, taps, bounds) = (with.channels(), with.taps(), with.bounds());
    let mut out = vec![0.0; rows.len() / 3];
    out.par_chunks_mut(channels * BLOCK_ROWS).enumerate().for_each(|(block, out)| {
        vectorised(|| {
            for (r, out) in out.chunks_exact_mut(channels).enumerate() {
                let row = block * BLOCK_ROWS + r;
                with.convolve(rows, &taps, row, bounds[row].0, out);
                out.iter_mut().zip(with.row(rows, row).c).for_each(|(out, c)| *out *= c);
            }
        });
    });
    out
}

/// Returns the gradient of the rows, given that of the result, and those of the weights and the bias.
pub(crate) fn convolution_backward(
    rows: &[f32],
    gradient: &[f32],
    with: Convolving<'_>,
) -> (Vec<f32>, ConvolutionGradients) {
    let (channels, taps, bounds) = (with.channels(), with.taps(), with.bounds());
    let mut out = vec![0.0; rows.len()];
    let block_back = |(block, out): (usize, &mut [f32])| {
        let (mut parts, mut given) = (vec![0.0; (with.width + 1) * channels], vec![0.0; channels]);
        vectorised(|| {
            for (r, out) in out.chunks_exact_mut(3 * channels).enumerate() {
                let row = block * BLOCK_ROWS + r;
                let (b_out, rest) = out.split_at_mut(channels);
                let (c_out, x_out) = rest.split_at_mut(channels);
                let above = &gradient[row * channels..][..channels];
                with.convolve(rows, &taps, row, bounds[row].0, &mut given);
                multiply(c_out, above, &given);
                // `du` goes where `dx` will be.
                x_out.fill(0.0);
                for (ahead, tap) in taps.iter().enumerate().take(bounds[row].1 - row) {
                    let (above, c) = (&gradient[(row + ahead) * channels..][..channels], with.row(rows, row + ahead).c);
                    for (((out, w), above), c) in x_out.iter_mut().zip(tap).zip(above).zip(c) {
                        *out += w * (above * c);
                    }
                }
                let Row { b, c, x } = with.row(rows, row);
                multiply(b_out, x_out, x);
                x_out.iter_mut().zip(b).for_each(|(out, b)| *out *= b);
                multiply(&mut given, above, c);
                add_parameters(&mut parts, &given, row - bounds[row].0, with.width, |back| with.row(rows, row - back));
            }
        });
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

#[inline(always)]
fn multiply(out: &mut [f32], a: &[f32], b: &[f32]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a * b);
}

/// Adds a row's part of the gradients: of the weights by distance, then of the bias. `d` is `g C`, and the row has `before`
/// rows of its document before it.
#[inline(always)]
fn add_parameters<'a>(parts: &mut [f32], d: &[f32], before: usize, width: usize, row_back: impl Fn(usize) -> Row<'a>) {
    let channels = d.len();
    let (weights, bias) = parts.split_at_mut(width * channels);
    for (back, total) in weights.chunks_exact_mut(channels).enumerate().take(before + 1) {
        let Row { b, x, .. } = row_back(back);
        for (((total, d), b), x) in total.iter_mut().zip(d).zip(b).zip(x) {
            *total += d * (b * x);
        }
    }
    bias.iter_mut().zip(d).for_each(|(total, d)| *total += d);
}
