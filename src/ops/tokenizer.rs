//! `kind: tokenizer`: a byte-level BPE trained on the pipeline's own data.
//!
//! How it is trained and written is in [`crate::data`], which alone knows tokenizers. Here the rows are fed to it, and the
//! result is loaded again and applied to the training text: that tells how many bytes a token holds, and proves that
//! what was written can be read.

use rayon::prelude::*;

use super::{OpCx, OpError, Outcome};
use crate::data::{self, DataError, Row, Tokenizer, WordCounts};
use crate::spec::params::TokenizerParams;

/// Rows in a block.
const BLOCK_ROWS: usize = 2048;

/// Runs the node.
pub(super) fn run(params: &TokenizerParams, cx: &OpCx<'_>) -> Result<Outcome, OpError> {
    cx.progress.phase("counting words", None, "rows");
    let mut counts = WordCounts::new()?;
    for_each_block(cx, |rows| counts.add(rows))?;
    cx.progress.phase("merging", None, "merges");
    let trained = data::train_bpe(&counts, params.vocab_size, params.min_frequency).map_err(explain)?;
    trained.write(cx.out)?;
    let tokenizer = Tokenizer::load(cx.out)?;
    cx.check_cancelled()?;
    let bytes_per_token = measure(&tokenizer, cx)?;
    let metrics =
        [("vocab_size".to_owned(), tokenizer.vocab_size() as f64), ("bytes_per_token".to_owned(), bytes_per_token)];
    Ok(Outcome { metrics: metrics.into(), ..Outcome::default() })
}

fn explain(error: DataError) -> OpError {
    let small = matches!(error, DataError::VocabularySize { .. });
    let error = OpError::from(error);
    if small { error.help("lower `vocab_size` or `min_frequency`, or give it more text") } else { error }
}

/// Returns the mean number of bytes of a token of the training text.
fn measure(tokenizer: &Tokenizer, cx: &OpCx<'_>) -> Result<f64, OpError> {
    cx.progress.phase("measuring", None, "rows");
    let (mut bytes, mut tokens) = (0, 0);
    for_each_block(cx, |rows| {
        let sizes = |row: &Row| {
            let text = row.text();
            tokenizer.encode(&text).map(|ids| (text.len(), ids.len()))
        };
        for size in rows.par_iter().map(sizes).collect::<Result<Vec<_>, _>>()? {
            bytes += size.0;
            tokens += size.1;
        }
        Ok(())
    })?;
    Ok(bytes as f64 / tokens.max(1) as f64)
}

/// Calls `work` with the rows of all inputs, block by block.
fn for_each_block(cx: &OpCx<'_>, mut work: impl FnMut(&[Row]) -> Result<(), DataError>) -> Result<(), OpError> {
    let mut done = 0;
    for input in cx.inputs.list("data") {
        let mut rows = data::open(&input.path)?.unpacking_in(cx.scratch);
        loop {
            cx.check_cancelled()?;
            let block = rows.by_ref().take(BLOCK_ROWS).collect::<Result<Vec<Row>, _>>()?;
            if block.is_empty() {
                break;
            }
            work(&block)?;
            done += block.len() as u64;
            cx.progress.position(done);
        }
    }
    Ok(())
}
