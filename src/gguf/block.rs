//! The number formats of a GGUF file: plain numbers, and blocks of quantised ones.
//!
//! A quantised tensor is a row of blocks of 32 or 256 numbers that share scales. candle knows the blocks; here they get
//! the sizes that a header must be held against, and a way in and out as plain `f32`, a piece at a time. What candle
//! cannot decode (the IQ, TQ and MXFP families) has a name here and is refused with it.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, Device, Tensor};

use crate::tensor::Dtype;

/// How the numbers of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Block {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// 4 bits and a scale for 32 numbers.
    Q4_0,
    /// 4 bits, a scale and a minimum for 32 numbers.
    Q4_1,
    /// 5 bits and a scale for 32 numbers.
    Q5_0,
    /// 5 bits, a scale and a minimum for 32 numbers.
    Q5_1,
    /// 8 bits and a scale for 32 numbers.
    Q8_0,
    /// 2 bits, with 4-bit scales and minima, for 256 numbers.
    Q2K,
    /// 3 bits, with 6-bit scales, for 256 numbers.
    Q3K,
    /// 4 bits, with 6-bit scales and minima, for 256 numbers.
    Q4K,
    /// 5 bits, with 6-bit scales and minima, for 256 numbers.
    Q5K,
    /// 6 bits, with 8-bit scales, for 256 numbers.
    Q6K,
}

/// Each format with its number in the format, its name, how many numbers a block holds and how many bytes it takes.
const BLOCKS: [(Block, u32, &str, usize, usize); 13] = [
    (Block::F32, 0, "F32", 1, 4),
    (Block::F16, 1, "F16", 1, 2),
    (Block::Q4_0, 2, "Q4_0", 32, 18),
    (Block::Q4_1, 3, "Q4_1", 32, 20),
    (Block::Q5_0, 6, "Q5_0", 32, 22),
    (Block::Q5_1, 7, "Q5_1", 32, 24),
    (Block::Q8_0, 8, "Q8_0", 32, 34),
    (Block::Q2K, 10, "Q2_K", 256, 84),
    (Block::Q3K, 11, "Q3_K", 256, 110),
    (Block::Q4K, 12, "Q4_K", 256, 144),
    (Block::Q5K, 13, "Q5_K", 256, 176),
    (Block::Q6K, 14, "Q6_K", 256, 210),
    (Block::BF16, 30, "BF16", 1, 2),
];

