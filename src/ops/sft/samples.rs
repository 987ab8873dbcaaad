//! Rows as token samples with a mark on every token that is to be learned.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

use super::memo::Memo;
use super::pack::shuffle;
use super::turns::{self, Marked};
use crate::data::{self, DataError, Row, Tokenizer};
use crate::ops::{OpCx, OpError};
use crate::spec::params::{LongSamples, SftParams};

/// Rows that are read before they are tokenized together.
const ROWS_AT_A_TIME: usize = 1024;

/// A text as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    /// The tokens.
    pub(super) ids: Vec<u32>,
    /// For each token whether it is learned. Never the first one, which nothing predicts.
    pub(super) trained: Vec<bool>,
    /// The data set it comes from, by its place in the list, and its row, from 1.
    pub(super) origin: (usize, u64),
}

impl Sample {
    pub(super) fn new(ids: Vec<u32>, mut trained: Vec<bool>, origin: (usize, u64)) -> Self {
        if let Some(first) = trained.first_mut() {
            *first = false;
        }
        Self { ids, trained, origin }
    }

    /// Cuts the end off.
    pub(super) fn cut(&mut self, longest: usize) {
        self.ids.truncate(longest);
        self.trained.truncate(longest);
    }

    /// Returns how many tokens are learned.
    pub(super) fn trained_tokens(&self) -> usize {
        self.trained.iter().filter(|trained| **trained).count()
    }
}

/// What became of rows that did not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// How many were cut at `sequence_len`.
    pub(super) truncated: usize,
    /// How many were cut into pieces.
    pub(super) split: usize,
    /// How many were left out: too long, or because after the cut nothing in them was to be learned.
    pub(super) dropped: usize,
}

/// All samples of some data sets.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// In the order of the data.
    pub(super) list: Vec<Sample>,
    /// The names of the data sets.
    names: Vec<String>,
    pub(super) counts: Counts,
}

/// Reads the rows of the data sets of a slot and gives them on encoded, with their data set and their row, from 1. Returns
/// the names of the data sets.
pub(super) fn read_rows<T: Send>(
    slot: &str,
    cx: &OpCx<'_>,
    encode: impl Fn(&Row) -> Result<Result<T, &'static str>, DataError> + Sync,
    mut take: impl FnMut(T, (usize, u64)) -> Result<(), OpError>,
) -> Result<Vec<String>, OpError> {
    cx.progress.phase("tokenizing", None, "rows");
    let mut names = Vec::new();
    let mut rows_read = 0;
    for (number, input) in cx.inputs.list(slot).enumerate() {
        let failed = |error: DataError| OpError::caused(format!("cannot train on `{}`", input.name), error);
        names.push(input.name.clone());
        let mut rows = data::open(&input.path).map_err(failed)?.unpacking_in(cx.scratch);
        let mut row = 0;
        loop {
            cx.check_cancelled()?;
            let some: Vec<Row> = rows.by_ref().take(ROWS_AT_A_TIME).collect::<Result<_, _>>().map_err(failed)?;
            if some.is_empty() {
                break;
            }
            let encoded: Vec<Result<T, &str>> =
                some.par_iter().map(&encode).collect::<Result<_, _>>().map_err(failed)?;
            for encoded in encoded {
                row += 1;
                let refused = |why| OpError::new(format!("cannot train on `{}`: {why}", input.name));
                take(encoded.map_err(refused)?, (number, row))?;
            }
            rows_read += some.len() as u64;
            cx.progress.position(rows_read);
        }
    }
    Ok(names)
}

/// Reads and tokenizes the data sets of a slot, unless that was done before.
pub(super) fn read(slot: &str, params: &SftParams, tokenizer: &Tokenizer, cx: &OpCx<'_>) -> Result<Samples, OpError> {
    let mut samples = Samples::default();
    let memo = Memo::of(slot, params, &cx.inputs.one("model")?.path, cx)?;
    let encode = |row: &Row| turns::encode(row, params, tokenizer);
    // Names are needed for a message before all are known.
    samples.names = cx.inputs.list(slot).map(|input| input.name.clone()).collect();
    if let Some((list, counts)) = memo.as_ref().and_then(Memo::read) {
        cx.progress.note("tokenized before");
        (samples.list, samples.counts) = (list, counts);
    } else {
        read_rows(slot, cx, encode, |Marked { ids, trained }, origin| {
            samples.add(Sample::new(ids, trained, origin), params)
        })?;
        if let Some(memo) = memo {
            memo.write(&samples.list, samples.counts);
        }
    }
    if samples.list.is_empty() {
        let why = if samples.counts.dropped > 0 { "no token to learn is left in any row" } else { "it has no rows" };
        let help = "raise `sequence_len`, or look at the steps of the curation before it";
        return Err(OpError::new(format!("the data cannot be trained on: {why}")).help(help));
    }
    Ok(samples)
}

