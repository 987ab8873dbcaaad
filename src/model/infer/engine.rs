//! The engine that continues texts: the blocks over stored weights, with what is kept of each text.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};
use rayon::prelude::*;

use super::cache::{Layer, NewPage, Sequence};
use super::product::{self, Looking, NewTokens, Then, linear};
use super::weights::Found;
use crate::model::Unit;
use crate::model::engine::{
    Attention, Convolution, Engine, Frame, Linear, Loss, Norm, Objective, ParameterId, Pooling,
};
use crate::model::fused::storage::read;
use crate::model::kernel::Heads;
use crate::model::kernel::blocks::{self, ending};
use crate::model::kernel::convolution::{Convolving, convolution};
use crate::model::kernel::gated::{Activation, gated};
use crate::model::kernel::norm::rms_norm;
use crate::model::kernel::rotary::{Preparation, prepare};
use crate::model::packed::Places;

/// Numbers whose writing down is worth sharing out.
const WORTH_SHARING: usize = 1 << 15;

/// The blocks, for one step. Document `d` of the step's frame continues the `d`-th of these texts.
pub(super) struct Continuing<'a, 's> {
    pub(super) weights: &'a Found<'a>,
    pub(super) texts: RefCell<Vec<&'s mut Sequence>>,
    /// The rows of the step whose logits are asked for.
    pub(super) wanted: &'a [usize],
}

impl Continuing<'_, '_> {
    /// Returns the logits of rows.
    pub(super) fn logits(&self, rows: &[f32], head: ParameterId) -> Vec<f32> {
        self.product(rows, Linear { weight: head, bias: None }, Then::Nothing)
    }

    /// Returns what a linear layer makes of rows.
    fn product(&self, x: &[f32], layer: Linear, then: Then<'_>) -> Vec<f32> {
        let weight = self.weights.get(layer.weight);
        let bias = layer.bias.map(|bias| self.weights.numbers(bias));
        linear(Unit::best(), product::Layer { parts: &weight.parts, columns: weight.columns, bias }, x, then)
    }

    /// Returns what the new tokens of all texts attend to.
    fn attend(&self, rows: &[f32], attention: &Attention, frame: &Frame) -> Result<Vec<f32>> {
        let Attention { heads, scale, window, .. } = *attention;
        let mut texts = self.texts.borrow_mut();
        let (mut kept, mut pages) = (Vec::new(), Vec::new());
        for (text, document) in texts.iter_mut().zip(&frame.places.documents) {
            // Of a text from which nothing comes, no position is looked at.
            let start = frame.places.positions.get(document.start).map_or(0, |position| *position as usize);
            let Layer::Attention(layer) = &mut text.layers[attention.layer] else {
                bail!("a layer that keeps no keys")
            };
            let rows = &rows[document.start * heads.fused_width()..document.end * heads.fused_width()];
            kept.push((layer, rows, start));
        }
        for (layer, rows, start) in &mut kept {
            pages.extend(layer.new_pages(rows, heads, *start));
        }
        if rows.len() < WORTH_SHARING {
            pages.into_iter().for_each(NewPage::put);
        } else {
            pages.into_par_iter().for_each(NewPage::put);
        }
        let texts = kept.iter().map(|(layer, rows, start)| NewTokens {
            rows,
            start: *start,
            page: |head, page| layer.page(head, page),
        });
        Ok(product::attention(Unit::best(), Looking { heads, scale, window }, &texts.collect::<Vec<_>>()))
    }

