//! What is kept of a text: keys and values of its attention layers, the last inputs of its convolutions.
//!
//! Keys and values stay f32. Half the width would halve what a long text takes, but then a text that is continued would not
//! give the numbers that it gives when it is computed anew, and at the lengths that fit beside a model on a CPU most of a
//! step is the reading of weights.
//!
//! They lie in pages of [`PAGE`] positions, so a text grows without being copied and takes at most a page a layer more than
//! it needs. Layers with a window let go of pages that no token will see again. In a page the keys of a head lie number by
//! number, each number of all positions side by side, and values position by position: both times a step of attention is
//! then a sum of rows, each with a weight.
//!
//! Texts that begin alike share pages. One that is shared is copied when a text writes to it, which is the last, partial
//! one: all before it are full and never written again.

use std::collections::VecDeque;
use std::sync::Arc;

use super::product::{LANES, PAGE};
use crate::model::config::{Config, LayerKind};
use crate::model::kernel::Heads;

/// What is kept of one text. A clone is a text of its own that shares the pages.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    /// How many tokens were fed.
    pub(super) length: usize,
    /// By the number of the layer; those of branches come after those of the model.
    pub(super) layers: Vec<Layer>,
    /// Beside the layers of branches.
    pub(super) branches: Vec<Branch>,
}

/// What a branch keeps beside its layer: of before this step, and for after it.
#[derive(Debug, Clone, Default)]
pub(super) struct Branch {
    /// The rows of a block that has not ended.
    pub(super) open: Vec<f32>,
    pub(super) next_open: Vec<f32>,
    /// What was made of the last block that ended.
    pub(super) given: Vec<f32>,
    pub(super) next_given: Vec<f32>,
}

/// What a layer keeps.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    /// Keys and values.
    Attention(KeysValues),
    /// The rows that the convolution still reaches, oldest first, and those for after this step.
    Convolution {
        /// From the steps before.
        last: Vec<f32>,
        /// From this step.
        next: Vec<f32>,
    },
}

/// The keys and values of a layer.
#[derive(Debug, Clone)]
pub(super) struct KeysValues {
    heads: usize,
    width: usize,
    window: Option<usize>,
    /// The number of the first page that is still there.
    first: usize,
    /// For each head the keys and then the values, these padded to whole groups of numbers.
    pages: VecDeque<Arc<[f32]>>,
}

impl Sequence {
    /// Returns what is kept of a text without tokens.
    pub(super) fn new(config: &Config) -> Self {
        let layer = |kind: &LayerKind| match kind {
            LayerKind::Attention { window, .. } => Layer::Attention(KeysValues {
                heads: config.num_key_value_heads,
                width: config.head_dim,
                window: *window,
                first: 0,
                pages: VecDeque::new(),
            }),
            LayerKind::Convolution => Layer::Convolution { last: Vec::new(), next: Vec::new() },
        };
        let beside = config.branches().map(|beside| config.branch_kind(beside));
        let layers: Vec<Layer> = config.layers.iter().copied().chain(beside).map(|kind| layer(&kind)).collect();
        let branches = vec![Branch::default(); layers.len() - config.layers.len()];
        Self { length: 0, layers, branches }
    }

    /// Ends a step that added tokens. Until then the text is what it was before.
    pub(super) fn keep(&mut self, tokens: usize) {
        self.length += tokens;
        for layer in &mut self.layers {
            match layer {
                Layer::Attention(kept) => kept.forget(self.length),
                Layer::Convolution { last, next } => std::mem::swap(last, next),
            }
        }
        for branch in &mut self.branches {
            branch.open = std::mem::take(&mut branch.next_open);
            branch.given = std::mem::take(&mut branch.next_given);
        }
    }
}

impl KeysValues {
    /// Makes room for the keys and values of fused rows at the positions from `start` on; returns the pages that they go to.
    pub(super) fn new_pages<'a>(
        &'a mut self,
        all: &'a [f32],
        heads: Heads,
        start: usize,
    ) -> impl Iterator<Item = NewPage<'a>> {
        let (width, padded, key_heads) = (self.width, self.padded(), self.heads);
        let end = start + all.len() / heads.fused_width();
        while self.first + self.pages.len() < end.div_ceil(PAGE) {
            self.pages.push_back(std::iter::repeat_n(0.0, key_heads * PAGE * (width + padded)).collect());
        }
        let pages = if start < end { start / PAGE..end.div_ceil(PAGE) } else { self.first..self.first };
        let of_page = move |(number, page): (usize, &'a mut Arc<[f32]>)| {
            let positions = start.max(number * PAGE)..end.min((number + 1) * PAGE);
            let rows = (positions.start - start) * heads.fused_width()..(positions.end - start) * heads.fused_width();
            NewPage { page, rows: &all[rows], heads, first: positions.start % PAGE }
        };
        (pages.start..).zip(self.pages.range_mut(pages.start - self.first..pages.end - self.first)).map(of_page)
    }

    /// Returns the keys and the values of a head in a page.
    pub(super) fn page(&self, head: usize, page: usize) -> (&[f32], &[f32]) {
        let size = PAGE * (self.width + self.padded());
        self.pages[page - self.first][head * size..(head + 1) * size].split_at(PAGE * self.width)
    }

    /// Returns the width of a head, rounded up to whole groups of numbers.
    fn padded(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Lets go of what the token at a position, and all after it, do not see.
    fn forget(&mut self, position: usize) {
        let Some(window) = self.window else { return };
        let needed = (position + 1).saturating_sub(window) / PAGE;
        while self.first < needed && !self.pages.is_empty() {
            self.pages.pop_front();
            self.first += 1;
        }
    }
}

/// A page, and rows whose keys and values go there.
pub(super) struct NewPage<'a> {
    page: &'a mut Arc<[f32]>,
    /// Fused rows.
    rows: &'a [f32],
    heads: Heads,
    /// The place of the first in the page.
    first: usize,
}

impl NewPage<'_> {
    /// Writes keys and values. A page that others share is copied.
    pub(super) fn put(self) {
        let Heads { key_value, width, .. } = self.heads;
        let padded = width.next_multiple_of(LANES);
        let page = Arc::make_mut(self.page);
        for (place, row) in (self.first..).zip(self.rows.chunks_exact(self.heads.fused_width())) {
            let (keys, values) = row[self.heads.output_width()..].split_at(key_value * width);
            let parts = page.chunks_exact_mut(PAGE * (width + padded));
            for (part, (key, value)) in parts.zip(keys.chunks_exact(width).zip(values.chunks_exact(width))) {
                let (keys, values) = part.split_at_mut(PAGE * width);
                for (kept, number) in keys[place..].iter_mut().step_by(PAGE).zip(key) {
                    *kept = *number;
                }
                values[place * padded..][..width].copy_from_slice(value);
            }
        }
    }
}
