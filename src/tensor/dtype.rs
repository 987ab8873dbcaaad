//! The number formats of weights, and the way from each to `f32` and back.
//!
//! The conversions are written without branches or calls, on whole slices, so that the compiler turns them into vector
//! code on any machine; `half` does one number at a time and asks for the processor's features on each. Widening is
//! exact. Narrowing rounds to nearest, ties to even, as PyTorch does; what is too large becomes infinite, and a NaN
//! stays a NaN.

use std::fmt;

/// How the numbers of a tensor are stored, always little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// IEEE 754 double precision. What reads `f32` gets the nearest.
    F64,
    /// Whole numbers, which are only ever copied.
    I64,
    /// As `I64`.
    I32,
    /// As `I64`.
    I16,
    /// As `I64`.
    I8,
    /// As `I64`.
    U8,
    /// A byte that is 0 or 1.
    Bool,
}

/// Reads and writes numbers of a type as `f32`.
macro_rules! through_f32 {
    (read $kind:ty, $bytes:expr, $out:expr) => {
        for (number, raw) in $out.iter_mut().zip($bytes.as_chunks().0) {
            *number = <$kind>::from_le_bytes(*raw) as f32;
        }
    };
    (write $kind:ty, $numbers:expr, $bytes:expr) => {
        for (number, raw) in $numbers.iter().zip($bytes.as_chunks_mut().0) {
            *raw = (*number as $kind).to_le_bytes();
        }
    };
}

