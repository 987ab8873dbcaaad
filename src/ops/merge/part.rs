//! One tensor of the result: what it is made from, and what its method needs to know.

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fused::{Kernel, round_short, vectorized};
use crate::spec::params::Compat;
use crate::tensor::{Dtype, ModelTensors};

/// Parts of at most so many bytes stay in memory between two looks at them.
pub(super) const KEPT: usize = 16 << 20;

/// Numbers brought into memory at once where a tensor is read from one end to the other.
const AHEAD: usize = 1 << 18;

/// A tensor of one of the models, as the method sees it.
pub(super) struct Part<'a> {
    dtype: Dtype,
    bytes: Cow<'a, [u8]>,
    /// The type that it is converted to before anything is computed.
    round: Option<Dtype>,
    /// Where it lies, to let go of the memory behind it.
    place: Option<(&'a ModelTensors, &'a str)>,
    /// Whether all of it was brought into memory, to stay there.
    kept: AtomicBool,
}

impl<'a> Part<'a> {
    /// Returns a tensor of a model, if it has it.
    pub(super) fn of(model: &'a ModelTensors, name: &'a str) -> Option<Self> {
        let view = model.get(name)?;
        Some(Self {
            dtype: view.dtype,
            bytes: Cow::Borrowed(view.bytes),
            round: None,
            place: Some((model, name)),
            kept: AtomicBool::new(false),
        })
    }

    /// Returns a tensor that was made anew.
    pub(super) fn made(dtype: Dtype, bytes: Vec<u8>) -> Self {
        Self { dtype, bytes: Cow::Owned(bytes), round: None, place: None, kept: AtomicBool::new(false) }
    }

    /// Returns the tensor, converted to `dtype` first.
    pub(super) fn converted(mut self, dtype: Dtype) -> Self {
        self.round = (dtype != self.dtype && dtype != Dtype::F32).then_some(dtype);
        self
    }

    /// Returns how its numbers are stored.
    pub(super) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Returns how many numbers there are.
    pub(super) fn count(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Writes the numbers that begin at `from` to `out`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    pub(super) fn read(&self, from: usize, out: &mut [f32]) {
        let size = self.dtype.size();
        self.dtype.read_f32(&self.bytes[from * size..(from + out.len()) * size], out);
        if let Some(dtype) = self.round {
            dtype.round(out);
        }
    }

    /// Returns one number.
    pub(super) fn one(&self, place: usize) -> f32 {
        let mut one = [0.0];
        self.read(place, &mut one);
        one[0]
    }

    /// Returns whether the numbers are stored in the same bytes as those of another part.
    pub(super) fn same_as(&self, other: &Part<'_>) -> bool {
        const PIECE: usize = 1 << 22;
        let equal = |from: usize| {
            let (to, size) = (other.count().min(from + PIECE), self.dtype.size());
            let same = self.bytes[from * size..to * size] == other.bytes[from * size..to * size];
            self.passed(from, to);
            other.passed(from, to);
            same
        };
        self.dtype == other.dtype
            && self.round == other.round
            && self.count() == other.count()
            && (0..self.count()).step_by(PIECE).all(equal)
    }

    /// Returns the file in which the numbers lie as `dtype` stores them, and the place of their first byte.
    pub(super) fn file(&self, dtype: Dtype) -> Option<(&Path, u64)> {
        let (model, name) = self.place.filter(|_| self.dtype == dtype && self.round.is_none())?;
        model.place(name)
    }

    /// Returns all numbers in float64.
    pub(super) fn all64(&self) -> Vec<f64> {
        if self.dtype == Dtype::F64 {
            return self.bytes.as_chunks::<8>().0.iter().map(|raw| f64::from_le_bytes(*raw)).collect();
        }
        let mut numbers = vec![0.0; self.count()];
        self.read(0, &mut numbers);
        numbers.into_iter().map(f64::from).collect()
    }

    /// Returns whether two tensors are the same, bit for bit.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.bytes == other.bytes
    }

    /// Returns the bytes of some numbers as they are stored, if `dtype` stores them so.
    pub(super) fn stored(&self, dtype: Dtype, from: usize, to: usize) -> Option<&[u8]> {
        let size = self.dtype.size();
        (self.dtype == dtype && self.round.is_none()).then(|| &self.bytes[from * size..to * size])
    }

    /// Has some numbers brought into memory at once, rather than page by page when they are looked at. All of them, once,
    /// if they are few.
    pub(super) fn expect(&self, from: usize, to: usize) {
        let Some((model, name)) = self.place else { return };
        if self.bytes.len() > KEPT {
            model.expect(name, from, to);
        } else if !self.kept.swap(true, Ordering::Relaxed) {
            model.expect(name, 0, self.count());
        }
    }

    /// Lets go of the memory behind some numbers that will be looked at again, unless all of them are few.
    pub(super) fn passed(&self, from: usize, to: usize) {
        if self.bytes.len() > KEPT {
            self.release(from, to);
        }
    }

    fn release(&self, from: usize, to: usize) {
        if let Some((model, name)) = self.place {
            model.release(name, from, to);
        }
    }
}

