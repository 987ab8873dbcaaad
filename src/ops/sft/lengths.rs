//! How long samples are, without training on them: what an estimate of a training rests on.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::samples::{Sample, Samples};
use super::{template_settings, turns};
use crate::data::{self, Row, Tokenizer};
use crate::ops::OpError;
use crate::spec::params::SftParams;

/// The lengths of some samples of a data set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lengths {
    /// Rows that were tokenized.
    pub rows: usize,
    /// Rows that were read.
    pub among: usize,
    /// The share of the text of these that was tokenized.
    pub share: f64,
    /// Whether these are all.
    pub all: bool,
    /// Tokens of each sample.
    pub lengths: Vec<usize>,
    /// How many of them are learned.
    pub trained: usize,
}

/// Rows among which those that are tokenized are spread.
const AMONG: usize = 20_000;

/// Tokenizes some rows of data sets as the training of a model would: at most `most` of each, spread evenly over its first
/// twenty thousand. `data` are the folders, with how many rows each has, where that is known. Returns the samples by data set, and how
/// many sequences those of all fill, packed by the best fit.
pub fn lengths(
    params: &SftParams,
    model: &Path,
    data: &[(PathBuf, Option<usize>)],
    most: usize,
) -> Result<(Vec<Lengths>, usize), OpError> {
    let failed = |error| OpError::caused("the data cannot be looked at", error);
    let tokenizer = Tokenizer::load_with(model, &template_settings(params)?).map_err(failed)?;
    let mut found = Vec::new();
    for (path, count) in data {
        let apart = count.unwrap_or(most).min(AMONG).div_ceil(most).max(1);
        let mut rows = data::open(path).map_err(failed)?;
        let (mut some, mut among, mut text, mut chosen): (Vec<Row>, usize, u64, u64) = Default::default();
        while some.len() < most || !among.is_multiple_of(apart) {
            let Some(row) = rows.next().transpose().map_err(failed)? else { break };
            text += row.chars();
            if among.is_multiple_of(apart) {
                chosen += row.chars();
                some.push(row);
            }
            among += 1;
        }
        let all = apart == 1 && (some.len() < most || rows.next().is_none());
        let encoded = some.par_iter().map(|row| turns::encode(row, params, &tokenizer));
        let encoded: Vec<_> = encoded.collect::<Result<_, _>>().map_err(failed)?;
        let mut samples = Samples::default();
        for marked in encoded {
            let marked = marked.map_err(OpError::new)?;
            // What is too long is an error of the training, and none of a look at it.
            let _ = samples.add(Sample::new(marked.ids, marked.trained, (0, 1)), params);
        }
        found.push(Lengths {
            rows: some.len(),
            among,
            share: chosen as f64 / text.max(1) as f64,
            all,
            lengths: samples.list.iter().map(|sample| sample.ids.len()).collect(),
            trained: samples.list.iter().map(Sample::trained_tokens).sum(),
        });
    }
    let every: Vec<usize> = found.iter().flat_map(|one| &one.lengths).copied().collect();
    let sequences = super::sequences_of(&every, params.sequence_len);
    Ok((found, sequences))
}