impl Dtype {
    /// Returns the bytes one number takes.
    pub fn size(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::BF16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
        }
    }

    /// Returns whether numbers have a fraction.
    pub fn is_float(self) -> bool {
        matches!(self, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }

    /// Returns whether `number` stays finite when it is rounded to this format.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    pub fn holds(self, number: f32) -> bool {
        // Half a place above the largest number, from where on rounding goes to infinity.
        let limit = match self {
            Dtype::F16 => 65520.0,
            Dtype::BF16 => f32::from_bits(0x7f7f_8000),
            _ => f32::INFINITY,
        };
        number.abs() < limit
    }

    /// Writes the numbers in `bytes` to `out`.
    ///
    /// # Panics
    /// If `bytes` does not hold exactly as many numbers as `out`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    #[expect(clippy::cast_lossless, reason = "one line for all types")]
    pub fn read_f32(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.size(), "bytes and numbers differ in count");
        match self {
            Dtype::F32 => {
                for (number, raw) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *number = f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
                }
            }
            Dtype::F16 => {
                for (number, raw) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *number = f16_to_f32(u16::from_le_bytes([raw[0], raw[1]]));
                }
            }
            Dtype::BF16 => {
                for (number, raw) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *number = f32::from_bits(u32::from(u16::from_le_bytes([raw[0], raw[1]])) << 16);
                }
            }
            Dtype::F64 => through_f32!(read f64, bytes, out),
            Dtype::I64 => through_f32!(read i64, bytes, out),
            Dtype::I32 => through_f32!(read i32, bytes, out),
            Dtype::I16 => through_f32!(read i16, bytes, out),
            Dtype::I8 => through_f32!(read i8, bytes, out),
            Dtype::U8 | Dtype::Bool => through_f32!(read u8, bytes, out),
        }
    }

    /// Writes `numbers` to `bytes`, rounded to this format.
    ///
    /// # Panics
    /// If `bytes` does not have room for exactly `numbers`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    pub fn write_f32(self, numbers: &[f32], bytes: &mut [u8]) {
        assert_eq!(bytes.len(), numbers.len() * self.size(), "bytes and numbers differ in count");
        match self {
            Dtype::F32 => {
                for (number, raw) in numbers.iter().zip(bytes.chunks_exact_mut(4)) {
                    raw.copy_from_slice(&number.to_le_bytes());
                }
            }
            Dtype::F16 => {
                for (number, raw) in numbers.iter().zip(bytes.chunks_exact_mut(2)) {
                    raw.copy_from_slice(&f32_to_f16(*number).to_le_bytes());
                }
            }
            Dtype::BF16 => {
                for (number, raw) in numbers.iter().zip(bytes.chunks_exact_mut(2)) {
                    raw.copy_from_slice(&f32_to_bf16(*number).to_le_bytes());
                }
            }
            Dtype::F64 => through_f32!(write f64, numbers, bytes),
            Dtype::I64 => through_f32!(write i64, numbers, bytes),
            Dtype::I32 => through_f32!(write i32, numbers, bytes),
            Dtype::I16 => through_f32!(write i16, numbers, bytes),
            Dtype::I8 => through_f32!(write i8, numbers, bytes),
            Dtype::U8 | Dtype::Bool => through_f32!(write u8, numbers, bytes),
        }
    }

    /// Rounds every number to this format, and keeps it as `f32`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
    pub fn round(self, numbers: &mut [f32]) {
        match self {
            Dtype::F16 => numbers.iter_mut().for_each(|number| *number = round_f16(*number)),
            Dtype::BF16 => numbers.iter_mut().for_each(|number| *number = round_bf16(*number)),
            _ => {}
        }
    }

    /// Returns the format that holds the numbers of both, as PyTorch promotes types.
    #[must_use]
    pub fn promote(self, other: Self) -> Self {
        match (self, other) {
            (one, same) if one == same => one,
            (Dtype::F64, _) | (_, Dtype::F64) => Dtype::F64,
            _ => Dtype::F32,
        }
    }

    /// Returns the format that a configuration calls so: `bfloat16`, `torch.float32`.
    pub fn named(name: &str) -> Option<Self> {
        match name.strip_prefix("torch.").unwrap_or(name) {
            "float32" | "float" => Some(Dtype::F32),
            "float16" | "half" => Some(Dtype::F16),
            "bfloat16" => Some(Dtype::BF16),
            "float64" | "double" => Some(Dtype::F64),
            _ => None,
        }
    }

    /// Returns what a configuration calls this format.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::BF16 => "bfloat16",
            Dtype::F64 => "float64",
            Dtype::I64 => "int64",
            Dtype::I32 => "int32",
            Dtype::I16 => "int16",
            Dtype::I8 => "int8",
            Dtype::U8 => "uint8",
            Dtype::Bool => "bool",
        }
    }

    pub(super) fn stored(self) -> safetensors::Dtype {
        match self {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::F16 => safetensors::Dtype::F16,
            Dtype::BF16 => safetensors::Dtype::BF16,
            Dtype::F64 => safetensors::Dtype::F64,
            Dtype::I64 => safetensors::Dtype::I64,
            Dtype::I32 => safetensors::Dtype::I32,
            Dtype::I16 => safetensors::Dtype::I16,
            Dtype::I8 => safetensors::Dtype::I8,
            Dtype::U8 => safetensors::Dtype::U8,
            Dtype::Bool => safetensors::Dtype::BOOL,
        }
    }

    pub(super) fn from_stored(stored: safetensors::Dtype) -> Option<Self> {
        match stored {
            safetensors::Dtype::F32 => Some(Dtype::F32),
            safetensors::Dtype::F16 => Some(Dtype::F16),
            safetensors::Dtype::BF16 => Some(Dtype::BF16),
            safetensors::Dtype::F64 => Some(Dtype::F64),
            safetensors::Dtype::I64 => Some(Dtype::I64),
            safetensors::Dtype::I32 => Some(Dtype::I32),
            safetensors::Dtype::I16 => Some(Dtype::I16),
            safetensors::Dtype::I8 => Some(Dtype::I8),
            safetensors::Dtype::U8 => Some(Dtype::U8),
            safetensors::Dtype::BOOL => Some(Dtype::Bool),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::F64 => "F64",
            Dtype::I64 => "I64",
            Dtype::I32 => "I32",
            Dtype::I16 => "I16",
            Dtype::I8 => "I8",
            Dtype::U8 => "U8",
            Dtype::Bool => "BOOL",
        })
    }
}

/// Rounds to half precision and back.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
pub fn round_f16(number: f32) -> f32 {
    f16_to_f32(f32_to_f16(number))
}

/// Rounds to bfloat16 and back.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
pub fn round_bf16(number: f32) -> f32 {
    f32::from_bits(u32::from(f32_to_bf16(number)) << 16)
}