    /// Returns what the convolution makes of the new rows of all texts.
    fn convolve(&self, rows: &[f32], layer: &Convolution, frame: &Frame) -> Result<Vec<f32>> {
        let weight = self.weights.numbers(layer.weight);
        let bias = layer.bias.map(|bias| self.weights.numbers(bias));
        let width = 3 * weight.len() / layer.width;
        let mut texts = self.texts.borrow_mut();
        let mut out = Vec::with_capacity(rows.len() / 3);
        for (text, document) in texts.iter_mut().zip(&frame.places.documents) {
            let Layer::Convolution { last, next } = &mut text.layers[layer.layer] else {
                bail!("a layer that keeps no rows")
            };
            if document.is_empty() {
                next.clone_from(last);
                continue;
            }
            // The rows that are still reached go in front, as if they were fed again.
            let mut all = last.clone();
            all.extend_from_slice(&rows[document.start * width..document.end * width]);
            let document = 0..all.len() / width;
            let with = Convolving { weight, bias, width: layer.width, documents: std::slice::from_ref(&document) };
            out.extend_from_slice(&convolution(&all, with)[last.len() / 3..]);
            let reached = (layer.width - 1).min(document.len()) * width;
            *next = all[all.len() - reached..].to_vec();
        }
        Ok(out)
    }
}

/// Branches: blocks may have begun in steps before, and what the last one gave goes on to tokens of this step.
impl Continuing<'_, '_> {
    /// Returns the means of the blocks that end in this step, and where they stand; keeps the rows of those that don't.
    fn means(&self, x: &[f32], width: usize, pooling: Pooling, frame: &Frame) -> (Vec<f32>, Places) {
        let mut places = Places::new(&[]);
        let mut means = Vec::new();
        for (text, document) in self.texts.borrow_mut().iter_mut().zip(&frame.places.documents) {
            let blocks = ending(text.length, document.len(), pooling.factor);
            let branch = &mut text.branches[pooling.number];
            let mut all = branch.open.clone();
            all.extend_from_slice(&x[document.start * width..document.end * width]);
            let (whole, open) = all.split_at(blocks.len() * pooling.factor * width);
            branch.next_open = open.to_vec();
            for block in whole.chunks_exact(pooling.factor * width) {
                let from = means.len();
                means.resize(from + width, 0.0);
                blocks::mean(block, &mut means[from..]);
            }
            // The layer is not asked where no block ends, and still keeps what it kept.
            if let Layer::Convolution { last, next } = &mut text.layers[pooling.layer] {
                next.clone_from(last);
            }
            let first = places.positions.len();
            places.documents.push(first..first + blocks.len());
            places.longest = places.longest.max(blocks.end);
            places.positions.extend(blocks.map(|block| block as u32));
        }
        (means, places)
    }

    /// Returns rows with those of their blocks added; keeps the last one of each text.
    fn with_blocks(&self, made: &[f32], x: &[f32], pooling: Pooling, frame: &Frame) -> Vec<f32> {
        let tokens = frame.places.positions.len().max(1);
        let (width, mut out) = (x.len() / tokens, x.to_vec());
        let mut from = 0;
        for (text, document) in self.texts.borrow_mut().iter_mut().zip(&frame.places.documents) {
            let blocks = ending(text.length, document.len(), pooling.factor);
            let branch = &mut text.branches[pooling.number];
            let mine = &made[from * width..(from + blocks.len()) * width];
            from += blocks.len();
            let rows = out[document.start * width..document.end * width].chunks_exact_mut(width);
            for (position, row) in (text.length..).zip(rows) {
                let ended = (position + 1) / pooling.factor;
                if ended > blocks.start {
                    blocks::add(row, &mine[(ended - 1 - blocks.start) * width..][..width]);
                } else if ended > 0 {
                    blocks::add(row, &branch.given);
                }
            }
            branch.next_given = mine.rchunks_exact(width).next().map_or_else(|| branch.given.clone(), <[f32]>::to_vec);
        }
        out
    }
}

impl Engine for Continuing<'_, '_> {
    fn embedding(&self, table: ParameterId, ids: &[u32], scale: Option<f32>) -> Result<Tensor> {
        let table = self.weights.get(table);
        let part = table.parts[0];
        let size = table.columns * part.dtype.size();
        let mut out = vec![0.0; ids.len() * table.columns];
        for (out, id) in out.chunks_exact_mut(table.columns).zip(ids) {
            part.dtype.read_f32(&part.bytes[*id as usize * size..][..size], out);
            if let Some(scale) = scale {
                for x in out {
                    *x *= scale;
                }
            }
        }
        rows(out, table.columns)
    }

