//! Which format each tensor of an exported file gets.
//!
//! Norms, biases, convolution kernels and whatever else has one axis stay in single precision, as llama.cpp wants them.
//! Matrices get what the user asked for. `q4_k_m` is llama.cpp's mixture of that name, for dense models:
//!
//! * most matrices Q4_K;
//! * Q6_K for `ffn_down` and `attn_v` in the first and the last eighth of the layers and in every third between them;
//! * Q6_K for the output layer, or the embedding where it is the output layer too;
//! * Q5_K for the other `attn_v` of Llama and Qwen2 with 80 layers (the 70B models, whose values are shared by 8 heads);
//! * where rows do not fill blocks of 256 numbers, Q5_0 instead of Q4_K, Q5_1 of Q5_K, Q8_0 of Q6_K; and half precision
//!   where they do not fill blocks of 32 either.

use super::block::Block;
use super::layout::Slot;
use super::shape::{Family, Shape};

/// How the weights of an exported file are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantisation {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// 8 bits and a scale for 32 numbers.
    Q8_0,
    /// llama.cpp's mixture of 4 and 6 bits.
    Q4KM,
}

impl Quantisation {
    /// Returns the number that llama.cpp has for files of this kind.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Quantisation::F32 => 0,
            Quantisation::F16 => 1,
            Quantisation::BF16 => 32,
            Quantisation::Q8_0 => 7,
            Quantisation::Q4KM => 15,
        }
    }

    /// Returns whether blocks with scales are written.
    pub(super) fn is_quantised(self) -> bool {
        matches!(self, Quantisation::Q8_0 | Quantisation::Q4KM)
    }

    /// Returns the format of a tensor.
    pub(super) fn block(self, shape: &Shape, slot: &Slot) -> Block {
        let sides = slot.file_shape();
        if sides.len() < 2 || slot.part == "shortconv.conv" {
            return Block::F32;
        }
        let row = sides[sides.len() - 1];
        match self {
            Quantisation::F32 => Block::F32,
            Quantisation::F16 => Block::F16,
            Quantisation::BF16 => Block::BF16,
            Quantisation::Q8_0 => fitting(Block::Q8_0, row),
            Quantisation::Q4KM => fitting(mixed(shape, slot), row),
        }
    }
}

/// Returns the format that the mixture has for a tensor whose rows fill its blocks.
fn mixed(shape: &Shape, slot: &Slot) -> Block {
    let before = |layer: usize| shape.attends[..layer].iter().filter(|attends| **attends).count();
    match (slot.part, slot.layer) {
        ("output", _) => Block::Q6K,
        ("token_embd", _) if shape.tied => Block::Q6K,
        ("ffn_down", Some(layer)) if gets_more_bits(layer, shape.layers) => Block::Q6K,
        ("attn_v", Some(layer)) if gets_more_bits(before(layer), before(shape.layers)) => Block::Q6K,
        ("attn_v", _) if shape.layers == 80 && matches!(shape.family, Family::Llama | Family::Qwen2) => Block::Q5K,
        _ => Block::Q4K,
    }
}

fn gets_more_bits(layer: usize, layers: usize) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// Returns a format, or what stands in for it, whose blocks rows of `row` numbers fill.
fn fitting(block: Block, row: usize) -> Block {
    if row.is_multiple_of(block.numbers()) {
        return block;
    }
    let smaller = match block {
        Block::Q4K => Block::Q5_0,
        Block::Q5K => Block::Q5_1,
        _ => Block::Q8_0,
    };
    if row.is_multiple_of(smaller.numbers()) { smaller } else { Block::F16 }
}
