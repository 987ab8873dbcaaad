//! Which of a model's differences are kept, and what the kept ones are multiplied by.
//!
//! `ties` keeps the largest, `breadcrumbs` neither the smallest nor the very largest, `dare` any with equal chance, and
//! `della` the larger of each row with a better chance. Rescaling gives the kept ones the sum of magnitudes of all: not
//! the `1/density` of the DARE paper, but what MergeKit does.
//!
//! A model whose tensor is that of the base, byte by byte (a layer that was frozen), has no differences, and nothing is
//! looked for in them. The draws that MergeKit would make for it are left out all the same.

use rayon::prelude::*;

use super::super::OpError;
use super::super::fused::{Kernel, vectorized};
use super::super::part::{Part, Work, rounded, short_difference};
use super::super::torch;
use super::super::twister::{Twister, uniform};
use super::select::{self, Between, Read, Upper};
use crate::spec::params::MergeMethod as M;
use crate::tensor::Dtype;

/// One bit for each number, lowest first.
pub(in super::super) type Mask = Vec<u64>;

/// What is kept of a model's differences.
pub(in super::super) enum Kept {
    /// All, as they are.
    All,
    /// Nothing.
    Nothing,
    /// Those of the mask, multiplied by the factor.
    Some { mask: Mask, factor: Option<f32> },
    /// Those between two magnitudes, multiplied by the factor.
    Between { between: Between, factor: Option<f32> },
}

/// Sums below this are not rescaled.
const TOO_SMALL: f32 = 1e-7;

/// Returns what is kept of the differences of part `i`.
pub(in super::super) fn sparsify(method: M, work: &Work<'_>, i: usize, twister: &mut Twister) -> Result<Kept, OpError> {
    let (values, part) = (&work.each[i], &work.parts[i]);
    let density = values.number("density");
    let random = matches!(method, M::DareLinear | M::DareTies);
    if density >= 1.0 || method == M::TaskArithmetic {
        return Ok(Kept::All);
    }
    if density <= 0.0 && !random {
        return Ok(Kept::Nothing);
    }
    let della = matches!(method, M::Della | M::DellaLinear);
    if della {
        check_chances(density, values.number("epsilon"))?;
    }
    let count = work.count();
    if work.base().is_some_and(|base| part.same_as(base)) {
        twister.skip(if random || della { count } else { 0 });
        return Ok(Kept::Nothing);
    }
    let numbers = |from: usize, out: &mut [f32]| work.passing(part, from, out, &mut vec![0.0; out.len()]);
    let keys = |from: usize, out: &mut [u16]| work.around(part, from, out.len(), || keys(work, part, from, out));
    let read = if work.dtype == Dtype::BF16 { Read::Keys(&keys) } else { Read::Numbers(&numbers) };
    let share = |part: f64| (part * count as f64) as usize;
    let mut kept = match method {
        M::Ties => Kept::Between { between: select::largest(count, share(density).max(1), read), factor: None },
        M::Breadcrumbs | M::BreadcrumbsTies => {
            let kept = share(density);
            let low = count.saturating_sub(kept).saturating_sub(share(values.number("gamma")));
            Kept::Between { between: select::ranks(count, low, low + kept, read), factor: None }
        }
        M::Della | M::DellaLinear => {
            Kept::Some { mask: della_mask(work, part, density, values.number("epsilon"), twister), factor: None }
        }
        _ => {
            let mut mask = vec![0; count.div_ceil(64)];
            twister.below(rounded(wide(work.dtype), density as f32), count, &mut mask);
            Kept::Some { mask, factor: None }
        }
    };
    if work.shared.flag("rescale") {
        let found = kept.rescale(work, part, if random || della { wide(work.dtype) } else { work.dtype });
        if let Kept::Some { factor, .. } | Kept::Between { factor, .. } = &mut kept {
            *factor = found;
        }
    }
    Ok(kept)
}

/// The random methods compute f16 in f32, because PyTorch has no draws for f16 on the CPU.
fn wide(dtype: Dtype) -> Dtype {
    if dtype == Dtype::F16 { Dtype::F32 } else { dtype }
}

impl Kept {
    /// Returns 1 for every difference of a part that is kept and 0 for the others, and the factor.
    pub(in super::super) fn all(&self, work: &Work<'_>, part: usize) -> (Vec<f32>, f32) {
        let (mut numbers, mut flags) = (vec![0.0; work.count()], vec![0.0; work.count()]);
        work.difference(&work.parts[part], 0, &mut numbers, &mut flags);
        self.flags(0, &numbers, &mut flags);
        let factor = match self {
            Kept::All | Kept::Nothing => None,
            Kept::Some { factor, .. } | Kept::Between { factor, .. } => *factor,
        };
        (flags, factor.unwrap_or(1.0))
    }