/// One tensor of the result.
pub(super) struct Work<'a> {
    /// What it is called in the result.
    pub(super) name: &'a str,
    /// The length of each axis.
    pub(super) shape: &'a [usize],
    /// What it is made from, in the order of the sources.
    pub(super) parts: Vec<Part<'a>>,
    /// Which of the parts is the base.
    pub(super) base: Option<usize>,
    /// The type that results are rounded to after every operation.
    pub(super) dtype: Dtype,
    /// Whether the first part is the result: it is the only one, or none has anything to be computed.
    pub(super) copied: bool,
    /// Whose arithmetic is followed.
    pub(super) compat: Compat,
    /// The parameters of the tensor.
    pub(super) shared: Values,
    /// The parameters of each part.
    pub(super) each: Vec<Values>,
}

/// The values of parameters, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Values(pub(super) Vec<(&'static str, f64)>);

impl Values {
    /// Returns a value; every method asks only for what its table lists.
    pub(super) fn number(&self, name: &str) -> f64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, value)| *value)
    }

    /// Returns a flag.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.number(name) != 0.0
    }
}

impl Work<'_> {
    /// Returns how many numbers the tensor has.
    pub(super) fn count(&self) -> usize {
        self.parts.first().map_or(0, Part::count)
    }

    /// Returns the number rounded to the type of the tensor.
    pub(super) fn round(&self, number: f64) -> f32 {
        rounded(self.dtype, number as f32)
    }

    /// Returns whether the tensor is of a 16-bit type.
    pub(super) fn paired(&self) -> bool {
        self.dtype != Dtype::F32
    }

    /// Returns the parts that are not the base, with their number.
    pub(super) fn others(&self) -> impl Iterator<Item = (usize, &Part<'_>)> {
        self.parts.iter().enumerate().filter(|(i, _)| Some(*i) != self.base)
    }

    /// Returns the base.
    pub(super) fn base(&self) -> Option<&Part<'_>> {
        self.parts.get(self.base?)
    }

    /// Writes the differences of a part to the base that begin at `from` to `out`. `scratch` is as long as `out`.
    pub(super) fn difference(&self, part: &Part<'_>, from: usize, out: &mut [f32], scratch: &mut [f32]) {
        vectorized(Difference { work: self, part, from, out, scratch });
    }

    /// As [`Self::difference`], and lets go of the memory behind the inputs.
    pub(super) fn passing(&self, part: &Part<'_>, from: usize, out: &mut [f32], scratch: &mut [f32]) {
        self.around(part, from, out.len(), || self.difference(part, from, out, scratch));
    }

    /// Has what lies ahead of some numbers of a part and the base brought into memory, and lets go of what lies behind
    /// them after they were looked at: rarely, because both interrupt all threads.
    pub(super) fn around(&self, part: &Part<'_>, from: usize, count: usize, look: impl FnOnce()) {
        let parts = || self.base().into_iter().chain([part]);
        if from.is_multiple_of(AHEAD) {
            parts().for_each(|part| part.expect(from, from + AHEAD));
        }
        look();
        let to = from + count;
        if to.is_multiple_of(AHEAD) || to == part.count() {
            parts().for_each(|part| part.passed((to - 1) / AHEAD * AHEAD, to));
        }
    }

    /// Returns the stored numbers of a part and of the base, if all is in bfloat16.
    pub(super) fn short<'b>(&'b self, part: &'b Part<'_>, from: usize, to: usize) -> Option<[&'b [[u8; 2]]; 2]> {
        if self.dtype != Dtype::BF16 {
            return None;
        }
        Some(
            [part.stored(Dtype::BF16, from, to)?, self.base()?.stored(Dtype::BF16, from, to)?]
                .map(|raw| raw.as_chunks().0),
        )
    }

    /// Has some numbers of all parts brought into memory.
    pub(super) fn expect(&self, from: usize, to: usize) {
        self.parts.iter().for_each(|part| part.expect(from, to));
    }

    /// Lets go of the memory behind some numbers of all parts, unless they are few.
    pub(super) fn passed(&self, from: usize, to: usize) {
        self.parts.iter().for_each(|part| part.passed(from, to));
    }

    /// Lets go of the memory behind all parts.
    pub(super) fn release(&self) {
        self.parts.iter().for_each(|part| part.release(0, part.count()));
    }
}

/// The differences of a part to the base.
struct Difference<'a, 'b> {
    work: &'a Work<'b>,
    part: &'a Part<'b>,
    from: usize,
    out: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl Kernel for Difference<'_, '_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        self.part.read(self.from, self.out);
        if let Some(base) = self.work.base() {
            base.read(self.from, self.scratch);
            for (number, base) in self.out.iter_mut().zip(self.scratch) {
                *number -= *base;
            }
            self.work.dtype.round(self.out);
        }
    }
}

/// Returns the difference of two numbers that are stored in bfloat16, rounded to it.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
pub(super) fn short_difference(number: [u8; 2], base: [u8; 2]) -> f32 {
    round_short(short_number(number) - short_number(base))
}

/// Returns a number that is stored in bfloat16.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
pub(super) fn short_number(raw: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(raw)) << 16)
}

/// Returns a number rounded to a type.
pub(super) fn rounded(dtype: Dtype, number: f32) -> f32 {
    let mut one = [number];
    dtype.round(&mut one);
    one[0]
}
