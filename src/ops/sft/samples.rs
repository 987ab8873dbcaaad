//! Rows as token samples with a mark on every token that is to be learned.

use rayon::prelude::*;

use crate::data::{self, DataError, Ending, Row, Tokenizer};
use crate::ops::{OpCx, OpError};
use crate::spec::params::{SftParams, TrainOn};

/// Rows that are read before they are tokenized together.
const ROWS_AT_A_TIME: usize = 1024;

/// A text as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    /// The tokens.
    pub(super) ids: Vec<u32>,
    /// For each token whether it is learned. Never the first one, which nothing predicts.
    pub(super) trained: Vec<bool>,
}

impl Sample {
    fn new(ids: Vec<u32>, mut trained: Vec<bool>) -> Self {
        if let Some(first) = trained.first_mut() {
            *first = false;
        }
        Self { ids, trained }
    }

    /// Returns how many tokens are learned.
    pub(super) fn trained_tokens(&self) -> usize {
        self.trained.iter().filter(|trained| **trained).count()
    }
}

/// All samples, and what became of rows that did not fit.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// In the order of the data.
    pub(super) list: Vec<Sample>,
    /// How many were cut at `sequence_len`.
    pub(super) truncated: usize,
    /// How many were left out, because after the cut nothing in them was to be learned.
    pub(super) dropped: usize,
}

/// Reads and tokenizes the data of the node.
pub(super) fn read(params: &SftParams, tokenizer: &Tokenizer, cx: &OpCx<'_>) -> Result<Samples, OpError> {
    cx.progress.phase("tokenizing", None, "rows");
    let mut samples = Samples::default();
    let mut rows_read = 0;
    for input in cx.inputs.list("data") {
        let failed = |error: DataError| OpError::caused(format!("cannot train on `{}`", input.name), error);
        let mut rows = data::open(&input.path).map_err(failed)?;
        loop {
            cx.check_cancelled()?;
            let some: Vec<Row> = rows.by_ref().take(ROWS_AT_A_TIME).collect::<Result<_, _>>().map_err(failed)?;
            if some.is_empty() {
                break;
            }
            let encoded: Vec<Option<Sample>> = some
                .par_iter()
                .map(|row| encode(row, params.train_on, tokenizer))
                .collect::<Result<_, _>>()
                .map_err(failed)?;
            for sample in encoded {
                let pairs = "it holds minimal pairs, which are for evaluation";
                let sample =
                    sample.ok_or_else(|| OpError::new(format!("cannot train on `{}`: {pairs}", input.name)))?;
                samples.add(sample, params.sequence_len);
            }
            rows_read += some.len() as u64;
            cx.progress.position(rows_read);
        }
    }
    if samples.list.is_empty() {
        let why = if samples.dropped > 0 { "no token to learn is left in any row" } else { "it has no rows" };
        let help = "raise `sequence_len`, or look at the steps of the curation before it";
        return Err(OpError::new(format!("the data cannot be trained on: {why}")).help(help));
    }
    Ok(samples)
}

impl Samples {
    fn add(&mut self, mut sample: Sample, longest: usize) {
        if sample.ids.len() > longest {
            sample.ids.truncate(longest);
            sample.trained.truncate(longest);
            self.truncated += 1;
        }
        if sample.trained_tokens() == 0 {
            self.dropped += 1;
        } else {
            self.list.push(sample);
        }
    }
}

/// Returns the sample of a row; none for a pair.
fn encode(row: &Row, train_on: TrainOn, tokenizer: &Tokenizer) -> Result<Option<Sample>, DataError> {
    match row {
        Row::Text(text) => {
            let mut ids = vec![tokenizer.document_start()];
            ids.append(&mut tokenizer.encode(text)?);
            ids.push(tokenizer.document_end());
            let trained = vec![true; ids.len()];
            Ok(Some(Sample::new(ids, trained)))
        }
        Row::Chat(chat) => match train_on {
            TrainOn::Assistant => {
                let tokens = tokenizer.encode_chat(chat)?;
                Ok(Some(Sample::new(tokens.ids, tokens.assistant)))
            }
            TrainOn::All => {
                let ids = tokenizer.chat_ids(chat, Ending::Whole)?;
                let trained = vec![true; ids.len()];
                Ok(Some(Sample::new(ids, trained)))
            }
        },
        Row::Pair { .. } => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_samples_are_cut_and_counted_and_empty_ones_left_out() {
        let mut samples = Samples::default();
        samples.add(Sample::new(vec![1, 2, 3], vec![true; 3]), 3);
        samples.add(Sample::new(vec![1, 2, 3, 4], vec![true; 4]), 3);
        samples.add(Sample::new(vec![1, 2, 3, 4], vec![false, false, false, true]), 3);
        samples.add(Sample::new(vec![1], vec![true]), 3);
        assert_eq!((samples.truncated, samples.dropped), (2, 2));
        assert_eq!(samples.list.iter().map(Sample::trained_tokens).collect::<Vec<_>>(), [2, 2]);
    }
}
