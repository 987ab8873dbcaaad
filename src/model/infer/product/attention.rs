//! Attention of all new tokens of a step, shared out among threads by heads of keys and some tokens at a time.
#![expect(unsafe_code, reason = "memory is filled by its parts")]

use rayon::prelude::*;

use super::attend::{Attending, Page};
use super::target::Target;
use crate::model::Unit;
use crate::model::kernel::Heads;

/// Rows of queries (a token counts once for each head of a group) that attend together.
const QUERY_ROWS: usize = 24;
/// Multiplications that are worth sharing out.
const WORTH_THREADS: usize = 1 << 19;

/// What tokens look at, and how.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Looking {
    /// How rows are divided.
    pub(in super::super) heads: Heads,
    /// What scores are multiplied by.
    pub(in super::super) scale: f32,
    /// How many positions a token sees, its own included.
    pub(in super::super) window: Option<usize>,
}

/// The new tokens of a text.
pub(in super::super) struct NewTokens<'a, P> {
    /// Their fused rows.
    pub(in super::super) rows: &'a [f32],
    /// The position of the first.
    pub(in super::super) start: usize,
    /// Returns what a head of keys keeps of a page: keys and values.
    pub(in super::super) page: P,
}

/// Returns what each query head of each token gets, head beside head, the texts one below the other.
pub(in super::super) fn attention<'a, P>(unit: Unit, looking: Looking, texts: &[NewTokens<'a, P>]) -> Vec<f32>
where
    P: Fn(usize, usize) -> (Page<'a>, Page<'a>) + Sync,
{
    let Looking { heads, window, .. } = looking;
    assert!(heads.sharing() * heads.key_value == heads.query, "each head of keys has its heads of queries");
    let total: usize = texts.iter().map(|text| text.rows.len() / heads.fused_width()).sum();
    let mut out = Vec::with_capacity(total * heads.output_width());
    let target = Target::of(&mut out.spare_capacity_mut()[..total * heads.output_width()], heads.output_width());
    let mut tasks = Vec::new();
    let (mut cost, mut first) = (0, 0);
    for text in texts {
        let tokens = text.rows.len() / heads.fused_width();
        let seen = (text.start + tokens).min(window.map_or(usize::MAX, |window| window + tokens));
        cost += 2 * tokens * seen * heads.output_width();
        let block = (QUERY_ROWS / heads.sharing()).max(1);
        // The last tokens see most, and what takes longest goes first.
        for from in (0..tokens).step_by(block).rev() {
            let to = tokens.min(from + block);
            let rows = &text.rows[from * heads.fused_width()..to * heads.fused_width()];
            tasks.extend((0..heads.key_value).map(|key_head| Attending {
                looking,
                key_head,
                rows,
                positions: text.start + from..text.start + to,
                page: move |page: usize| (text.page)(key_head, page),
                target: &target,
                first: first + from,
            }));
        }
        first += tokens;
    }
    if cost < WORTH_THREADS {
        for task in tasks {
            task.run(unit);
        }
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(|task| task.run(unit));
    }
    // SAFETY: there is room for so many numbers, and the tasks have written each head of each token, once.
    unsafe { out.set_len(total * heads.output_width()) };
    out
}
