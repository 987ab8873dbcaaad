//! Streams the tensors of a merge: a piece is read, computed, rounded and written by one thread, and forgotten.
//!
//! Every number is computed from its place alone (reductions, where a method has one, come first and have a fixed
//! order), so the cut into pieces and the number of threads leave no trace in the file. Inputs are mapped and let go of
//! as soon as they were used. While a tensor is written, what has to be known about the next one is found out already,
//! so that no thread waits for the last piece of a tensor, or for draws that only one thread can make.
//!
//! Memory is the buffers below for each thread, the pieces of the inputs that are being looked at, and what the method
//! keeps of two tensors: nothing for most, a bit a number and model for the random ones, three numbers a row for
//! `nuslerp`, and for `karcher` the mean, in the type of the tensors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::Device;
use rayon::prelude::*;

use super::combine::Combine;
use super::fused::{Kernel, vectorized};
use super::methods;
use super::part::Work;
use super::twister::Twister;
use super::{OpCx, OpError, device, unwritable, wide};
use crate::spec::params::MergeMethod;
use crate::tensor::{DeviceChoice, Dtype, ShardedWriter};

/// Numbers computed at a time: all buffers together fit the nearest cache.
pub(super) const PIECE: usize = 1 << 12;

/// Numbers that one thread computes before it writes them.
pub(super) const SLAB: usize = 1 << 18;

/// Numbers that take less time than to wake another thread does.
const FEW: usize = 64;

/// Bytes that are copied between two looks at whether to stop.
const COPIED: usize = 64 << 20;

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
    pub(super) writer: ShardedWriter,
    pub(super) cx: &'a OpCx<'a>,
    device: Option<Device>,
    buffers: Mutex<Vec<Buffers>>,
    done: AtomicUsize,
}

/// What a thread needs to compute.
#[derive(Default)]
struct Buffers {
    numbers: Vec<f32>,
    scratch: Vec<f32>,
    bytes: Vec<u8>,
}

/// A tensor about which all is known that has to be.
struct Ready<'a> {
    work: Work<'a>,
    combine: Combine,
    out: Dtype,
}

impl<'a> Engine<'a> {
    pub(super) fn new(method: MergeMethod, writer: ShardedWriter, cx: &'a OpCx<'a>) -> Result<Self, OpError> {
        // A GPU that is only there is not asked: its sums differ in their last places, and MergeKit's files are the CPU's.
        let device = match cx.device {
            DeviceChoice::Auto | DeviceChoice::Cpu => None,
            _ => Some(cx.open_device()?),
        };
        Ok(Self { method, writer, cx, device, buffers: Mutex::default(), done: AtomicUsize::new(0) })
    }

    /// Merges all tensors: those that `work` gives, with their types, and as many as were declared. `ahead` if the next
    /// one is prepared while one is written.
    pub(super) fn run<'w>(
        self,
        count: usize,
        ahead: bool,
        mut twister: Twister,
        work: &(dyn Fn(usize) -> Result<(Work<'w>, Dtype), OpError> + Sync),
    ) -> Result<Merged, OpError> {
        let mut merged = Merged::default();
        let mut prepare = |number: usize| -> Option<Result<Ready<'w>, OpError>> {
            (number < count).then(|| {
                let (work, out) = work(number)?;
                let combine = match &self.device {
                    _ if work.dtype == Dtype::F64 && !work.copied => {
                        wide::merge(self.method, &work, &mut twister).map(Combine::Wide)
                    }
                    None => methods::prepare(self.method, &work, &mut twister),
                    Some(device) => device::prepare(device, self.method, &work, &mut twister),
                };
                let combine =
                    combine.map_err(|error| OpError::caused(format!("cannot merge tensor `{}`", work.name), error))?;
                Ok(Ready { work, combine, out })
            })
        };
        let mut next = prepare(0);
        for number in 0.. {
            let Some(ready) = next.transpose()? else { break };
            self.cx.check_cancelled()?;
            merged.straight += usize::from(matches!(ready.combine, Combine::Pair { straight: true, .. }));
            merged.parameters += ready.work.count();
            merged.tensors += 1;
            if ahead && ready.work.count() > FEW {
                let written;
                (written, next) = rayon::join(|| self.write(&ready, number), || prepare(number + 1));
                written?;
            } else {
                self.write(&ready, number)?;
                drop(ready);
                next = prepare(number + 1);
            }
        }
        self.writer.finish().map_err(unwritable)?;
        Ok(merged)
    }

