//! A result that threads write by columns: each the same rows, none the same place.
#![expect(unsafe_code, reason = "slices cannot say that threads write different columns of the same rows")]
#![expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// A matrix that is written by columns.
#[derive(Debug)]
pub(super) struct Target<'a> {
    start: *mut MaybeUninit<f32>,
    rows: usize,
    stride: usize,
    numbers: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: it stands for a mutable slice, and `Target::row` asks that nobody else has the same place.
unsafe impl Send for Target<'_> {}
// SAFETY: as above.
unsafe impl Sync for Target<'_> {}

impl<'a> Target<'a> {
    /// Returns rows of `stride` numbers.
    pub(super) fn of(room: &'a mut [MaybeUninit<f32>], stride: usize) -> Self {
        let rows = room.len().checked_div(stride).unwrap_or(0);
        Self { start: room.as_mut_ptr(), rows, stride, numbers: PhantomData }
    }

    /// Returns how many numbers a row has.
    #[inline(always)]
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// # Safety
    /// Nobody else has any of these columns of the row while the slice lives.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "columns belong to one thread each, which the caller promises")]
    pub(super) unsafe fn row(&self, row: usize, columns: Range<usize>) -> &mut [MaybeUninit<f32>] {
        assert!(row < self.rows && columns.end <= self.stride, "a product is written outside of its matrix");
        // SAFETY: the place is inside the room, and the caller has it alone.
        unsafe {
            let start = self.start.add(row * self.stride + columns.start);
            std::slice::from_raw_parts_mut(start, columns.len())
        }
    }
}
