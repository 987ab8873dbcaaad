//! A fused multiply-add over slices that is fast where the processor has one.
//!
//! `f32::mul_add` gives the same bits everywhere, but compiles to a call for each number unless the whole program is
//! built for processors with the instruction. So the loop is compiled three times, for vectors of four, eight and sixteen
//! numbers, and the choice is made when it runs.

/// Work that is compiled for each width of vectors. `run` must be `inline(always)`, and so must be
/// what it calls in its loops; a closure would not do, because it is one function wherever it is called.
pub(super) trait Kernel {
    /// What the work gives.
    type Out;
    /// Does it.
    fn run(self) -> Self::Out;
}

/// Runs a kernel with the vector unit of this processor.
///
/// The additions and products stay what they are: nothing is fused that is not written so, and the bits are the same.
pub(super) fn vectorized<K: Kernel>(kernel: K) -> K::Out {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        let widest = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl");
        return if widest { wider(kernel) } else { wide(kernel) };
    }
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "a function compiled for some processors only must not be called on others")]
fn wide<K: Kernel>(kernel: K) -> K::Out {
    #[target_feature(enable = "avx2,fma")]
    fn compiled<K: Kernel>(kernel: K) -> K::Out {
        kernel.run()
    }
    // SAFETY: the only caller has just found that this processor has both features.
    unsafe { compiled(kernel) }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "a function compiled for some processors only must not be called on others")]
fn wider<K: Kernel>(kernel: K) -> K::Out {
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
    fn compiled<K: Kernel>(kernel: K) -> K::Out {
        kernel.run()
    }
    // SAFETY: the only caller has just found that this processor has all these features.
    unsafe { compiled(kernel) }
}

/// Adds `weight * from[i]` to `sums[i]`, rounding once. Slow outside of a [`Kernel`].
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
pub(super) fn multiply_add(sums: &mut [f32], from: &[f32], weight: f32) {
    for (sum, number) in sums.iter_mut().zip(from) {
        *sum = number.mul_add(weight, *sum);
    }
}

/// Rounds to bfloat16 a number that was computed from numbers in bfloat16, and keeps it as `f32`.
///
/// Without the choice that [`crate::tensor::round_bf16`] makes for a NaN, which takes a third of the time: a NaN whose lower
/// half is zero stays one, and arithmetic gives no other, because it hands on the bits of a NaN it is given.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
pub(super) fn round_short(number: f32) -> f32 {
    let bits = number.to_bits();
    f32::from_bits(bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the same bits are what is asked for")]
mod tests {
    use super::*;

    struct Sum<'a>(&'a mut [f32], &'a [f32]);

    impl Kernel for Sum<'_> {
        type Out = ();

        #[inline(always)]
        #[expect(clippy::inline_always, reason = "as any kernel")]
        fn run(self) {
            multiply_add(self.0, self.1, 0.3);
        }
    }

    #[test]
    fn sums_of_short_numbers_are_rounded_as_any_number_is() {
        for bits in (0..=u32::MAX).step_by(9973).chain([0x7f7f_8000, 0x7f7f_7fff, 0x7f80_0000, 0xff80_0000]) {
            let number = f32::from_bits(bits);
            if !number.is_nan() {
                assert_eq!(round_short(number).to_bits(), crate::tensor::round_bf16(number).to_bits(), "{bits:#x}");
            }
        }
        for upper in 0x7f81..=0x7fff_u32 {
            let nan = f32::from_bits(upper << 16);
            assert!(
                round_short(nan - 1.0).is_nan() && round_short(0.5 * -nan).is_nan() && round_short(nan / 3.0).is_nan()
            );
        }
        assert!(round_short(std::hint::black_box(f32::INFINITY) * 0.0).is_nan());
    }

    #[test]
    fn all_ways_give_the_same_bits() {
        let from: Vec<f32> = (0_u16..1003).map(|i| (f32::from(i) * 0.37).sin()).collect();
        let mut fast = from.clone();
        let mut plain = from.clone();
        vectorized(Sum(&mut fast, &from));
        Sum(&mut plain, &from).run();
        assert_eq!(fast, plain);
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            let mut middle = from.clone();
            wide(Sum(&mut middle, &from));
            assert_eq!(middle, plain);
        }
        let twice_rounded = from.iter().map(|number| number * 0.3 + number);
        assert!(plain.iter().zip(twice_rounded).any(|(once, twice)| *once != twice), "the operation is fused");
    }
}
