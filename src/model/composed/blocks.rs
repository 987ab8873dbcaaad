//! What stands before and behind a branch, a document at a time.

use candle_core::{DType, Result, Tensor};

use super::Composed;
use crate::model::engine::{Frame, Pooling};
use crate::model::kernel::blocks::ending;
use crate::model::packed::Places;

impl Composed<'_> {
    /// Returns the means of the blocks that end in this batch and where they stand, if any does; remembers the rows of those
    /// that don't.
    pub(super) fn means(&self, x: &Tensor, pooling: Pooling, frame: &Frame) -> Result<Option<(Tensor, Frame)>> {
        let (mut places, mut means) = (Places::new(&[]), Vec::new());
        let width = x.dim(1)?;
        for (number, document) in frame.places.documents.iter().enumerate() {
            let before = frame.places.positions[document.start] as usize;
            let blocks = ending(before, document.len(), pooling.factor);
            let rows = x.narrow(0, document.start, document.len())?;
            let open = self.memory.and_then(|memory| memory.rows_before(number, pooling.number));
            let rows = open.map_or(Ok(rows.clone()), |open| Tensor::cat(&[&open, &rows], 0))?;
            let whole = blocks.len() * pooling.factor;
            if let Some(memory) = self.memory {
                let left = rows.dim(0)? - whole;
                let open = (left > 0).then(|| rows.narrow(0, whole, left)).transpose()?;
                memory.open_block(number, pooling.number, open);
            }
            if whole > 0 {
                let rows = rows.narrow(0, 0, whole)?.contiguous()?;
                let rows = rows.reshape((blocks.len(), pooling.factor, width))?.to_dtype(DType::F32)?;
                means.push(rows.mean(1)?.to_dtype(self.dtype)?);
            }
            let first = places.positions.len();
            places.documents.push(first..first + blocks.len());
            places.longest = places.longest.max(blocks.end);
            places.positions.extend(blocks.map(|block| block as u32));
        }
        if means.is_empty() {
            return Ok(None);
        }
        let frame = Frame { places: places.into(), rotary: frame.rotary.clone(), noise: None };
        Ok(Some((Tensor::cat(&means, 0)?, frame)))
    }

    /// Returns rows with those of their blocks added; remembers the last one of each text.
    pub(super) fn with_blocks(
        &self,
        made: Option<&Tensor>,
        x: &Tensor,
        pooling: Pooling,
        frame: &Frame,
    ) -> Result<Tensor> {
        let nothing = Tensor::zeros((1, x.dim(1)?), self.dtype, &self.device)?;
        let (mut from, mut added) = (0, Vec::new());
        for (number, document) in frame.places.documents.iter().enumerate() {
            let before = frame.places.positions[document.start] as usize;
            let blocks = ending(before, document.len(), pooling.factor);
            let last = self.memory.and_then(|memory| memory.given(number, pooling.number));
            let last = last.unwrap_or_else(|| nothing.clone());
            // What the last block gave, and then those of this batch.
            let table = match made {
                Some(made) if !blocks.is_empty() => {
                    let mine = made.narrow(0, from, blocks.len())?;
                    if let Some(memory) = self.memory {
                        memory.give(number, pooling.number, mine.narrow(0, blocks.len() - 1, 1)?);
                    }
                    Tensor::cat(&[&last, &mine], 0)?
                }
                _ => last,
            };
            from += blocks.len();
            let ended = (before..before + document.len()).map(|position| (position + 1) / pooling.factor);
            added.push(table.index_select(&self.index(ended.map(|ended| (ended - blocks.start) as u32))?, 0)?);
        }
        x + Tensor::cat(&added, 0)?
    }
}
