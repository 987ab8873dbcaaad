//! Means of blocks of rows, and rows that get what was made of a block: what stands before and behind a branch.
//!
//! Blocks are those of [`Blocks`]: of one document each, its first from its first row on, and rows at its end that fill no
//! block are in none. A row gets what was made of the last block that ended with it or before, so nothing comes from rows
//! after it. Each number of a result is one sum in a fixed order, so threads change nothing.

use std::ops::Range;

use rayon::prelude::*;

use crate::model::packed::Places;

/// Where blocks lie in whole documents.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    factor: usize,
    /// The first row of each block.
    firsts: Vec<usize>,
    /// For each row the block it gets, if any.
    of_rows: Vec<Option<usize>>,
}

impl Blocks {
    /// Returns the blocks of documents, and where these lie among each other. A document without a block is in neither.
    pub(crate) fn of(places: &Places, factor: usize) -> (Self, Places) {
        let mut blocks = Self { factor, firsts: Vec::new(), of_rows: Vec::with_capacity(places.positions.len()) };
        let mut lengths = Vec::new();
        for document in &places.documents {
            let (first, count) = (blocks.firsts.len(), document.len() / factor);
            blocks.firsts.extend((0..count).map(|block| document.start + block * factor));
            let ended = |row: usize| ((row + 1) / factor).checked_sub(1).map(|block| first + block);
            blocks.of_rows.extend((0..document.len()).map(ended));
            if count > 0 {
                lengths.push(count);
            }
        }
        (blocks, Places::new(&lengths))
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> usize {
        self.firsts.len()
    }
}

/// Returns the mean of the rows `first .. first + factor` for each block.
pub(crate) fn means(x: &[f32], width: usize, blocks: &Blocks) -> Vec<f32> {
    let mut out = vec![0.0; blocks.count() * width];
    out.par_chunks_exact_mut(width).zip(&blocks.firsts).for_each(|(out, first)| {
        mean(&x[first * width..(first + blocks.factor) * width], out);
    });
    out
}

/// Writes the mean of some rows.
pub(crate) fn mean(rows: &[f32], out: &mut [f32]) {
    let (width, mut count) = (out.len(), 0.0);
    for row in rows.chunks_exact(width) {
        out.iter_mut().zip(row).for_each(|(out, number)| *out += number);
        count += 1.0;
    }
    for out in out {
        *out /= count;
    }
}

/// Returns the gradient of what [`means`] got.
pub(crate) fn means_backward(gradient: &[f32], width: usize, blocks: &Blocks) -> Vec<f32> {
    let mut out = vec![0.0; blocks.of_rows.len() * width];
    for (first, gradient) in blocks.firsts.iter().zip(gradient.chunks_exact(width)) {
        for row in out[first * width..(first + blocks.factor) * width].chunks_exact_mut(width) {
            row.iter_mut().zip(gradient).for_each(|(out, number)| *out = number / blocks.factor as f32);
        }
    }
    out
}

/// Returns `x` with the row of its block added to each row that gets one.
pub(crate) fn spread(made: &[f32], x: &[f32], width: usize, blocks: &Blocks) -> Vec<f32> {
    let mut out = x.to_vec();
    out.par_chunks_exact_mut(width).zip(&blocks.of_rows).for_each(|(out, block)| {
        if let Some(block) = block {
            add(out, &made[block * width..][..width]);
        }
    });
    out
}

/// Returns the gradient of the rows of blocks that [`spread`] got.
pub(crate) fn spread_backward(gradient: &[f32], width: usize, blocks: &Blocks) -> Vec<f32> {
    let mut out = vec![0.0; blocks.count() * width];
    for (row, block) in gradient.chunks_exact(width).zip(&blocks.of_rows) {
        if let Some(block) = block {
            add(&mut out[block * width..][..width], row);
        }
    }
    out
}

/// Adds a row to another one.
pub(crate) fn add(out: &mut [f32], row: &[f32]) {
    out.iter_mut().zip(row).for_each(|(out, number)| *out += number);
}

/// Returns the blocks that end among tokens `before .. before + tokens` of a text, by their number in it.
pub(crate) fn ending(before: usize, tokens: usize, factor: usize) -> Range<usize> {
    before / factor..(before + tokens) / factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gets_the_last_block_that_ended() {
        let (blocks, places) = Blocks::of(&Places::new(&[5, 1, 4, 2]), 2);
        assert_eq!((blocks.firsts.clone(), places.documents), (vec![0, 2, 6, 8, 10], vec![0..2, 2..4, 4..5]));
        let got = [None, Some(0), Some(0), Some(1), Some(1), None, None, Some(2), Some(2), Some(3), None, Some(4)];
        assert_eq!(blocks.of_rows, got);
        assert_eq!((places.positions, places.longest), (vec![0, 1, 0, 1, 0], 2));
    }

    #[test]
    fn blocks_of_a_text_that_goes_on_are_those_of_the_whole() {
        for factor in [2, 3, 7] {
            let steps = [1, 4, 2, 9, 1, 1, 6];
            let (mut before, mut all) = (0, Vec::new());
            for tokens in steps {
                all.extend(ending(before, tokens, factor));
                before += tokens;
            }
            assert_eq!(all, (0..before / factor).collect::<Vec<_>>());
        }
    }
}
