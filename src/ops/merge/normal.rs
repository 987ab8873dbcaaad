//! PyTorch's `randn` on the CPU, bit for bit: the noise and the random routers that `mergekit-moe` draws.
//!
//! PyTorch draws uniform numbers first and turns them into normal ones sixteen at a time (Box and Muller 1958): eight
//! radii and eight angles. Logarithm, sine and cosine are polynomials of the Cephes library in single precision, in the
//! order and with the fused operations that its AVX2 code has; any other logarithm differs in the last place. A count that
//! is no multiple of sixteen has its last sixteen numbers drawn anew, and in 16-bit types without the rest having been
//! drawn first. Fewer than sixteen numbers come one by one, in double precision.

use super::fused::{Kernel, vectorized};
use super::twister::{Twister, uniform};
use crate::tensor::Dtype;

const BLOCK: usize = 16;
const HALF: usize = BLOCK / 2;

/// A stream of random numbers.
pub(super) struct Random {
    twister: Twister,
    /// The second number of a pair, kept for the next draw of a few numbers.
    kept: Option<f64>,
}

impl Random {
    /// Returns the stream of a seed.
    pub(super) fn new(seed: u32) -> Self {
        Self { twister: Twister::new(seed), kept: None }
    }

    /// Draws numbers between 0 and 1.
    pub(super) fn uniform(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| uniform(self.twister.draw())).collect()
    }

    /// Draws from the normal distribution for a tensor of this type.
    pub(super) fn normal(&mut self, dtype: Dtype, count: usize) -> Vec<f32> {
        let mut numbers = if count < BLOCK { self.few(count) } else { self.many(dtype, count) };
        dtype.round(&mut numbers);
        numbers
    }

    fn many(&mut self, dtype: Dtype, count: usize) -> Vec<f32> {
        let whole = count / BLOCK * BLOCK;
        let mut numbers = self.uniform(if dtype == Dtype::F32 { count } else { whole });
        numbers.resize(count, 0.0);
        vectorized(Turn { uniform: &mut numbers[..whole] });
        if whole < count {
            let mut last = self.uniform(BLOCK);
            vectorized(Turn { uniform: &mut last });
            numbers[count - BLOCK..].copy_from_slice(&last);
        }
        numbers
    }

    fn few(&mut self, count: usize) -> Vec<f32> {
        let mut one = || {
            if let Some(kept) = self.kept.take() {
                return kept as f32;
            }
            let (angle, radius) = (std::f64::consts::TAU * self.double(), (-2.0 * (-self.double()).ln_1p()).sqrt());
            self.kept = Some(radius * angle.sin());
            (radius * angle.cos()) as f32
        };
        (0..count).map(|_| one()).collect()
    }

    fn double(&mut self) -> f64 {
        let high = u64::from(self.twister.draw());
        let bits = high << 32 | u64::from(self.twister.draw());
        (bits & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }
}

/// Turns uniform numbers into normal ones, a block at a time.
struct Turn<'a> {
    uniform: &'a mut [f32],
}

impl Kernel for Turn<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    fn run(self) {
        for block in self.uniform.as_chunks_mut::<BLOCK>().0 {
            for i in 0..HALF {
                let radius = (-2.0 * logarithm(1.0 - block[i])).sqrt();
                let (sine, cosine) = circle(std::f32::consts::TAU * block[i + HALF]);
                block[i] = radius * cosine;
                block[i + HALF] = radius * sine;
            }
        }
    }
}

/// The natural logarithm of a positive number, by Cephes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn logarithm(number: f32) -> f32 {
    const TERMS: [f32; 8] = [
        -1.151_461_03e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333_1e-1,
    ];
    let bits = number.max(f32::MIN_POSITIVE).to_bits();
    let exponent = ((bits >> 23) as i32 - 0x7f) as f32 + 1.0;
    let mantissa = f32::from_bits((bits & !0x7f80_0000) | 0.5_f32.to_bits());
    let small = mantissa < std::f32::consts::FRAC_1_SQRT_2;
    let x = (mantissa - 1.0) + if small { mantissa } else { 0.0 };
    let exponent = exponent - if small { 1.0 } else { 0.0 };
    let square = x * x;
    let mut y = 7.037_683_6e-2_f32;
    for term in TERMS {
        y = y.mul_add(x, term);
    }
    y = (y * x).mul_add(square, exponent * -2.121_944_4e-4);
    y = (-square).mul_add(0.5, y);
    exponent.mul_add(0.693_359_4, x + y)
}

/// Sine and cosine of a number that is not negative, by Cephes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn circle(angle: f32) -> (f32, f32) {
    let octant = ((angle * 1.273_239_5) as i32 + 1) & !1;
    let y = octant as f32;
    // A quarter of a half turn in three parts, so that the difference stays exact.
    let x = y.mul_add(-0.785_156_25, angle);
    let x = y.mul_add(-2.418_756_5e-4, x);
    let x = y.mul_add(-3.774_895e-8, x);
    let square = x * x;
    let mut cosine = 2.443_315_7e-5_f32;
    cosine = cosine.mul_add(square, -1.388_731_6e-3);
    cosine = cosine.mul_add(square, 4.166_664_6e-2);
    cosine = (cosine * square).mul_add(square, -(square * 0.5)) + 1.0;
    let mut sine = -1.951_529_6e-4_f32;
    sine = sine.mul_add(square, 8.332_161e-3);
    sine = sine.mul_add(square, -1.666_665_5e-1);
    sine = (sine * square).mul_add(x, x);
    let (first, second) = if octant & 2 == 0 { (sine, cosine) } else { (cosine, sine) };
    let signed = |number: f32, minus: bool| if minus { -number } else { number };
    (signed(first, octant & 4 != 0), signed(second, !(octant - 2) & 4 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_numbers_continue_each_other() {
        let (mut one, mut two) = (Random::new(3), Random::new(3));
        let mut parts = one.normal(Dtype::F32, 3);
        parts.append(&mut one.normal(Dtype::F32, 2));
        assert_eq!(parts, two.normal(Dtype::F32, 5));
        // Printed by torch 2.15 for `torch.manual_seed(3); torch.randn(5)`.
        for (ours, torch) in parts.iter().zip([0.8033, 0.1748, 0.0890, -0.6137, 0.0462]) {
            assert!((ours - torch).abs() < 5e-5);
        }
    }

    #[test]
    fn the_functions_are_accurate() {
        for i in 1..20_000_u16 {
            let x = f32::from(i) / 20_000.0;
            assert!((f64::from(logarithm(x)) - f64::from(x).ln()).abs() < 2e-6);
            let angle = std::f32::consts::TAU * x;
            let (sine, cosine) = circle(angle);
            assert!((f64::from(sine) - f64::from(angle).sin()).abs() < 3e-7, "{angle}");
            assert!((f64::from(cosine) - f64::from(angle).cos()).abs() < 3e-7, "{angle}");
        }
    }
}