/// Takes what is to be kept apart for evaluation out of a list, picked by the seed, in the order of the data.
pub(super) fn split_off<T>(list: &mut Vec<T>, params: &SftParams) -> Result<Vec<T>, OpError> {
    let (size, all) = (params.val_set_size, list.len());
    let wanted = if size < 1.0 { (size * all as f64).ceil() as usize } else { size as usize };
    if wanted == 0 {
        return Ok(Vec::new());
    }
    if wanted >= all {
        let message = format!("`val_set_size` keeps {wanted} samples apart, and there are only {all}");
        return Err(OpError::new(message).help("lower it, or give more data"));
    }
    let mut generator = ChaCha8Rng::seed_from_u64(params.seed);
    // Passes over the data have the streams from zero.
    generator.set_stream(u64::MAX);
    let mut order: Vec<usize> = (0..all).collect();
    shuffle(&mut order, &mut generator);
    let mut apart = vec![false; all];
    for sample in &order[..wanted] {
        apart[*sample] = true;
    }
    let (kept, taken): (Vec<_>, Vec<_>) = std::mem::take(list).into_iter().zip(apart).partition(|(_, apart)| !*apart);
    *list = kept.into_iter().map(|(sample, _)| sample).collect();
    Ok(taken.into_iter().map(|(sample, _)| sample).collect())
}

impl Samples {
    pub(super) fn add(&mut self, mut sample: Sample, params: &SftParams) -> Result<(), OpError> {
        let longest = params.sequence_len;
        if sample.ids.len() <= longest {
            self.push(sample);
            return Ok(());
        }
        match params.long_samples {
            LongSamples::Truncate => {
                sample.cut(longest);
                self.counts.truncated += 1;
                self.push(sample);
            }
            LongSamples::Drop => self.counts.dropped += 1,
            LongSamples::Split => {
                self.counts.split += 1;
                let pieces = sample.ids.chunks(longest).zip(sample.trained.chunks(longest));
                let pieces: Vec<Sample> =
                    pieces.map(|(ids, trained)| Sample::new(ids.to_vec(), trained.to_vec(), sample.origin)).collect();
                for piece in pieces {
                    self.push(piece);
                }
            }
            LongSamples::Error => {
                let (name, length) = (self.name(&sample), sample.ids.len());
                let help = "raise `sequence_len`, or say what to do with such samples: `long_samples: truncate`, `drop` or `split`";
                return Err(OpError::new(format!("{name} has {length} tokens, more than `sequence_len`")).help(help));
            }
        }
        Ok(())
    }

    fn push(&mut self, sample: Sample) {
        if sample.trained_tokens() == 0 {
            self.counts.dropped += 1;
        } else {
            self.list.push(sample);
        }
    }

    /// Says where a sample comes from.
    pub(super) fn name(&self, sample: &Sample) -> String {
        let (data, row) = sample.origin;
        format!("row {row} of `{}`", self.names[data])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn params(change: &serde_json::Value) -> SftParams {
        let mut fields = json!({"model": "m", "data": ["d"], "sequence_len": 3});
        fields.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(fields).unwrap()
    }

    fn sample(trained: &[bool]) -> Sample {
        Sample::new((0..trained.len() as u32).collect(), trained.to_vec(), (0, 1))
    }

    #[test]
    fn long_samples_are_cut_and_counted_and_empty_ones_left_out() {
        let params = params(&json!({}));
        let mut samples = Samples::default();
        for trained in [&[true; 3][..], &[true; 4], &[false, false, false, true], &[true]] {
            samples.add(sample(trained), &params).unwrap();
        }
        assert_eq!((samples.counts.truncated, samples.counts.dropped), (2, 2));
        assert_eq!(samples.list.iter().map(Sample::trained_tokens).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn long_samples_may_be_left_out_split_or_refused() {
        let mut samples = Samples { names: vec!["d".into()], ..Samples::default() };
        samples.add(sample(&[true; 7]), &params(&json!({"long_samples": "split"}))).unwrap();
        // The last piece has one token, which nothing predicts.
        assert_eq!(samples.list.iter().map(|sample| sample.ids.clone()).collect::<Vec<_>>(), [[0, 1, 2], [3, 4, 5]]);
        assert_eq!((samples.counts.split, samples.counts.dropped), (1, 1));
        samples.add(sample(&[true; 7]), &params(&json!({"long_samples": "drop"}))).unwrap();
        assert_eq!((samples.list.len(), samples.counts.dropped), (2, 2));
        let error = samples.add(sample(&[true; 7]), &params(&json!({"long_samples": "error"}))).unwrap_err();
        assert_eq!(error.to_string(), "row 1 of `d` has 7 tokens, more than `sequence_len`");
    }

    #[test]
    fn what_is_kept_apart_is_picked_by_the_seed() {
        let all = |change: &serde_json::Value| {
            let list: Vec<Sample> = (0..10).map(|row| Sample { origin: (0, row), ..sample(&[true; 3]) }).collect();
            let mut samples = Samples { list, ..Samples::default() };
            let apart = split_off(&mut samples.list, &params(change)).map_err(|error| error.to_string())?;
            let rows = |list: &[Sample]| list.iter().map(|sample| sample.origin.1).collect::<Vec<_>>();
            let mut both = [rows(&samples.list), rows(&apart)].concat();
            both.sort_unstable();
            assert_eq!(both, (0..10).collect::<Vec<_>>());
            Ok::<_, String>(rows(&apart))
        };
        assert_eq!(all(&json!({"val_set_size": 0.25})).unwrap().len(), 3);
        let three = all(&json!({"val_set_size": 3})).unwrap();
        assert!(three.is_sorted() && three == all(&json!({"val_set_size": 3})).unwrap());
        assert!((1..5).any(|seed| all(&json!({"val_set_size": 3, "seed": seed})).unwrap() != three));
        assert_eq!(
            all(&json!({"val_set_size": 10})).unwrap_err(),
            "`val_set_size` keeps 10 samples apart, and there are only 10"
        );
    }
}