    /// Writes a tensor as the declared tensor `number`.
    fn write(&self, ready: &Ready<'_>, number: usize) -> Result<(), OpError> {
        let (work, count) = (&ready.work, ready.work.count());
        if let Combine::Copy(part) = &ready.combine
            && let Some((path, place)) = work.parts[*part].file(ready.out)
        {
            // The bytes as they are: the way through f32 would be exact too, except for the kind of a NaN.
            let size = count * ready.out.size();
            for from in (0..size).step_by(COPIED) {
                self.cx.check_cancelled()?;
                let most = COPIED.min(size - from);
                self.writer.copy(number, from, path, place + from as u64, most).map_err(unwritable)?;
                self.advance(most / ready.out.size());
            }
            return Ok(());
        }
        (0..count.div_ceil(SLAB)).into_par_iter().try_for_each(|slab| {
            self.cx.check_cancelled()?;
            let from = slab * SLAB;
            let mut buffers = self.locked().pop().unwrap_or_default();
            let written = self.slab(ready, number, from, SLAB.min(count - from), &mut buffers);
            self.locked().push(buffers);
            written
        })?;
        work.release();
        Ok(())
    }

    fn slab(
        &self,
        ready: &Ready<'_>,
        number: usize,
        from: usize,
        count: usize,
        buffers: &mut Buffers,
    ) -> Result<(), OpError> {
        let (work, out) = (&ready.work, ready.out);
        let Buffers { numbers, scratch, bytes } = buffers;
        if let Combine::Copy(part) = &ready.combine
            && let Some(stored) = work.parts[*part].stored(out, from, from + count)
        {
            self.advance(count);
            return self.writer.write_at(number, from * out.size(), stored).map_err(unwritable);
        }
        if let (Combine::Wide(all), Dtype::F64) = (&ready.combine, out) {
            let some = &all[from..from + count];
            if !some.iter().all(|number| number.is_finite()) {
                return Err(not_finite(work.name, out));
            }
            self.advance(count);
            let stored: Vec<u8> = some.iter().flat_map(|number| number.to_le_bytes()).collect();
            return self.writer.write_at(number, from * out.size(), &stored).map_err(unwritable);
        }
        work.expect(from, from + count);
        numbers.resize(PIECE, 0.0);
        bytes.resize(count * out.size(), 0);
        for (i, bytes) in bytes.chunks_mut(PIECE * out.size()).enumerate() {
            let numbers = &mut numbers[..bytes.len() / out.size()];
            let piece = Piece { combine: &ready.combine, work, from: from + i * PIECE, numbers, scratch, out, bytes };
            if !vectorized(piece) {
                return Err(not_finite(work.name, out));
            }
        }
        self.writer.write_at(number, from * out.size(), bytes).map_err(unwritable)?;
        work.passed(from, from + count);
        self.advance(count);
        Ok(())
    }

    fn advance(&self, count: usize) {
        let done = self.done.fetch_add(count, Ordering::Relaxed) + count;
        self.cx.progress.position(done as u64);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Buffers>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        if let (Combine::Task(task), Dtype::BF16) = (self.combine, self.out)
            && let Some(finite) = task.short(self.work, self.from, self.bytes.as_chunks_mut().0, self.scratch)
        {
            return finite;
        }
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
