//! How a model was trained, as far as its answers hang on it.

use std::io::BufRead;

use super::source::Source;

pub(super) const MAGIC: i32 = 793_712_314;
/// More words or characters than this are not read together. Nothing is known to use more than some ten, and a long line would
/// take time by its square.
const MOST: i32 = 100;

/// What the scores of labels are made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LossKind {
    Tree,
    /// Negative sampling and one against all, which differ in training alone.
    Binary,
    Softmax,
}

pub(super) struct Header {
    /// Numbers in a vector.
    pub(super) dim: usize,
    /// How many words are read together at most.
    pub(super) words: usize,
    pub(super) loss: LossKind,
    /// How many vectors all n-grams share.
    pub(super) buckets: u32,
    /// How many characters are read together, at least and at most. None where `max_chars` is 0.
    pub(super) min_chars: usize,
    pub(super) max_chars: usize,
}

impl Header {
    pub(super) fn read<R: BufRead>(source: &mut Source<R>) -> Result<Self, String> {
        if source.i32().ok() != Some(MAGIC) {
            return Err("not a model of fastText: a `.bin` or `.ftz` file begins otherwise".to_owned());
        }
        let version = source.i32()?;
        if !(11..=12).contains(&version) {
            return Err(format!(
                "it is of fastText's format {version}, and 11 and 12 are read; save it anew with fastText 0.9"
            ));
        }
        // dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn, lrUpdateRate; and t, of eight bytes.
        let mut numbers = [0; 12];
        for number in &mut numbers {
            *number = source.i32()?;
        }
        source.i64()?;
        let [dim, _, _, _, _, words, loss, model, buckets, min_chars, max_chars, _] = numbers;
        if model != 3 {
            let found =
                if matches!(model, 1 | 2) { "a model of word vectors" } else { "no kind of model that is known" };
            return Err(format!(
                "it is {found}; models that give labels are read, as `fasttext supervised` makes them"
            ));
        }
        let loss = match loss {
            1 => LossKind::Tree,
            2 | 4 => LossKind::Binary,
            3 => LossKind::Softmax,
            _ => return Err(source.wrong(&format!("there is no loss of number {loss}"))),
        };
        let size = |name, number: i32, least: i32, most: i32| {
            let wrong = format!("`{name}` is {number}, and {least} to {most} is read");
            if (least..=most).contains(&number) { Ok(number.unsigned_abs()) } else { Err(source.wrong(&wrong)) }
        };
        let max_chars = size("maxn", max_chars, 0, MOST)? as usize;
        let header = Self {
            dim: size("dim", dim, 1, i32::MAX)? as usize,
            words: size("wordNgrams", words.max(1), 1, MOST)? as usize,
            loss,
            buckets: size("bucket", buckets, 0, i32::MAX)?,
            min_chars: size("minn", min_chars, 0, i32::MAX)? as usize,
            // Supervised models of version 11 were made without n-grams of characters, whatever they say.
            max_chars: if version == 11 { 0 } else { max_chars },
        };
        if header.has_ngrams() && header.buckets == 0 {
            return Err(source.wrong("there are n-grams and no bucket for them"));
        }
        Ok(header)
    }

    /// Whether there are n-grams, of characters or of words.
    pub(super) fn has_ngrams(&self) -> bool {
        self.max_chars > 0 || self.words > 1
    }
}
