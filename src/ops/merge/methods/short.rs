//! Task arithmetic and its family where all is in bfloat16, as nearly every model is: one pass from the stored numbers to
//! the stored result, in which nothing is put down in between.
//!
//! The operations are those of [`Task`], in the same order and rounded at the same places. Rescaling is one by 1 where it
//! is left out there, which changes no number that is rounded already. Many models and a lambda are left to [`Task`].

use super::super::fused::round_short;
use super::super::part::{Work, short_difference, short_number};
use super::select::{Between, Span};
use super::sparsify::{Kept, spread};
use super::task::Task;
use crate::tensor::Dtype;

/// Flags made at a time.
const BLOCK: usize = 1 << 12;

type Raw = [u8; 2];

impl Task {
    /// Writes the merged numbers that begin at `from`. Returns whether all are finite; nothing, and does nothing, if this
    /// is not a case for it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    pub(in super::super) fn short(
        &self,
        work: &Work<'_>,
        from: usize,
        out: &mut [Raw],
        scratch: &mut Vec<f32>,
    ) -> Option<bool> {
        match (self.kept.len(), self.normalize) {
            _ if !self.plain() => None,
            (1, true) => self.of::<1, true>(work, from, out, scratch),
            (1, false) => self.of::<1, false>(work, from, out, scratch),
            (2, true) => self.of::<2, true>(work, from, out, scratch),
            (2, false) => self.of::<2, false>(work, from, out, scratch),
            (3, true) => self.of::<3, true>(work, from, out, scratch),
            (3, false) => self.of::<3, false>(work, from, out, scratch),
            _ => None,
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn of<const N: usize, const NORMALIZE: bool>(
        &self,
        work: &Work<'_>,
        from: usize,
        out: &mut [Raw],
        scratch: &mut Vec<f32>,
    ) -> Option<bool> {
        if work.dtype != Dtype::BF16 {
            return None;
        }
        let (mut parts, mut base) = ([&[][..]; N], &[][..]);
        for ((_, part), stored) in work.others().zip(&mut parts) {
            [*stored, base] = work.short(part, from, from + out.len())?;
        }
        let inputs = Inputs { base, parts };
        if self.kept.iter().all(|kept| span(kept, 0).is_some()) {
            self.by_size::<N, NORMALIZE>(inputs, from, out)
        } else if self.kept.iter().all(|kept| !matches!(kept, Kept::Between { .. })) {
            Some(self.by_mask::<N, NORMALIZE>(inputs, from, out, scratch))
        } else {
            None
        }
    }

    /// Keeps what lies between two magnitudes.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn by_size<const N: usize, const NORMALIZE: bool>(
        &self,
        inputs: Inputs<'_, N>,
        from: usize,
        out: &mut [Raw],
    ) -> Option<bool> {
        let (mut place, mut finite) = (0, true);
        while place < out.len() {
            let mut spans = [Span { least: 0, most: 0, until: usize::MAX }; N];
            for (kept, found) in self.kept.iter().zip(&mut spans) {
                *found = span(kept, from + place)?;
            }
            let until = spans.iter().map(|span| span.until - from).min().unwrap_or(usize::MAX);
            let here = place..out.len().min(until);
            place = here.end;
            let out = &mut out[here.clone()];
            let (inputs, flag) = (inputs.some(here), |m: usize, _, number| spans[m].flag(number));
            finite &= self.numbers_of::<N, NORMALIZE, false>(inputs, out, [1.0; N], [&[]; N], flag);
        }
        Some(finite)
    }

    /// Keeps what a mask says.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn by_mask<const N: usize, const NORMALIZE: bool>(
        &self,
        inputs: Inputs<'_, N>,
        from: usize,
        out: &mut [Raw],
        scratch: &mut Vec<f32>,
    ) -> bool {
        scratch.resize(scratch.len().max(N * BLOCK), 0.0);
        let (mut factors, mut finite) = ([1.0; N], true);
        for (kept, found) in self.kept.iter().zip(&mut factors) {
            if let Kept::Some { factor: Some(factor), .. } = kept {
                *found = *factor;
            }
        }
        for (i, out) in out.chunks_mut(BLOCK).enumerate() {
            let here = i * BLOCK..i * BLOCK + out.len();
            for (kept, flags) in self.kept.iter().zip(scratch.chunks_mut(BLOCK)) {
                match kept {
                    Kept::Some { mask, .. } => spread(mask, from + here.start, &mut flags[..out.len()]),
                    Kept::Nothing => flags.fill(0.0),
                    _ => flags.fill(1.0),
                }
            }
            let mut flags = [&[][..]; N];
            flags.iter_mut().zip(scratch.chunks(BLOCK)).for_each(|(flags, all)| *flags = &all[..out.len()]);
            finite &= self.numbers_of::<N, NORMALIZE, true>(inputs.some(here), out, factors, flags, |_, flag, _| flag);
        }
        finite
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn numbers_of<const N: usize, const NORMALIZE: bool, const MASKED: bool>(
        &self,
        inputs: Inputs<'_, N>,
        out: &mut [Raw],
        factors: [f32; N],
        flags: [&[f32]; N],
        flag: impl Fn(usize, f32, f32) -> f32,
    ) -> bool {
        let count = out.len();
        let (base, parts) = (&inputs.base[..count], inputs.parts.map(|part| &part[..count]));
        let flags = if MASKED { flags.map(|flags| &flags[..count]) } else { flags };
        let mut weights = [0.0; N];
        weights.copy_from_slice(&self.weights);
        let (consensus, sum_of_weights) = (self.consensus, self.sum);
        let mut largest = 0_u32;
        for i in 0..count {
            let (mut weighted, mut sum) = ([0.0; N], 0.0);
            for m in 0..N {
                let difference = short_difference(parts[m][i], base[i]);
                let known = if MASKED { flags[m][i] } else { 0.0 };
                let mut kept = difference * flag(m, known, difference);
                if MASKED {
                    kept = round_short(kept * factors[m]);
                }
                weighted[m] = round_short(kept * weights[m]);
                sum += weighted[m];
            }
            let mut divisor = sum_of_weights;
            sum = round_short(sum);
            if consensus {
                let sign = if sum >= 0.0 { 1.0 } else { -1.0 };
                (sum, divisor) = (0.0, 0.0);
                for m in 0..N {
                    let agrees = if weighted[m] * sign > 0.0 { 1.0 } else { 0.0 };
                    sum += weighted[m] * agrees;
                    divisor += weights[m] * agrees;
                }
                (sum, divisor) = (round_short(sum), round_short(divisor));
                divisor = if divisor == 0.0 { 1.0 } else { divisor };
            }
            let mixed = if NORMALIZE { round_short(sum / divisor) } else { sum };
            let bits = round_short(short_number(base[i]) + mixed).to_bits();
            out[i] = ((bits >> 16) as u16).to_le_bytes();
            largest = largest.max(bits & 0x7fff_ffff);
        }
        largest < f32::INFINITY.to_bits()
    }
}

/// The stored numbers of the base, and of what is merged into it.
#[derive(Clone, Copy)]
struct Inputs<'a, const N: usize> {
    base: &'a [Raw],
    parts: [&'a [Raw]; N],
}

impl<const N: usize> Inputs<'_, N> {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn some(&self, here: std::ops::Range<usize>) -> Self {
        Self { base: &self.base[here.clone()], parts: self.parts.map(|part| &part[here.clone()]) }
    }
}

/// Says which magnitudes are kept from a place on, if that is what is kept.
fn span(kept: &Kept, place: usize) -> Option<Span> {
    match kept {
        Kept::All => Some(Between::ALL.span(place)),
        Kept::Nothing => Some(Between::NONE.span(place)),
        Kept::Between { between, factor: None } => Some(between.span(place)),
        _ => None,
    }
}
