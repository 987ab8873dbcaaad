//! The arithmetic of a transformer on the CPU: plain slices in, plain slices out, no tensor type, no graph.
//!
//! Two rules hold in all of it, because a training run must give the same bytes on one thread and on sixty-four:
//!
//! * A sum inside one row runs over a fixed number of lanes that are added up in a fixed order ([`lanes`]), so it does
//!   not depend on which vector instructions the machine has.
//! * A sum over rows runs over blocks of a fixed size, whose parts are added up in the order of the blocks. Threads
//!   only decide who computes a block.
//!
//! Matrix products come from the `gemm` crate, whose result does not depend on the number of threads either.

pub(crate) mod adapter;
pub(crate) mod attention;
pub(crate) mod bias;
pub(crate) mod blocks;
pub(crate) mod convolution;
pub(crate) mod embedding;
pub(crate) mod gated;
pub(crate) mod lanes;
pub(crate) mod loss;
pub(crate) mod matrix;
pub(crate) mod noise;
pub(crate) mod norm;
pub(crate) mod rotary;

/// Rows that one task works on at a time, and the size of the blocks in sums over rows.
pub(crate) const BLOCK_ROWS: usize = 32;

/// How the columns of fused query, key and value rows are divided into heads.
///
/// A row is `[query heads | key heads | value heads]`, each head `width` numbers wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Number of query heads.
    pub(crate) query: usize,
    /// Number of key heads, and of value heads; divides `query`.
    pub(crate) key_value: usize,
    /// Numbers in a head.
    pub(crate) width: usize,
}

impl Heads {
    /// Returns the width of a fused row.
    pub(crate) fn fused_width(self) -> usize {
        (self.query + 2 * self.key_value) * self.width
    }

    /// Returns the width of a row of attention output.
    pub(crate) fn output_width(self) -> usize {
        self.query * self.width
    }

    /// Returns how many query heads share a key head.
    pub(crate) fn sharing(self) -> usize {
        self.query / self.key_value
    }
}
