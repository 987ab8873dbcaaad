//! What holds for the configuration of any family: sizes that are sizes, and that fit each other.

use super::{Config, LayerKind, Scaling};

/// The largest size of anything, so that products of sizes cannot overflow.
const LARGEST_SIZE: usize = 1 << 24;
/// The largest number of layers, so that what is made for each layer before the weights are looked at stays small.
const MOST_LAYERS: usize = 4096;
/// The widest head: its frequencies are computed before the weights are looked at.
const WIDEST_HEAD: usize = 1 << 16;

/// Fails unless a number can be the size of something.
pub(super) fn size(name: &str, size: usize) -> Result<(), String> {
    if size == 0 || size > LARGEST_SIZE {
        return Err(format!("`{name}` is {size}, which is not a sensible size"));
    }
    Ok(())
}

/// Fails unless a model can have so many layers.
pub(super) fn layer_count(count: usize) -> Result<(), String> {
    size("num_hidden_layers", count)?;
    if count > MOST_LAYERS {
        return Err(format!("`num_hidden_layers` is {count}, more than the {MOST_LAYERS} that are allowed"));
    }
    Ok(())
}

impl Config {
    /// Fails, naming the key, if something cannot be or does not fit together.
    pub(crate) fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
            ("conv_L_cache", self.convolution.map_or(1, |convolution| convolution.width)),
        ];
        sizes.into_iter().try_for_each(|(name, number)| size(name, number))?;
        layer_count(self.num_hidden_layers)?;
        if self.head_dim > WIDEST_HEAD {
            return Err(format!("`head_dim` is {}, more than the {WIDEST_HEAD} that are allowed", self.head_dim));
        }
        if self.layers.len() != self.num_hidden_layers {
            return Err(format!("{} kinds are given for {} layers", self.layers.len(), self.num_hidden_layers));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let (heads, shared) = (self.num_attention_heads, self.num_key_value_heads);
            return Err(format!("{shared} key and value heads do not divide {heads} query heads"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("`head_dim` is {}; rotary embedding needs an even width", self.head_dim));
        }
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            return Err(format!("the `eps` of the norms is {}", self.norm_eps));
        }
        if !(self.attention_scale.is_finite() && self.attention_scale > 0.0) {
            return Err(format!("attention scores would be multiplied by {}", self.attention_scale));
        }
        self.layers.iter().try_for_each(|kind| self.check_layer(*kind))?;
        self.check_rotary()
    }

    fn check_layer(&self, kind: LayerKind) -> Result<(), String> {
        match kind {
            LayerKind::Attention { window, rotary } => {
                if rotary >= self.rotary.len() {
                    return Err(format!("a layer wants rotary embedding {rotary} of {}", self.rotary.len()));
                }
                window.map_or(Ok(()), |window| size("sliding_window", window))
            }
            LayerKind::Convolution if self.convolution.is_none() => Err("a convolution has no shape".into()),
            LayerKind::Convolution => Ok(()),
        }
    }

    fn check_rotary(&self) -> Result<(), String> {
        for rotary in &self.rotary {
            let numbers: &[f64] = match &rotary.scaling {
                Scaling::None => &[],
                Scaling::Linear { factor } => &[*factor],
                Scaling::Llama3 { factor, low, high, original } => &[*factor, *low, *high, *original],
                Scaling::Yarn { factor, attention, fast, slow, original, .. } => {
                    &[*factor, *attention, *fast, *slow, *original]
                }
            };
            if let Scaling::Llama3 { low, high, .. } = &rotary.scaling
                && low >= high
            {
                return Err(format!("`low_freq_factor` {low} is not below `high_freq_factor` {high}"));
            }
            let sound = |number: &f64| number.is_finite() && *number > 0.0;
            if !(sound(&rotary.theta) && numbers.iter().all(sound)) {
                return Err(format!("the rotary embedding has numbers that are not above zero: {rotary:?}"));
            }
            if !rotary.frequencies(self.head_dim).iter().all(|frequency| frequency.is_finite()) {
                return Err(format!("the rotary embedding has no finite frequencies: {rotary:?}"));
            }
        }
        Ok(())
    }
}
