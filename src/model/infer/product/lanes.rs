//! Sixteen numbers side by side, in one register, in two, or in an array, with one arithmetic.
//!
//! A product of two rows is sixteen sums over every sixteenth number, each a chain of fused multiply-adds, and these
//! sixteen added up as a tree. All three kinds do just that, so a number that comes out has the same bits on each of them,
//! and on whichever side of a matrix product it stands. Only x86 processors from before 2013 multiply and add apart.
//!
//! Intrinsics, and not loops for the compiler to vectorise: it spills two dozen sums to memory as often as not.
#![expect(unsafe_code, reason = "intrinsics load through pointers and need the check that the machine has them")]
#![expect(clippy::inline_always, reason = "a call would leave the instruction set of the caller")]

use super::Work;
use crate::tensor::Dtype;

/// Numbers in a group.
pub(crate) const LANES: usize = 16;

/// A group of numbers.
///
/// # Safety
/// All functions: the machine has the instructions, and what a pointer names is there to be read or written (it need not be
/// aligned).
pub(super) trait Lanes: Copy {
    /// Whether there are registers for two dozen groups.
    const WIDE: bool;
    unsafe fn splat(number: f32) -> Self;
    unsafe fn f32(from: *const u8) -> Self;
    unsafe fn f16(from: *const u8) -> Self;
    unsafe fn bf16(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// Returns `self * other + sum`.
    unsafe fn times_plus(self, other: Self, sum: Self) -> Self;
    /// Adds up four groups, each as the same tree.
    unsafe fn sums(of: [Self; 4]) -> [f32; 4];
    /// Writes these four sums, or adds them to what is there.
    #[inline(always)]
    unsafe fn put_sums(of: [Self; 4], to: *mut f32, add: bool) {
        // SAFETY: the caller's promise.
        unsafe {
            for (i, sum) in Self::sums(of).into_iter().enumerate() {
                *to.add(i) = if add { *to.add(i) + sum } else { sum };
            }
        }
    }
    /// Asks for a cache line that is soon needed. The address may be anything.
    unsafe fn prefetch(at: *const u8);
    /// Runs work as a function of its own.
    unsafe fn apart(work: impl Work);
}

/// How a matrix is stored.
pub(super) trait Stored: Copy {
    /// The format.
    const DTYPE: Dtype;
    /// # Safety
    /// As [`Lanes`].
    unsafe fn load<L: Lanes>(from: *const u8) -> L;
}

/// The formats as types, so that kernels are compiled for each.
#[derive(Clone, Copy)]
pub(super) struct F32;
#[derive(Clone, Copy)]
pub(super) struct F16;
#[derive(Clone, Copy)]
pub(super) struct Bf16;

impl Stored for F32 {
    const DTYPE: Dtype = Dtype::F32;
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const u8) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::f32(from) }
    }
}

impl Stored for F16 {
    const DTYPE: Dtype = Dtype::F16;
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const u8) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::f16(from) }
    }
}

impl Stored for Bf16 {
    const DTYPE: Dtype = Dtype::BF16;
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const u8) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::bf16(from) }
    }
}

/// An array, for every machine. `FUSED` says whether products are added without being rounded before.
#[derive(Clone, Copy)]
pub(super) struct Plain<const FUSED: bool>([f32; LANES]);

impl<const FUSED: bool> Plain<FUSED> {
    #[inline(always)]
    unsafe fn read(dtype: Dtype, from: *const u8) -> Self {
        let mut numbers = [0.0; LANES];
        // SAFETY: the caller promises that sixteen numbers are there.
        dtype.read_f32(unsafe { std::slice::from_raw_parts(from, LANES * dtype.size()) }, &mut numbers);
        Self(numbers)
    }
}

