//! What a model is made of: the sizes and constants that both formats know, in one struct.
//!
//! [`super::metadata`] reads and writes it as settings of a GGUF file, [`super::config`] as `config.json`. Whatever both
//! of them must agree on, such as which layers of Gemma 3 see a window only, is computed here.

/// The largest size of anything, so that products of sizes cannot overflow.
const LARGEST_SIZE: usize = 1 << 24;
/// The most layers; large real models have some hundred.
const MOST_LAYERS: usize = 1 << 10;
/// Of Gemma 3's layers every sixth sees everything; llama.cpp knows no other pattern.
const WINDOW_PATTERN: usize = 6;
/// The layers of the Gemma 3 whose attention is scaled by something else than the width of its heads.
const GEMMA_27B_LAYERS: usize = 62;

/// The architectures that are known in both formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Qwen2,
    Qwen3,
    Lfm2,
    Gemma3,
}

impl Family {
    pub(super) const ALL: [Family; 5] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Lfm2, Family::Gemma3];

    /// Returns `general.architecture` of a GGUF file.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Lfm2 => "lfm2",
            Family::Gemma3 => "gemma3",
        }
    }

    /// Returns `model_type` of a `config.json`.
    pub(super) fn model_type(self) -> &'static str {
        match self {
            Family::Gemma3 => "gemma3_text",
            _ => self.architecture(),
        }
    }

    /// Returns the class in transformers.
    pub(super) fn class(self) -> &'static str {
        match self {
            Family::Llama => "LlamaForCausalLM",
            Family::Qwen2 => "Qwen2ForCausalLM",
            Family::Qwen3 => "Qwen3ForCausalLM",
            Family::Lfm2 => "Lfm2ForCausalLM",
            Family::Gemma3 => "Gemma3ForCausalLM",
        }
    }
}

/// How the frequencies of the rotary embedding are stretched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rope {
    /// Not at all.
    Plain,
    /// All by one factor.
    Linear(f64),
    /// Long waves by `factor`, short ones not, as Llama 3.1 has it.
    Llama3 { factor: f64, low: f64, high: f64, original: usize },
}

/// Which projections have biases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Biases {
    /// Query, key and value.
    pub(super) inward: bool,
    /// The output of attention.
    pub(super) outward: bool,
    /// The three of the feed-forward layer.
    pub(super) feed_forward: bool,
}

/// The sizes and constants of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    pub(super) family: Family,
    pub(super) vocab: usize,
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) shared_heads: usize,
    pub(super) head_width: usize,
    pub(super) positions: usize,
    pub(super) theta: f64,
    pub(super) epsilon: f64,
    pub(super) rope: Rope,
    /// Whether the output layer is the embedding.
    pub(super) tied: bool,
    /// For every layer whether it is attention, and not LFM2's convolution.
    pub(super) attends: Vec<bool>,
    pub(super) biases: Biases,
    /// How many positions LFM2's convolution sees; zero in others.
    pub(super) convolution: usize,
    /// How far Gemma 3's layers with a window see.
    pub(super) window: Option<usize>,
    /// The base of the rotary frequencies of those.
    pub(super) window_theta: f64,
    /// What squeezes Gemma's logits, if anything does.
    pub(super) logit_cap: Option<f64>,
}

impl Shape {
    /// Returns whether a layer sees a window only.
    pub(super) fn is_windowed(&self, layer: usize) -> bool {
        self.window.is_some() && !(layer + 1).is_multiple_of(WINDOW_PATTERN)
    }

    /// Returns what Gemma's attention is scaled by the square root of.
    pub(super) fn query_scalar(&self) -> usize {
        if self.layers == GEMMA_27B_LAYERS { self.hidden / self.heads } else { self.head_width }
    }