/// Formats that files have and that cannot be read, so that an error can call them by their names.
const UNREAD: [(u32, &str); 21] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl Block {
    /// Returns the format with a number; the error is why there is none.
    pub(super) fn from_number(number: u32) -> Result<Self, String> {
        if let Some((block, ..)) = BLOCKS.iter().find(|(_, known, ..)| *known == number) {
            return Ok(*block);
        }
        match UNREAD.iter().find(|(known, _)| *known == number) {
            Some((_, name)) => Err(format!("its type {name} cannot be read")),
            None => Err(format!("its type {number} is unknown")),
        }
    }

    fn entry(self) -> (Block, u32, &'static str, usize, usize) {
        // Every format stands in the table; a test holds that.
        BLOCKS.into_iter().find(|(block, ..)| *block == self).unwrap_or(BLOCKS[0])
    }

    pub(super) fn number(self) -> u32 {
        self.entry().1
    }

    /// Returns what llama.cpp calls the format.
    pub fn name(self) -> &'static str {
        self.entry().2
    }

    /// Returns how many numbers a block holds.
    pub(super) fn numbers(self) -> usize {
        self.entry().3
    }

    /// Returns how many bytes a block takes.
    pub(super) fn bytes(self) -> usize {
        self.entry().4
    }

    /// Returns how many bytes so many numbers take, if they make whole blocks.
    pub(super) fn size_of(self, numbers: usize) -> Option<usize> {
        if !numbers.is_multiple_of(self.numbers()) {
            return None;
        }
        (numbers / self.numbers()).checked_mul(self.bytes())
    }

    fn plain(self) -> Option<Dtype> {
        match self {
            Block::F32 => Some(Dtype::F32),
            Block::F16 => Some(Dtype::F16),
            Block::BF16 => Some(Dtype::BF16),
            _ => None,
        }
    }

    pub(super) fn is_quantised(self) -> bool {
        self.plain().is_none()
    }

    /// Returns whether a number can be written so. Blocks have scales of half precision.
    pub(super) fn holds(self, number: f32) -> bool {
        match self.plain() {
            Some(Dtype::F32) => true,
            Some(dtype) => dtype.holds(number),
            None => Dtype::F16.holds(number),
        }
    }

    fn candle(self) -> GgmlDType {
        match self {
            Block::F32 => GgmlDType::F32,
            Block::F16 => GgmlDType::F16,
            Block::BF16 => GgmlDType::BF16,
            Block::Q4_0 => GgmlDType::Q4_0,
            Block::Q4_1 => GgmlDType::Q4_1,
            Block::Q5_0 => GgmlDType::Q5_0,
            Block::Q5_1 => GgmlDType::Q5_1,
            Block::Q8_0 => GgmlDType::Q8_0,
            Block::Q2K => GgmlDType::Q2K,
            Block::Q3K => GgmlDType::Q3K,
            Block::Q4K => GgmlDType::Q4K,
            Block::Q5K => GgmlDType::Q5K,
            Block::Q6K => GgmlDType::Q6K,
        }
    }

    /// Writes the numbers in `bytes`, whole blocks, to `out`.
    pub(super) fn decode(self, bytes: &[u8], out: &mut [f32]) -> Result<(), String> {
        if self.size_of(out.len()) != Some(bytes.len()) {
            return Err(format!("{} bytes are not {} numbers of {}", bytes.len(), out.len(), self.name()));
        }
        if let Some(dtype) = self.plain() {
            dtype.read_f32(bytes, out);
            return Ok(());
        }
        // candle looks at the bytes as blocks, which want an even address. A file's blocks have one; other bytes may not.
        let mut moved = Vec::new();
        let even = if bytes.as_ptr().align_offset(align_of::<u16>()) == 0 {
            bytes
        } else {
            moved.resize(bytes.len() + 1, 0);
            let start = moved.as_ptr().align_offset(align_of::<u16>());
            moved[start..start + bytes.len()].copy_from_slice(bytes);
            &moved[start..start + bytes.len()]
        };
        let decoded = self.candle().from_data(Cow::Borrowed(even)).dequantize(out.len());
        match decoded.map_err(|error| error.to_string())? {
            CpuStorage::F32(numbers) => {
                out.copy_from_slice(&numbers);
                Ok(())
            }
            _ => Err(format!("candle did not turn {} into single precision", self.name())),
        }
    }

    /// Appends numbers, whole blocks of finite ones, to `out` in this format.
    pub(super) fn encode(self, numbers: &[f32], out: &mut Vec<u8>) -> Result<(), String> {
        let size = self.size_of(numbers.len());
        let size = size.ok_or_else(|| format!("{} numbers are no whole blocks of {}", numbers.len(), self.name()))?;
        if let Some(dtype) = self.plain() {
            let start = out.len();
            out.resize(start + size, 0);
            dtype.write_f32(numbers, &mut out[start..]);
            return Ok(());
        }
        let mut quantise = || {
            let tensor = Tensor::from_slice(numbers, numbers.len(), &Device::Cpu)?;
            let quantised = QTensor::quantize(&tensor, self.candle())?;
            out.extend_from_slice(&quantised.data()?);
            Ok(())
        };
        quantise().map_err(|error: candle_core::Error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_agrees_with_candle() {
        for (block, number, name, numbers, bytes) in BLOCKS {
            assert_eq!((block.candle().block_size(), block.candle().type_size()), (numbers, bytes), "{name}");
            assert_eq!(Block::from_number(number), Ok(block));
            assert_eq!(block.entry().0, block);
        }
        assert_eq!(Block::from_number(23), Err("its type IQ4_XS cannot be read".into()));
        assert_eq!(Block::from_number(4), Err("its type 4 is unknown".into()));
    }

    #[test]
    fn odd_addresses_decode_as_even_ones_do() {
        let numbers: Vec<f32> = (0..512).map(|i| (i as f32 * 0.37).sin()).collect();
        for (block, ..) in BLOCKS {
            let mut bytes = vec![0];
            block.encode(&numbers, &mut bytes).unwrap();
            let (mut odd, mut even) = (vec![0.0; 512], vec![0.0; 512]);
            block.decode(&bytes[1..], &mut odd).unwrap();
            bytes.insert(0, 0);
            block.decode(&bytes[2..], &mut even).unwrap();
            assert_eq!(odd, even, "{}", block.name());
            let worst = odd.iter().zip(&numbers).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 0.4, "{} is {worst} off", block.name());
        }
    }

    #[test]
    fn broken_blocks_are_refused() {
        assert!(Block::Q4K.decode(&[0; 143], &mut [0.0; 256]).is_err());
        assert!(Block::Q8_0.decode(&[0; 34], &mut [0.0; 31]).is_err());
        assert!(Block::Q6K.encode(&[0.0; 255], &mut Vec::new()).is_err());
    }
}