/// Moves exponent and mantissa into place as if the exponent bias were 127, then multiplies by 2^112 to correct it: an
/// exact product that also turns subnormals into normal numbers. Infinities and NaN keep their bits instead.
#[inline(always)]
fn f16_to_f32(half: u16) -> f32 {
    const BIAS_CORRECTION: f32 = f32::from_bits((127 + 112) << 23);
    let sign = u32::from(half & 0x8000) << 16;
    let magnitude = u32::from(half & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * BIAS_CORRECTION).to_bits();
    let special = magnitude | 0x7f80_0000;
    let bits = if half & 0x7c00 == 0x7c00 { special } else { finite };
    f32::from_bits(bits | sign)
}

/// The three ranges are computed side by side and one is selected, which vector code does without branching.
#[inline(always)]
fn f32_to_f16(number: f32) -> u16 {
    const LEAST_NORMAL: u32 = (127 - 14) << 23;
    const TOO_LARGE: u32 = (127 + 16) << 23;
    const INFINITE: u32 = 255 << 23;
    let bits = number.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Adding 0.5 leaves exactly the bits of a subnormal half in the low mantissa, rounded by the addition itself.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    // Half of the last kept place, less one, plus the last kept bit: ties go to even. 112 is the bias difference.
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0x0fff + ((magnitude >> 13) & 1)) >> 13;
    let special = if magnitude > INFINITE { 0x7e00 } else { 0x7c00 };
    let small = if magnitude < LEAST_NORMAL { subnormal } else { normal };
    let half = if magnitude >= TOO_LARGE { special } else { small };
    (half | sign) as u16
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "it must be compiled with the features of its caller")]
fn f32_to_bf16(number: f32) -> u16 {
    let bits = number.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let nan = (bits >> 16) | 0x0040;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every seventh-thousandth pattern or so, and all those around the places where rounding changes its way.
    fn patterns() -> impl Iterator<Item = u32> {
        let edges = (0..=u16::MAX).flat_map(|high| {
            let high = u32::from(high) << 16;
            [0, 1, 0x0fff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x7fff, 0x8000, 0x8001, 0xf000, 0xffff].map(|low| high | low)
        });
        (0..=u32::MAX).step_by(6_997).chain(edges)
    }

    fn same(ours: f32, theirs: f32) -> bool {
        ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan())
    }

    #[test]
    fn widening_agrees_with_the_half_crate_on_every_pattern() {
        for bits in 0..=u16::MAX {
            assert!(same(f16_to_f32(bits), half::f16::from_bits(bits).to_f32()), "f16 {bits:#06x}");
        }
    }

    #[test]
    fn narrowing_agrees_with_the_half_crate() {
        for bits in patterns() {
            let number = f32::from_bits(bits);
            let (ours, theirs) = (f32_to_f16(number), half::f16::from_f32(number));
            assert!(same(f16_to_f32(ours), theirs.to_f32()), "f16 of {bits:#010x}: {ours:#06x}");
            let (ours, theirs) = (f32_to_bf16(number), half::bf16::from_f32(number));
            assert!(same(f32::from_bits(u32::from(ours) << 16), theirs.to_f32()), "bf16 of {bits:#010x}: {ours:#06x}");
        }
    }

    #[test]
    fn a_number_is_held_exactly_if_it_stays_finite() {
        for number in patterns().map(f32::from_bits) {
            assert_eq!(Dtype::F16.holds(number), half::f16::from_f32(number).is_finite(), "{number}");
            assert_eq!(Dtype::BF16.holds(number), half::bf16::from_f32(number).is_finite(), "{number}");
            assert_eq!(Dtype::F32.holds(number), number.is_finite(), "{number}");
        }
    }

    #[test]
    fn every_number_survives_the_way_through_f32() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for dtype in [Dtype::F16, Dtype::BF16] {
            let mut numbers = vec![0.0; 1 << 16];
            dtype.read_f32(&bytes, &mut numbers);
            let mut back = vec![0; bytes.len()];
            dtype.write_f32(&numbers, &mut back);
            for (i, number) in numbers.iter().enumerate().filter(|(_, number)| !number.is_nan()) {
                assert_eq!(bytes[2 * i..2 * i + 2], back[2 * i..2 * i + 2], "{dtype} {number}");
            }
        }
    }
}