impl<const FUSED: bool> Lanes for Plain<FUSED> {
    const WIDE: bool = false;
    #[inline(always)]
    unsafe fn splat(number: f32) -> Self {
        Self([number; LANES])
    }
    #[inline(always)]
    unsafe fn f32(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::read(Dtype::F32, from) }
    }
    #[inline(always)]
    unsafe fn f16(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::read(Dtype::F16, from) }
    }
    #[inline(always)]
    unsafe fn bf16(from: *const u8) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::read(Dtype::BF16, from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn times_plus(self, other: Self, sum: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if FUSED { self.0[i].mul_add(other.0[i], sum.0[i]) } else { self.0[i] * other.0[i] + sum.0[i] }
        }))
    }
    #[inline(always)]
    unsafe fn sums(of: [Self; 4]) -> [f32; 4] {
        of.map(|Self(mut lanes)| {
            for width in [8, 4, 2, 1] {
                for i in 0..width {
                    lanes[i] += lanes[i + width];
                }
            }
            lanes[0]
        })
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
    #[inline(never)]
    unsafe fn apart(work: impl Work) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Self>() }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128, __m256, __m512, _MM_HINT_T0, _mm_add_ps, _mm_loadu_ps, _mm_loadu_si128, _mm_movehl_ps, _mm_movelh_ps,
        _mm_prefetch, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps, _mm256_add_ps, _mm256_castps256_ps128,
        _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_extractf128_ps, _mm256_fmadd_ps,
        _mm256_loadu_ps, _mm256_loadu_si256, _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm512_add_ps,
        _mm512_castps512_ps128, _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_permute_ps, _mm512_permutexvar_ps, _mm512_set1_ps, _mm512_setr_epi32,
        _mm512_shuffle_f32x4, _mm512_slli_epi32, _mm512_storeu_ps,
    };

    use super::{Lanes, Work};

    /// One register.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512);

    impl Avx512 {
        /// Returns the sums of four groups.
        #[inline(always)]
        unsafe fn add_up(of: [Self; 4]) -> __m128 {
            let [Self(a), Self(b), Self(c), Self(d)] = of;
            // SAFETY: the caller's promise.
            unsafe {
                // From 16 to 8 numbers of each, then to 4: the group is then [a | b | c | d].
                let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
                let all = _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
                let all = _mm512_add_ps(all, _mm512_permute_ps::<0b01_00_11_10>(all));
                let all = _mm512_add_ps(all, _mm512_permute_ps::<0b10_11_00_01>(all));
                let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
                _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, all))
            }
        }
    }

    /// # Safety
    /// The machine has the instructions of either kind.
    #[inline(always)]
    unsafe fn stored(four: __m128) -> [f32; 4] {
        let mut sums = [0.0; 4];
        // SAFETY: four numbers are stored into an array of four.
        unsafe { _mm_storeu_ps(sums.as_mut_ptr(), four) };
        sums
    }

    /// # Safety
    /// As [`Lanes::put_sums`].
    #[inline(always)]
    unsafe fn put(new: __m128, to: *mut f32, add: bool) {
        // SAFETY: the caller's promise.
        unsafe { _mm_storeu_ps(to, if add { _mm_add_ps(_mm_loadu_ps(to), new) } else { new }) };
    }

    impl Lanes for Avx512 {
        const WIDE: bool = true;
        #[inline(always)]
        unsafe fn splat(number: f32) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_set1_ps(number) })
        }
        #[inline(always)]
        unsafe fn f32(from: *const u8) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_loadu_ps(from.cast()) })
        }
        #[inline(always)]
        unsafe fn f16(from: *const u8) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) })
        }
        #[inline(always)]
        unsafe fn bf16(from: *const u8) -> Self {
            // SAFETY: as above.
            Self(unsafe {
                let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
            })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn times_plus(self, other: Self, sum: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_fmadd_ps(self.0, other.0, sum.0) })
        }
        #[inline(always)]
        unsafe fn sums(of: [Self; 4]) -> [f32; 4] {
            // SAFETY: as above; four numbers are stored into an array of four.
            unsafe { stored(Self::add_up(of)) }
        }
        #[inline(always)]
        unsafe fn put_sums(of: [Self; 4], to: *mut f32, add: bool) {
            // SAFETY: as above.
            unsafe { put(Self::add_up(of), to, add) }
        }
        #[inline(always)]
        unsafe fn prefetch(at: *const u8) {
            // SAFETY: as above; a prefetch of any address is allowed.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
        #[inline(always)]
        unsafe fn apart(work: impl Work) {
            #[inline(never)]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            unsafe fn alone(work: impl Work) {
                // SAFETY: the caller's promise.
                unsafe { work.run::<Avx512>() }
            }
            // SAFETY: as above.
            unsafe { alone(work) }
        }
    }

    /// Two registers.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256, __m256);

    impl Avx2 {
        /// Adds the upper half to the lower, and again.
        #[inline(always)]
        unsafe fn four(self) -> __m128 {
            // SAFETY: the caller's promise.
            unsafe {
                let eight = _mm256_add_ps(self.0, self.1);
                _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight))
            }
        }

        /// Returns the sums of four groups.
        #[inline(always)]
        unsafe fn add_up(of: [Self; 4]) -> __m128 {
            // SAFETY: the caller's promise.
            unsafe {
                let [a, b, c, d] = [of[0].four(), of[1].four(), of[2].four(), of[3].four()];
                // Numbers 0 and 1 of each, plus its numbers 2 and 3: [a0 b0 a1 b1], and so c and d.
                let ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
                let cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
                let low = _mm_add_ps(ab, _mm_movehl_ps(ab, ab));
                let high = _mm_add_ps(cd, _mm_movehl_ps(cd, cd));
                _mm_movelh_ps(low, high)
            }
        }
    }

    impl Lanes for Avx2 {
        const WIDE: bool = false;
        #[inline(always)]
        unsafe fn splat(number: f32) -> Self {
            // SAFETY: as above.
            unsafe { Self(_mm256_set1_ps(number), _mm256_set1_ps(number)) }
        }
        #[inline(always)]
        unsafe fn f32(from: *const u8) -> Self {
            // SAFETY: as above.
            unsafe { Self(_mm256_loadu_ps(from.cast()), _mm256_loadu_ps(from.add(32).cast())) }
        }
        #[inline(always)]
        unsafe fn f16(from: *const u8) -> Self {
            // SAFETY: as above.
            unsafe {
                Self(
                    _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                    _mm256_cvtph_ps(_mm_loadu_si128(from.add(16).cast())),
                )
            }
        }
        #[inline(always)]
        unsafe fn bf16(from: *const u8) -> Self {
            // SAFETY: as above.
            unsafe {
                let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
                let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16).cast()));
                let (low, high) = (_mm256_slli_epi32::<16>(low), _mm256_slli_epi32::<16>(high));
                Self(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
            }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above.
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn times_plus(self, other: Self, sum: Self) -> Self {
            // SAFETY: as above.
            unsafe { Self(_mm256_fmadd_ps(self.0, other.0, sum.0), _mm256_fmadd_ps(self.1, other.1, sum.1)) }
        }
        #[inline(always)]
        unsafe fn sums(of: [Self; 4]) -> [f32; 4] {
            // SAFETY: as above; four numbers are stored into an array of four.
            unsafe { stored(Self::add_up(of)) }
        }
        #[inline(always)]
        unsafe fn put_sums(of: [Self; 4], to: *mut f32, add: bool) {
            // SAFETY: as above.
            unsafe { put(Self::add_up(of), to, add) }
        }
        #[inline(always)]
        unsafe fn prefetch(at: *const u8) {
            // SAFETY: as above; a prefetch of any address is allowed.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
        #[inline(always)]
        unsafe fn apart(work: impl Work) {
            #[inline(never)]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn alone(work: impl Work) {
                // SAFETY: the caller's promise.
                unsafe { work.run::<Avx2>() }
            }
            // SAFETY: as above.
            unsafe { alone(work) }
        }
    }
}
