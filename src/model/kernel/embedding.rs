//! Rows of the embedding table by token, and the way back.

use rayon::prelude::*;

/// Rows of the table that one task gathers gradients for.
const TABLE_ROWS: usize = 256;

/// Returns the rows of the table that `ids` name, one after the other. All ids lie inside the table.
pub(crate) fn gather(table: &[f32], width: usize, ids: &[u32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(ids.len() * width);
    for id in ids {
        out.extend_from_slice(&table[*id as usize * width..][..width]);
    }
    out
}

/// Adds row `i` of `gradient` to row `ids[i]` of `table_gradient`, in the order of `i`.
///
/// A token that occurs twice would be a race if rows of the batch were shared out among threads, so rows of the table
/// are: each task owns a part of the table and walks through the occurrences of its tokens in order.
pub(crate) fn scatter_add(table_gradient: &mut [f32], width: usize, ids: &[u32], gradient: &[f32]) {
    let mut occurrences: Vec<(u32, usize)> = ids.iter().copied().zip(0..).collect();
    occurrences.sort_unstable();
    table_gradient.par_chunks_mut(TABLE_ROWS * width).enumerate().for_each(|(part, rows)| {
        let first = part * TABLE_ROWS;
        let from = occurrences.partition_point(|(id, _)| (*id as usize) < first);
        let mine = occurrences[from..].iter().take_while(|(id, _)| (*id as usize) < first + TABLE_ROWS);
        for (id, place) in mine {
            let total = &mut rows[(*id as usize - first) * width..][..width];
            for (total, gradient) in total.iter_mut().zip(&gradient[place * width..][..width]) {
                *total += gradient;
            }
        }
    });
}