    fn rms_norm(&self, x: &Tensor, norm: Norm) -> Result<Tensor> {
        let weight = self.weights.numbers(norm.weight);
        rows(read(x, |x| rms_norm(x, weight, norm.epsilon))?, weight.len())
    }

    fn linear(&self, x: &Tensor, layer: Linear) -> Result<Tensor> {
        rows(read(x, |x| self.product(x, layer, Then::Nothing))?, self.weights.get(layer.weight).rows())
    }

    fn linear_add(&self, x: &Tensor, layer: Linear, residual: &Tensor) -> Result<Tensor> {
        let out = read(x, |x| read(residual, |residual| self.product(x, layer, Then::Add(residual))))??;
        rows(out, self.weights.get(layer.weight).rows())
    }

    fn linear_gated(&self, x: &Tensor, layer: Linear, activation: Activation) -> Result<Tensor> {
        let weight = self.weights.get(layer.weight);
        if let [gate, up] = &weight.parts[..]
            && gate.dtype == up.dtype
        {
            return rows(read(x, |x| self.product(x, layer, Then::Gate(activation)))?, weight.rows() / 2);
        }
        self.gated(&self.linear(x, layer)?, activation)
    }

    fn wanted(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(1)?;
        let cut = |x: &[f32]| self.wanted.iter().flat_map(|row| &x[row * width..][..width]).copied().collect();
        rows(read(x, cut)?, width)
    }

    fn prepare_heads(&self, x: &Tensor, attention: &Attention, frame: &Frame) -> Result<Tensor> {
        let heads: Heads = attention.heads;
        let with = Preparation {
            heads,
            norms: attention.norms.map(|n| [n.query, n.key].map(|norm| self.weights.numbers(norm.weight))),
            epsilon: attention.norms.map_or(0.0, |norms| norms.query.epsilon),
            table: &frame.rotary[attention.rotary],
            positions: &frame.places.positions,
        };
        rows(read(x, |x| prepare(x, with))?, heads.fused_width())
    }

    fn attention(&self, x: &Tensor, attention: &Attention, frame: &Frame) -> Result<Tensor> {
        rows(read(x, |x| self.attend(x, attention, frame))??, attention.heads.output_width())
    }

    fn short_convolution(&self, x: &Tensor, layer: &Convolution, frame: &Frame) -> Result<Tensor> {
        let channels = self.weights.numbers(layer.weight).len() / layer.width;
        rows(read(x, |x| self.convolve(x, layer, frame))??, channels)
    }

    fn gated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let width = x.dim(1)? / 2;
        rows(read(x, |x| gated(x, width, activation))?, width)
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let width = x.dim(1)?;
        rows(read(x, |x| read(y, |y| x.iter().zip(y).map(|(x, y)| x + y).collect::<Vec<_>>()))??, width)
    }

    fn pool(&self, x: &Tensor, pooling: Pooling, frame: &Frame) -> Result<Option<(Tensor, Frame)>> {
        let width = x.dim(1)?;
        let (means, places) = read(x, |x| self.means(x, width, pooling, frame))?;
        if means.is_empty() {
            return Ok(None);
        }
        let frame = Frame { places: Arc::new(places), rotary: Arc::clone(&frame.rotary), noise: None };
        Ok(Some((rows(means, width)?, frame)))
    }

    fn spread(&self, made: Option<&Tensor>, x: &Tensor, pooling: Pooling, frame: &Frame) -> Result<Tensor> {
        let width = x.dim(1)?;
        let out = |made: &[f32]| read(x, |x| self.with_blocks(made, x, pooling, frame));
        let out = match made {
            Some(made) => read(made, out)??,
            None => out(&[])?,
        };
        rows(out, width)
    }

    fn cross_entropy(&self, _: &Tensor, _: ParameterId, _: Objective<'_>) -> Result<Loss> {
        bail!("a model that only runs has no loss")
    }
}

fn rows(numbers: Vec<f32>, width: usize) -> Result<Tensor> {
    let count = numbers.len() / width;
    Tensor::from_vec(numbers, (count, width), &Device::Cpu)
}