    /// Returns what gives the kept differences the sum of magnitudes of all.
    fn rescale(&self, work: &Work<'_>, part: &Part<'_>, dtype: Dtype) -> Option<f32> {
        let read = |from: usize, [all, some]: &mut [Vec<f32>; 2]| {
            work.around(part, from, all.len(), || {
                if let (Kept::Some { mask, .. }, Some(stored)) = (self, work.short(part, from, from + all.len())) {
                    return vectorized(ShortMagnitudes { stored, mask, from, all, some });
                }
                // The second one holds the base until it gets its own numbers.
                work.difference(part, from, all, some);
                self.flags(from, all, some);
                vectorized(Magnitudes { all, some });
            });
        };
        let [before, after] = torch::sums(work.count(), dtype != Dtype::F32, read).map(|sum| rounded(dtype, sum));
        (before >= TOO_SMALL && after >= TOO_SMALL).then(|| rounded(dtype, before / after))
    }

    /// Writes 1 for the differences that are kept, which begin at `from`, and 0 for the others.
    fn flags(&self, from: usize, differences: &[f32], flags: &mut [f32]) {
        match self {
            Kept::All => flags.fill(1.0),
            Kept::Nothing => flags.fill(0.0),
            Kept::Some { mask, .. } => vectorized(Spread { mask, from, flags }),
            Kept::Between { between, .. } => between.spans(from, from + flags.len(), |range, span| {
                let here = range.start - from..range.end - from;
                let differences = &differences[here.clone()];
                flags[here].iter_mut().zip(differences).for_each(|(flag, number)| *flag = span.flag(*number));
            }),
        }
    }
}

/// Makes magnitudes of numbers, and of flags the magnitudes that are kept.
struct Magnitudes<'a> {
    all: &'a mut [f32],
    some: &'a mut [f32],
}

impl Kernel for Magnitudes<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        for (number, flag) in self.all.iter_mut().zip(self.some) {
            *number = number.abs();
            *flag *= *number;
        }
    }
}

/// The magnitudes of differences in bfloat16, and those that are kept, in one pass.
struct ShortMagnitudes<'a> {
    stored: [&'a [[u8; 2]]; 2],
    mask: &'a Mask,
    from: usize,
    all: &'a mut [f32],
    some: &'a mut [f32],
}

impl Kernel for ShortMagnitudes<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        let [part, base] = self.stored;
        spread(self.mask, self.from, self.some);
        for (((all, some), number), base) in self.all.iter_mut().zip(self.some).zip(part).zip(base) {
            *all = short_difference(*number, *base).abs();
            *some *= *all;
        }
    }
}

/// Writes what [`select`] compares of the differences of a part.
fn keys(work: &Work<'_>, part: &Part<'_>, from: usize, out: &mut [u16]) {
    if let Some(stored) = work.short(part, from, from + out.len()) {
        return vectorized(ShortKeys { stored, keys: out });
    }
    let (mut numbers, mut scratch) = (vec![0.0; out.len()], vec![0.0; out.len()]);
    work.difference(part, from, &mut numbers, &mut scratch);
    vectorized(Upper { numbers: &numbers, keys: out });
}

/// The keys of differences in bfloat16.
struct ShortKeys<'a> {
    stored: [&'a [[u8; 2]]; 2],
    keys: &'a mut [u16],
}

impl Kernel for ShortKeys<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        let [part, base] = self.stored;
        for ((key, number), base) in self.keys.iter_mut().zip(part).zip(base) {
            *key = (short_difference(*number, *base).to_bits() >> 16) as u16 & 0x7fff;
        }
    }
}

/// Makes numbers of bits.
struct Spread<'a> {
    mask: &'a Mask,
    from: usize,
    flags: &'a mut [f32],
}

impl Kernel for Spread<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        spread(self.mask, self.from, self.flags);
    }
}

/// Writes the bits of a mask that begin at `from`, a multiple of 32, as numbers.
#[inline(always)]
pub(super) fn spread(mask: &Mask, from: usize, flags: &mut [f32]) {
    const ONE: u32 = 1.0_f32.to_bits();
    for (i, flags) in flags.chunks_mut(32).enumerate() {
        let at = from + 32 * i;
        let word = (mask[at / 64] >> (at % 64)) as u32;
        if let Ok(flags) = <&mut [f32; 32]>::try_from(&mut *flags) {
            for (i, flag) in flags.iter_mut().enumerate() {
                *flag = f32::from_bits((word >> i & 1).wrapping_neg() & ONE);
            }
        } else {
            for (i, flag) in flags.iter_mut().enumerate() {
                *flag = (word >> i & 1) as f32;
            }
        }
    }
}

