//! A fused multiply-add over slices that is fast where the processor has one.
//!
//! `f32::mul_add` gives the same bits everywhere, but compiles to a call for each number unless the whole program is
//! built for processors with the instruction. So the loop is compiled twice, and the choice is made when it runs.

/// Work that is compiled twice, once for processors with wide vectors. `run` must be `inline(always)`, and so must be
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
        return wide(kernel);
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

/// Adds `weight * from[i]` to `sums[i]`, rounding once.
pub(super) fn multiply_add(sums: &mut [f32], from: &[f32], weight: f32) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        with_instruction(sums, from, weight);
        return;
    }
    each(sums, from, weight);
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "a function compiled for some processors only must not be called on others")]
fn with_instruction(sums: &mut [f32], from: &[f32], weight: f32) {
    #[target_feature(enable = "avx2,fma")]
    fn compiled(sums: &mut [f32], from: &[f32], weight: f32) {
        each(sums, from, weight);
    }
    // SAFETY: the only caller has just found that this processor has both features.
    unsafe { compiled(sums, from, weight) }
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn each(sums: &mut [f32], from: &[f32], weight: f32) {
    for (sum, number) in sums.iter_mut().zip(from) {
        *sum = number.mul_add(weight, *sum);
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the same bits are what is asked for")]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same_bits() {
        let from: Vec<f32> = (0_u16..1003).map(|i| (f32::from(i) * 0.37).sin()).collect();
        let mut fast = from.clone();
        let mut plain = from.clone();
        multiply_add(&mut fast, &from, 0.3);
        each(&mut plain, &from, 0.3);
        assert_eq!(fast, plain);
        let twice_rounded = from.iter().map(|number| number * 0.3 + number);
        assert!(plain.iter().zip(twice_rounded).any(|(once, twice)| *once != twice), "the operation is fused");
    }
}
