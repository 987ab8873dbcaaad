//! What is kept of the tokens before while texts are continued: keys and values, and the last rows of convolutions.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use candle_nn::kv_cache::KvCache;

/// Tokens for which room is made at a time.
const ROOM: usize = 256;
/// The axis of tokens in keys and values, `[heads, tokens, width]`.
const TOKENS: usize = 1;

/// What is kept of one text, by layer.
#[derive(Debug, Default, Clone)]
pub(in crate::model) struct Kept {
    attention: BTreeMap<usize, KvCache>,
    rows: BTreeMap<usize, Tensor>,
    /// Of branches, by number: the rows of a block that has not ended, and what was made of the last one that has.
    open: BTreeMap<usize, Tensor>,
    given: BTreeMap<usize, Tensor>,
}

impl Kept {
    /// Returns the same for another text. A cache is written in place, so it can't be shared by two that both go on.
    pub(in crate::model) fn fork(&self) -> Result<Self> {
        let mut fork = Self { attention: BTreeMap::new(), ..self.clone() };
        for (layer, cache) in &self.attention {
            let mut copy = KvCache::new(TOKENS, (cache.current_seq_len() + 1).next_multiple_of(ROOM));
            if let (Some(keys), Some(values)) = (cache.k()?, cache.v()?) {
                copy.append(&keys.contiguous()?, &values.contiguous()?)?;
            }
            fork.attention.insert(*layer, copy);
        }
        Ok(fork)
    }
}

/// What is kept of the texts of a batch, in its order. An engine is only lent out, so the changes happen in here.
#[derive(Debug, Default)]
pub(in crate::model) struct Memory(RefCell<Vec<Kept>>);

impl Memory {
    /// Returns the memory of a batch.
    pub(in crate::model) fn of(texts: Vec<Kept>) -> Self {
        Self(RefCell::new(texts))
    }

    /// Returns what is kept now, in the order of the batch.
    pub(in crate::model) fn into_texts(self) -> Vec<Kept> {
        self.0.into_inner()
    }

    /// Adds keys and values of a text, and returns all of it.
    pub(super) fn append(&self, text: usize, layer: usize, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let mut texts = self.0.borrow_mut();
        let cache = texts[text].attention.entry(layer).or_insert_with(|| KvCache::new(TOKENS, ROOM));
        let (keys, values) = cache.append(keys, values)?;
        Ok((keys.contiguous()?, values.contiguous()?))
    }

    /// Returns the last rows that a convolution saw of a text.
    pub(super) fn last_rows(&self, text: usize, layer: usize) -> Option<Tensor> {
        self.0.borrow()[text].rows.get(&layer).cloned()
    }

    /// Keeps the rows of a block that has not ended.
    pub(super) fn open_block(&self, text: usize, branch: usize, rows: Option<Tensor>) {
        let open = &mut self.0.borrow_mut()[text].open;
        match rows {
            Some(rows) => open.insert(branch, rows),
            None => open.remove(&branch),
        };
    }

    /// Returns the rows of a text's block that has not ended, if there are any.
    pub(super) fn rows_before(&self, text: usize, branch: usize) -> Option<Tensor> {
        self.0.borrow()[text].open.get(&branch).cloned()
    }

    /// Returns what a branch made of the last block of a text that ended, if one did.
    pub(super) fn given(&self, text: usize, branch: usize) -> Option<Tensor> {
        self.0.borrow()[text].given.get(&branch).cloned()
    }

    /// Keeps what a branch made of a block.
    pub(super) fn give(&self, text: usize, branch: usize, row: Tensor) {
        self.0.borrow_mut()[text].given.insert(branch, row);
    }

    /// Keeps the last rows that a convolution saw of a text.
    pub(super) fn keep_last_rows(&self, text: usize, layer: usize, rows: Tensor) {
        self.0.borrow_mut()[text].rows.insert(layer, rows);
    }
}