    /// Fails if a size is not one that a model can have.
    pub(super) fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocabulary size", self.vocab),
            ("embedding length", self.hidden),
            ("feed-forward length", self.intermediate),
            ("number of heads", self.heads),
            ("number of key and value heads", self.shared_heads),
            ("width of a head", self.head_width),
            ("context length", self.positions),
        ];
        for (what, size) in sizes {
            if size == 0 || size > LARGEST_SIZE {
                return Err(format!("the {what} is {size}, which is not a sensible size"));
            }
        }
        check_layers(self.layers)?;
        if !self.heads.is_multiple_of(self.shared_heads) {
            let (heads, shared) = (self.heads, self.shared_heads);
            return Err(format!("{shared} key and value heads do not divide {heads} query heads"));
        }
        if !self.head_width.is_multiple_of(2) {
            return Err(format!("the width of a head is {}, and rotary embedding needs an even one", self.head_width));
        }
        let positive = |number: f64| number.is_finite() && number > 0.0;
        for (what, number) in [("rope base", self.theta), ("norm epsilon", self.epsilon)] {
            if !positive(number) {
                return Err(format!("the {what} is {number}"));
            }
        }
        if self.family == Family::Lfm2 && !(1..=64).contains(&self.convolution) {
            return Err(format!("the convolution sees {} positions", self.convolution));
        }
        Ok(())
    }
}

/// Fails for a number of layers that no model has.
pub(super) fn check_layers(layers: usize) -> Result<(), String> {
    if layers == 0 || layers > MOST_LAYERS {
        return Err(format!("the number of layers is {layers}, and not one to {MOST_LAYERS}"));
    }
    Ok(())
}

/// Returns whether two settings are the same number. They were written by somebody, not computed.
pub(super) fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
}

impl Rope {
    /// Returns by how much each of the frequencies of `width` dimensions is divided, as `rope_freqs.weight` holds it;
    /// nothing if they are not, or all alike.
    pub(super) fn divisors(&self, theta: f64, width: usize) -> Option<Vec<f32>> {
        let Rope::Llama3 { factor, low, high, original } = *self else { return None };
        let divisor = |i: usize| {
            let frequency = theta.powf(-((2 * i) as f64) / width as f64);
            let wave = std::f64::consts::TAU / frequency;
            let original = original as f64;
            if wave < original / high {
                1.0
            } else if wave > original / low {
                factor as f32
            } else {
                let smooth = (original / wave - low) / (high - low);
                (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
            }
        };
        Some((0..width / 2).map(divisor).collect())
    }

    /// Finds the stretching with these divisors: Llama 3.1's, whose factor is the largest divisor.
    pub(super) fn from_divisors(divisors: &[f32], theta: f64, width: usize) -> Option<Self> {
        const ORIGINALS: [usize; 3] = [8192, 4096, 16384];
        let factor = divisors.iter().copied().fold(0.0, f32::max);
        if divisors.len() != width / 2 || !factor.is_finite() {
            return None;
        }
        let candidate = |original| Rope::Llama3 { factor: f64::from(factor), low: 1.0, high: 4.0, original };
        ORIGINALS.into_iter().map(candidate).find(|rope| {
            let exact = rope.divisors(theta, width).unwrap_or_default();
            // Converters compute these in single precision, so the last digits differ.
            exact.iter().zip(divisors).all(|(ours, theirs)| (ours - theirs).abs() <= 1e-3 * ours)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_3_is_known_by_its_divisors() {
        for factor in [8.0, 32.0] {
            let rope = Rope::Llama3 { factor, low: 1.0, high: 4.0, original: 8192 };
            let divisors = rope.divisors(500_000.0, 64).unwrap();
            assert_eq!((divisors[0], divisors[31]), (1.0, factor as f32));
            assert_eq!(Rope::from_divisors(&divisors, 500_000.0, 64), Some(rope));
        }
        assert_eq!(Rope::from_divisors(&[1.0, 2.0, 3.0, 4.0], 10_000.0, 8), None);
        assert_eq!(Rope::from_divisors(&[f32::NAN; 4], 10_000.0, 8), None);
    }
}
