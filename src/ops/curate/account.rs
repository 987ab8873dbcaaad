//! What was written: rows, characters and tokens, of each output and of each entry of `from` in it.

use serde::Serialize;

use super::item::Item;

/// Buckets of the histogram of lengths at most; each is twice as wide as the one before.
const BUCKETS: usize = 24;

/// What was written to one output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Written {
    pub(super) rows: u64,
    pub(super) chars: u64,
    /// Where the node names a tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<u64>,
    /// Rows by length: of 0 and 1 characters, of 2 and 3, of 4 to 7, and so on.
    pub(super) lengths: Vec<u64>,
    /// What came of each entry of `from`.
    #[serde(skip)]
    pub(super) by_source: Vec<FromSource>,
}

/// What was written of an entry of `from`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FromSource {
    pub(super) rows: u64,
    pub(super) chars: u64,
    pub(super) tokens: u64,
    /// Rows of which the words alone were counted.
    pub(super) refused: u64,
}

impl Written {
    /// Counts an item of so many characters that was written.
    pub(super) fn add(&mut self, item: &Item, chars: u64) {
        self.rows += 1;
        self.chars += chars;
        let bucket = (chars.max(1).ilog2() as usize).min(BUCKETS - 1);
        if self.lengths.len() <= bucket {
            self.lengths.resize(bucket + 1, 0);
        }
        self.lengths[bucket] += 1;
        let source = &mut self.by_source[item.from as usize];
        source.rows += 1;
        source.chars += chars;
        if let (Some(sum), Some(tokens)) = (&mut self.tokens, item.tokens()) {
            *sum += tokens.count;
            source.tokens += tokens.count;
            source.refused += u64::from(tokens.refused);
        }
    }
}
