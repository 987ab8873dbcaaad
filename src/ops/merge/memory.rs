//! How much memory a merge takes, before anything is read: what the buffers of the threads, the pieces of the inputs
//! and the method itself add up to for the largest tensor. The program itself (some 20 MB) comes on top.
//!
//! No method holds a tensor in f32. What a method keeps of a tensor:
//!
//! | method | bytes |
//! |---|---|
//! | `linear`, `slerp`, `task_arithmetic`, `nearswap`, `ram`, `passthrough` | none |
//! | `ties`, `breadcrumbs`, `sce` | 25 MB of counts |
//! | `dare_*`, `della*` | one bit a number and model |
//! | `nuslerp`, `model_stock`, `arcee_fusion` | up to twelve bytes a row or column |
//! | `karcher` | the mean: one tensor in its stored type |
//! | any, for an embedding whose vocabulary is aligned | that of every model, in its stored type |
//!
//! Normally the next tensor is prepared while one is written, which takes twice as much. With a bound that is too low for
//! that they follow one another; below what one tensor takes, the merge is refused with the number it needs.

use super::OpError;
use super::engine::{PIECE, SLAB};
use super::part::KEPT;
use crate::spec::params::MergeMethod as M;

/// The tables of magnitudes of one search: 64 of upper halves, 64 of lower ones, and those being counted.
const TABLES: u64 = 64 * (4 << 15) + 64 * (4 << 16);

/// A tensor that will be merged.
#[derive(Debug, Clone)]
pub(super) struct Size<'a> {
    pub(super) name: &'a str,
    pub(super) count: u64,
    pub(super) models: u64,
    /// Bytes a number as it is computed with.
    pub(super) width: u64,
    /// Whether all models' numbers are put into a new order first.
    pub(super) aligned: bool,
    /// The length of the last axis.
    pub(super) row: u64,
}

/// Returns what one tensor takes beside what the threads do.
fn of_tensor(method: M, size: &Size<'_>) -> u64 {
    let bytes = size.count.saturating_mul(size.width);
    let rows = size.count / size.row.max(1);
    let own = match method {
        M::Ties | M::Breadcrumbs | M::BreadcrumbsTies | M::Sce => TABLES,
        M::DareLinear | M::DareTies => (size.count / 8).saturating_mul(size.models),
        M::Della | M::DellaLinear => {
            (size.count / 8).saturating_mul(size.models) + 8 * size.count.min((2 << 20) + 64 * size.row)
        }
        M::Nuslerp | M::ModelStock | M::ArceeFusion => 12 * rows.max(size.row),
        M::Karcher => bytes,
        _ => 0,
    };
    // A million draws of places and numbers.
    let own = own + if method == M::ArceeFusion { 16 << 20 } else { 0 };
    let inputs = if size.aligned { bytes } else { bytes.min(KEPT as u64) };
    own.saturating_add(inputs.saturating_mul(size.models))
}

/// Returns what the threads take: what they compute, what they read for that, and what they write.
fn of_threads(threads: usize, size: &Size<'_>) -> u64 {
    let each = 4 * (PIECE as u64) * (2 * size.models + 6) + 4 * SLAB as u64 + (2 << 20);
    let window = SLAB as u64 * size.width * size.models;
    (each + window).saturating_mul(threads.max(1) as u64)
}

/// Returns whether the next tensor may be prepared while one is written; an error if even one tensor takes too much.
pub(super) fn check<'a>(
    method: M,
    sizes: impl Iterator<Item = Size<'a>>,
    threads: usize,
    bound: Option<u64>,
) -> Result<bool, OpError> {
    let Some(bound) = bound else { return Ok(true) };
    let (mut one, mut before, mut two) = ((0, ""), 0, 0);
    for size in sizes {
        let (own, shared) = (of_tensor(method, &size), of_threads(threads, &size));
        let all = own.saturating_add(shared);
        if all > one.0 {
            one = (all, size.name);
        }
        two = two.max(all.saturating_add(before));
        before = own;
    }
    if one.0 > bound {
        let (needed, name) = (one.0.div_ceil(1_000_000), one.1);
        let message = format!("`memory` is {} MB, and tensor `{name}` takes {needed} MB", bound / 1_000_000);
        let help = format!("give it `memory: {needed}MB` or more; fewer threads take less");
        return Err(OpError::new(message).help(help));
    }
    Ok(two <= bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(name: &str, count: u64) -> Size<'_> {
        Size { name, count, models: 3, width: 2, aligned: false, row: 1024 }
    }

    #[test]
    fn a_bound_is_kept_by_going_slower_or_refused_with_what_it_takes() {
        let sizes = || [size("small", 1 << 20), size("large", 1 << 28), size("other", 1 << 28)].into_iter();
        let check = |bound| check(M::DareTies, sizes(), 2, bound);
        assert!(check(None).unwrap() && check(Some(1 << 30)).unwrap());
        assert!(!check(Some(200_000_000)).unwrap());
        let error = check(Some(100_000_000)).unwrap_err();
        assert!(error.to_string().contains("`large` takes 16"), "{error}");
        assert!(error.way_out().unwrap().contains("MB"));
    }
}
