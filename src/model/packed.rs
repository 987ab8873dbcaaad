//! Documents one after the other in one batch, without padding.

use std::ops::Range;

use super::ModelError;

/// Tokens that are scored together, unless a single document has more. It bounds the memory, not the result.
const SCORED_TOGETHER: usize = 4096;

/// Documents one after the other. Attention stays inside a document, and positions begin at zero in each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// The token ids of all documents.
    pub ids: Vec<u32>,
    /// The number of tokens of each document; their sum is the number of ids.
    pub lengths: Vec<usize>,
}

impl Packed {
    /// Adds a document.
    pub fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.lengths.push(ids.len());
    }

    /// Cuts the batch between documents, into parts of at most [`SCORED_TOGETHER`] tokens or one document.
    pub(super) fn groups(&self) -> Vec<Packed> {
        let mut groups: Vec<Packed> = Vec::new();
        let mut start = 0;
        for length in &self.lengths {
            let document = &self.ids[start..start + length];
            start += length;
            match groups.last_mut() {
                Some(group) if group.ids.len() + length <= SCORED_TOGETHER => group.push(document),
                _ => groups.push(Packed { ids: document.to_vec(), lengths: vec![*length] }),
            }
        }
        groups
    }

    /// Returns of each document the mean of its tokens' rows, the first row left out.
    pub(super) fn means(&self, rows: &[f32]) -> Vec<Vec<f32>> {
        let width = rows.len() / self.ids.len().max(1);
        let mut start = 0;
        let mean = |length: &usize| {
            let own = &rows[start * width..(start + length) * width];
            start += length;
            let mut sums = vec![0.0_f64; width];
            for row in own.chunks_exact(width.max(1)).skip(1) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
            let count = (length - 1).max(1) as f64;
            sums.into_iter().map(|sum| (sum / count) as f32).collect()
        };
        self.lengths.iter().map(mean).collect()
    }

    /// Returns where each document lies, after checking everything a model relies on.
    pub(crate) fn places(&self, vocabulary: usize) -> Result<Places, ModelError> {
        let bad = |reason: String| ModelError::Input { reason };
        let total = self.lengths.iter().try_fold(0usize, |sum, length| sum.checked_add(*length));
        if total != Some(self.ids.len()) {
            return Err(bad(format!("the document lengths do not add up to {} tokens", self.ids.len())));
        }
        if self.ids.is_empty() || self.lengths.contains(&0) {
            return Err(bad("there is a document without tokens".into()));
        }
        if let Some(id) = self.ids.iter().find(|id| **id as usize >= vocabulary) {
            let help = "the tokenizer does not belong to this model";
            return Err(bad(format!("token {id} is not among the model's {vocabulary} tokens; {help}")));
        }
        Ok(Places::new(&self.lengths))
    }
}

/// Where the documents of a batch lie.
#[derive(Debug)]
pub(crate) struct Places {
    /// The rows of each document.
    pub(crate) documents: Vec<Range<usize>>,
    /// The position of each row in its document.
    pub(crate) positions: Vec<u32>,
    /// One more than the greatest position: the number of tokens of the longest document.
    pub(crate) longest: usize,
}

impl Places {
    /// Returns where documents of these lengths lie one after the other.
    pub(super) fn new(lengths: &[usize]) -> Self {
        let mut start = 0;
        let documents: Vec<Range<usize>> = lengths
            .iter()
            .map(|length| {
                let range = start..start + length;
                start = range.end;
                range
            })
            .collect();
        let positions = lengths.iter().flat_map(|length| 0..*length as u32).collect();
        Self { documents, positions, longest: lengths.iter().copied().max().unwrap_or(0) }
    }

    /// Returns the same documents as continuations of texts: each begins at a position of its own.
    pub(super) fn after(mut self, starts: &[usize]) -> Self {
        for (document, start) in self.documents.iter().zip(starts) {
            self.positions[document.clone()].iter_mut().for_each(|position| *position += *start as u32);
        }
        self.longest = self.positions.iter().map(|position| *position as usize + 1).max().unwrap_or(0);
        self
    }

    /// Returns the labels of all rows whose next token is in the same document and chosen by its place in the batch.
    pub(crate) fn labels(&self, ids: &[u32], chosen: impl Fn(usize) -> bool) -> Vec<(usize, u32)> {
        let inside = self.documents.iter().flat_map(|document| document.start + 1..document.end);
        inside.filter(|place| chosen(*place)).map(|place| (place - 1, ids[place])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_never_cross_a_document() {
        let mut packed = Packed::default();
        packed.push(&[5, 6, 7]);
        packed.push(&[8]);
        packed.push(&[9, 4]);
        let places = packed.places(10).unwrap();
        assert_eq!(places.labels(&packed.ids, |_| true), [(0, 6), (1, 7), (4, 4)]);
        assert_eq!(places.labels(&packed.ids, |place| place != 1), [(1, 7), (4, 4)]);
        assert_eq!((places.positions, places.longest), (vec![0, 1, 2, 0, 0, 1], 3));
    }

    #[test]
    fn impossible_batches_are_refused() {
        for (ids, lengths) in [
            (vec![1, 2], vec![1]),
            (vec![1], vec![1, 0]),
            (vec![], vec![]),
            (vec![10], vec![1]),
            (vec![1], vec![usize::MAX, 2]),
        ] {
            assert!(Packed { ids, lengths }.places(10).is_err());
        }
    }
}
