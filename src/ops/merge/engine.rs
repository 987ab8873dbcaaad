//! Streams the tensors of a merge: a piece is read, computed, rounded and written by one thread, and forgotten.
//!
//! Every number is computed from its place alone (reductions, where a method has one, come first and have a fixed
//! order), so the cut into pieces and the number of threads leave no trace in the file. Inputs are mapped and let go of
//! as soon as they were used: memory is a few pieces, plus, for the methods that look at whole tensors, some of those.

use rayon::prelude::*;

use super::combine::Combine;
use super::fused::{Kernel, vectorized};
use super::methods;
use super::part::Work;
use super::twister::Twister;
use super::{OpCx, OpError, unwritable, wide};
use crate::spec::params::MergeMethod;
use crate::tensor::{Dtype, ShardedWriter};

/// Numbers one thread computes at a time: a few buffers of this many fit a processor's own cache.
const PIECE: usize = 1 << 14;

/// Numbers between two looks at whether to stop.
const SEGMENT: usize = 1 << 22;

/// What was merged.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Merged {
    pub(super) tensors: usize,
    pub(super) parameters: usize,
    /// Tensors that slerp interpolated along the chord.
    pub(super) straight: usize,
}

/// A merge under way.
pub(super) struct Engine<'a> {
    pub(super) method: MergeMethod,
    pub(super) twister: Twister,
    pub(super) writer: ShardedWriter,
    pub(super) cx: &'a OpCx<'a>,
    pub(super) merged: Merged,
}

impl Engine<'_> {
    /// Merges a tensor and writes it as the declared tensor `number`, of type `out`.
    pub(super) fn tensor(&mut self, work: &Work<'_>, number: usize, out: Dtype) -> Result<(), OpError> {
        self.cx.check_cancelled()?;
        let count = work.count();
        if work.dtype == Dtype::F64 && !work.copied {
            return self.wide(work, number, out);
        }
        let combine = methods::prepare(self.method, work, &mut self.twister)
            .map_err(|error| OpError::caused(format!("cannot merge tensor `{}`", work.name), error))?;
        self.merged.straight += usize::from(matches!(combine, Combine::Pair { straight: true, .. }));
        for from in (0..count).step_by(SEGMENT) {
            self.cx.check_cancelled()?;
            let to = count.min(from + SEGMENT);
            if let Combine::Copy(part) = &combine
                && let Some(bytes) = work.parts[*part].stored(out, from, to)
            {
                // The bytes as they are: the way through f32 would be exact too, except for the kind of a NaN.
                self.writer.write_at(number, from * out.size(), bytes).map_err(unwritable)?;
            } else {
                segment(&self.writer, number, work, &combine, out, from..to)?;
            }
            work.release(from, to);
            self.cx.progress.position((self.merged.parameters + to) as u64);
        }
        self.merged.parameters += count;
        self.merged.tensors += 1;
        Ok(())
    }
}

impl Engine<'_> {
    /// As [`Self::tensor`], in float64.
    fn wide(&mut self, work: &Work<'_>, number: usize, out: Dtype) -> Result<(), OpError> {
        let numbers = wide::merge(self.method, work, &mut self.twister)
            .map_err(|error| OpError::caused(format!("cannot merge tensor `{}`", work.name), error))?;
        for (i, piece) in numbers.chunks(PIECE).enumerate() {
            self.cx.check_cancelled()?;
            let bytes: Vec<u8> = if out == Dtype::F64 {
                piece.iter().flat_map(|number| number.to_le_bytes()).collect()
            } else {
                let short: Vec<f32> = piece.iter().map(|number| *number as f32).collect();
                if !short.iter().all(|number| out.holds(*number)) {
                    return Err(not_finite(work.name, out));
                }
                let mut bytes = vec![0; piece.len() * out.size()];
                out.write_f32(&short, &mut bytes);
                bytes
            };
            if !piece.iter().all(|number| number.is_finite()) {
                return Err(not_finite(work.name, out));
            }
            self.writer.write_at(number, i * PIECE * out.size(), &bytes).map_err(unwritable)?;
        }
        work.release(0, numbers.len());
        self.merged.parameters += numbers.len();
        self.merged.tensors += 1;
        self.cx.progress.position(self.merged.parameters as u64);
        Ok(())
    }
}

fn segment(
    writer: &ShardedWriter,
    number: usize,
    work: &Work<'_>,
    combine: &Combine,
    out: Dtype,
    range: std::ops::Range<usize>,
) -> Result<(), OpError> {
    let pieces = range.len().div_ceil(PIECE);
    let buffers = || (vec![0.0; PIECE], Vec::new(), vec![0_u8; PIECE * out.size()]);
    (0..pieces).into_par_iter().try_for_each_init(buffers, |(numbers, scratch, bytes), piece| {
        let from = range.start + piece * PIECE;
        let numbers = &mut numbers[..PIECE.min(range.end - from)];
        let bytes = &mut bytes[..numbers.len() * out.size()];
        let finite = vectorized(Piece { combine, work, from, numbers, scratch, out, bytes });
        if !finite {
            return Err(not_finite(work.name, out));
        }
        writer.write_at(number, from * out.size(), bytes).map_err(unwritable)
    })
}

/// What one thread does at a time. Returns whether all numbers are finite.
struct Piece<'a, 'b> {
    combine: &'a Combine,
    work: &'a Work<'b>,
    from: usize,
    numbers: &'a mut [f32],
    scratch: &'a mut Vec<f32>,
    out: Dtype,
    bytes: &'a mut [u8],
}

impl Kernel for Piece<'_, '_> {
    type Out = bool;

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) -> bool {
        self.combine.numbers(self.work, self.from, self.numbers, self.scratch);
        self.out.write_f32(self.numbers, self.bytes);
        // No early end: a loop that looks at all of them is faster.
        self.numbers.iter().fold(true, |all, number| all & self.out.holds(*number))
    }
}

fn not_finite(name: &str, dtype: Dtype) -> OpError {
    OpError::new(format!("tensor `{name}` of the merge holds numbers that are infinite or undefined in {dtype}"))
        .help("one of the models is broken, its numbers are too large for this type, or the weights add up to zero")
}
