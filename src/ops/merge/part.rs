//! One tensor of the result: what it is made from, and what its method needs to know.

use std::borrow::Cow;

use super::fused::{Kernel, vectorized};
use crate::spec::params::Compat;
use crate::tensor::{Dtype, ModelTensors};

/// A tensor of one of the models, as the method sees it.
pub(super) struct Part<'a> {
    dtype: Dtype,
    bytes: Cow<'a, [u8]>,
    /// The type that it is converted to before anything is computed.
    round: Option<Dtype>,
    /// Where it lies, to let go of the memory behind it.
    place: Option<(&'a ModelTensors, &'a str)>,
}

impl<'a> Part<'a> {
    /// Returns a tensor of a model, if it has it.
    pub(super) fn of(model: &'a ModelTensors, name: &'a str) -> Option<Self> {
        let view = model.get(name)?;
        Some(Self { dtype: view.dtype, bytes: Cow::Borrowed(view.bytes), round: None, place: Some((model, name)) })
    }

    /// Returns a tensor that was made anew.
    pub(super) fn made(dtype: Dtype, bytes: Vec<u8>) -> Self {
        Self { dtype, bytes: Cow::Owned(bytes), round: None, place: None }
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

    /// Returns all numbers.
    pub(super) fn all(&self) -> Vec<f32> {
        let mut numbers = vec![0.0; self.count()];
        self.read(0, &mut numbers);
        numbers
    }

    /// Returns all numbers in float64.
    pub(super) fn all64(&self) -> Vec<f64> {
        if self.dtype == Dtype::F64 {
            return self.bytes.as_chunks::<8>().0.iter().map(|raw| f64::from_le_bytes(*raw)).collect();
        }
        self.all().into_iter().map(f64::from).collect()
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

    /// Lets go of the memory behind some numbers.
    pub(super) fn release(&self, from: usize, to: usize) {
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
        self.difference(part, from, out, scratch);
        for part in self.base().into_iter().chain([part]) {
            part.release(from, from + out.len());
        }
    }

    /// Returns all differences of a part to the base, or its numbers if there is none.
    pub(super) fn differences(&self, part: &Part<'_>) -> Vec<f32> {
        let mut out = vec![0.0; part.count()];
        let mut scratch = out.clone();
        self.difference(part, 0, &mut out, &mut scratch);
        out
    }

    /// Lets go of the memory behind some numbers of all parts.
    pub(super) fn release(&self, from: usize, to: usize) {
        self.parts.iter().for_each(|part| part.release(from, to));
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

/// Returns a number rounded to a type.
pub(super) fn rounded(dtype: Dtype, number: f32) -> f32 {
    let mut one = [number];
    dtype.round(&mut one);
    one[0]
}
