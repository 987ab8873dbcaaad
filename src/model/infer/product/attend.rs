//! Attention of new tokens over what is kept of their text, for one head of keys and the query heads that share it.
//!
//! Scores, their largest, the sum of their powers and the mixture of values are made query by query over exactly the
//! positions it sees, in their order, so a token attends the same whether it is fed alone or with others.
//!
//! Scores are sums of rows of a page, as mixtures are: the numbers of a query are the weights. Products of rows with rows,
//! as in [`tile`](super::tile), would spend more on adding up the lanes of a sum than on the sum: a head is narrow.
#![expect(unsafe_code, reason = "the inner loops take pointers")]
#![expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]

use std::ops::Range;

use super::attention::Looking;
use super::lanes::{LANES, Lanes};
use super::mix::mix;
use super::target::Target;
use super::tile::{Out, Rows};
use super::{Work, dispatch};
use crate::model::Unit;
use crate::model::kernel::lanes::{exp_sum, max};

/// Positions of a text whose keys and values lie together.
pub(in super::super) const PAGE: usize = 32;

/// Keys of one head at the positions of a page, each number of all positions side by side; or its values, position by
/// position, each padded to whole groups of numbers.
pub(in super::super) type Page<'a> = &'a [f32];

/// Some tokens of one text, and what they look at.
pub(super) struct Attending<'a, 't, P> {
    pub(super) looking: Looking,
    /// Which head of keys.
    pub(super) key_head: usize,
    /// The fused rows of the tokens.
    pub(super) rows: &'a [f32],
    /// Their positions.
    pub(super) positions: Range<usize>,
    /// Returns the keys and the values of a page, by its number in the text.
    pub(super) page: P,
    /// Gets a row for each token, head beside head.
    pub(super) target: &'t Target<'t>,
    /// The row of the first token there.
    pub(super) first: usize,
}

impl<'a, P: Fn(usize) -> (Page<'a>, Page<'a>)> Attending<'a, '_, P> {
    /// Writes what each query head of the group gets.
    pub(super) fn run(&self, unit: Unit) {
        dispatch(unit, Group { with: self });
    }

    /// Returns the positions that a query sees; queries are counted over tokens and, in each, over the heads of the group.
    fn seen(&self, query: usize) -> Range<usize> {
        let end = self.positions.start + query / self.looking.heads.sharing() + 1;
        end - self.looking.window.unwrap_or(end).min(end)..end
    }
}

struct Group<'a, 'o, P> {
    with: &'o Attending<'a, 'o, P>,
}

impl<'a, P: Fn(usize) -> (Page<'a>, Page<'a>)> Work for Group<'a, '_, P> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let with = self.with;
        let heads = with.looking.heads;
        let (width, sharing) = (heads.width, heads.sharing());
        let padded = width.next_multiple_of(LANES);
        let count = with.positions.len() * sharing;
        let first = with.seen(0).start / PAGE;
        let last = with.positions.end.div_ceil(PAGE);
        // A group more than needed: rows that are a power of two apart push each other out of the cache.
        let stride = (last - first) * PAGE + LANES;
        let mut queries = Vec::with_capacity(count * width);
        for row in with.rows.chunks_exact(heads.fused_width()) {
            queries.extend_from_slice(&row[with.key_head * sharing * width..][..sharing * width]);
        }
        assert_eq!(queries.len(), count * width, "a query has no numbers");
        let mut scores = vec![0f32; count * stride];
        for page in first..last {
            let keys = &(with.page)(page).0[..width * PAGE];
            // SAFETY: the caller has the instructions; a row of keys is there for each number of a query, as many queries as
            // are asked for, and each row of scores has room for all pages.
            unsafe {
                let queries = Rows { start: queries.as_ptr().cast(), stride: width * 4 };
                let keys = Rows { start: keys.as_ptr().cast(), stride: PAGE * 4 };
                let out = Out { start: scores.as_mut_ptr().add((page - first) * PAGE), stride };
                mix::<L>(queries, count, keys, width, PAGE, out);
            }
        }
        let sums = self.weigh(&mut scores, stride, first * PAGE);
        let mut mixed = vec![0f32; count * padded];
        // SAFETY: as the caller promised.
        unsafe { self.mix_all::<L>(&scores, stride, first * PAGE, &mut mixed, padded) };
        for (query, (mixed, sum)) in mixed.chunks_exact(padded).zip(sums).enumerate() {
            let column = (with.key_head * sharing + query % sharing) * width;
            // SAFETY: no other task has this head of this token.
            let out = unsafe { with.target.row(with.first + query / sharing, column..column + width) };
            let inverse = 1.0 / sum;
            out.iter_mut().zip(mixed).for_each(|(out, x)| {
                out.write(x * inverse);
            });
        }
    }
}

impl<'a, P: Fn(usize) -> (Page<'a>, Page<'a>)> Group<'a, '_, P> {
    /// Turns the scores that a query sees into powers, and returns their sums. `start` is the position of the first score.
    #[inline(always)]
    fn weigh(&self, scores: &mut [f32], stride: usize, start: usize) -> Vec<f32> {
        let mut sums = vec![0.0; scores.len() / stride];
        for (query, (row, sum)) in scores.chunks_exact_mut(stride).zip(&mut sums).enumerate() {
            let seen = self.with.seen(query);
            let row = &mut row[seen.start - start..seen.end - start];
            let top = self.with.looking.scale * max(row);
            *sum = exp_sum(row, self.with.looking.scale, top);
        }
        sums
    }

    /// Mixes values. Queries see nearly the same positions: what is common to all goes together, the ends one by one.
    ///
    /// # Safety
    /// The machine has the instructions of `L`.
    #[inline(always)]
    unsafe fn mix_all<L: Lanes>(&self, weights: &[f32], stride: usize, start: usize, mixed: &mut [f32], padded: usize) {
        let count = mixed.len() / padded;
        let common = self.with.seen(count - 1).start..self.with.seen(0).end;
        let mut part = |queries: Range<usize>, positions: Range<usize>| {
            let mut from = positions.start;
            while from < positions.end {
                let page = from / PAGE;
                let to = positions.end.min((page + 1) * PAGE);
                let (_, values) = (self.with.page)(page);
                let values = &values[(from - page * PAGE) * padded..(to - page * PAGE) * padded];
                let weights = &weights[queries.start * stride + from - start..];
                assert!(weights.len() >= (queries.len() - 1) * stride + to - from, "a query has no weights");
                let mixed = &mut mixed[queries.start * padded..queries.end * padded];
                // SAFETY: the caller has the instructions; values, weights and the rows to add to were cut to what is asked
                // for.
                unsafe {
                    let weights = Rows { start: weights.as_ptr().cast(), stride: stride * 4 };
                    let rows = Rows { start: values.as_ptr().cast(), stride: padded * 4 };
                    let out = Out { start: mixed.as_mut_ptr(), stride: padded };
                    mix::<L>(weights, queries.len(), rows, to - from, padded, out);
                }
                from = to;
            }
        };
        if common.is_empty() {
            (0..count).for_each(|query| part(query..query + 1, self.with.seen(query)));
            return;
        }
        for query in 0..count {
            part(query..query + 1, self.with.seen(query).start..common.start);
        }
        part(0..count, common.clone());
        for query in 0..count {
            part(query..query + 1, common.end..self.with.seen(query).end);
        }
    }
}