pub(in super::super) fn check_chances(density: f64, epsilon: f64) -> Result<(), OpError> {
    if density + epsilon < 1.0 && density - epsilon > 0.0 {
        return Ok(());
    }
    let message = format!("density {density} with epsilon {epsilon} gives chances outside of 0 to 1");
    Err(OpError::new(message).help("choose them so that density - epsilon > 0 and density + epsilon < 1"))
}

/// Draws with a chance that grows with the rank of a difference in its row.
fn della_mask(work: &Work<'_>, part: &Part<'_>, density: f64, epsilon: f64, twister: &mut Twister) -> Mask {
    // Rows run along the second axis; a vector is one row.
    let (length, inner) = match work.shape {
        [] => (1, 1),
        [length] => (*length, 1),
        [_, length, inner @ ..] => (*length, inner.iter().product()),
    };
    let chances = Chances::new(length, inner, wide(work.dtype), density, epsilon);
    let block = length * inner;
    let count = work.count();
    let mut mask = vec![0_u64; count.div_ceil(64)];
    // Whole words of the mask, and whole rows.
    let at_once = ((1 << 20) / block).max(1).next_multiple_of(64) * block;
    let mut draws = Vec::new();
    for (from, words) in (0..count).step_by(at_once).zip(mask.chunks_mut(at_once / 64)) {
        draws.resize(at_once.min(count - from), 0);
        twister.fill(&mut draws);
        let mut numbers = vec![0.0; draws.len()];
        numbers.par_chunks_mut(block).enumerate().for_each_init(Vec::new, |scratch, (i, block)| {
            scratch.resize(block.len(), 0.0);
            work.passing(part, from + i * block.len(), block, scratch);
            chances.of(block);
        });
        let pieces = words.par_iter_mut().zip(numbers.par_chunks(64).zip(draws.par_chunks(64))).with_min_len(256);
        pieces.for_each(|(word, (chances, draws))| {
            let hit = |(chance, draw): (&f32, &u32)| u64::from(uniform(*draw) < *chance);
            *word = chances.iter().zip(draws).map(hit).rev().fold(0, |word, hit| word << 1 | hit);
        });
    }
    mask
}

/// The chances of a row, by rank.
struct Chances {
    inner: usize,
    /// Whether the lower half of the bits is zero.
    short: bool,
    by_rank: Vec<f32>,
}

impl Chances {
    /// Ranks are rounded too: in bfloat16 those above 256 are shared.
    fn new(length: usize, inner: usize, dtype: Dtype, density: f64, epsilon: f64) -> Self {
        let round = |number: f32| rounded(dtype, number);
        let rank = |place: usize| round(round(place as f32) + 1.0);
        let (least, most) = (rank(0), rank(length - 1));
        let chance = |place: usize| {
            // A row of one number has no order; MergeKit divides zero by zero there and stops.
            let share =
                if length == 1 { 0.5 } else { round(round(rank(place) - least) / round(most - least)).clamp(0.0, 1.0) };
            let spread = round(round(share * 2.0) * epsilon as f32);
            // PyTorch multiplies by the scalar as it is, and rounds one that it adds.
            round(spread + round((density - epsilon) as f32))
        };
        Self { inner, short: dtype == Dtype::BF16, by_rank: (0..length).map(chance).collect() }
    }

    /// Replaces the differences of the rows of a block by their chances.
    fn of(&self, block: &mut [f32]) {
        // Sorted as whole numbers: the magnitude above, the place below, so that equal ones keep their order.
        let length = self.by_rank.len();
        for offset in 0..self.inner {
            let places = (0..length).map(|i| offset + i * self.inner);
            let bits = |place: usize| block[place].to_bits() & 0x7fff_ffff;
            if self.short && length <= 1 << 16 {
                let mut order: Vec<u32> =
                    places.enumerate().map(|(i, place)| bits(place) & 0xffff_0000 | i as u32).collect();
                order.sort_unstable();
                for (key, chance) in order.iter().zip(&self.by_rank) {
                    block[offset + (key & 0xffff) as usize * self.inner] = *chance;
                }
            } else {
                let mut order: Vec<u64> =
                    places.enumerate().map(|(i, place)| u64::from(bits(place)) << 32 | i as u64).collect();
                order.sort_unstable();
                for (key, chance) in order.iter().zip(&self.by_rank) {
                    block[offset + (key & 0xffff_ffff) as usize * self.inner] = *chance;
                }
            }
        }
    }
}
