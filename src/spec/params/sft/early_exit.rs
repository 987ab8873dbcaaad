//! `early_exit:` of `kind: sft`: heads after layers in the middle, trained together with the model.
//!
//! After "Splitformer" (arXiv 2506.18035), which does it for speech: losses of all exits are added up, and beside chosen
//! layers stand others that work on the sequence at half its rate. What that means where a token must not see those after it
//! is written in `docs/training.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Trains heads after layers in the middle together with the model, so that it can stop there: each is a norm and an output
/// layer. What is made smaller is the loss of the last layer plus those of the exits, each times its weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyExitParams {
    /// The layers after which there are exits, from 1: as many layers are run for an exit. The last layer has its own.
    pub layers: Vec<usize>,
    /// What the loss of each exit is multiplied by: a number for each, or one for all. That of the last layer counts once.
    #[serde(default)]
    pub weights: ExitWeights,
    /// Where the output layers of the exits come from.
    #[serde(default)]
    pub head: ExitHead,
    /// Layers beside layers, which work on a shorter sequence.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub branches: Option<BranchParams>,
    /// Leaves the model itself as it is, byte for byte, and trains what of its exits and branches is their own alone.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub freeze_backbone: bool,
}

/// What losses of exits are multiplied by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ExitWeights {
    /// The same number for all.
    One(f64),
    /// One for each exit.
    Each(Vec<f64>),
}

impl Default for ExitWeights {
    fn default() -> Self {
        Self::One(0.3)
    }
}

/// Where the output layers of exits come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExitHead {
    /// That of the model serves all exits; each has a norm of its own.
    #[default]
    Shared,
    /// Each exit has one of its own, which starts as a copy.
    Own,
}

/// Layers beside layers: each gets the means of blocks of tokens, and what it makes of a block goes to the tokens from the
/// last one of the block on. It starts as a copy of the layer it stands beside whose outputs are zero, so the model starts as
/// what it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchParams {
    /// The layers they stand beside, from 1.
    pub layers: Vec<usize>,
    /// How many tokens make a block.
    #[serde(default = "default_factor")]
    pub factor: usize,
}

fn default_factor() -> usize {
    2
}

/// Reads a block. One with nothing behind it is a mistake: its writer believes that it does something.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The most tokens in a block of a branch.
const LARGEST_FACTOR: usize = 1024;

impl EarlyExitParams {
    /// Returns what the loss of each exit is multiplied by.
    pub fn weights(&self) -> Vec<f64> {
        match &self.weights {
            ExitWeights::One(weight) => vec![*weight; self.layers.len()],
            ExitWeights::Each(weights) => weights.clone(),
        }
    }

    /// Returns what is wrong: a field and a message each.
    pub(super) fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        let mut demand = |ok: bool, field, message: String| {
            if !ok {
                mistakes.push((field, message));
            }
        };
        demand(!self.layers.is_empty(), "early_exit.layers", "names no layer".into());
        let ordered = "are numbers of layers from 1, each greater than the one before";
        demand(ascend(&self.layers), "early_exit.layers", format!("these {ordered}"));
        let weights = self.weights();
        let (exits, given) = (self.layers.len(), weights.len());
        demand(given == exits, "early_exit.weights", format!("{given} weights do not fit {exits} exits"));
        for weight in weights.iter().filter(|weight| !(**weight > 0.0 && weight.is_finite())) {
            demand(false, "early_exit.weights", format!("{weight} is not above 0"));
        }
        if let Some(branches) = &self.branches {
            let field = "early_exit.branches.layers";
            demand(!branches.layers.is_empty(), field, "names no layer".into());
            demand(ascend(&branches.layers), field, format!("these {ordered}"));
            let factor = branches.factor;
            let sound = (2..=LARGEST_FACTOR).contains(&factor);
            let message = format!("{factor} is not between 2 and {LARGEST_FACTOR}");
            demand(sound, "early_exit.branches.factor", message);
        }
        mistakes
    }
}

fn ascend(layers: &[usize]) -> bool {
    !layers.contains(&0) && layers.is_sorted_by(|a, b| a < b)
}
