//! Rotary embeddings: which frequencies turn the heads, and how they are stretched for longer texts.
//!
//! Read from `modeling_rope_utils.py` of transformers 5.23. Left out, and refused by name: `dynamic` and `longrope`, whose
//! frequencies depend on the length of the text, so that a token's past would change with its future.

use std::f64::consts::TAU;

use super::keys::Keys;

/// A rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// The base of the frequencies: pair `j` of a head of `width` numbers turns by `theta^(-2j / width)` a token.
    pub theta: f64,
    /// What is done to these frequencies.
    pub scaling: Scaling,
}

/// How the frequencies of a rotary embedding are stretched.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Scaling {
    /// Not at all.
    None,
    /// All are divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Slow ones are divided, fast ones kept, with a ramp between (Llama 3.1).
    Llama3 {
        /// The factor for slow ones.
        factor: f64,
        /// Slow ones turn less often than this within the original length.
        low: f64,
        /// Fast ones turn more often than this within the original length.
        high: f64,
        /// How many positions the model was first trained with.
        original: f64,
    },
    /// Slow ones are divided, fast ones kept, with a ramp over the pairs between, and scores are sharpened (Peng et al.
    /// 2023).
    Yarn {
        /// The factor for slow ones.
        factor: f64,
        /// What cosines and sines are multiplied by.
        attention: f64,
        /// Fast ones turn more often than this within the original length.
        fast: f64,
        /// Slow ones turn less often than this within the original length.
        slow: f64,
        /// How many positions the model was first trained with.
        original: f64,
        /// Whether the ramp begins and ends at whole pairs.
        truncate: bool,
    },
}

impl Rotary {
    /// Returns the frequencies for heads of `width` numbers, one for each pair.
    pub(crate) fn frequencies(&self, width: usize) -> Vec<f32> {
        let plain = |j: usize| self.theta.powf(-2.0 * j as f64 / width as f64);
        let pairs = 0..width / 2;
        match self.scaling {
            Scaling::None => pairs.map(|j| plain(j) as f32).collect(),
            Scaling::Linear { factor } => pairs.map(|j| (plain(j) / factor) as f32).collect(),
            Scaling::Llama3 { factor, low, high, original } => {
                let stretch = |frequency: f64| {
                    let turns = original * frequency / TAU;
                    let fast = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    ((1.0 - fast) * frequency / factor + fast * frequency) as f32
                };
                pairs.map(|j| stretch(plain(j))).collect()
            }
            Scaling::Yarn { factor, fast, slow, original, truncate, .. } => {
                // The pair that turns so often within the original length.
                let pair = |turns: f64| width as f64 * (original / (turns * TAU)).ln() / (2.0 * self.theta.ln());
                let (from, to) = (pair(fast), pair(slow));
                let (from, to) = if truncate { (from.floor(), to.ceil()) } else { (from, to) };
                let (from, to) = (from.max(0.0), to.min(width as f64 - 1.0));
                let to = if from.total_cmp(&to).is_ne() { to } else { to + 0.001 };
                let stretch = |j: usize| {
                    let slow = ((j as f64 - from) / (to - from)).clamp(0.0, 1.0);
                    (plain(j) / factor * slow + plain(j) * (1.0 - slow)) as f32
                };
                pairs.map(stretch).collect()
            }
        }
    }

    /// Returns what cosines and sines are multiplied by.
    pub(crate) fn factor(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { attention, .. } => attention as f32,
            _ => 1.0,
        }
    }
}

/// Reads the rotary embedding of a family with one for all layers.
pub(super) fn flat(keys: &Keys, positions: usize, default_theta: f64) -> Result<Rotary, String> {
    let parameters = match keys.object_if("rope_scaling")? {
        Some(object) => Some(object),
        None => keys.object_if("rope_parameters")?,
    };
    let positions = keys.size_or("original_max_position_embeddings", positions)?;
    let theta = keys.number_or("rope_theta", default_theta)?;
    read(&parameters.unwrap_or_default(), positions, theta)
}

/// Reads a rotary embedding: `rope_scaling`, or `rope_parameters` or an entry in it.
pub(super) fn read(keys: &Keys, positions: usize, default_theta: f64) -> Result<Rotary, String> {
    keys.whole_rotation()?;
    if let Some((kind, _)) = keys.0.iter().find(|(_, value)| value.is_object()) {
        return Err(format!("the rotary embedding has an entry `{kind}` for some layers; this family has one for all"));
    }
    let theta = keys.number_or("rope_theta", default_theta)?;
    let kind = match keys.text_if("rope_type")? {
        Some(kind) => kind,
        None => keys.text_if("type")?.unwrap_or("default"),
    };
    let number = |key: &str| keys.number_if(key)?.ok_or_else(|| format!("`{key}` of the rotary embedding is missing"));
    let scaling = match kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear { factor: number("factor")? },
        "llama3" => Scaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original: keys.number_or("original_max_position_embeddings", positions as f64)?,
        },
        "yarn" => yarn(keys, positions)?,
        other => {
            let known = "default, linear, llama3 and yarn can be run";
            return Err(format!("the rotary embedding is scaled in the way {other}; {known}"));
        }
    };
    Ok(Rotary { theta, scaling })
}

fn yarn(keys: &Keys, positions: usize) -> Result<Scaling, String> {
    let original = keys.number_or("original_max_position_embeddings", positions as f64)?;
    let Some(factor) = keys.number_if("factor")? else {
        return Err("`factor` of the rotary embedding is missing".into());
    };
    let sharper = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    // Zeros count as missing, as they do in Python.
    let weight = |key: &str| Ok::<_, String>(keys.number_if(key)?.filter(|number| number.abs() > 0.0));
    let usual = match (weight("mscale")?, weight("mscale_all_dim")?) {
        (Some(one), Some(all)) => sharper(one) / sharper(all),
        _ => sharper(1.0),
    };
    Ok(Scaling::Yarn {
        factor,
        attention: keys.number_or("attention_factor", usual)?,
        fast: weight("beta_fast")?.unwrap_or(32.0),
        slow: weight("beta_slow")?.unwrap_or(1.0),
        original,
        truncate: keys.flag_or("truncate", true)?,
    })
}
